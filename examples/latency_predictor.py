"""A latency predictor of your own: no kernel is faster than the device's peak or than its memory.

A card is a YAML file that says what device it is of. Its field `model` names the predictor that reads it.
"""

from collections.abc import Sequence
from typing import Literal

from pydantic import PositiveFloat

from nasdepth.latency import (
    CardFile,
    DeviceSetting,
    Kernel,
    LatencyEstimate,
    Predictor,
    register_predictor,
    runtime_of,
)


class RooflineCard(DeviceSetting):
    """What two numbers say of a device."""

    model: Literal["roofline"] = "roofline"
    kind: Literal["calibrated"] = "calibrated"
    peak_gflops: PositiveFloat
    bandwidth_gb_s: PositiveFloat
    relative_sd: PositiveFloat


@register_predictor("roofline", card=RooflineCard)
class RooflinePredictor(Predictor):
    """Every kernel computes at the peak or moves its bytes once, whichever takes longer."""

    def __init__(self, table: CardFile[RooflineCard]) -> None:
        self.table = table
        self.runtime = runtime_of(table.card.delegate)

    def estimate(self, kernels: Sequence[Kernel]) -> LatencyEstimate:
        times = [self._ms(kernel) for kernel in kernels]
        total_ms = sum(times)
        sd_ms = self.table.card.relative_sd * total_ms
        return LatencyEstimate(
            latency_ms=total_ms,
            sd_ms=sd_ms,
            interval_90=(max(total_ms - 1.6449 * sd_ms, 0.0), total_ms + 1.6449 * sd_ms),
            measured_share=0.0,
            interpolated_share=0.0,
            unknown_share=1.0,
            kernels=tuple((kernel, ms, "unknown") for kernel, ms in zip(kernels, times, strict=True)),
        )

    def _ms(self, kernel: Kernel) -> float:
        moved = kernel.in_bytes + kernel.out_bytes + kernel.weight_bytes
        card = self.table.card
        return max(2e-6 * kernel.macs / card.peak_gflops, 1e-6 * moved / card.bandwidth_gb_s)
