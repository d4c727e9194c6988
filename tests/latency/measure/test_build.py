"""Builds on this machine's CPU: planned, interrupted, resumed, validated."""

import json
import signal
import subprocess
import sys
import textwrap
from collections import Counter
from contextlib import closing
from dataclasses import replace

import pytest
from latency_samples import EVERY_OPERATION

from nasdepth.devices import LocalDevice, Measurement
from nasdepth.errors import TableError
from nasdepth.latency import (
    Kernel,
    LatencyTable,
    TablePredictor,
    architecture_kernels,
    tflite_kernels,
    write_micro_model,
)
from nasdepth.latency.measure import build_table, plan_kernels, table_name
from nasdepth.latency.measure.bench import _PASSES_TO_KNOW, REFERENCE_NETWORKS, REFERENCES, Bench, _lots
from nasdepth.latency.measure.journal import Journal
from nasdepth.space import SearchSpace

TINY = """
name: tiny
input: {height: 32, width: [32, 64]}
encoder: {family: mobilenetv1, width: 0.25, stride: 8}
decoder: {skip: [none, add], block: conv, kernel: [1, 3], width: [8, 16], upsampling: bilinear}
head: {stride: 4, upsampling: bilinear}
"""


class QuickDevice(LocalDevice):
    """This machine, measured in a hurry; remembers which kernels it is asked for."""

    def __init__(self, threads=1):
        super().__init__(threads)
        self.asked = set()

    def measure(self, models, **_):
        for model in models:
            self.asked |= set(tflite_kernels(model))
        return super().measure(models, min_runs=3, min_seconds=0)


class Picky(QuickDevice):
    """Refuses a kind of kernel."""

    def measure(self, models, **options):
        for one in super().measure(models):
            refused = b"dw_k3x3s2" in one.model.read_bytes()
            yield Measurement(one.model, error="op is not supported") if refused else one


@pytest.fixture(autouse=True)
def hurry(monkeypatch):
    monkeypatch.setattr("nasdepth.latency.measure.bench._ATTEMPTS", 1)
    monkeypatch.setattr("nasdepth.latency.measure.bench._NETWORK_PASSES", 1)


@pytest.fixture
def space(tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    return SearchSpace.load(path)


def _stop_at(count):
    def progress(done, total, label):
        if done == count:
            raise KeyboardInterrupt

    return progress


def test_plan_of_a_small_space_is_all_its_kernels(space):
    used = Counter(kernel for one in space.architectures() for kernel in set(architecture_kernels(one)))
    planned = plan_kernels(space)
    assert len(planned) == len(used) and set(planned) == set(used)
    kinds = {kernel.kind for kernel in used}
    assert {kernel.kind for kernel in plan_kernels(space, max_kernels=2 * len(kinds))} == kinds
    assert plan_kernels(space, seed=5) == planned


def test_plan_of_a_large_space_repeats(monkeypatch):
    monkeypatch.setattr("nasdepth.latency.measure.plan._MAX_SAMPLES", 50)
    space = SearchSpace.load("quick")
    first = plan_kernels(space, seed=1, max_kernels=100)
    assert len(set(first)) == 100
    assert first == plan_kernels(space, seed=1, max_kernels=100)


def test_interrupted_build_resumes_without_measuring_again(space, tmp_path):
    kernels = len(plan_kernels(space))
    device, out = QuickDevice(), tmp_path / "tables"
    with pytest.raises(KeyboardInterrupt):
        build_table(device, space, out, calibration=0, validate=0, progress=_stop_at(21))
    (journal,) = out.glob("*.jsonl")
    assert journal.name == f"{table_name(device.describe())}.partial.jsonl"
    kept = [json.loads(line)["key"] for line in journal.read_text().splitlines()[1:]]
    assert len([key for key in kept if not key.startswith("reference")]) == 21
    with journal.open("a") as file:
        file.write('{"key": "cut of')

    again, seen = QuickDevice(), []
    table = build_table(
        again, space, out, calibration=0, validate=0, progress=lambda *step: seen.append(step)
    )
    assert again.asked == {*plan_kernels(space)[20:], *REFERENCES.values()}
    assert [done for done, _, _ in seen] == list(range(1, kernels - 20 + 2))
    assert {total for _, total, _ in seen} == {kernels - 20 + 1}
    assert set(table.timings) == set(plan_kernels(space)) and table.card.validation is None
    assert sorted(path.suffix for path in out.iterdir()) == [".gz", ".yaml"]
    loaded = LatencyTable.load(out / f"{table.name}.csv")
    assert loaded.card == table.card and list(loaded.timings) == list(table.timings)


def test_ctrl_c_in_a_real_process_keeps_what_was_measured(space, tmp_path):
    script = f"""
        import sys
        from nasdepth.devices import LocalDevice
        from nasdepth.latency.measure import build_table
        from nasdepth.space import SearchSpace
        space = SearchSpace.load({str(tmp_path / "tiny.yaml")!r})
        build_table(LocalDevice(), space, {str(tmp_path)!r}, "one",
              calibration=0, validate=0, progress=lambda *step: print(*step, flush=True))
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode != 0 and ("KeyboardInterrupt" in stderr or "BuildStopped" in stderr)
    lines = (tmp_path / "one.partial.jsonl").read_text().splitlines()
    assert len(lines) >= 2 and all(map(json.loads, lines))
    assert not (tmp_path / "one.csv.gz").exists()


def test_journal_of_another_setting_is_refused(space, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        build_table(QuickDevice(1), space, tmp_path, "one", calibration=0, validate=0, progress=_stop_at(1))
    with pytest.raises(TableError, match=r"one\.partial\.jsonl: begun with threads 1, but now it is 2"):
        build_table(QuickDevice(2), space, tmp_path, "one", calibration=0, validate=0)


def test_damaged_journal_is_named(space, tmp_path):
    (tmp_path / "one.partial.jsonl").write_text("nonsense\n")
    with pytest.raises(TableError, match=r"one\.partial\.jsonl, line 1: damaged"):
        build_table(QuickDevice(), space, tmp_path, "one", calibration=0, validate=0)


def test_a_refused_kernel_is_a_row_and_not_the_end(space, tmp_path):
    table = build_table(Picky(), space, tmp_path, calibration=0, validate=0)
    assert table.rejected and {kernel.kind for kernel in table.rejected} == {"dw_k3x3s2"}
    assert LatencyTable.load(tmp_path / f"{table.name}.csv").rejected == table.rejected


def test_where_the_predictor_is_least_sure_a_refused_kind_is_left_out(space, tmp_path, monkeypatch):
    monkeypatch.setattr("nasdepth.latency.measure.build._PLANNED_SHARE", 0)
    table = build_table(Picky(), space, tmp_path, minutes=5, calibration=0, validate=0)
    assert table.timings.keys() == {kernel for kernel in plan_kernels(space) if kernel.kind != "dw_k3x3s2"}
    assert {kernel.kind for kernel in table.rejected} == {"dw_k3x3s2"}


def test_validation_on_whole_networks(space, tmp_path):
    table = build_table(QuickDevice(), space, tmp_path, calibration=6, validate=3)
    validation, calibration = table.card.validation, table.card.calibration
    assert validation.models == 3 and validation.mape_percent >= 0
    assert calibration.networks == 6
    assert set(table.card.reference_ms) == {*REFERENCES, *REFERENCE_NETWORKS}
    network = next(space.architectures())
    estimate = TablePredictor(table).estimate(architecture_kernels(network))
    assert estimate.measured_share == 1 and estimate.latency_ms > 0
    assert not any(kernel in table.timings for kernel in EVERY_OPERATION)


def test_networks_of_what_the_device_refuses_alone_are_left_out(space, tmp_path):
    class ResizesOnlyInNetworks(QuickDevice):
        def measure(self, models, **options):
            for one in super().measure(models):
                kernels = set(tflite_kernels(one.model))
                alone = len(kernels) < 5 and any(kernel.op == "resize_bilinear" for kernel in kernels)
                yield Measurement(one.model, error="not by itself") if alone else one

    table = build_table(ResizesOnlyInNetworks(), space, tmp_path, calibration=6, validate=3)
    assert {kernel.op for kernel in table.rejected} == {"resize_bilinear"}
    assert table.timings and table.card.calibration is None and table.card.validation is None


def test_a_finished_table_is_extended_and_not_measured_again(space, tmp_path):
    whole = build_table(QuickDevice(), space, tmp_path, calibration=0, validate=0)
    half = dict(list(whole.timings.items())[::2])
    first = replace(whole, timings=half).with_card()
    first.save(tmp_path)
    again = QuickDevice()
    table = build_table(again, space, tmp_path, calibration=0, validate=0)
    assert set(first.timings) < set(table.timings) == set(plan_kernels(space))
    for kernel, timing in first.timings.items():
        assert table.timings[kernel].latency_ms == pytest.approx(timing.latency_ms, rel=1e-4)
    assert not again.asked & set(first.timings)


def test_a_table_of_another_setting_is_not_extended(space, tmp_path):
    build_table(QuickDevice(1), space, tmp_path, "one", calibration=0, validate=0)
    with pytest.raises(TableError, match=r"table one was measured with threads 1, but the device has 2"):
        build_table(QuickDevice(2), space, tmp_path, "one", calibration=0, validate=0)


def test_a_slow_reference_repeats_the_measurement(space, tmp_path, monkeypatch):
    monkeypatch.setattr("nasdepth.latency.measure.bench._ATTEMPTS", 2)

    calls = []

    class Disturbed(QuickDevice):
        def measure(self, models, **options):
            calls.append({path.read_bytes() for path in models})
            slow = 3.0 if len(calls) == _PASSES_TO_KNOW + 1 else 1.0
            for one in super().measure(models):
                scaled = one.latency_ms * slow
                yield Measurement(one.model, scaled, one.median_ms * slow, scaled, one.spread, one.runs)

    build_table(Disturbed(), space, tmp_path, calibration=0, validate=0)
    disturbed, again = calls[_PASSES_TO_KNOW : _PASSES_TO_KNOW + 2]
    assert disturbed == again


class Replayed(LocalDevice):
    """Measures once; every later pass is that one, models and references slowed down by so much."""

    def __init__(self, models, references):
        super().__init__(1)
        self.slowdown = {False: models, True: references}
        self.first = {}
        self.passes = 0

    def measure(self, models, **_):
        new = [path for path in models if path not in self.first]
        self.first |= dict(zip(new, super().measure(new, min_runs=3, min_seconds=0), strict=True))
        for path in models:
            slow = self.slowdown[path.name.startswith("reference")][self.passes]
            yield replace(self.first[path], latency_ms=self.first[path].latency_ms * slow)
        self.passes += 1


def test_two_processes_do_not_measure_into_one_journal(tmp_path):
    path, info = tmp_path / "one.partial.jsonl", LocalDevice(1).describe()
    with closing(Journal(path, info)) as journal:
        journal.add("one", Measurement(path, latency_ms=1.0))
        with pytest.raises(TableError, match="another process is measuring into it"):
            Journal(path, info)
    with closing(Journal(path, info)) as again:
        assert again["one"].latency_ms == 1.0


def test_a_lot_fits_into_a_small_boards_memory():
    small = [Kernel("relu", 8, 8, channels, 8, 8, channels) for channels in range(1, 101)]
    huge = [Kernel("relu", 480, 640, channels, 480, 640, channels) for channels in (90, 91, 92)]
    kernels = [*small, *huge]
    lots = list(_lots(kernels, {kernel: (1, 4) if kernel in small else (1,) for kernel in kernels}))
    assert [kernel for lot in lots for kernel in lot] == kernels
    assert [len(lot) for lot in lots] == [44, 44, 13, 1, 1]


@pytest.fixture
def bench_one(tmp_path, monkeypatch):
    """Measures one small model on a device, with as many passes as it takes."""
    monkeypatch.setattr("nasdepth.latency.measure.bench._NETWORK_PASSES", 6)
    path = tmp_path / "one.tflite"
    write_micro_model(next(iter(REFERENCES.values())), path)

    def measure(device):
        with closing(Journal(tmp_path / "journal.jsonl", device.describe())) as journal:
            bench = Bench(device, journal, tmp_path)
            return bench.files({"one": ("one", path)})["one"], bench.reference_ms

    return path, measure


def test_a_network_is_measured_until_two_passes_agree(bench_one):
    path, measure = bench_one
    device = Replayed((1.5, 1.25, 1.0, 1.02), (1.0,) * 4)
    one, _ = measure(device)
    assert device.passes == 4
    assert one.measurement.latency_ms == device.first[path].latency_ms


def test_what_slows_the_references_too_is_divided_out(bench_one, monkeypatch):
    monkeypatch.setattr("nasdepth.latency.measure.bench._ATTEMPTS", 3)
    path, measure = bench_one
    device = Replayed((1.3, 1.3), (1.3, 1.3))
    slow, usual_ms = measure(device)
    assert device.passes == 2  # it knows no faster machine
    true_ms = {name: one_ms / 1.3 for name, one_ms in usual_ms.items()}
    assert slow.drift(true_ms) == pytest.approx(1.3)
    assert slow.usual_ms(true_ms) == pytest.approx(device.first[path].latency_ms)
    again, _ = measure(Replayed((), ()))  # from the journal
    assert again == replace(slow, measurement=replace(slow.measurement, model=again.measurement.model))
    assert slow.drift({"another": 1.0}) == 1


def test_slow_references_ask_for_a_further_pass(bench_one, monkeypatch):
    monkeypatch.setattr("nasdepth.latency.measure.bench._ATTEMPTS", 6)
    _, measure = bench_one
    device = Replayed((1.0,) * 3, (1.0, 1.1, 1.0))
    one, usual_ms = measure(device)
    assert device.passes == 3
    assert one.drift(usual_ms) == pytest.approx(1)
