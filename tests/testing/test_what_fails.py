"""The conformance tests find what they are there to find, run as a user runs them."""

import re
import subprocess
import sys

import pytest

PREDICTORS = """
from dataclasses import replace
from nasdepth.latency import TablePredictor
from nasdepth.errors import UnknownKernelError
from nasdepth.testing import PredictorConformance

class Falling(TablePredictor):
    def estimate(self, kernels):
        answer = super().estimate(kernels)
        pixels = sum(kernel.out_pixels * kernel.in_channels for kernel in kernels)
        return replace(answer, latency_ms=1 / pixels, interval_90=(0, 1e9))

class Silent(TablePredictor):
    def estimate(self, kernels):
        known = {kernel.op for kernel in self.table.timings}
        return super().estimate([kernel for kernel in kernels if kernel.op in known])

class Sure(TablePredictor):
    def estimate(self, kernels):
        answer = super().estimate(kernels)
        return replace(answer, interval_90=(answer.latency_ms * 1.1, answer.latency_ms * 1.2))

class Smooth(TablePredictor):
    def estimate(self, kernels):
        answer = super().estimate(kernels)
        moved = tuple((one, ms * (1 + one.in_channels / 100), source) for one, ms, source in answer.kernels)
        return replace(answer, kernels=moved, measured_share=0.9, interpolated_share=0.9)

def of(kind):
    return lambda self, table: kind(table)

class TestFalling(PredictorConformance):
    create = of(Falling)

class TestSilent(PredictorConformance):
    create = of(Silent)

class TestSure(PredictorConformance):
    create = of(Sure)

class TestSmooth(PredictorConformance):
    create = of(Smooth)
"""

DEVICES = """
from nasdepth.devices import LocalDevice
from nasdepth.errors import DeviceError
from nasdepth.testing import DeviceConformance

class Shuffling(LocalDevice):
    def measure(self, models, **options):
        return reversed(list(super().measure(models, **options)))

class Impatient(LocalDevice):
    def measure(self, models, **options):
        return super().measure(models, min_runs=1, min_seconds=0)

class Fragile(LocalDevice):
    def measure(self, models, **options):
        for one in super().measure(models, **options):
            if one.error:
                raise DeviceError(one.error)
            yield one

class TestShuffling(DeviceConformance):
    create = Shuffling

class TestImpatient(DeviceConformance):
    create = Impatient

class TestFragile(DeviceConformance):
    create = Fragile
"""


def failures(tmp_path, source: str, *options: str) -> set[str]:
    (tmp_path / "test_mine.py").write_text(source)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--tb=no", "-rf", "-p", "no:cacheprovider", *options, "."],
        cwd=tmp_path, capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    return {".".join(one) for one in re.findall(r"FAILED test_mine\.py::Test(\w+)::test_(\w+)", done.stdout)}


def test_predictors_that_break_a_law_fail(tmp_path):
    failed = failures(tmp_path, PREDICTORS)
    assert failed >= {
        "Falling.larger_kernels_never_take_less",
        "Silent.an_unknown_operation_is_an_error_that_names_it",
        "Sure.nothing_is_negative_and_the_interval_holds_the_estimate",
        "Smooth.measured_kernels_are_the_tables",
        "Smooth.shares_of_the_time_add_up_to_one",
    }
    assert not any(one.startswith("Sure.larger") or one.startswith("Silent.measured") for one in failed)


@pytest.mark.slow
def test_devices_that_break_a_rule_fail(tmp_path):
    failed = failures(tmp_path, DEVICES, "-k", "order or asked or words or alike")
    assert failed == {
        "Shuffling.measurements_come_in_order_and_are_times",
        "Shuffling.what_it_cannot_run_is_an_answer_with_the_runtimes_words",
        "Impatient.measurements_come_in_order_and_are_times",
        "Impatient.a_model_is_run_for_as_long_as_was_asked",
        "Fragile.what_it_cannot_run_is_an_answer_with_the_runtimes_words",
    }
