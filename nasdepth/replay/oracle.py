"""The best architectures that a world holds, as far as a long search of the surrogate itself finds them."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence

from nasdepth.architecture import Architecture
from nasdepth.replay.surrogate import Surrogate
from nasdepth.replay.world import Latencies
from nasdepth.score import log2_score
from nasdepth.space import SearchSpace

_BEAM, _CHILDREN_OF_EACH, _CROSSED = 40, 12, 120
_MOST_CHANGES = 3
_STILL = 5
# Where a world's own deviations may make the best
_KEPT = 500


def best_of_space(
    space: SearchSpace,
    surrogate: Surrogate,
    latencies: Latencies,
    max_latency_ms: float | None = None,
    pool: int = 1500,
    rounds: int = 60,
    on_round: Callable[[int, int], None] = lambda *_: None,
) -> list[Architecture]:
    """Candidates for the best of any world of a surrogate, the best by the surrogate first.

    A beam of the best goes on from recorded and random architectures by mutants and crossings, with every
    si-RMSE as the surrogate expects it, until nothing better has come for a while. A search that is replayed
    has no such
    sight: its budget is thousands of times smaller.

    Args:
        max_latency_ms: slower ones do not count.
        pool: how many random architectures it begins with.
        rounds: at most so many generations.
        on_round: called with how many of how many rounds are done.
    """
    rng = random.Random(0)
    worth: dict[Architecture, float] = {}

    def judge(architectures: Sequence[Architecture]) -> None:
        new = [one for one in dict.fromkeys(architectures) if one not in worth]
        limit = math.inf if max_latency_ms is None else max_latency_ms
        estimates = zip(new, latencies.of_all(new), strict=True)
        known = {one: found.latency_ms for one, found in estimates if found and found.latency_ms <= limit}
        surrogate.prepare(list(known))
        worth.update(dict.fromkeys(new, -math.inf))
        for one, latency_ms in known.items():
            si_rmse = math.exp(surrogate.expected(one)[0])
            if si_rmse < surrogate.useful_below:
                worth[one] = log2_score(si_rmse, latency_ms)

    judge([*space.named().values(), *(one for one in surrogate.architectures if space.contains(one))])
    judge([space.sample(rng) for _ in range(pool)])
    still = 0
    for index in range(rounds):
        on_round(index, rounds)
        beam = sorted(worth, key=worth.__getitem__, reverse=True)[:_BEAM]
        children = [
            space.mutate(one, rng, rng.randint(1, _MOST_CHANGES))
            for one in beam
            for _ in range(_CHILDREN_OF_EACH)
        ]
        for _ in range(_CROSSED if len(beam) > 1 else 0):
            one, other = rng.sample(beam, 2)
            children.append(space.cross(one, other, rng))
        best = worth[beam[0]]
        judge(children)
        still = still + 1 if max(worth.values()) <= best else 0
        if still >= _STILL:
            break
    on_round(rounds, rounds)
    ranked = sorted((one for one in worth if worth[one] > -math.inf), key=lambda one: -worth[one])
    return ranked[:_KEPT]
