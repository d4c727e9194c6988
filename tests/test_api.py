"""The front door, as a notebook uses it."""

import io
import subprocess
import sys
from typing import get_type_hints

import pytest
from rich.console import Console

import nasdepth
from nasdepth.errors import NasdepthError, StudyError
from nasdepth.files import write_json
from nasdepth.report.terminal import retrained_table
from nasdepth.score import score
from nasdepth.searching import Run, SearchOptions, Settings

TINY = "64x96,mobilenetv3_small_minimal@0.4:2,none-dsconv-k3-w8,up-nearest-bilinear"


def test_the_front_door_is_a_page_to_start_from():
    assert set(nasdepth.__all__) <= set(dir(nasdepth))
    for name in nasdepth.__all__:
        assert getattr(nasdepth, name).__doc__, name
    page = nasdepth.__doc__
    assert all(name in page for name in nasdepth.__all__) and len(page.splitlines()) < 40
    with pytest.raises(AttributeError, match="no attribute 'serach'"):
        _ = nasdepth.serach


def test_importing_costs_nothing_and_changes_nothing():
    code = (
        "import logging, sys; level = logging.root.level; import nasdepth; "
        "assert 'torch' not in sys.modules and 'optuna' not in sys.modules; nasdepth.search; import optuna; "
        "assert logging.root.level == level and optuna.logging.get_verbosity() == optuna.logging.INFO"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_options_by_name_are_those_of_settings():
    hints = get_type_hints(SearchOptions)
    assert {*hints, "data"} == set(Settings.model_fields)
    for name, value in Settings(space="quick").model_dump(exclude={"proxy"}).items():
        assert Settings.of(**{name: value})


def test_a_search_and_what_comes_after_it(tmp_path, two_space_file, table_file, in_shared_cache):
    heard = []
    result = nasdepth.search(
        "scenes:24+6",
        budget=1,
        epochs=1,
        space=str(two_space_file),
        table=str(table_file),
        measure_top=0,
        out=tmp_path / "run",
        on_open=lambda run, search: heard.append((run.folder, search.space.name)),
    )
    assert heard and result.folder == tmp_path / "run" and result.spent == 1 and not result.exhausted
    assert result.best.architecture in {record.architecture for record in result.records}
    assert list(result.to_frame()["trial"]) == [record.number for record in result.records]
    assert {path.name for path in result.folder.iterdir()} >= {"results.json", "pareto.png", "trials.csv"}
    again = nasdepth.search(budget=1, out=tmp_path / "run", resume=True)
    assert again.spent == 1 and again.settings.data == "scenes:24+6"

    estimate = nasdepth.predict_latency(result.best.architecture, table_file)
    assert estimate.latency_ms == pytest.approx(result.best.latency_ms)


def test_a_network_is_retrained_and_exported(tmp_path, table_file, in_shared_cache):
    result = nasdepth.retrain(
        TINY,
        baseline="none",
        data="scenes:24+6",
        changes={"epochs": 1, "batch_size": 8},
        table=str(table_file),
        out=tmp_path / "trained",
    )
    (only,) = result.networks
    assert result.best is only and only.score > 0 and only.measured.latency_ms > 0
    exported = nasdepth.export(only.model.parent / "checkpoint.pt", tmp_path / "again.tflite")
    assert exported.trained and exported.path.is_file() and exported.architecture == TINY


def test_a_time_of_another_device_gives_no_score(tmp_path, in_shared_cache):
    """The default table is a Raspberry Pi's."""
    result = nasdepth.retrain(
        TINY,
        baseline="none",
        data="scenes:24+6",
        changes={"epochs": 1, "batch_size": 8},
        out=tmp_path / "trained",
    )
    assert "soc is" in result.different_device and result.device_info.threads == 1
    only = result.best
    assert only.measured.latency_ms > 0 and only.score is None
    assert only.estimated_score == pytest.approx(score(only.metrics["si_rmse"], only.estimate.latency_ms))
    console = Console(width=80, file=io.StringIO())
    console.print(retrained_table(result))
    printed = " ".join(console.file.getvalue().split())
    assert "no score" in printed and "(est.)" in printed and "this PC" in printed
    assert only.architecture.key in printed and "measured ms" not in printed


def test_retrain_measures_where_the_search_did(tmp_path, in_shared_cache, table_file):
    settings = {"data": "scenes:24+6", "device": "local?cores=0", "table": str(table_file)}
    run = Run.create(tmp_path, Settings.of(**settings))
    write_json(tmp_path / "search.json", run.settings.model_dump(mode="json"))
    write_json(tmp_path / "results.json", {"best": {"architecture": TINY}})
    with nasdepth.open_retraining(run=tmp_path) as retraining:
        assert retraining.device_uri == "local?cores=0" and "pinned is '0'" in retraining.different_device
    with nasdepth.open_retraining(run=tmp_path, device="local") as retraining:
        assert retraining.device_uri == "local" and not retraining.different_device


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"budget": 0}, "`budget` is 0"),
        ({"workers": 0}, "`workers` is 0"),
        ({"max_latency_ms": -1.0}, "`max_latency_ms` is -1.0"),
        ({"sampler": "best"}, "`sampler` is 'best'"),
        ({"max_latency": 3}, "`max_latency` is 3"),
        ({"workers": 2, "measure_when_unsure": True}, "`measure_when_unsure`"),
    ],
)
def test_errors_name_parameters_and_leave_nothing(tmp_path, monkeypatch, wrong, said):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StudyError) as error:
        nasdepth.search(**wrong)
    assert said in str(error.value) and "--" not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_opened_is_an_error_that_can_be_caught(tmp_path):
    for call in (nasdepth.load_space, nasdepth.load_table):
        with pytest.raises(NasdepthError):
            call(str(tmp_path / "nothing.yaml"))
