"""The commands as a user types them."""

import ast
import csv
import gzip
import inspect
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from nasdepth import cli as package

DATA = "scenes:24+6"
TINY = "64x64,mobilenetv3_small_minimal@0.5:2,none-conv-k1-w8,up-nearest-nearest"


def commands(group=None, prefix=()):
    group = group or get_command(package.app)
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*prefix, name))
        else:
            yield (*prefix, name)


@dataclass(frozen=True)
class Answer:
    code: int
    out: str
    err: str

    @property
    def json(self) -> dict:
        return json.loads(self.out)


@pytest.fixture
def nasdepth(monkeypatch, capfd, tmp_path):
    """Run a command in this process, in an empty folder, through the entry point."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments) -> Answer:
        capfd.readouterr()
        monkeypatch.setattr(sys, "argv", ["nasdepth", *map(str, arguments)])
        try:
            package.main()
            code = 0
        except SystemExit as end:
            code = end.code or 0
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        said = capfd.readouterr()
        return Answer(code, said.out, said.err)

    return run


def is_error(answer: Answer, *words: str) -> None:
    assert answer.code == 2, answer
    assert "Traceback" not in answer.err and answer.out == ""
    text = re.sub(r"\s+", " ", answer.err)
    assert all(word in text for word in words), answer.err


@pytest.mark.parametrize("command", list(commands()), ids=" ".join)
def test_every_command_explains_itself_with_an_example(command):
    result = CliRunner().invoke(package.app, [*command, "--help"], env={"COLUMNS": "160", "NO_COLOR": "1"})
    assert result.exit_code == 0
    assert "Example" in result.output and f"nasdepth {' '.join(command)}" in result.output


def bodies(group=None):
    """(file and function, number of lines after the docstring) of every command."""
    for command in (group or get_command(package.app)).commands.values():
        if hasattr(command, "commands"):
            yield from bodies(command)
            continue
        function = inspect.unwrap(command.callback)
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(function))).body
        first = tree.body[1 if ast.get_docstring(tree) else 0]
        name = f"{Path(inspect.getfile(function)).name}: {function.__name__}"
        yield name, tree.end_lineno - first.lineno + 1


def test_commands_only_parse_call_and_print():
    lines = dict(bodies())
    assert len(lines) == len(list(commands()))
    assert {name: count for name, count in lines.items() if count > 40} == {}


def test_all_that_was_asked_for_is_there():
    assert {" ".join(command) for command in commands()} >= {
        "space show", "space sample", "space describe", "data make", "data inspect", "latency build",
        "latency predict", "latency validate", "doctor", "search", "retrain", "export", "evaluate",
        "benchmark",
    }  # fmt: skip


def test_version_and_no_arguments(nasdepth):
    from nasdepth import __version__

    assert nasdepth("--version").out.strip() == f"nasdepth {__version__}"
    assert "search" in nasdepth().out + nasdepth().err


def test_help_loads_no_torch(run_python):
    code = (
        "import sys; from nasdepth import cli\n"
        "sys.argv = ['nasdepth', '--help']\n"
        "try: cli.main()\n"
        "except SystemExit: pass\n"
        "print('loaded:', sorted({'torch', 'optuna', 'timm'} & set(sys.modules)))"
    )
    answer = run_python(code)
    assert answer.stdout.strip().endswith("loaded: []"), answer.stdout + answer.stderr


def test_a_bug_keeps_its_traceback(monkeypatch):
    def bug(*_, **__):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("nasdepth.space.SearchSpace.load", bug)
    monkeypatch.setattr(sys, "argv", ["nasdepth", "space", "show"])
    with pytest.raises(ZeroDivisionError):
        package.main()


# space


def test_describe_litedepth(nasdepth):
    text = nasdepth("space", "describe", "litedepth").out
    assert "372,440" in text and "388,081" in text and re.search(r"mmacs\s+26\.7", text)
    figures = nasdepth("space", "describe", "litedepth", "--json").json
    assert figures["schema"] == "nasdepth-architecture-1"
    assert figures["encoder_parameters"] == 372_440
    assert figures["parameters"] == 388_081 == figures["encoder_parameters"] + figures["decoder_parameters"]
    assert figures["mmacs"] == pytest.approx(26.7, abs=0.05)
    assert len(figures["kernels"]) == figures["layers"] > 50
    layers = nasdepth("space", "describe", "litedepth", "--layers").out
    assert layers.count("kMAC") == figures["layers"]


def test_sample_prints_architectures_that_other_commands_read(nasdepth):
    lines = nasdepth("space", "sample", "--space", "quick", "-n", "4", "--seed", "7").out.split()
    assert len(lines) == 4
    assert lines == nasdepth("space", "sample", "--space", "quick", "-n", "4", "--seed", "7").out.split()
    assert nasdepth("space", "describe", lines[0], "--json").json["architecture"] == lines[0]


def test_show_lists_choices_and_designs(nasdepth):
    text = nasdepth("space", "show", "--space", "quick").out
    assert "mobilenetv3_small_minimal" in text and "design litedepth" in text and "in the space" in text
    content = nasdepth("space", "show", "--space", "quick", "--json").json
    assert content["schema"] == "nasdepth-space-1" and content["combinations"] > 100
    assert content["named_designs"]["litedepth"] == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["space", "describe", "litedeep"], ["litedeep", "litedepth"]),
        (
            ["space", "describe", "33x64,mobilenetv2@1:5,none-conv-k1-w8,up-nearest-nearest"],
            ["33", "multiple of 16"],
        ),
        (["space", "show", "--space", "nowhere.yaml"], ["nowhere.yaml", "depth"]),
        (["space", "sample", "-n", "0"], ["--count"]),
        (["data", "inspect", "nowhere"], ["nowhere"]),
        (["data", "inspect", "scenes:0+1"], ["scenes:0+1"]),
        (["latency", "predict", "litedepth", "--table", "nowhere"], ["nowhere"]),
        (["latency", "build", "--device", "toaster", "--minutes", "0.1"], ["toaster"]),
        (["search", "--budget", "0"], ["budget", "0"]),
        (["search", "--budget", "-3"], ["budget", "-3"]),
        (["search", "--budget", "many"], ["--budget", "integer"]),
        (["search", "--max-latency-ms", "0"], ["max-latency-ms", "0"]),
        (["search", "--objective", "speed"], ["objective", "speed"]),
        (["search", "--budget", "1", "--data", DATA, "--sampler", "magic"], ["magic", "latency-aware, tpe"]),
        (
            ["search", "--budget", "1", "--data", DATA, "--objective", "pareto", "--sampler", "evolution"],
            ["evolution", "pareto", "nsga2"],
        ),
        (["search", "--budget", "1", "--data", DATA, "--from", "nowhere"], ["nowhere", "cannot be read"]),
        (["search", "--budget", "1", "--family", "resnet"], ["resnet", "mobilenetv2"]),
        (["search", "--measure-top", "-1"], ["--measure-top"]),
        (["search", "--unsure-percent", "0"], ["--unsure-percent", "0"]),
        (["search", "--budget", "1", "--device", "toaster"], ["toaster"]),
        (["search", "--resume"], ["holds no search"]),
        (["search", "--resume", "--out", "nowhere"], ["nowhere"]),
        (["search", "--budget", "1", "--data", "nowhere"], ["nowhere"]),
        (["search", "--budget", "1", "--space", "nowhere"], ["nowhere"]),
        (["search", "--budget", "1", "--table", "nowhere"], ["nowhere"]),
        (["retrain"], ["holds no search"]),
        (["retrain", "--arch", "litedeep"], ["litedeep"]),
        (["retrain", "--arch", "litedepth", "--recipe", "smrt"], ["recipe smrt", "did you mean smart"]),
        (
            ["retrain", "--arch", "litedepth", "--recipe", "smart"],
            ["teacher.model", "--teacher", "--no-teacher"],
        ),
        (["retrain", "--arch", "litedepth", "--teacher", "t.pt"], ["t.pt", "loss.distill_output.weight=1"]),
        (["retrain", "--arch", "litedepth", "--set", "loss.gradeint.weight=1"], ["did you mean gradient"]),
        (["retrain", "--arch", "litedepth", "--set", "epochs"], ["--set epochs", "FIELD=VALUE"]),
        (["retrain", "--arch", "litedepth", "--set", "epochs={"], ["--set epochs={", "YAML"]),
        (["retrain", "--arch", "litedepth", "--epochs", "0"], ["recipe default: epochs", "value: 0"]),
        (["retrain", "--arch", "litedepth", "--mix", "scenes=-1"], ["mixture.scenes", "value: '-1'"]),
        (["retrain", "--arch", "litedepth", "--data", "nowhere"], ["nowhere"]),
        (["recipes", "show", "none.yaml"], ["none.yaml"]),
        (["export", "none.pt", "x.tflite"], ["none.pt"]),
        (["export", "litedeep", "x.tflite"], ["litedeep"]),
        (["evaluate", "none.tflite"], ["none.tflite"]),
        (["benchmark", "none.tflite"], ["none.tflite"]),
        (["benchmark", "none.tflite", "--threads", "0"], ["--threads"]),
        (["serach"], ["serach"]),
    ],
    ids=lambda value: " ".join(value)[:40],
)
def test_bad_input_ends_with_two_and_a_message(nasdepth, tmp_path, arguments, words):
    is_error(nasdepth(*arguments), *words)
    assert not list(tmp_path.rglob("*.tflite")) and not (tmp_path / "runs").exists()


def test_recipes_are_shown_as_files_and_as_they_resolve(nasdepth, tmp_path):
    from nasdepth.training import load_recipe, recipe_names

    listed = nasdepth("recipes", "list").out
    assert all(name in listed for name in recipe_names())
    assert "# not known" in nasdepth("recipes", "show", "smart").out
    (tmp_path / "mine.yaml").write_text(nasdepth("recipes", "show", "smart", "--set", "epochs=3").out)
    assert load_recipe("mine.yaml") == load_recipe("smart").with_(epochs=3)
    (tmp_path / "all.yaml").write_text(nasdepth("recipes", "show", "smart", "--all").out)
    assert "blur_sigma: 1.0" in (tmp_path / "all.yaml").read_text()
    assert load_recipe("all.yaml") == load_recipe("smart")


def test_yaml_errors_reach_the_terminal_unbroken(nasdepth, tmp_path):
    (tmp_path / "bad.yaml").write_text("name: bad\ninput: {height: [33], width: 64}\n")
    is_error(nasdepth("space", "show", "--space", "bad.yaml"), "bad.yaml", "input.height", "33", "decoder")


def test_brackets_in_a_message_are_no_markup(nasdepth):
    is_error(nasdepth("space", "describe", "[bold]x"), "[bold]x")


@pytest.mark.parametrize("command", [["evaluate"], ["benchmark"], ["latency", "predict"]])
def test_a_tflite_that_is_none(nasdepth, tmp_path, command, table_file):
    (tmp_path / "model.tflite").write_text("no model\n" * 50)
    table = ["--table", table_file] if command[0] == "latency" else []
    is_error(nasdepth(*command, "model.tflite", *table), "model.tflite")


def test_a_classifier_does_not_score(nasdepth, third_party):
    is_error(nasdepth("evaluate", third_party / "vww_96_float.tflite"), "vww_96_float.tflite", "expected")


# from data to device


def test_pairs_are_inspected_and_refused_where_depth_is_needed(nasdepth, tmp_path):
    from PIL import Image

    (tmp_path / "web").mkdir()
    Image.new("RGB", (64, 48)).save(tmp_path / "web" / "a.jpg")
    (tmp_path / "web" / "train.csv").write_text("a.jpg\n1,1,48,64,>,64,48\n")
    content = nasdepth("data", "inspect", "web", "--sheet", "sheet.png", "--json").json
    assert content["supervision"] == "ordinal" and content["relation"] == {">": 1, "<": 0, "=": 0}
    assert (tmp_path / "sheet.png").stat().st_size > 500
    assert "lower_is_nearer" in nasdepth("data", "inspect", "web").out
    (tmp_path / "web" / "train.csv").write_text("a.jpg\n1,1,49,64,>,64,48\n")
    is_error(nasdepth("data", "inspect", "web"), "train.csv", "line 2", "y = 49")


def test_data_is_made_and_inspected(nasdepth, tmp_path):
    assert nasdepth("data", "make", "set", "--train", "3", "--test", "2").code == 0
    assert len(list((tmp_path / "set/train/depth").glob("*.png"))) == 3
    content = nasdepth("data", "inspect", "set", "--split", "test", "--sheet", "sheet.png", "--json").json
    assert content["schema"] == "nasdepth-data-1" and content["images"] == 2
    assert (tmp_path / "sheet.png").read_bytes().startswith(b"\x89PNG")
    assert "m " in nasdepth("data", "inspect", "set").out
    is_error(nasdepth("data", "make", "set"), "set", "not an empty folder")


def test_latencies_are_predicted(nasdepth, table_file):
    content = nasdepth("latency", "predict", TINY, "--table", table_file, "--by-layer", "--json").json
    assert content["schema"] == "nasdepth-latency-1" and content["table"] == "here"
    (estimate,) = content["estimates"]
    assert estimate["interval_90_ms"][0] < estimate["latency_ms"] < estimate["interval_90_ms"][1]
    assert sum(kernel["latency_ms"] for kernel in estimate["kernels"]) <= estimate["latency_ms"] * 1.001
    assert sum(
        estimate[f"{part}_share"] for part in ("measured", "interpolated", "unknown")
    ) == pytest.approx(1)
    text = nasdepth("latency", "predict", TINY, "--table", table_file).out
    assert f"{estimate['latency_ms']:.3f} ms" in text


def test_a_table_without_a_kind_of_kernel_names_it(nasdepth, table_file):
    other = "64x64,mobilenetv3_small@0.5:3,none-conv-k1-w8,up-nearest-nearest"
    is_error(nasdepth("latency", "predict", other, "--table", table_file), "here", "nasdepth latency build")


def test_a_table_is_built(nasdepth, two_space_file, tmp_path):
    answer = nasdepth("latency", "build", "--space", two_space_file, "--out", "tables", "--name", "mine",
                      "--minutes", "0", "--calibrate", "0", "--validate", "0", "--no-general",
                      "--json")  # fmt: skip
    content = answer.json
    assert (
        content["schema"] == "nasdepth-table-1" and content["kind"] == "measured" and content["threads"] == 1
    )
    built = tmp_path / "tables/mine.csv.gz"
    assert content["path"] == "tables/mine.csv.gz"
    rows = list(csv.DictReader(gzip.decompress(built.read_bytes()).decode().splitlines()))
    assert len(rows) == content["kernels"] > 5 and (tmp_path / "tables/mine.yaml").is_file()
    assert nasdepth("latency", "predict", TINY, "--table", "tables/mine.csv", "--json").code == 0


@pytest.fixture
def search_arguments(two_space_file, table_file):
    return ["search", "--space", two_space_file, "--data", DATA, "--table", table_file, "--epochs", "1"]


def test_what_workers_cannot_do_is_said(nasdepth, search_arguments, monkeypatch, tmp_path):
    monkeypatch.delenv("NASDEPTH_STORAGE", raising=False)
    is_error(
        nasdepth(*search_arguments, "--workers", "2", "--measure-when-unsure"), "search with --workers 1"
    )
    is_error(nasdepth("worker"), "NASDEPTH_STORAGE")
    is_error(nasdepth("worker", "--storage", "postgres"), "is no storage URL")
    monkeypatch.setenv("NASDEPTH_STORAGE", f"sqlite:///{tmp_path / 'study.db'}")
    is_error(nasdepth("worker"), "holds no study named nasdepth")


@pytest.mark.slow
def test_search_retrain_and_the_rest_end_to_end(nasdepth, tmp_path, search_arguments, monkeypatch):
    monkeypatch.setattr("nasdepth.searching.stopping._REPEATS_BEFORE_GIVING_UP", 30)
    answer = nasdepth(*search_arguments, "--budget", "1", "--json")
    content = answer.json
    assert content["schema"] == "nasdepth-search-1" and content["run"] == "runs/search-1"
    assert content["best"]["outcome"] == "trained" and content["pareto"] == [content["best"]]
    assert content["best"]["latency_source"] == "measured"
    assert content["best"]["latency_ms"] == content["best"]["measured_latency_ms"] > 0
    assert "starts from random weights" in answer.err and "unvalidated" in answer.err
    assert f"{content['best']['measured_latency_ms']:.3f} ms" in answer.err
    files = {path.name for path in (tmp_path / "runs/search-1").iterdir()}
    assert files >= {"search.json", "study.db", "trials.csv", "pareto.csv", "results.json", "pareto.png"}

    # the newest run goes on, and the space runs out at two architectures
    resumed = nasdepth("search", "--resume", "--budget", "5")
    assert resumed.code == 0 and "stopped after 2 trials: no remaining candidate" in resumed.err
    assert "Best, by measured latency" in resumed.out
    assert "Pareto front" in resumed.out
    # what is no better than the mean depth map is not to be retrained
    recommended = "nasdepth retrain --run runs/search-1" in resumed.out
    assert recommended == ("do not use any" not in resumed.err)
    is_error(nasdepth("search", "--resume", "--budget", "5", "--data", f"{DATA}@1"), "another data set")
    is_error(nasdepth(*search_arguments, "--budget", "1", "--out", "runs/search-1"), "--resume")

    # without a device the winner is called by estimate, which is said
    answer = nasdepth(*search_arguments, "--budget", "1", "--measure-top", "0", "--out", "estimated")
    assert "called by estimate: --measure-top is 0" in answer.err
    assert "Best, by estimated latency" in answer.out

    # its best, beside litedepth
    answer = nasdepth(
        "retrain", "--run", "runs/search-1", "--epochs", "1", "--table", "x86-64-xnnpack-1t", "--json"
    )
    content = answer.json
    assert content["schema"] == "nasdepth-retrain-1"
    written = json.loads((tmp_path / "runs/search-1/retrain/results.json").read_text())
    assert written["results"] == content["results"]
    for row in content["results"]:
        assert row["measured_latency_ms"] > 0 and row["estimated_latency_ms"] > 0 and row["si_rmse"] > 0
        # the table is another machine's: what was measured here gives no score
        assert row["score"] is None and content["different_device"]
        assert row["estimated_score"] == pytest.approx(
            640_000 * 2 ** (-20 * row["si_rmse"]) / row["estimated_latency_ms"]
        )
        assert Path(row["model"]).stat().st_size == row["model_bytes"]
        assert (Path(row["model"]).parent / "checkpoint.pt").is_file()
    names = [row["name"] for row in content["results"]]
    assert names == [None, "litedepth"]
    best = json.loads((tmp_path / "runs/search-1/results.json").read_text())["best"]
    assert content["results"][0]["architecture"] == best["architecture"]

    # the file scores alike when asked alone
    row = content["results"][0]
    scored = nasdepth("evaluate", row["model"], "--data", DATA, "--json").json
    assert scored["schema"] == "nasdepth-evaluation-1" and scored["images"] == 6
    assert scored["si_rmse"] == pytest.approx(row["si_rmse"], abs=1e-5)
    exported = nasdepth("export", Path(row["model"]).parent / "checkpoint.pt", "again.tflite", "--json").json
    assert exported["schema"] == "nasdepth-export-1" and exported["architecture"] == row["architecture"]
    assert exported["relative_error_against_torch"] <= 1e-4
    again = nasdepth("evaluate", "again.tflite", "--data", DATA, "--json").json
    assert again["si_rmse"] == pytest.approx(row["si_rmse"], abs=1e-5)


def test_a_model_is_benchmarked(nasdepth, litedepth_file):
    content = nasdepth("benchmark", litedepth_file, "--min-runs", "3", "--json").json
    assert content["schema"] == "nasdepth-benchmark-1" and content["device"]["threads"] == 1
    (row,) = content["measurements"]
    assert 0 < row["min_ms"] <= row["latency_ms"] <= row["median_ms"] and row["runs"] >= 3
    assert row["error"] is None and row["model"] == str(litedepth_file)


def test_an_untrained_export_says_so(nasdepth, tmp_path):
    answer = nasdepth("export", TINY, "tiny.tflite")
    assert answer.code == 0 and "untrained weights" in answer.err and (tmp_path / "tiny.tflite").is_file()


def test_an_int8_export_is_verified_and_its_report_has_every_layer(nasdepth, tmp_path):
    nasdepth("export", TINY, "tiny.tflite")
    command = ("export", "tiny.tflite", "int8.tflite", "--precision", "int8")
    answer = nasdepth(
        *command, "--calibration", DATA, "--calibration-images", 8, "--report", "r.json", "--json"
    )
    content = answer.json
    assert content["precision"] == "int8" and content["calibration_images"] == 8
    assert content["compared_images"] == 4 or content["compared_images"] > 0
    assert "rendered scenes" in answer.err and any("rendered" in one for one in content["warnings"])
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["schema"] == "nasdepth-export-report-1" and report["verification"]["layers"]
    scored = nasdepth("evaluate", "int8.tflite", "--data", DATA, "--json").json
    assert scored["si_rmse"] > 0
    measured = nasdepth("benchmark", "int8.tflite", "--min-runs", 3, "--json").json
    assert measured["measurements"][0]["error"] is None
    is_error(nasdepth(*command), "--calibration")
    is_error(nasdepth(*command, "--calibration", "scenes:4+6"), "scenes:4+6", "at least 5")
    is_error(
        nasdepth(*command, "--calibration", DATA, "--calibration-images", 4), "--calibration-images", "4"
    )
    is_error(
        nasdepth("export", "int8.tflite", "x.tflite", "--precision", "int8", "--calibration", DATA),
        "int8.tflite",
        "quantised already",
    )
    assert not (tmp_path / "x.tflite").exists()


def test_a_damaged_checkpoint_is_named(nasdepth, tmp_path):
    (tmp_path / "c.pt").write_bytes(b"PK\x03\x04 nothing")
    is_error(nasdepth("export", "c.pt", "x.tflite"), "c.pt")
    assert not (tmp_path / "x.tflite").exists()


# processes


def command(*arguments):
    return [sys.executable, "-c", "from nasdepth.cli import main; main()", *map(str, arguments)]


def test_exit_codes_of_the_process(tmp_path):
    run = subprocess.run(command("search", "--budget", "0"), capture_output=True, text=True, cwd=tmp_path)
    assert run.returncode == 2 and "Traceback" not in run.stderr and "budget" in run.stderr
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_leaves_a_search_that_resumes(tmp_path, tiny_space_file, table_file, shared_cache, nasdepth):
    arguments = ["search", "--space", tiny_space_file, "--data", DATA, "--table", table_file, "--epochs", "1"]
    process = subprocess.Popen(
        command(*arguments, "--budget", "200"),
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"NASDEPTH_CACHE": shared_cache},
    )  # fmt: skip
    said = []
    for line in process.stderr:
        said.append(line)
        if re.match(r"\s*1/200 ", line):
            process.send_signal(signal.SIGINT)
            break
    rest = process.stderr.read()
    process.wait()
    process.stdout.close()
    process.stderr.close()
    assert process.returncode == 130, [*said, rest]
    assert "--resume" in rest and "Traceback" not in rest
    folder = tmp_path / "runs/search-1"
    before = [row for row in csv.DictReader((folder / "trials.csv").open()) if row["outcome"] == "trained"]
    assert before and json.loads((folder / "results.json").read_text())["best"]
    content = nasdepth("search", "--resume", "--budget", str(len(before) + 1), "--json").json
    after = [row for row in csv.DictReader((folder / "trials.csv").open()) if row["outcome"] == "trained"]
    told = ("trial", "architecture", "si_rmse", "curve", "estimated_latency_ms")
    assert [[row[name] for name in told] for row in after[: len(before)]] == [
        [row[name] for name in told] for row in before
    ]
    assert len(after) == len(before) + 1
    assert content["run"] == "runs/search-1"


@pytest.mark.slow
def test_retrain_proposes_the_recipe_of_a_design_and_evaluate_scores_as_kittis_tables_do(nasdepth, tmp_path):
    quick = ("--set", "steps_per_epoch=1", "--epochs", "1", "--batch-size", "2", "--no-pretrained")
    answer = nasdepth(
        "retrain",
        "--arch",
        "litedepth",
        "--data",
        DATA,
        "--baseline",
        "none",
        "--out",
        tmp_path / "own",
        *quick,
    )
    assert answer.code == 0, answer.err
    assert "litedepth was trained by its authors as in --recipe litedepth" in " ".join(answer.err.split())
    (model,) = (tmp_path / "own").glob("*/model.tflite")
    scored = nasdepth("evaluate", model, "--data", DATA, "--cap-m", "4", "--crop", "garg", "--json").json
    assert (scored["cap_m"], scored["crop"]) == (4, "garg")
    everything = nasdepth("evaluate", model, "--data", DATA, "--json").json
    for one in (scored, everything):
        assert 0 <= one["delta1"] <= one["delta2"] <= one["delta3"] <= 1 and one["sq_rel_m"] > 0
    assert scored["rmse_m"] < everything["rmse_m"] and everything["cap_m"] is None
    is_error(nasdepth("evaluate", model, "--data", DATA, "--cap-m", "-1"), "cap-m", "-1")
