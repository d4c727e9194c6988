"""`CalibratedPredictor`: latencies from a device pack."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nasdepth.errors import UnknownKernelError
from nasdepth.kernels.kernel import Kernel
from nasdepth.latency.accuracy import SD_OF_INTERVAL_90
from nasdepth.latency.predict.kinds import register_predictor
from nasdepth.latency.predict.predictor import LatencyEstimate, Predictor, Source, runtime_of
from nasdepth.packs.anchors import block_of
from nasdepth.packs.physical.card import MODEL, Pack, PackCard
from nasdepth.packs.physical.fit import kernel_amounts, network_amounts


@dataclass(frozen=True, slots=True)
class _Part:
    """A kernel: whose coefficients it takes, its time by term (0 at the roofline), its source."""

    block: str
    slopes_ms: np.ndarray
    latency_ms: float
    floor_ms: float
    source: Source


@register_predictor(MODEL, card=PackCard)
class CalibratedPredictor(Predictor):
    """Sums of physical terms, with the pack's coefficients and their errors.

    No kernel is faster than the pack's roofline. A kernel is `interpolated` where measured networks inform
    its time: at most half of the prior's variance is left. Otherwise it is `unknown`; nothing is `measured`.

    Attributes:
        table: the pack.
        runtime: whose fusion and partition rules apply.
    """

    table: Pack

    def __init__(self, pack: Pack) -> None:
        self.table = pack
        self.runtime = runtime_of(pack.card.delegate)
        self._beliefs = {name: fit.belief() for name, fit in pack.card.precisions.items()}
        self._values = {name: np.exp(belief.mean) for name, belief in self._beliefs.items()}
        self._parts: dict[Kernel, _Part] = {}

    def estimate(self, kernels: Sequence[Kernel]) -> LatencyEstimate:
        parts = [self._parts.get(kernel) or self._part(kernel) for kernel in kernels]
        blocks: dict[str, list[_Part]] = {}
        for part in parts:
            blocks.setdefault(part.block, []).append(part)
        rest_ms = variance = 0.0
        for index, (block, members) in enumerate(blocks.items()):
            belief, values = self._beliefs[block], self._values[block]
            slopes = np.sum([part.slopes_ms for part in members], axis=0)
            block_ms = sum(part.latency_ms for part in members)
            if index == 0:  # what a call costs beside its kernels, it costs once
                rest = network_amounts(kernels, belief.terms, self.runtime) * values
                slopes += rest
                rest_ms = float(rest.sum())
                block_ms += rest_ms
            novelty = belief.novelty(slopes / max(slopes.sum(), 1e-12))
            relative = belief.noise**2 + (belief.novelty_sd * novelty) ** 2
            own = float(slopes @ belief.covariance @ slopes) + block_ms**2 * relative
            variance += belief.sd_factor**2 * own
        return _answer(kernels, parts, rest_ms, variance**0.5)

    def _part(self, kernel: Kernel) -> _Part:
        block = block_of(kernel)
        if block not in self._beliefs:
            raise UnknownKernelError(
                f"{kernel}: pack {self.table.name} knows {', '.join(self._beliefs)} only; calibrate one on "
                f"{block} networks with `nasdepth latency calibrate`"
            )
        belief = self._beliefs[block]
        amounts = kernel_amounts(kernel, belief.terms)
        slopes_ms = amounts * self._values[block]
        source: Source = "interpolated" if belief.informed(slopes_ms) else "unknown"
        latency_ms, floor_ms = float(slopes_ms.sum()), belief.roofline.ms(kernel)
        if latency_ms < floor_ms:  # at the roofline no coefficient matters
            latency_ms, slopes_ms = floor_ms, np.zeros_like(slopes_ms)
        part = _Part(block, slopes_ms, latency_ms, floor_ms, source)
        self._parts[kernel] = part
        return part


def _answer(
    kernels: Sequence[Kernel], parts: Sequence[_Part], rest_ms: float, sd_ms: float
) -> LatencyEstimate:
    shares: dict[Source, float] = {"interpolated": 0.0, "unknown": 0.0}
    for part in parts:
        shares[part.source] += part.latency_ms
    kernels_ms = sum(shares.values())
    total_ms = kernels_ms + rest_ms
    floor_ms = sum(part.floor_ms for part in parts)
    # errors of coefficients multiply: the interval is even on a logarithmic scale
    spread = math.exp(SD_OF_INTERVAL_90 * sd_ms / total_ms) if total_ms else 1.0
    return LatencyEstimate(
        latency_ms=total_ms,
        sd_ms=sd_ms,
        interval_90=(min(max(total_ms / spread, floor_ms), total_ms), total_ms * spread),
        measured_share=0.0 if kernels_ms else 1.0,
        interpolated_share=shares["interpolated"] / kernels_ms if kernels_ms else 0.0,
        unknown_share=shares["unknown"] / kernels_ms if kernels_ms else 0.0,
        kernels=tuple(
            (kernel, part.latency_ms, part.source) for kernel, part in zip(kernels, parts, strict=True)
        ),
    )
