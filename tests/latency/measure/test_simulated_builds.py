"""Builds planned by a device's pace, on a simulated device with a clock of its own."""

import dataclasses
import re

import numpy as np
import pytest
from scipy.stats import spearmanr

from nasdepth.errors import NasdepthError
from nasdepth.latency import LatencyTable, TablePredictor, architecture_kernels, load_predictor
from nasdepth.latency.measure import BuildStopped, build_table
from nasdepth.latency.measure.networks import draw_architectures
from nasdepth.latency.measure.plan import uses_of
from nasdepth.latency.measure.random_kernels import random_kernels
from nasdepth.space import SearchSpace
from nasdepth.testing.simulated_device import SimulatedDevice, stand_ins

TRUTH, SOURCES = "x86-64-xnnpack-1t", ("zen4-xnnpack-1t", "zen5-xnnpack-1t")
BOARD = {"process_s": 4.0, "transfer_s": 0.1}


def thinned(name: str, some: int) -> LatencyTable:
    """A shipped table with one in `some` of its kernels."""
    table = LatencyTable.load(name)
    timings = dict(list(table.timings.items())[::some])
    return dataclasses.replace(table, timings=timings, rejected={}).with_card()


@pytest.fixture(scope="module")
def truth():
    return thinned(TRUTH, 8)


@pytest.fixture(scope="module")
def known():
    return {name: TablePredictor(thinned(name, 16)) for name in SOURCES}


@pytest.fixture(scope="module")
def quick():
    return SearchSpace.load("quick")


@pytest.fixture
def build(monkeypatch, quick, tmp_path):
    """Build a table of the quick space on a device; the device, the table and all plans."""

    def built(device, **options):
        plans = []
        stand_ins(monkeypatch, device)
        settings = {"minutes": 3, "clock": device.clock, "announce": plans.append} | options
        return build_table(device, quick, tmp_path, "simulated", **settings), plans

    return built


def errors(table: LatencyTable, device: SimulatedDevice, space: SearchSpace, count: int = 40):
    """Relative errors on networks that the build did not see, and the rank correlation."""
    predictor = TablePredictor(table)
    networks = [architecture_kernels(one) for one in draw_architectures(space, count, 4321)]
    predicted = np.array([predictor.estimate(one).latency_ms for one in networks])
    measured = np.array([device.network_ms(one) for one in networks])
    return predicted / measured - 1, spearmanr(predicted, measured).statistic


def test_every_budget_is_kept_and_says_what_it_is_enough_for(build, truth, known, quick):
    device = SimulatedDevice(truth)
    table, plans = build(device, sources=known)
    assert 2.5 <= device.seconds / 60 <= 3.2
    first, last = plans[0], plans[-1]
    assert first.kernel_seconds > 0 and first.network_seconds > first.writing_seconds > 0
    assert 0.6 < first.kernels / last.kernels < 1.6 and 0 < first.error_percent < 15
    assert table.card.validation.models >= 3 and table.card.calibration.networks >= 6
    off, ranks = errors(table, device, quick)
    assert np.abs(off).mean() <= 0.06 and ranks >= 0.97
    assert not table.doubt


def test_networks_that_are_slow_to_write_leave_time_for_kernels(build, truth, quick):
    """Six seconds each, of 129 networks, once left a budget of 12 minutes without any for kernels."""
    device = SimulatedDevice(truth, writing_s=6.0)
    table, plans = build(device, minutes=12, general=True)
    assert len(table.timings) > 2000 and plans[-1].networks < 129
    kinds = {kernel.kind for kernel in [*uses_of(quick), *random_kernels()]}
    assert {kernel.kind for kernel in (*table.timings, *table.rejected)} >= kinds
    assert device.seconds / 60 <= 12.5
    off, ranks = errors(table, device, quick)
    assert np.abs(off).mean() <= 0.06 and ranks >= 0.97


def test_too_few_minutes_are_refused_with_the_least_that_do(build, truth, known):
    device = SimulatedDevice(truth, slower=10, **BOARD)
    with pytest.raises(NasdepthError, match=r"0\.5 minutes are too few for this device") as refused:
        build(device, minutes=0.5, sources=known)
    least = float(re.search(r"take ([\d.]+) minutes", str(refused.value))[1])
    assert device.seconds < 60 * least
    table, _ = build(SimulatedDevice(truth, slower=10, **BOARD), minutes=least, sources=known)
    assert table.card.validation is not None and table.card.calibration is not None


@pytest.mark.parametrize("at_minute", [1, 2])
def test_ctrl_c_leaves_a_validated_table_and_loses_nothing(build, truth, known, quick, tmp_path, at_minute):
    device = SimulatedDevice(truth)

    def stop(*_):
        if device.seconds > 60 * at_minute:
            raise KeyboardInterrupt

    with pytest.raises(BuildStopped) as stopped:
        build(device, sources=known, progress=stop)
    table = LatencyTable.load(tmp_path / "simulated.csv")
    assert table.fingerprint == stopped.value.table.fingerprint
    assert table.card.validation is not None and not table.doubt
    off, _ = errors(table, device, quick)
    assert np.abs(off).mean() <= 0.1

    again = SimulatedDevice(truth)
    later, _ = build(again, sources=known, minutes=2)
    assert later.timings.keys() > table.timings.keys()
    assert later.card.calibration.networks > table.card.calibration.networks
    assert not (tmp_path / "simulated.partial.jsonl").exists()


def test_ctrl_c_before_there_is_a_table_keeps_the_journal(build, truth, tmp_path):
    device = SimulatedDevice(truth)

    def stop(done, *_):
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(BuildStopped) as stopped:
        build(device, progress=stop)
    assert stopped.value.table is None
    assert [path.name for path in tmp_path.iterdir()] == ["simulated.partial.jsonl"]


def test_a_build_ends_when_it_is_good_enough(build, truth, known):
    device = SimulatedDevice(truth)
    table, _ = build(device, minutes=60, sources=known, stop_when_percent=8)
    assert device.seconds < 60 * 20
    assert table.card.validation.models >= 8 and table.card.validation.mape_percent < 8


def test_the_card_says_what_stands_on_other_devices(build, truth, known, tmp_path):
    table, _ = build(SimulatedDevice(truth), sources=known)
    note = table.card.transfer
    assert note.tables == list(known) and note.rows == len(table.transferred) > 0
    assert 0 < note.time_share_percent < 100
    loaded = LatencyTable.load(tmp_path / "simulated.csv")
    assert loaded.transferred.keys() == table.transferred.keys() and loaded.card == table.card
    assert not loaded.transferred.keys() & loaded.timings.keys()
    kernel, timing = next(iter(loaded.transferred.items()))
    estimate = TablePredictor(loaded).estimate([kernel])
    assert estimate.transferred_share == 1 and timing.runs == 0
    bare, _ = build(SimulatedDevice(truth))
    assert bare.card.transfer is None or not bare.transferred


@pytest.mark.slow
@pytest.mark.parametrize(("minutes", "most"), [(15, 0.08), (45, 0.05)])
def test_a_device_ten_times_slower(monkeypatch, tmp_path, minutes, most):
    device = SimulatedDevice(LatencyTable.load(TRUTH), slower=10, **BOARD)
    stand_ins(monkeypatch, device)
    space = SearchSpace.load("depth")
    sources = {name: load_predictor(name) for name in SOURCES}
    table = build_table(
        device, space, tmp_path, minutes=minutes, general=True, sources=sources, clock=device.clock
    )
    assert device.seconds / 60 <= 1.05 * minutes
    off, ranks = errors(table, device, space)
    assert np.abs(off).mean() <= most and ranks >= 0.98
