"""A latency predictor of your own: a roof of multiply-accumulates and a fixed cost of every kernel.

The card is a YAML file with `model: roofline`. `nasdepth latency predict --table` answers with this predictor
where it is given such a file.
"""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

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
    """The device and its setting, and the figures of the roof.

    Attributes:
        gmacs_per_second: how many billions of multiply-accumulates the device does in a second.
        kernel_ms: what every kernel costs besides.
        sd_share: the standard deviation of a prediction relative to it.
    """

    model: Literal["roofline"] = "roofline"
    gmacs_per_second: float = Field(gt=0)
    kernel_ms: float = Field(0.0, ge=0)
    sd_share: float = Field(0.3, gt=0)


@register_predictor("roofline", card=RooflineCard)
class RooflinePredictor(Predictor):
    """Predicts from a `RooflineCard`."""

    def __init__(self, table: CardFile[RooflineCard]) -> None:
        self.table, self.runtime = table, runtime_of(table.card.delegate)

    def estimate(self, kernels: Sequence[Kernel]) -> LatencyEstimate:
        card = self.table.card
        times = [card.kernel_ms + one.macs / card.gmacs_per_second / 1e6 for one in kernels]
        mean, sd = sum(times), card.sd_share * sum(times)
        return LatencyEstimate(
            latency_ms=mean,
            sd_ms=sd,
            interval_90=(max(0.0, mean - 1.645 * sd), mean + 1.645 * sd),
            measured_share=0.0,
            interpolated_share=1.0,
            kernels=tuple((one, ms, "interpolated") for one, ms in zip(kernels, times, strict=True)),
        )
