"""Conformance of devices: what a measurement has to be, wherever it is taken."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import pytest

from nasdepth.devices import Device, DeviceInfo, Diagnosis, Measurement
from nasdepth.errors import NasdepthError
from nasdepth.latency import Kernel, LatencyTable, write_micro_model
from nasdepth.latency.measure import build_table, plan_kernels
from nasdepth.space import SearchSpace
from nasdepth.tflite.flatbuffer import read_model, write_model

_SPACE = """
name: conformance
input: {height: 32, width: 32}
encoder: {family: mobilenetv1, width: 0.25, stride: 8}
decoder: {skip: none, block: conv, kernel: [1, 3], width: 8, upsampling: bilinear}
head: {stride: 4, upsampling: bilinear}
"""
# An operation of no runtime's
_NO_SUCH_OPERATION = b"NASDEPTH_NO_SUCH_OPERATION"
_CUSTOM = 32


class _Hurried(Device):
    """The device under test, with as few runs as there can be; counts the kernels that it is handed."""

    def __init__(self, device: Device) -> None:
        self.device, self.uri = device, device.uri
        self.asked: list[str] = []

    def describe(self) -> DeviceInfo:
        return self.device.describe()

    def diagnose(self) -> Diagnosis:
        return self.device.diagnose()

    def measure(
        self, models: Sequence[Path], *, min_runs: int = 30, min_seconds: float = 0.15
    ) -> Generator[Measurement, None, None]:
        self.asked += {bytes(read_model(path).description).decode() for path in models}
        return self.device.measure(models, min_runs=2, min_seconds=0)


class DeviceConformance(ABC):
    """Subclass as `class TestMine(DeviceConformance)` and say how your device is opened."""

    @abstractmethod
    def create(self) -> Device:
        """The device under test, new; nothing of an earlier one may be needed."""

    @pytest.fixture
    def device(self) -> Iterator[Device]:
        with self.create() as device:
            yield device

    @pytest.fixture
    def models(self, tmp_path: Path) -> list[Path]:
        """Five small models of growing size."""
        paths = [tmp_path / f"model-{index}.tflite" for index in range(5)]
        for index, path in enumerate(paths):
            channels = 8 * (index + 1)
            write_micro_model(Kernel("relu", 8, 8, channels, 8, 8, channels), path)
        return paths

    @pytest.fixture
    def space(self, tmp_path: Path) -> SearchSpace:
        path = tmp_path / "conformance.yaml"
        path.write_text(_SPACE, encoding="utf-8")
        return SearchSpace.load(path)

    def test_it_describes_itself_completely_and_always_alike(self, device: Device) -> None:
        info = device.describe()
        assert info == device.describe()
        with self.create() as other:
            assert info == other.describe()
        for name, value in asdict(info).items():
            if name not in ("pinned", "gpu"):
                assert value not in ("", None), f"{name} is missing; say 'unknown' where nobody knows"
        assert info.threads >= 1 and info.cores >= 1 and info.os_bits in (32, 64)
        assert device.uri

    def test_measurements_come_in_order_and_are_times(self, device: Device, models: list[Path]) -> None:
        measured = list(device.measure(models, min_runs=7, min_seconds=0))
        assert [one.model for one in measured] == models
        for one in measured:
            assert one.error is None, one.error
            assert 0 < one.min_ms <= one.latency_ms <= one.median_ms
            assert one.spread >= 0 and one.runs >= 7

    def test_no_models_are_no_measurements(self, device: Device) -> None:
        assert list(device.measure([])) == []

    def test_a_model_is_run_for_as_long_as_was_asked(self, device: Device, models: list[Path]) -> None:
        (few,) = device.measure(models[:1], min_runs=2, min_seconds=0)
        (many,) = device.measure(models[:1], min_runs=200, min_seconds=0)
        assert many.runs >= 200 > few.runs

    def test_what_it_cannot_run_is_an_answer_with_the_runtimes_words(
        self, device: Device, models: list[Path]
    ) -> None:
        foreign = read_model(models[1])
        foreign.operatorCodes[0].deprecatedBuiltinCode = foreign.operatorCodes[0].builtinCode = _CUSTOM
        foreign.operatorCodes[0].customCode = _NO_SUCH_OPERATION
        write_model(foreign, models[1])
        models[3].write_bytes(b"no model at all")
        measured = list(device.measure(models, min_runs=2, min_seconds=0))
        assert [one.model for one in measured] == models
        assert [one.error is None for one in measured] == [True, False, True, False, True]
        assert _NO_SUCH_OPERATION.decode() in str(measured[1].error)
        for refused in (measured[1], measured[3]):
            assert refused.error and refused.error.strip()
            assert (refused.latency_ms, refused.median_ms, refused.min_ms, refused.runs) == (0, 0, 0, 0)

    def test_a_missing_file_is_named(self, device: Device, models: list[Path]) -> None:
        missing = models[0].with_name("missing.tflite")
        try:
            measured = list(device.measure([models[0], missing], min_runs=2, min_seconds=0))
        except NasdepthError as error:
            assert "missing.tflite" in str(error)
        else:
            assert measured[0].error is None and "missing.tflite" in str(measured[1].error)

    def test_it_can_be_left_in_the_middle_and_used_again(self, device: Device, models: list[Path]) -> None:
        measuring = device.measure(models * 4, min_runs=2, min_seconds=0)
        assert next(measuring).model == models[0]
        measuring.close()
        (again,) = device.measure(models[2:3], min_runs=2, min_seconds=0)
        assert again.model == models[2] and again.latency_ms > 0

    def test_an_interrupted_and_resumed_build_equals_an_uninterrupted_one(
        self, device: Device, space: SearchSpace, tmp_path: Path
    ) -> None:
        straight = _Hurried(device)
        whole = build_table(straight, space, tmp_path / "straight", "table", calibration=0, validate=0)
        assert set(whole.timings) | set(whole.rejected) == set(plan_kernels(space))

        def stop(done: int, total: int, label: str) -> None:
            if done > total // 2:
                raise KeyboardInterrupt

        first, second, folder = _Hurried(device), _Hurried(device), tmp_path / "resumed"
        with pytest.raises(KeyboardInterrupt):
            build_table(first, space, folder, "table", calibration=0, validate=0, progress=stop)
        assert list(folder.glob("*.jsonl"))
        if (folder / "table.csv.gz").exists():
            assert LatencyTable.load(folder / "table.csv").timings.keys() < whole.timings.keys()
        seen: list[int] = []
        resumed = build_table(
            second,
            space,
            folder,
            "table",
            calibration=0,
            validate=0,
            progress=lambda done, *_: seen.append(done),
        )
        assert set(resumed.timings) == set(whole.timings)
        assert set(resumed.rejected) == set(whole.rejected)
        assert LatencyTable.load(folder / "table.csv").timings.keys() == whole.timings.keys()
        # what was kept is not measured again, and what was not is measured once
        half = [kernel for kernel in whole.timings if str(kernel) not in second.asked]
        assert len(half) >= len(whole.timings) // 3
        assert {str(kernel) for kernel in half} <= set(first.asked)
        assert seen == list(range(1, len(seen) + 1))
        for kernel, timing in resumed.timings.items():
            assert timing.latency_ms > 0, kernel
