"""A search for what is deployed in int8: the latency is of the file, the training is the same."""

import csv
import json

import pytest
from latency_samples import table

import nasdepth
from nasdepth.errors import StudyError
from nasdepth.latency import architecture_kernels
from nasdepth.packs import load_predictor
from nasdepth.searching import Settings
from nasdepth.searching.objective import ProxyObjective
from nasdepth.space import SearchSpace
from nasdepth.training import load_recipe


@pytest.fixture(scope="module")
def both_file(tmp_path_factory, two_space_file):
    """A table that answers for both precisions; of one architecture it has the float file as the faster."""
    times_ms = {}
    for index, architecture in enumerate(SearchSpace.load(two_space_file).architectures()):
        for precision in ("float32", "int8"):
            for kernel in architecture_kernels(architecture, "xnnpack", precision):
                times_ms.setdefault(kernel, 0.01 + 0.02 * (precision == ("int8", "float32")[index]))
    return table(times_ms).save(tmp_path_factory.mktemp("both"))


def objective(scenes, both_file, precision):
    return ProxyObjective.on(scenes, load_recipe("proxy"), load_predictor(both_file), precision=precision)


def test_auto_takes_the_faster_precision_of_each_architecture(scenes, two_space_file, both_file):
    predictor = load_predictor(both_file)
    for architecture in SearchSpace.load(two_space_file).architectures():
        both = {
            precision: predictor.estimate(architecture_kernels(architecture, predictor.runtime, precision))
            for precision in ("float32", "int8")
        }
        chosen = objective(scenes, both_file, "auto").latency(architecture)
        assert chosen.latency_ms == min(one.latency_ms for one in both.values())
        assert chosen.latency_ms == both[chosen.precision].latency_ms
        assert objective(scenes, both_file, "auto").latencies([architecture]) == [chosen]
        for precision, estimate in both.items():
            alone = objective(scenes, both_file, precision)
            assert alone.latency(architecture).latency_ms == estimate.latency_ms
            (listed,) = alone.latencies([architecture])
            assert listed.precision == precision and listed.latency_ms == pytest.approx(estimate.latency_ms)


def test_a_search_in_int8_says_so_everywhere_and_trains_nothing_twice(
    tmp_path, two_space_file, both_file, in_shared_cache
):
    options = dict(space=str(two_space_file), table=str(both_file), epochs=1, confirm_top=0, measure_top=0)
    plain = nasdepth.search("scenes:24+6", budget=2, out=tmp_path / "float", **options)
    again = nasdepth.search(
        "scenes:24+6",
        budget=1,
        out=tmp_path / "int8",
        precision="int8",
        from_runs=(str(plain.folder),),
        **options,
    )
    assert again.spent == 0  # what the other run trained is known, whatever it is deployed in
    before = {record.architecture: record for record in plain.records}
    reused = [record for record in again.records if record.si_rmse is not None]
    assert reused and {record.precision for record in reused} == {"int8"}
    for record in reused:
        assert record.si_rmse == before[record.architecture].si_rmse
        assert record.latency_ms != before[record.architecture].latency_ms
    rows = list(csv.DictReader((again.folder / "pareto.csv").open()))
    assert {row["precision"] for row in rows} == {"int8"}
    content = json.loads((again.folder / "results.json").read_text())
    assert content["settings"]["precision"] == content["best"]["precision"] == "int8"
    with pytest.raises(StudyError, match="precision"):
        nasdepth.search(out=tmp_path / "int8", resume=True, precision="float32", budget=2)
    with pytest.raises(StudyError, match="`precision` is 'fp8'"):
        Settings.of(precision="fp8")
