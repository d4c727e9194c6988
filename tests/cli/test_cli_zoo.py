"""nasdepth zoo, and named designs wherever an architecture is asked for."""

import json
import re

import pytest
from typer.testing import CliRunner

from nasdepth.cli import app
from nasdepth.errors import SpaceError
from nasdepth.searching.survey import Surveyed, survey
from nasdepth.searching.zoo_table import agreements, tabulate
from nasdepth.space import SearchSpace
from nasdepth.zoo import designs


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, list(map(str, arguments)), env={"COLUMNS": "300"})
    if result.exception:
        raise result.exception
    return result.stdout


def test_the_list_has_every_design():
    text = run("zoo", "list")
    for name in designs():
        assert re.search(rf"^\s+{re.escape(name)}\s", text, re.MULTILINE), name
    assert re.search(r"fastdepth\s.*3\.961 M.*15 MB, 1197 ms Pi 4, 60 ms Adreno 640.*no", text)
    assert re.search(r"airia\s.*321 ms on that phone's CPU", text)
    listed = {one["name"]: one for one in json.loads(run("zoo", "list", "--json"))["designs"]}
    assert listed["litedepth"]["parameters"] == 388_081 and listed["litedepth"]["outside"] == []


def test_show_says_what_a_design_is_and_what_excludes_it():
    text = run("zoo", "show", "monovision", "--table", "rpi4-tflite2.5-ruy-4t")
    assert designs()["monovision"].text in text
    assert "decoder.4" in text and "16x240x320" in text and "gate-lrconv-k3-w16" in text
    assert re.search(r"ms on rpi4-tflite2\.5-ruy-4t \(est\.\).*90 % interval", text)
    assert re.search(r"full space\s+outside: input_height is 480", text)
    content = json.loads(run("zoo", "show", "litedepth", "--json"))
    assert sum(stage["parameters"] for stage in content["stages"]) == content["parameters"] == 388_081
    assert sum(stage["mmacs"] for stage in content["stages"]) == pytest.approx(content["mmacs"], rel=1e-6)
    low, high = content["latencies"][0]["interval_90_ms"]
    assert low < content["latencies"][0]["latency_ms"] < high and len(content["latencies"]) == 2


@pytest.mark.parametrize("command", [("show", "litedeep"), ("table", "--only", "litedeep")])
def test_a_bad_name_lists_the_names(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SpaceError, match=r"'litedeep' is no named design; they are litedepth, .*midas-small"):
        run("zoo", *command)
    assert list(tmp_path.iterdir()) == []


def test_the_table_is_written_and_a_second_one_converts_nothing(tmp_path, monkeypatch, in_shared_cache):
    out = tmp_path / "zoo.md"
    command = ("zoo", "table", "--out", out, "--only", "litedepth", "--only", "litedepth-final")
    run(*command)
    text = out.read_text()
    (row,) = re.findall(r"^\| \[litedepth\]\(#litedepth\) .*$", text, re.MULTILINE)
    cells = [cell.strip() for cell in row.strip("| ").split("|")]
    assert cells[2:6] == ["0.388", "26.7", "1.48", "1.4"] and cells[7] == "yes"
    assert "### litedepth-final" in text and "too few to say" in text
    assert not re.search(r"/(root|home|tmp|work)/", text)

    def refuse(*_):
        raise AssertionError("converted again")

    monkeypatch.setattr("nasdepth.searching.survey.export_tflite", refuse)
    run(*command)
    assert out.read_text() == text


def test_a_stale_conversion_is_made_again(in_shared_cache):
    surveyed = Surveyed(designs()["litedepth"])
    path = surveyed.converted().path
    other = Surveyed(designs()["weichi"]).converted().path
    path.write_bytes(other.read_bytes())
    again = surveyed.converted()
    assert again.path == path and again.size_mb == pytest.approx(1.48, abs=0.01)


class _Gpu:
    """A device that refuses one of two."""

    def measure(self, models, **_):
        from nasdepth.devices import Measurement

        for index, model in enumerate(models):
            yield Measurement(model, 5.0) if index else Measurement(model, error="no such operation")


def test_what_a_device_refuses_has_no_time(in_shared_cache):
    from nasdepth.packs import load_predictor

    pi4, adreno640 = load_predictor("rpi4-tflite2.5-ruy-4t"), load_predictor("adreno640-gpu")
    rows = tabulate(
        survey(["litedepth", "weichi"]), SearchSpace.load("depth"), pi4, adreno640,
        measure_on=_Gpu(), try_gpu=_Gpu(),
    )  # fmt: skip
    assert [row.measured_ms for row in rows] == [None, 5.0]
    assert [row.gpu_tried for row in rows] == ["no such operation", ""]
    gpu, board = agreements(rows)
    assert gpu.names == ("weichi",) and gpu.spearman is None
    assert board.names == ("litedepth", "weichi")


def test_predicted_adreno_times_rank_as_the_challenge_measured_them():
    """Over the designs that ran on the GPU there; no conversion is needed for it."""
    from scipy.stats import spearmanr

    from nasdepth.packs import load_predictor

    predictor = load_predictor("adreno640-gpu")
    ran = [one for one in survey() if one.design.published.on_gpu]
    predicted = [one.estimate(predictor).latency_ms for one in ran]
    published = [one.design.published.adreno640_ms for one in ran]
    assert len(ran) == 7 and spearmanr(predicted, published).statistic >= 0.9


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tcl2022", "miaigo2022"])
def test_a_named_design_is_retrained(name, tmp_path, monkeypatch, in_shared_cache):
    """Over-parameterised and collapsed, and with attention; every other one takes a step in test_zoo.py."""
    monkeypatch.chdir(tmp_path)
    content = json.loads(
        run("retrain", "--arch", name, "--baseline", "none", "--data", "scenes:24+6", "--epochs", 1,
            "--batch-size", 12, "--json")
    )  # fmt: skip
    (result,) = content["results"]
    assert result["name"] == name and result["architecture"] == designs()[name].text
    assert result["si_rmse"] > 0 and result["measured_latency_ms"] > 0
    assert result["estimated_latency_ms"] > 0
