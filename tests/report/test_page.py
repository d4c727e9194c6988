"""A page about runs: whole in one file, and honest about what is missing."""

import re

import pytest

import nasdepth
from nasdepth.errors import StudyError
from nasdepth.models import resolve
from nasdepth.report.diagram import block_diagram
from nasdepth.report.page import search_command
from nasdepth.searching import Settings
from nasdepth.searching.finished import read_run
from nasdepth.searching.survey import layers_of


@pytest.fixture(scope="module")
def runs(tmp_path_factory, two_space_file, table_file, shared_cache):
    """Two small searches of the same data; the first one's best is retrained."""
    folder = tmp_path_factory.mktemp("runs")
    for seed in (0, 1):
        nasdepth.search(
            "scenes:24+6", space=str(two_space_file), table=str(table_file), budget=2, epochs=1, seed=seed,
            measure_top=0, confirm_top=0, sampler="random", out=folder / f"seed{seed}",
        )  # fmt: skip
    nasdepth.retrain(run=folder / "seed0", baseline="none", changes={"epochs": 1, "batch_size": 8})
    return folder


def test_a_run_is_read_as_its_search_left_it(runs):
    found = read_run(runs / "seed0")
    rows = found.run.best_architecture()
    assert found.best.architecture == rows and found.spent == 2
    assert [one.number for one in found.records] == sorted(one.number for one in found.records)


def test_networks_are_chosen_from_a_run(runs):
    found = read_run(runs / "seed0")
    trained = sorted((one for one in found.records if one.outcome == "trained"), key=lambda one: one.si_rmse)
    assert len(trained) == 2 and found.choose(top=5) == [found.best.architecture] + [
        one.architecture for one in trained if one.number != found.best.number
    ]
    slowest = max(one.latency_ms for one in trained)
    assert found.choose(under_ms=slowest) == [trained[0].architecture]
    assert found.choose(trial=trained[1].number) == [trained[1].architecture]
    with pytest.raises(StudyError, match="`trial` is 99"):
        found.choose(trial=99)
    with pytest.raises(StudyError, match="the fastest useful network"):
        found.choose(under_ms=1e-6)
    with nasdepth.open_retraining(run=runs / "seed0", top=2, baseline="none") as retraining:
        assert retraining.architectures == found.choose(top=2)


def test_one_run_on_one_page(runs, tmp_path):
    written = nasdepth.write_report(runs / "seed0", tmp_path / "page.html", images=1)
    page = written.path.read_text()
    best = read_run(runs / "seed0").best
    assert str(best.architecture) in page and f"{best.score:.1f}" in page
    assert page.count("data:image/jpeg;base64,") == 1 and "<svg" in page and "nasdepth retrain --run" in page
    assert written.runs == ("seed0",) and written.missing == []
    # nothing is fetched
    markup = re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)
    assert not re.search(r'(?:src|href)="(?!data:)', markup)


def test_several_runs_side_by_side(runs, tmp_path):
    written = nasdepth.write_report([runs / "seed0", runs / "seed1"], tmp_path / "page.html", images=0)
    page = written.path.read_text()
    assert "All runs" in page and page.count("<h3>Learning curves</h3>") == 2
    assert "All runs have the same data" in page
    assert any("seed1: no network was retrained" in one for one in written.missing)


def test_what_is_no_run_is_named(tmp_path):
    with pytest.raises(StudyError, match=r"search\.json"):
        nasdepth.write_report(tmp_path, tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


@pytest.mark.parametrize("design", ["litedepth", "smartlab2022", "fastdepth"])
def test_every_stage_and_skip_is_drawn(design):
    architecture = resolve(design)
    layers = layers_of(architecture)
    drawing = block_diagram(architecture, layers)
    assert drawing.count("<rect") == len(layers) + 1
    skips = sum(stage.skip != "none" for stage in architecture.decoder)
    assert drawing.count("stroke-dasharray") == skips
    tops = re.findall(r'<rect x="([\d.]+)" y="([-\d.]+)"', drawing)
    assert len(set(tops)) == len(tops)


def test_a_command_says_what_is_no_default():
    settings = Settings.of(data="scenes:24+6", seed=3, from_runs=("a b",), max_latency_ms=8)
    command = search_command(settings, 40)
    assert command.startswith("nasdepth search --budget 40 --data scenes:24+6 ")
    assert "--seed 3" in command and "--max-latency-ms 8.0" in command and "--sampler" not in command
    assert re.search(r"--from '\S*/a b'", command)
