"""A device that answers from a latency table, on a clock of its own: builds of an hour run in seconds."""

from __future__ import annotations

import json
from collections.abc import Generator, Sequence
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nasdepth.architecture import Architecture
from nasdepth.devices import Device, DeviceInfo, Diagnosis, Measurement
from nasdepth.errors import UnknownKernelError
from nasdepth.kernels.kernel import Kernel
from nasdepth.latency import LatencyTable, TablePredictor, architecture_kernels
from nasdepth.latency.measure.networks import MeasurableNetwork

WARMUP_RUNS = 3


class SimulatedDevice(Device):
    """Takes as long as a table says, times a factor, with noise.

    Files hold the kernels that they stand for as JSON (`stand_ins` has them written so): micro models take
    what the table has for the kernel (its regression where it has none), networks what the calibrated table
    predicts, each with an error of its own as large as the table's. What the table does not know, it refuses.

    Args:
        table: what is true on this device.
        slower: factor on every time.
        process_s, transfer_s: of starting the runner, and of one file on its way to the device.
        writing_s: what a network's file takes to be written, on the same clock.
        noise: relative standard deviation of a measurement.
        seed: of the noise, and of what each network has of its own.
    """

    uri = "simulated"

    def __init__(
        self,
        table: LatencyTable,
        slower: float = 1.0,
        *,
        process_s: float = 1.0,
        transfer_s: float = 0.02,
        writing_s: float = 0.3,
        noise: float = 0.01,
        seed: int = 0,
    ) -> None:
        self._truth = TablePredictor(table)
        calibration = table.card.calibration
        self._network_sd = calibration.relative_sd if calibration else 0.0
        self._overhead_ms = slower * table.card.overhead_ms
        self._slower, self._noise = slower, noise
        self._process_s, self._transfer_s, self.writing_s = process_s, transfer_s, writing_s
        self._random = np.random.default_rng(seed)
        self._own: dict[str, float] = {}
        self.seconds = 0.0
        self._info = DeviceInfo(
            **{one.name: getattr(table.card, one.name) for one in fields(DeviceInfo)}
            | {"device": "simulated"}
        )

    def clock(self) -> float:
        return self.seconds

    def describe(self) -> DeviceInfo:
        return self._info

    def network_ms(self, kernels: Sequence[Kernel]) -> float:
        """The true latency of a network."""
        key = repr(kernels)
        if key not in self._own:
            self._own[key] = float(np.exp(self._network_sd * self._random.standard_normal()))
        return self._slower * self._truth.estimate(kernels).latency_ms * self._own[key]

    def measure(
        self, models: Sequence[Path], *, min_runs: int = 30, min_seconds: float = 0.15
    ) -> Generator[Measurement, None, None]:
        self.seconds += self._process_s
        for path in models:
            self.seconds += self._transfer_s
            content = json.loads(Path(path).read_text())
            kernels = [Kernel.from_row(row) for row in content["kernels"]]
            try:
                true_ms = self._true_ms(kernels, content.get("copies"))
            except UnknownKernelError as error:
                yield Measurement(path, error=str(error))
                continue
            runs = max(min_runs, int(min_seconds / (true_ms / 1e3)))
            self.seconds += (WARMUP_RUNS + runs) * true_ms / 1e3
            low_ms = true_ms * float(np.exp(self._noise * self._random.standard_normal()))
            yield Measurement(path, low_ms, 1.02 * low_ms, low_ms, 0.05, runs)

    def _true_ms(self, kernels: Sequence[Kernel], copies: int | None) -> float:
        if copies is None:
            return self.network_ms(kernels)
        ((own_ms, _),) = self._truth.uncertainty(kernels)
        return self._overhead_ms + copies * self._slower * own_ms

    def diagnose(self) -> Diagnosis:
        return Diagnosis(self.uri, self._info, ())


def stand_ins(patch: pytest.MonkeyPatch, device: SimulatedDevice) -> None:
    """Have files written that say which kernels they stand for, in the device's time."""

    def write(kernels: Sequence[Kernel], path: Path, **more: int) -> None:
        Path(path).write_text(json.dumps({"kernels": [kernel.to_row() for kernel in kernels], **more}))

    def micro(kernel: Kernel, path: Path, copies: int = 1) -> None:
        write([kernel], path, copies=copies)

    def network(kernels: Sequence[Kernel], path: Path) -> None:
        device.seconds += device.writing_s
        write(kernels, path)

    def untrained(architecture: Architecture, path: Path) -> None:
        network(architecture_kernels(architecture), path)

    def instead(name: str) -> classmethod:
        real = getattr(MeasurableNetwork, name)

        def make(_: type, *arguments: Any) -> MeasurableNetwork:
            made = real(*arguments)
            return replace(made, write=partial(network, made.kernels))

        return classmethod(make)

    for name in ("of_architecture", "without_resizes", "drawn_at_random"):
        patch.setattr(MeasurableNetwork, name, instead(name))
    patch.setattr("nasdepth.latency.measure.bench.write_micro_model", micro)
    patch.setattr("nasdepth.latency.measure.bench.write_untrained", untrained)
