"""Builds and validations from the command line: what is refused, said of a bad table, and saved."""

import re

import pytest
from typer.testing import CliRunner

from nasdepth.cli import app, console
from nasdepth.cli.latency import _print_table
from nasdepth.errors import NasdepthError
from nasdepth.latency import LatencyTable


def run(*words):
    result = CliRunner().invoke(app, [*map(str, words)])
    if isinstance(result.exception, NasdepthError):
        return result.exception.exit_code, " ".join(str(result.exception).split())
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, " ".join(result.output.split())


@pytest.fixture
def bad_table(tmp_path):
    """A table whose validation found it to be useless."""
    table = LatencyTable.load("x86-64-xnnpack-1t")
    timings = dict(list(table.timings.items())[::20])
    validation = table.card.validation.model_copy(update={"mape_percent": 53.0, "spearman": 0.73})
    bad = LatencyTable("bad", table.card, timings).with_card(validation=validation)
    return bad.save(tmp_path)


@pytest.mark.parametrize("percent", ["soon", "0", "-3%", "nan"])
def test_a_goal_must_be_percent(percent):
    code, said = run("latency", "build", f"--stop-when={percent}")
    assert code == 2 and "--stop-when is" in said and "5%" in said


def test_sources_must_be_tables():
    code, said = run("latency", "build", "--from", "nowhere")
    assert code == 2 and "nowhere: no such file" in said and "zen4-xnnpack-1t" in said
    code, said = run("latency", "build", "--from", "none", "--from", "zen4-xnnpack-1t")
    assert code == 2 and "stands for no table" in said


def test_a_bad_table_is_not_recommended(bad_table, tmp_path, capsys):
    table = LatencyTable.load(bad_table)
    _print_table(table, tmp_path, "local", stopped=False, as_json=False)
    said = capsys.readouterr()
    assert "search with it" not in said.out
    assert "off by 53 % on average" in " ".join(said.err.split())
    good = table.with_card(validation=LatencyTable.load("x86-64-xnnpack-1t").card.validation)
    _print_table(good, tmp_path, "local", stopped=False, as_json=False)
    assert "search with it: nasdepth search" in capsys.readouterr().out


def test_predict_and_devices_say_that_a_table_is_bad(bad_table):
    code, said = run("latency", "predict", "litedepth", "--table", bad_table)
    assert code == 0 and "do not search with bad" in said
    code, said = run("latency", "predict", "litedepth", "--table", bad_table, "--json")
    assert code == 0 and re.search(r'"doubt": "do not search with bad', said)
    code, said = run("latency", "devices", bad_table)
    assert code == 0 and "ranks networks" in said


def test_progress_into_a_file_is_a_line_now_and_then(monkeypatch, capsys):
    monkeypatch.setattr(console, "_LINE_SECONDS", 0.0)
    monkeypatch.setattr(console, "notes", console.Console(stderr=True, width=200, force_terminal=False))
    with console.progress() as bar:
        steps = console.Steps(bar, "begun")
        for done in range(1, 5):
            steps.step("measuring", done, 4)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(",")[0] for line in lines] == [f"measuring: {done} of 4" for done in range(1, 5)]
    assert all(re.search(r"\d:\d\d min so far, about (\?|\d:\d\d min) left", line) for line in lines)


def test_a_validation_is_saved_into_a_table_of_ones_own(tiny_space_file, table_file, tmp_path):
    mine = tmp_path / "mine.csv"
    mine.write_bytes(table_file.read_bytes())
    mine.with_suffix(".yaml").write_bytes(table_file.with_suffix(".yaml").read_bytes())
    words = ("latency", "validate", "--table", mine, "--space", tiny_space_file, "--sample", 3)
    code, _ = run(*words, "--no-save")
    assert code == 0 and LatencyTable.load(mine).card.validation is None
    code, said = run(*words)
    assert code == 0 and LatencyTable.load(mine).card.validation.models == 3
    assert said.index("mape_percent") < said.index("predicted against measured")
    better = LatencyTable.load(mine)
    figures = better.card.validation.model_copy(update={"models": 24, "mape_percent": 0.1})
    better.with_card(validation=figures).save(tmp_path)
    code, said = run(*words, "--save")
    assert code == 2 and "3 models ran, and 24 did then" in said
    assert LatencyTable.load(mine).card.validation == figures
