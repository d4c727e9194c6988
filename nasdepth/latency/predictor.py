"""Latency of a network from its kernels, with an honest width."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from nasdepth.errors import UnknownKernelError
from nasdepth.latency._interpolation import KindModel
from nasdepth.latency.kernels import Kernel
from nasdepth.latency.table import LatencyTable

Source = Literal["measured", "interpolated"]

# Percentiles of the normal distribution
_P90_TO_P10_IN_SD = 2.563
_INTERVAL_90_IN_SD = 1.645
_SD_PER_MEAN_ABSOLUTE_ERROR = 1.2533
# What a sum of isolated kernels is typically off by where nobody measured how far
_UNVALIDATED_ERROR = 0.1


@dataclass(frozen=True, slots=True)
class LatencyEstimate:
    """A network's latency.

    Attributes:
        latency_ms, sd_ms: mean and standard deviation.
        interval_90: (low, high) in ms that hold the measured latency nine times in ten.
        measured_share, interpolated_share: of the kernels' time; they add up to 1.
        kernels: (kernel, ms, source) in order; their times and the device's overhead make `latency_ms`.
    """

    latency_ms: float
    sd_ms: float
    interval_90: tuple[float, float]
    measured_share: float
    interpolated_share: float
    kernels: tuple[tuple[Kernel, float, Source], ...]


class Predictor(ABC):
    """Something that answers how long kernels take."""

    @abstractmethod
    def estimate(self, kernels: Sequence[Kernel]) -> LatencyEstimate:
        """Predict the latency of a network from its kernels.

        Raises:
            UnknownKernelError: a kernel that the predictor knows nothing about, or the device refuses.
        """


class TablePredictor(Predictor):
    """The table's own time where it has the kernel, an interpolation among kernels of its kind otherwise."""

    def __init__(self, table: LatencyTable) -> None:
        self.table = table
        card = table.card
        self._scale = card.scale
        self._overhead_ms = card.overhead_ms * card.scale
        self._model_error = (
            card.validation.mape_percent / 100 * _SD_PER_MEAN_ABSOLUTE_ERROR
            if card.validation
            else _UNVALIDATED_ERROR
        )
        self._by_kind: dict[str, list[Kernel]] = defaultdict(list)
        for kernel in table.timings:
            self._by_kind[kernel.kind].append(kernel)
        self._models: dict[str, KindModel] = {}
        self._known: dict[Kernel, tuple[float, float, Source]] = {
            kernel: (
                timing.latency_ms * self._scale,
                timing.latency_ms * self._scale * timing.spread / _P90_TO_P10_IN_SD,
                "measured",
            )
            for kernel, timing in table.timings.items()
        }

    def estimate(self, kernels: Sequence[Kernel]) -> LatencyEstimate:
        parts = []
        spent_ms = {"measured": 0.0, "interpolated": 0.0}
        variance = 0.0
        for kernel in kernels:
            latency_ms, sd_ms, source = self._known.get(kernel) or self._interpolate(kernel)
            parts.append((kernel, latency_ms, source))
            spent_ms[source] += latency_ms
            variance += sd_ms**2
        kernels_ms = sum(spent_ms.values())
        total_ms = self._overhead_ms + kernels_ms
        share = spent_ms["measured"] / kernels_ms if kernels_ms else 1.0
        sd_ms = (variance + (self._model_error * total_ms) ** 2) ** 0.5
        half = _INTERVAL_90_IN_SD * sd_ms
        return LatencyEstimate(
            latency_ms=total_ms,
            sd_ms=sd_ms,
            interval_90=(max(total_ms - half, 0.0), total_ms + half),
            measured_share=share,
            interpolated_share=1 - share,
            kernels=tuple(parts),
        )

    def _interpolate(self, kernel: Kernel) -> tuple[float, float, Source]:
        if kernel in self.table.rejected:
            raise UnknownKernelError(
                f"{kernel}: {self.table.card.device} cannot run it; its runtime says: "
                f"{self.table.rejected[kernel]}"
            )
        if kernel.kind not in self._by_kind:
            raise UnknownKernelError(
                f"{kernel}: table {self.table.name} holds no kernel of kind {kernel.kind!r}; build a table "
                "for a space that has it with `nasdepth latency build`"
            )
        if kernel.kind not in self._models:
            known = self._by_kind[kernel.kind]
            times = [self.table.timings[one].latency_ms for one in known]
            self._models[kernel.kind] = KindModel(known, times)
        latency_ms, relative_sd = self._models[kernel.kind].predict(kernel)
        latency_ms *= self._scale
        self._known[kernel] = (latency_ms, latency_ms * relative_sd, "interpolated")
        return self._known[kernel]
