"""What every command prints with --json is what docs/json.md says, field by field."""

import csv
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from replay_formula import quick_records
from typer.main import get_command
from typer.testing import CliRunner

from nasdepth.cli import app
from nasdepth.cli.packs import pack_json
from nasdepth.packs import load_table, shipped_tables
from nasdepth.recording import write_records

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "json.md"
DATA = "scenes:24+6"
TINY = "64x64,mobilenetv3_small_minimal@0.5:2,none-conv-k1-w8,up-nearest-nearest"
# No device's times; enough networks, and families, to leave some out
ANCHORS = "model,latency_ms\n" + "".join(
    f"mobilenet-v{version}-{width}-{size},{size * size * width / 1000}\n"
    for version in (1, 2)
    for width in (0.5, 1.0)
    for size in (96, 160, 192, 224)
)
PLAIN = {"string": str, "integer": int, "number": (int, float), "boolean": bool, "null": type(None)}


def sections() -> dict[str, dict[str, str]]:
    """{heading: {field: type}}, included fields and all."""
    found: dict[str, dict[str, str]] = {}
    heading = ""
    for line in DOCUMENT.read_text(encoding="utf-8").splitlines():
        if match := re.match(r"##+ (.+)", line):
            heading = match[1]
            assert heading not in found, f"{heading} is described twice"
            found[heading] = {}
        elif match := re.search(r"the fields of \*\*(.+?)\*\*", line, re.IGNORECASE):
            found[heading]["*"] = match[1]
        elif match := re.match(r"\| `(\w+)` \| ([^|]+) \|", line):
            assert match[1] not in found[heading], f"{heading}.{match[1]} is described twice"
            found[heading][match[1]] = match[2].strip()
    return {name: _with_included(fields, found) for name, fields in found.items()}


def _with_included(fields: dict[str, str], found: dict[str, dict[str, str]]) -> dict[str, str]:
    own = {name: kind for name, kind in fields.items() if name != "*"}
    return own | (_with_included(found[fields["*"]], found) if "*" in fields else {})


def documented_commands() -> dict[str, str]:
    """{command: schema}."""
    commands, heading = {}, ""
    for line in DOCUMENT.read_text(encoding="utf-8").splitlines():
        heading = line.removeprefix("## ") if line.startswith("## ") else heading
        if line.startswith("Printed by"):
            commands |= dict.fromkeys(re.findall(r"`nasdepth ([a-z ]+)`", line), heading)
    return commands


def existing_commands(group=None, prefix=()) -> dict[str, bool]:
    """{command: whether it takes --json}."""
    found = {}
    for name, command in (group or get_command(app)).commands.items():
        if hasattr(command, "commands"):
            found |= existing_commands(command, (*prefix, name))
        else:
            options = {option for parameter in command.params for option in parameter.opts}
            found[" ".join((*prefix, name))] = "--json" in options
    return found


def check(value, kind: str, where: str, described: dict[str, dict[str, str]]) -> None:
    """Assert that a value is of a documented type."""
    kinds = [one for one in kind.split(" or ") if one != "absent"]
    assert any(_is(value, one, where, described) for one in kinds), f"{where} is {value!r}, not {kind}"


def _is(value, kind: str, where: str, described: dict[str, dict[str, str]]) -> bool:
    if kind == "any":
        return True
    if kind in PLAIN:
        return isinstance(value, PLAIN[kind]) and (kind == "boolean") == isinstance(value, bool)
    outer, of, inner = kind.partition(" of ")
    if of:
        whole = list if outer == "list" else dict
        entries = value.items() if isinstance(value, dict) else enumerate(value or ())
        return isinstance(value, whole) and all(
            _is(one, inner, f"{where}[{name}]", described) for name, one in entries
        )
    if not isinstance(value, dict):
        return False
    fields(value, described[kind.strip("*")], where, described)
    return True


def fields(value: dict, documented: dict[str, str], where: str, described: dict) -> None:
    """Assert that an object has all documented fields and no others."""
    assert not set(value) - set(documented), f"{where}: not documented: {set(value) - set(documented)}"
    for name, kind in documented.items():
        if name not in value:
            assert "absent" in kind.split(" or "), f"{where}.{name} is missing"
        else:
            check(value[name], kind, f"{where}.{name}", described)


def matches(content: dict, schema: str) -> None:
    described = sections()
    assert content.pop("schema") == schema
    fields(content, described[schema], schema, described)


@pytest.fixture(scope="module")
def printed(tmp_path_factory, tiny_space_file, two_space_file, table_file, litedepth_file, shared_cache):
    """Run a command once, in a folder of this module, and return what it printed."""
    search = ("search", "--space", two_space_file, "--data", DATA, "--table", table_file, "--epochs", 1,
              "--budget", 1)  # fmt: skip
    build = ("latency", "build", "--space", two_space_file, "--out", "tables", "--name", "mine",
             "--minutes", 0, "--calibrate", 0, "--validate", 0, "--no-general")  # fmt: skip
    write_records(records_file := tmp_path_factory.mktemp("records") / "quick.csv.gz", quick_records())
    cases = {
        "space show": ("space", "show", "--space", "quick"),
        "space sample": ("space", "sample", "--space", "quick", "-n", 2),
        "space describe": ("space", "describe", "litedepth"),
        "zoo list": ("zoo", "list"),
        "zoo show": ("zoo", "show", "monovision"),
        "zoo table": ("zoo", "table", "--out", "zoo.md", "--only", "litedepth", "--measure", "local"),
        "recipes list": ("recipes", "list"),
        "recipes show": ("recipes", "show", "monodepth2", "--set", "loss.robust.alpha=.inf"),
        "data make": ("data", "make", "made", "--train", 2, "--test", 1),
        "data inspect": ("data", "inspect", DATA, "--split", "test"),
        "latency build": build,
        "latency calibrate": ("latency", "calibrate", "--anchors", "anchors.csv", "--prior",
                              "cortex-a72-ruy", "--set", "runtime_version=2.5.0", "--out", "pack.yaml"),
        "latency devices": ("latency", "devices"),
        "latency merge": ("latency", "merge", table_file, table_file, "--out", "merged"),
        "latency predict": ("latency", "predict", TINY, "--table", table_file, "--by-layer"),
        "latency validate": ("latency", "validate", "--table", table_file, "--space", tiny_space_file,
                             "--sample", 3, "--no-save", "--plot", "plot.png"),
        "doctor": ("doctor",),
        "search": search,
        "predict": ("predict", litedepth_file, "photo.png"),
        "report": ("report", "runs/search-1"),
        "retrain": ("retrain", "--run", "runs/search-1", "--epochs", 1, "--baseline", "none"),
        "export": ("export", TINY, "tiny.tflite"),
        "evaluate": ("evaluate", litedepth_file, "--data", DATA),
        "record": ("record", "recorded", "--data", DATA, "--space", two_space_file, "--table", table_file,
                   "--architectures", 2, "--second-seeds", 0, "--fully", 0, "--random-starts", 0,
                   "--max-latency-ms", 1e9, "--no-train"),
        "worker": ("worker", "--storage", "sqlite:///runs/search-1/study.db"),
        "replay": ("replay", "--records", records_file, "--space", "quick", "--world", "support-vectors",
                   "--budget", 10, "--seeds", 1, "--sampler", "random"),
        "fidelity": ("fidelity", "--records", records_file),
        "benchmark": ("benchmark", litedepth_file, "--min-runs", 2),
    }  # fmt: skip
    needed = {"report": "search", "retrain": "search", "worker": "search"}
    answers: dict[str, dict] = {}

    def run(command: str) -> dict:
        if command in needed:
            run(needed[command])
        if command not in answers:
            result = CliRunner().invoke(app, [*map(str, cases[command]), "--json"])
            # a machine like this one may well be a problem to the doctor
            allowed = (0, 1) if command == "doctor" else (0,)
            assert result.exit_code in allowed, result.output + str(result.exception)
            answers[command] = json.loads(result.stdout)
        return dict(answers[command])

    before = Path.cwd()
    os.chdir(tmp_path_factory.mktemp("json"))
    Path("anchors.csv").write_text(ANCHORS)
    Image.new("RGB", (640, 480)).save("photo.png")
    yield run
    os.chdir(before)


def test_every_command_has_json_and_is_documented():
    existing = existing_commands()
    assert [command for command, has_json in existing.items() if not has_json] == []
    assert set(documented_commands()) == set(existing)


@pytest.mark.parametrize("command", sorted(documented_commands()))
def test_what_is_printed_is_documented(printed, command):
    matches(printed(command), documented_commands()[command])


@pytest.mark.parametrize("name", shipped_tables())
def test_every_pack_is_documented(name):
    pack = load_table(name)
    if pack.card.kind == "calibrated":
        matches(
            {"schema": "nasdepth-pack-1", "path": name, **json.loads(json.dumps(pack_json(pack)))},
            "nasdepth-pack-1",
        )


def test_files_of_a_run_are_documented(printed):
    printed("retrain")
    run = Path("runs/search-1")
    matches(json.loads((run / "results.json").read_text()), "nasdepth-results-1")
    matches(json.loads((run / "retrain" / "results.json").read_text()), "nasdepth-retrain-1")
    (result,) = run.glob("retrain/*/result.json")
    matches(json.loads(result.read_text()), "nasdepth-retrained-1")
    for name in ("trials.csv", "pareto.csv"):
        assert set(next(csv.reader((run / name).open()))) == set(sections()["trial"])


def test_what_is_not_documented_is_found():
    described = {"thing": {"size": "integer", "names": "list of string or absent"}}
    fields({"size": 3}, described["thing"], "thing", described)
    for wrong in (
        {},
        {"size": "3"},
        {"size": True},
        {"size": 3, "names": [1]},
        {"size": 3, "names": "a"},
        {"size": 3, "new": 1},
    ):
        with pytest.raises(AssertionError, match="thing"):
            fields(wrong, described["thing"], "thing", described)


def test_figures_that_are_not_finite_are_null(capsys):
    from nasdepth.cli.console import print_json

    print_json("test", values=(1.5, float("nan"), {"most": float("inf")}))
    assert json.loads(capsys.readouterr().out)["values"] == [1.5, None, {"most": None}]


@pytest.mark.parametrize("kind", ["ordinal", "relative", "video", "sparse"])
def test_what_is_printed_of_other_supervisions_is_documented(kind, tmp_path):
    def save(path, array):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(array).save(path, format="PNG")

    root, split = tmp_path / kind, "train"
    picture, values = np.zeros((6, 8, 3), np.uint8), np.arange(48, dtype=np.uint16).reshape(6, 8)
    match kind:
        case "ordinal":
            save(root / "a.png", picture)
            (root / "train.csv").write_text("a.png\n1,1,2,2,<,8,6\n")
        case "relative":
            save(root / "train" / "rgb" / "a.png", picture)
            save(root / "train" / "disparity" / "a.png", values)
        case "video":
            for number in range(3):
                save(root / "scene" / f"{number}.png", picture)
            (root / "scene" / "cam.txt").write_text("8 0 4 0 8 3 0 0 1")
            (root / "train.txt").write_text("scene\n")
        case "sparse":
            save(root / "image" / "a_image_.png", picture)
            save(root / "groundtruth_depth" / "a_groundtruth_depth_.png", values * 256)
            split = "test"
    result = CliRunner().invoke(app, ["data", "inspect", str(root), "--split", split, "--json"])
    assert result.exit_code == 0, result.output
    content = json.loads(result.stdout)
    assert content["supervision"] == ("metric" if kind == "sparse" else kind)
    matches(content, "nasdepth-data-1")
