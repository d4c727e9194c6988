"""Candidates: architectures with all that is known of them before a training."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from nasdepth.architecture import Architecture
from nasdepth.errors import UnknownKernelError
from nasdepth.latency import LatencyEstimate
from nasdepth.search.sampling.context import SamplerContext
from nasdepth.search.sampling.features import features

# Of a normal distribution, half of the 90 % interval
_INTERVAL_90_IN_SD = 1.645
_REMEMBERED = 20_000


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """An architecture that may be proposed.

    Attributes:
        latency_ms: the table's estimate.
        latency_sd: standard deviation of log2 of the latency.
        features: see `nasdepth.search.sampling.features`.
    """

    architecture: Architecture
    latency_ms: float
    latency_sd: float
    features: np.ndarray


class Candidates:
    """Looks architectures up, and remembers the latest of them."""

    def __init__(self, context: SamplerContext) -> None:
        self._context = context
        self._known: dict[Architecture, Candidate | None] = {}
        self._features: dict[Architecture, np.ndarray | None] = {}

    def of(self, architectures: Iterable[Architecture]) -> list[Candidate]:
        """The candidates among architectures, without repeats.

        Left out are those that the device refuses, that the table cannot answer for, and that are slower
        than the context's limit.
        """
        wanted = list(dict.fromkeys(architectures))
        new = [one for one in wanted if one not in self._known and not self._context.refusal(one)]
        if len(self._known) + len(new) > _REMEMBERED:
            self._known.clear()
            new = [one for one in wanted if not self._context.refusal(one)]
        for one, estimate in zip(new, self._context.latencies(new), strict=True):
            self._known[one] = self._candidate(one, estimate)
        found = (self._known.get(one) for one in wanted)
        return [one for one in found if one is not None]

    def features(self, architectures: Sequence[Architecture]) -> tuple[np.ndarray, np.ndarray]:
        """Features of architectures of any space, and which of them have any: a block may have no kernel."""
        rows = [self._features_of(one) for one in architectures]
        has = np.array([row is not None for row in rows], dtype=bool)
        return np.array([row for row in rows if row is not None]), has

    def _candidate(self, one: Architecture, estimate: LatencyEstimate | None) -> Candidate | None:
        if estimate is None:
            return None
        limit = self._context.max_latency_ms
        if limit is not None and estimate.latency_ms > limit:
            return None
        # upwards, since an interval may reach down to 0, which has no logarithm
        sd = math.log2(estimate.interval_90[1] / estimate.latency_ms) / _INTERVAL_90_IN_SD
        return Candidate(one, estimate.latency_ms, sd, self._row(one))

    def _row(self, one: Architecture) -> np.ndarray:
        return features(one, self._context.pretrained(one.encoder.family), self._context.runtime)

    def _features_of(self, one: Architecture) -> np.ndarray | None:
        if (known := self._known.get(one)) is not None:
            return known.features
        if one not in self._features:
            try:
                self._features[one] = self._row(one)
            except UnknownKernelError:
                self._features[one] = None
        return self._features[one]
