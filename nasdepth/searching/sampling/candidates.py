"""Candidates: architectures with all that is known of them before a training."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from nasdepth.architecture import Architecture
from nasdepth.errors import UnknownKernelError
from nasdepth.latency import LatencyEstimate
from nasdepth.latency.accuracy import SD_OF_INTERVAL_90
from nasdepth.searching.sampling.context import SamplerContext
from nasdepth.searching.sampling.features import features

_REMEMBERED = 20_000


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """An architecture that may be proposed.

    Attributes:
        latency_ms: the table's estimate.
        latency_sd: standard deviation of log2 of the latency.
        features: see `nasdepth.searching.sampling.features`.
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

    def of(self, architectures: Iterable[Architecture], *, limited: bool = True) -> list[Candidate]:
        """The candidates among architectures, without repeats.

        Left out are those that the device refuses and those that the table cannot answer for.

        Args:
            limited: also leave out what is slower than the context's limit.
        """
        wanted = list(dict.fromkeys(architectures))
        if len(self._known) + len(wanted) > _REMEMBERED:
            self._known.clear()
        new = [one for one in wanted if one not in self._known]
        runs = [one for one in new if not self._context.refusal(one)]
        self._known.update(dict.fromkeys(new))
        for one, estimate in zip(runs, self._context.latencies(runs), strict=True):
            if estimate is not None:
                self._known[one] = self._candidate(one, estimate)
        found = (self._known[one] for one in wanted)
        limit = self._context.max_latency_ms if limited else None
        return [one for one in found if one is not None and (limit is None or one.latency_ms <= limit)]

    def features(self, architectures: Sequence[Architecture]) -> tuple[np.ndarray, np.ndarray]:
        """Features of architectures of any space, and which of them have any: a block may have no kernel."""
        rows = [self._features_of(one) for one in architectures]
        has = np.array([row is not None for row in rows], dtype=bool)
        return np.array([row for row in rows if row is not None]), has

    def _candidate(self, one: Architecture, estimate: LatencyEstimate) -> Candidate:
        # upwards, since an interval may reach down to 0, which has no logarithm
        sd = math.log2(estimate.interval_90[1] / estimate.latency_ms) / SD_OF_INTERVAL_90
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
