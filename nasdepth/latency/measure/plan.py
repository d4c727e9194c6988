"""What to measure for a search space, most useful first."""

from __future__ import annotations

import math
import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from nasdepth.architecture import Architecture
from nasdepth.kernels.kernel import Kernel
from nasdepth.latency.extract import architecture_kernels
from nasdepth.latency.predict.interpolate import dimensions

if TYPE_CHECKING:
    from nasdepth.latency.predict import TablePredictor
    from nasdepth.space import SearchSpace

_ENUMERABLE = 5000
_MAX_SAMPLES = 3000
# Sampling stops when this many architectures in a row brought less than this share of new kernels
_BATCH = 50
_FEW_NEW = 0.005
# Farthest-first is quadratic; beyond so many of a kind the order is by use alone
_MOST_SPACED = 600


def plan_kernels(space: SearchSpace, seed: int = 0, max_kernels: int | None = None) -> list[Kernel]:
    """The kernels of a space, ordered so that every beginning of the list is a fair table.

    Frequent kernels (measured, they answer most questions exactly) alternate with those farthest in
    shape from all that came before (they hold up the interpolation).

    Args:
        space: enumerated where it has at most 5000 architectures, otherwise sampled.
        seed: of the sample.
        max_kernels: length at most.
    """
    return ordered(uses_of(space, seed))[:max_kernels]


def uses_of(
    space: SearchSpace, seed: int = 0, runtime: str = "xnnpack", most: int | None = None
) -> Counter[Kernel]:
    """How many of the space's (sampled, at most `most`) architectures use each kernel."""
    uses: Counter[Kernel] = Counter()
    for architecture in _architectures(space, seed, uses, most or _MAX_SAMPLES):
        uses.update(set(architecture_kernels(architecture, runtime)))
    return uses


def ordered(uses: Counter[Kernel]) -> list[Kernel]:
    """All kernels: frequent ones and far ones in turn; `plan_kernels` says why."""
    frequent = sorted(uses, key=lambda kernel: (-uses[kernel], kernel))
    spaced = _space_filling(frequent)
    order: dict[Kernel, None] = {}
    for pair in zip(spaced, frequent, strict=False):
        order.update(dict.fromkeys(pair))
    return list(order | dict.fromkeys(frequent))


def least_sure(
    predictor: TablePredictor, candidates: Sequence[Kernel], uses: Counter[Kernel], count: int
) -> list[Kernel]:
    """Those of the candidates whose measurement promises most: uses times standard deviation in ms.

    Of two that are alike, measuring one makes the other sure too; so a kernel is taken at random with a
    probability that grows with its promise.
    """
    promise = np.array(
        [
            max(uses[kernel], 1) * sd_ms
            for kernel, (_, sd_ms) in zip(candidates, predictor.uncertainty(candidates), strict=True)
        ]
    )
    rng = np.random.default_rng(len(candidates))
    keys = np.log(np.maximum(promise, 1e-12)) + rng.gumbel(size=len(promise))
    return [candidates[index] for index in np.argsort(-keys)[:count]]


def _architectures(space: SearchSpace, seed: int, uses: Counter[Kernel], most: int) -> Iterator[Architecture]:
    if space.size is not None and space.size <= _ENUMERABLE:
        yield from space.architectures()
        return
    yield from space.named().values()
    rng = random.Random(seed)
    for _ in range(-(-min(most, _MAX_SAMPLES) // _BATCH)):
        before = len(uses)
        for _ in range(_BATCH):
            yield space.sample(rng)
        if len(uses) - before < _FEW_NEW * len(uses):
            return


def _space_filling(kernels: list[Kernel]) -> list[Kernel]:
    """Farthest first, within every kind; kinds merged by how far the next kernel is from those before it."""
    kinds: dict[str, list[Kernel]] = defaultdict(list)
    for kernel in kernels:
        kinds[kernel.kind].append(kernel)
    ranked = []
    for members in kinds.values():
        positions = np.log2(dimensions(members) + 1)
        distance = np.full(len(members), math.inf)
        for _ in range(min(len(members), _MOST_SPACED)):
            chosen = int(np.argmax(distance))
            ranked.append((-distance[chosen], members[chosen]))
            distance = np.minimum(distance, np.linalg.norm(positions - positions[chosen], axis=1))
            distance[chosen] = -1
    return [kernel for _, kernel in sorted(ranked)]
