"""`CalibratedPredictor`: latencies from a device pack."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nasdepth.errors import UnknownKernelError
from nasdepth.latency.kernels import Kernel
from nasdepth.latency.predictor import LatencyEstimate, Predictor, Source, runtime_of
from nasdepth.packs.anchors import block_of
from nasdepth.packs.card import Pack
from nasdepth.packs.fit import kernel_amounts, network_amounts

_INTERVAL_90_IN_SD = 1.645


@dataclass(frozen=True, slots=True)
class _Part:
    """A kernel in terms: amounts, its time in ms before the end-to-end ratio, and where it is known from."""

    amounts: np.ndarray
    latency_ms: float
    floor_ms: float
    source: Source


class CalibratedPredictor(Predictor):
    """Sums of physical terms, with the pack's coefficients and their errors.

    No kernel is faster than the pack's roofline. A kernel is `interpolated` where measured networks have all
    its terms, otherwise `unknown`; nothing is `measured`.

    Attributes:
        table: the pack.
        runtime: whose fusion and partition rules apply.
    """

    def __init__(self, pack: Pack) -> None:
        self.table = pack
        self.runtime = runtime_of(pack.card.delegate)
        self._beliefs = {name: fit.belief() for name, fit in pack.card.precisions.items()}
        self._values = {name: np.exp(belief.mean) for name, belief in self._beliefs.items()}
        self._parts: dict[Kernel, _Part] = {}

    def estimate(self, kernels: Sequence[Kernel]) -> LatencyEstimate:
        blocks: dict[str, list[_Part]] = {}
        parts = []
        for kernel in kernels:
            part = self._parts.get(kernel) or self._part(kernel)
            parts.append(part)
            blocks.setdefault(block_of(kernel), []).append(part)
        total_ms = variance = floor_ms = 0.0
        ratios: dict[str, float] = {}
        for index, (block, members) in enumerate(blocks.items()):
            belief, values = self._beliefs[block], self._values[block]
            ratio = ratios[block] = math.exp(belief.end_to_end)
            rest = np.zeros(len(values))
            if index == 0:  # what a call costs beside its kernels, it costs once
                rest = network_amounts(kernels, belief.terms, self.runtime) * values
            kernels_ms = ratio * sum(part.latency_ms for part in members)
            bound = [part.latency_ms > part.floor_ms for part in members]
            slopes = (
                ratio
                * values
                * sum(
                    (part.amounts for part, free in zip(members, bound, strict=True) if free),
                    np.zeros(len(values)),
                )
            )
            slopes += rest
            block_ms = kernels_ms + float(rest.sum())
            parts_ms = ratio * values * sum(part.amounts for part in members) + rest
            novelty = belief.novelty(parts_ms / max(parts_ms.sum(), 1e-12))
            own = float(slopes @ belief.covariance @ slopes) + (kernels_ms * belief.end_to_end_sd) ** 2
            own += block_ms**2 * (belief.noise**2 + (belief.novelty_sd * novelty) ** 2)
            variance += belief.sd_factor**2 * own
            total_ms += block_ms
            floor_ms += sum(part.floor_ms for part in members)
        total_ms = max(total_ms, floor_ms)
        return self._answer(kernels, parts, ratios, total_ms, variance**0.5, floor_ms)

    def _answer(self, kernels, parts, ratios, total_ms, sd_ms, floor_ms) -> LatencyEstimate:
        shares: dict[Source, float] = {"interpolated": 0.0, "unknown": 0.0}
        answers = []
        for kernel, part in zip(kernels, parts, strict=True):
            latency_ms = part.latency_ms * ratios[block_of(kernel)]
            shares[part.source] += latency_ms
            answers.append((kernel, latency_ms, part.source))
        kernels_ms = sum(shares.values())
        # errors of coefficients multiply: the interval is even on a logarithmic scale
        spread = math.exp(_INTERVAL_90_IN_SD * sd_ms / total_ms) if total_ms else 1.0
        return LatencyEstimate(
            latency_ms=total_ms,
            sd_ms=sd_ms,
            interval_90=(min(max(total_ms / spread, floor_ms), total_ms), total_ms * spread),
            measured_share=0.0 if kernels_ms else 1.0,
            interpolated_share=shares["interpolated"] / kernels_ms if kernels_ms else 0.0,
            unknown_share=shares["unknown"] / kernels_ms if kernels_ms else 0.0,
            kernels=tuple(answers),
        )

    def _part(self, kernel: Kernel) -> _Part:
        block = block_of(kernel)
        if block not in self._beliefs:
            raise UnknownKernelError(
                f"{kernel}: pack {self.table.name} knows {', '.join(self._beliefs)} only; calibrate one on "
                f"{block} networks with `nasdepth latency calibrate`"
            )
        belief = self._beliefs[block]
        amounts = kernel_amounts(kernel, belief.terms)
        times = amounts * self._values[block]
        floor_ms = belief.roofline.ms(kernel)
        known = all(
            name in belief.anchored for name, amount in zip(belief.terms, amounts, strict=True) if amount > 0
        )
        source: Source = "interpolated" if known else "unknown"
        part = _Part(amounts, max(float(times.sum()), floor_ms), floor_ms, source)
        self._parts[kernel] = part
        return part
