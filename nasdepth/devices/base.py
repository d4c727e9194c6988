"""`Device`: something that measures .tflite files, and what it says about itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nasdepth.devices.diagnosis import Diagnosis

# What is measured in turns: enough that drift averages out, few enough to hold in memory
MODELS_AT_ONCE = 96


@dataclass(frozen=True, slots=True)
class DeviceInfo:
    """What a latency depends on beside the model.

    Attributes:
        device: host or board name.
        soc: CPU model as the system names it.
        architecture: of the process that ran, such as `x86_64` or `aarch64`.
        cores: logical CPUs that the process may use.
        threads: of the runtime.
        runtime, runtime_version: the Python package that ran the model.
        delegate: `xnnpack`, `webgpu`, `gpu` (Android's), or `none` for the runtime's own kernels.
        os, os_bits: system and its release; pointer width of the process.
        governor: CPU frequency governor, or `unknown`.
        pinned: CPUs that the process was pinned to, such as `0,1`; empty where it was free.
        gpu: name of the GPU that ran the model; empty on a CPU.
    """

    device: str
    soc: str
    architecture: str
    cores: int
    threads: int
    runtime: str
    runtime_version: str
    delegate: str
    os: str
    os_bits: int
    governor: str
    pinned: str = ""
    gpu: str = ""


@dataclass(frozen=True, slots=True)
class Measurement:
    """Times of one model, or why there are none.

    Attributes:
        model: the file, as it was asked for.
        latency_ms: 10th percentile of all runs; what repeats from day to day.
        median_ms, min_ms: of all runs.
        spread: 90th over 10th percentile, minus 1.
        runs: how many were timed.
        error: the runtime's own words where the device cannot run the model; every number is then 0.
    """

    model: Path
    latency_ms: float = 0.0
    median_ms: float = 0.0
    min_ms: float = 0.0
    spread: float = 0.0
    runs: int = 0
    error: str | None = None


class Device(ABC):
    """A device under one setting (threads, delegate)."""

    uri: str

    @abstractmethod
    def describe(self) -> DeviceInfo:
        """What the device says of itself.

        Raises:
            DeviceError: it cannot be reached or has no runtime.
        """

    @abstractmethod
    def measure(
        self, models: Sequence[Path], *, min_runs: int = 30, min_seconds: float = 0.15
    ) -> Generator[Measurement, None, None]:
        """Measure .tflite files, yielding one `Measurement` for each, in order, as they finish.

        A model that the device cannot run is a `Measurement` with an `error`.

        Args:
            models: files on this machine.
            min_runs, min_seconds: every model is run until both are reached; one so slow that this takes many
                seconds, less often.

        Raises:
            DeviceError: the device itself cannot be reached or has no runtime.
        """

    @abstractmethod
    def diagnose(self) -> Diagnosis:
        """Look for what would spoil measurements, and say how to mend it.

        Raises:
            DeviceError: the device itself cannot be reached or has no runtime.
        """

    def close(self) -> None:  # noqa: B027
        """Let go of the device; what was left there is removed. It can be used again."""

    def __enter__(self) -> Device:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
