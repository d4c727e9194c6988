"""`Predictor` and `LatencyEstimate`: what answers how long a network takes, and the answer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from nasdepth.kernels.kernel import Kernel
from nasdepth.kernels.precision import Precision
from nasdepth.latency.predict.table import Table

Source = Literal["measured", "interpolated", "transferred", "unknown"]

_RUNTIMES = {"xnnpack": "xnnpack", "none": "tflite", "webgpu": "gpu", "gpu": "gpu"}
DELEGATES = tuple(_RUNTIMES)


@dataclass(frozen=True, slots=True)
class LatencyEstimate:
    """A network's latency.

    Attributes:
        latency_ms, sd_ms: mean and standard deviation.
        interval_90: (low, high) in ms that hold the measured latency nine times in ten.
        measured_share, interpolated_share, transferred_share, unknown_share: of the kernels' time; they add
            up to 1. Transferred are kernels that stand on measurements of other devices. Unknown are kernels
            far outside of all sizes known, or of a kind that only its relatives answer for.
        kernels: (kernel, ms, source) in order; their times and the device's overhead make `latency_ms`.
        precision: of the deployed file that it is of, where who asked for it has said so.
    """

    latency_ms: float
    sd_ms: float
    interval_90: tuple[float, float]
    measured_share: float
    interpolated_share: float
    kernels: tuple[tuple[Kernel, float, Source], ...]
    unknown_share: float = 0.0
    precision: Precision = "float32"
    transferred_share: float = 0.0


def runtime_of(delegate: str) -> str:
    """Whose fusion and partition rules apply under a device card's delegate."""
    return _RUNTIMES[delegate]


class Predictor(ABC):
    """Something that answers how long kernels take.

    Attributes:
        table: what it answers from.
        runtime: whose fusion and partition rules apply, as `nasdepth.latency.extract` takes it.
    """

    table: Table
    runtime: str

    @abstractmethod
    def estimate(self, kernels: Sequence[Kernel]) -> LatencyEstimate:
        """Predict the latency of a network from its kernels.

        Raises:
            UnknownKernelError: a kernel that the predictor knows nothing about, or the device refuses.
        """

    def estimate_all(self, networks: Iterable[Sequence[Kernel]]) -> list[LatencyEstimate]:
        """`estimate` for many networks; subclasses may do it faster."""
        return [self.estimate(kernels) for kernels in networks]
