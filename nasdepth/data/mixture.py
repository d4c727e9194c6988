"""Which images each training step sees: a weighted mixture of data sets, a pure function of its place.

Every batch is of one data set, and so of one kind of supervision. Each loss is then a mean over a whole batch
(no term whose mask happens to be empty, no weight that depends on who else is in the batch), images keep
their own size, and video's three frames do not tie up memory in other batches. The price is that batch
normalisation sees one domain a step, which the small, regular turns below keep short.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from nasdepth.data.store import ImageSplit
from nasdepth.errors import DataError


@dataclass(frozen=True)
class Portion:
    """A data set's part in a mixture: `weight` is its share of the steps, relative to the others'."""

    split: ImageSplit
    weight: float = 1.0
    name: str = ""


@dataclass(frozen=True)
class Step:
    """One batch: which portion, which of its items, and the seeds of its augmentation's random numbers."""

    epoch: int
    step: int
    portion: int
    split: ImageSplit
    indices: np.ndarray
    seeds: tuple[int, ...]

    def rng(self) -> np.random.Generator:
        """A fresh generator, the same at every call: a batch can be made in any thread, in any order."""
        return np.random.default_rng(self.seeds)


class Mixture:
    """Portions drawn in fixed proportions; `epoch(e)` depends on (seed, e) alone.

    The portions take turns as evenly as their weights allow. Within a portion every item is seen once before
    any is seen again, across epochs too, whatever the weights. So a training may resume at any epoch and any
    step and go on bitwise: nothing is carried from one step to the next.

    Args:
        portions: the data sets with their weights, at least one. One with fewer than `batch_size` items is
            repeated within a batch.
        steps_per_epoch: how many steps an epoch has; by default so many that the first portion is seen once
            (whole batches).

    Raises:
        DataError: no portion, an empty one, a weight that is not positive, or a size below 1.
    """

    def __init__(
        self,
        portions: Sequence[Portion] | ImageSplit,
        batch_size: int,
        *,
        seed: int = 0,
        steps_per_epoch: int | None = None,
    ) -> None:
        self.portions = [Portion(portions)] if isinstance(portions, ImageSplit) else list(portions)
        if not self.portions:
            raise DataError("mixture: has no data set; name at least one")
        for number, portion in enumerate(self.portions, 1):
            label = portion.name or f"data set {number}"
            if not (math.isfinite(portion.weight) and portion.weight > 0):
                raise DataError(f"mixture: {label} has weight {portion.weight}; it must be above 0")
            if not len(portion.split):
                raise DataError(f"mixture: {label} has no images; leave it out")
        for field, value in (("batch_size", batch_size), ("steps_per_epoch", steps_per_epoch)):
            if value is not None and value < 1:
                raise DataError(f"mixture: {field} {value} must be at least 1")
        self.batch_size = batch_size
        self.seed = seed
        weights = np.array([portion.weight for portion in self.portions])
        self._shares = weights / weights.sum()
        first = max(1, len(self.portions[0].split) // batch_size)
        self.steps_per_epoch = steps_per_epoch or max(1, round(first / self._shares[0]))

    @property
    def fingerprint(self) -> str:
        """Short hash of the data, the weights and the sizes: equal ones give equal steps for equal seeds."""
        facts = [f"{p.split.fingerprint} {s!r}" for p, s in zip(self.portions, self._shares, strict=True)]
        text = "\n".join([*facts, f"{self.batch_size} {self.steps_per_epoch}"])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def epoch(self, epoch: int, first_step: int = 0) -> Iterator[Step]:
        """The steps of an epoch, counted from 0, from `first_step` on."""
        for step in range(first_step, self.steps_per_epoch):
            yield self.step(epoch, step)

    def step(self, epoch: int, step: int) -> Step:
        """One step, computed from its place alone."""
        overall = epoch * self.steps_per_epoch + step
        portion, turn = self._turn(overall)
        split = self.portions[portion].split
        indices = self._items(portion, len(split), turn)
        return Step(epoch, step, portion, split, indices, (self.seed, 1, epoch, step))

    def _turn(self, overall: int) -> tuple[int, int]:
        """The portion whose turn it is, and how many turns it has had before.

        A portion of share s has its turn k at time (k + 1/2) / s; the turns are taken in the order of time.
        """
        shares = self._shares
        # never above the turns of the first `overall` steps, whose last is at most half a turn a portion off
        had = np.floor(shares * (overall - len(shares) / 2) - 0.5).clip(0).astype(np.int64)
        while True:
            portion = int(np.argmin((had + 0.5) / shares))
            if had.sum() == overall:
                return portion, int(had[portion])
            had[portion] += 1

    def _items(self, portion: int, count: int, turn: int) -> np.ndarray:
        start = turn * self.batch_size
        places = np.arange(start, start + self.batch_size)
        items = np.empty(self.batch_size, dtype=np.int64)
        for cycle in np.unique(places // count):
            order = np.random.default_rng((self.seed, 0, portion, int(cycle))).permutation(count)
            inside = places // count == cycle
            items[inside] = order[places[inside] % count]
        # reading a memory map in its own order is faster
        return np.sort(items)
