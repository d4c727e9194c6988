"""`nasdepth replay` and `nasdepth fidelity`."""

import json

import pandas as pd
import pytest
from replay_formula import records_of, training
from typer.testing import CliRunner

from nasdepth.cli import app
from nasdepth.recording import write_records


@pytest.fixture(scope="module")
def archive(records, tmp_path_factory):
    path = tmp_path_factory.mktemp("records") / "quick.csv.gz"
    write_records(path, records)
    return path


def run(*arguments):
    return CliRunner().invoke(app, list(map(str, arguments)))


def test_a_replay_goes_on_from_its_file(archive, tmp_path, in_shared_cache):
    out = tmp_path / "replays.csv"
    common = ("replay", "--records", archive, "--space", "quick", "--budget", 10, "--out", out,
              "--world", "support-vectors", "--sampler", "random")  # fmt: skip
    first = run(*common, "--seeds", 1)
    assert first.exit_code == 0, first.output
    assert "R2 0." in first.output
    assert len(kept := pd.read_csv(out)) == 1
    second = run(*common, "--seeds", 2, "--sampler", "evolution", "--json")
    assert second.exit_code == 0, second.output
    told = json.loads(second.stdout)
    assert [(one["sampler"], one["searches"]) for one in told["samplers"]] == [
        ("random", 2),
        ("evolution", 2),
    ]
    after = pd.read_csv(out)
    assert len(after) == 4
    # what was there was not replayed again: its real seconds are the same
    assert after.proposal_s[0] == kept.proposal_s[0]


def test_rungs_that_were_not_recorded_are_named(archive, in_shared_cache):
    told = run("replay", "--records", archive, "--space", "quick", "--rung", 3, "--seeds", 1,
               "--world", "support-vectors", "--sampler", "random")  # fmt: skip
    assert "rungs of 3 epochs" in str(told.exception)


def test_fidelity_prints_every_way_of_training(archive):
    told = run("fidelity", "--records", archive)
    assert told.exit_code == 0, told.output
    for words in ("epochs1", "epochs2", "proxy", "efficientnet_lite0", "with seeds as the only error"):
        assert words in told.output


def test_fidelity_without_full_trainings_says_so(drawn, tmp_path):
    path = tmp_path / "few.csv.gz"
    write_records(path, records_of([training(one) for one in drawn[:3]]))
    told = run("fidelity", "--records", path)
    assert "hold 0 architectures that were trained fully" in str(told.exception)


def test_missing_records_are_named(tmp_path):
    told = run("replay", "--records", tmp_path / "no.csv.gz")
    assert "no.csv.gz" in str(told.exception)
