"""nasdepth latency calibrate and devices, and what other commands do with a pack."""

import csv
import json
import os

import pytest
from typer.testing import CliRunner

from nasdepth.cli import app
from nasdepth.defaults import DEFAULT_TABLE
from nasdepth.errors import NasdepthError
from nasdepth.packs import load_predictor, public_kernels

SIZES = (96, 128, 160, 192, 224)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments):
    result = CliRunner().invoke(app, [str(one) for one in arguments])
    if isinstance(result.exception, NasdepthError):
        raise result.exception
    assert result.exit_code == 0, result.output + str(result.exception)
    return result


def anchors(path, factor):
    """Times that the shipped pack says, of a board slower by a factor."""
    predictor = load_predictor(DEFAULT_TABLE)
    names = [f"mobilenet-v{version}-0.5-{size}" for version in (1, 2) for size in SIZES]
    with path.open("w", newline="") as text:
        writer = csv.writer(text)
        writer.writerow(["model", "latency_ms"])
        for name in names:
            kernels = public_kernels(name, predictor.runtime)
            writer.writerow([name, factor * predictor.estimate(kernels).latency_ms])
    return path


def test_a_pack_is_adapted_and_used(here):
    anchors(here / "mine.csv", 1.5)
    answer = run("latency", "calibrate", "--anchors", "mine.csv", "--prior", DEFAULT_TABLE,
                 "--set", "device=mine", "--out", "mine.yaml")  # fmt: skip
    assert "mine.yaml, float32: " in answer.stdout and "calibrated, not measured" in answer.stdout
    assert "nasdepth latency build --device ssh://" in answer.stdout

    def latency_ms(table):
        answer = run("latency", "predict", "mobilenet-v2-1.0-224", "litedepth", "--table", table, "--json")
        return [one["latency_ms"] for one in json.loads(answer.stdout)["estimates"]]

    before, after = latency_ms(DEFAULT_TABLE), latency_ms("mine.yaml")
    assert [two / one for one, two in zip(before, after, strict=True)] == pytest.approx([1.5, 1.5], rel=0.05)
    rows = json.loads(run("latency", "devices", ".", "--json").stdout)["devices"]
    (mine,) = (row for row in rows if row["name"] == "mine")
    assert mine["device"] == "mine" and mine["kind"] == "calibrated" and mine["terms"] > 20
    assert mine["mape_percent"] < 3 and mine["validated_on"] == "10 left-out published networks"


def test_predict_says_that_a_pack_is_no_measurement(here):
    text = run("latency", "predict", "mobilenet-v1-0.5-160").stdout
    assert f"{DEFAULT_TABLE} (calibrated, not measured, for Raspberry Pi 4" in text
    whole = run("latency", "predict", "mobilenet-v1-0.5-160", "--precision", "int8", "--json").stdout
    whole_ms = json.loads(whole)["estimates"][0]["latency_ms"]
    predictor = load_predictor(DEFAULT_TABLE)
    assert whole_ms < predictor.estimate(public_kernels("mobilenet-v1-0.5-160", predictor.runtime)).latency_ms


def test_every_table_is_listed_and_a_broken_one_is_named(here):
    (here / "broken.yaml").write_text("kind: calibrated\n")
    answer = run("latency", "devices", ".")
    for word in ("x86-64-xnnpack-1t", "measured", DEFAULT_TABLE, "calibrated", "Raspberry Pi 4"):
        assert word in answer.stdout
    assert "broken.yaml" in answer.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--prior", "cortex-z1"), "cortex-z1: no such file"),
        (("--prior", "x86-64-xnnpack-1t"), "a measured table is no prior"),
        (("--out", "pack.csv"), "a pack is one YAML file, such as pack.yaml"),
        (("--where", "runtime"), "--where is 'runtime'; expected NAME=VALUE"),
        (("--where", "runtime=2.5"), "no column 'runtime'"),
        (("--set", "colour=red"), "'colour' is no field of a device card"),
        (("--source", "all | mine"), "expected 'WHAT | URL | LICENCE'"),
        (("--latency-column", "p50_ms"), "no column 'p50_ms'"),
    ],
)
def test_what_is_mistaken_is_named(here, arguments, words):
    anchors(here / "mine.csv", 1.0)
    given = {"--anchors": "mine.csv", "--prior": DEFAULT_TABLE, "--out": "mine.yaml"}
    given |= dict([arguments])
    with pytest.raises(NasdepthError) as error:
        run("latency", "calibrate", *(word for pair in given.items() for word in pair))
    assert words in str(error.value)
    assert not (here / "mine.yaml").exists()


def test_validate_is_for_measured_tables():
    with pytest.raises(NasdepthError, match="is a device pack: nothing in it was measured"):
        run("latency", "validate", "--table", DEFAULT_TABLE)


def test_a_benchmark_writes_what_calibrate_reads(here, litedepth_file):
    run("benchmark", litedepth_file, "--min-runs", "3", "--csv", "times.csv")
    (row,) = csv.DictReader((here / "times.csv").open())
    assert os.path.samefile(row["model"], litedepth_file) and float(row["latency_ms"]) > 0
    run(
        "latency",
        "calibrate",
        "--anchors",
        "times.csv",
        "--prior",
        "cortex-a72-xnnpack-1t",
        "--out",
        "m.yaml",
    )
    card = load_predictor("m.yaml").table.card
    # the device is the one that measured
    assert (card.soc, card.delegate) == (row["soc"], "xnnpack") and card.precisions["float32"].networks == 1


@pytest.mark.slow
def test_a_search_with_the_default_pack_says_so_first_and_last(
    here, two_space_file, shared_cache, monkeypatch
):
    monkeypatch.setenv("NASDEPTH_CACHE", shared_cache)
    answer = run("search", "--space", two_space_file, "--data", "scenes:24+6", "--epochs", 1, "--budget", 1)
    words = f"{DEFAULT_TABLE} is calibrated on whole networks, not measured"
    first = answer.stderr.strip().splitlines()[0]
    last = answer.stdout.rstrip().splitlines()[-1]
    for line in (first, last):
        assert "estimates for Raspberry Pi 4" in line and words in line
        assert "nasdepth latency build --device ssh://" in line
    # this machine is no Raspberry Pi: nothing measured here stands beside the estimates
    assert "called by estimate" in answer.stderr and "Best, by estimated latency" in answer.stdout
    best = json.loads((here / "runs/search-1/results.json").read_text())["best"]
    assert best["latency_source"] == "estimate" and best["measured_latency_ms"] is None
