"""Which architectures are recorded, and in which order their trainings run."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from nasdepth.architecture import Architecture
from nasdepth.data import absolute_source, load_split
from nasdepth.errors import NasdepthError, check_seed
from nasdepth.latency import architecture_kernels
from nasdepth.packs import load_predictor
from nasdepth.recording.fidelities import COMPARED, FULL, PROXY
from nasdepth.space import SearchSpace

_STRATA = 8
_POOL_PER_ARCHITECTURE = 30
# slow networks take longer to train: every stratum shall cost nearly the same
_COST_EXPONENT = 0.75


Count = Annotated[int, Field(ge=0)]


class RecordPlan(BaseModel):
    """What a folder of records is to hold; written once and read by every process that helps.

    Attributes:
        architectures: as strings, in the order of `draw_architectures`; each is trained by the proxy.
        latency_ms: predicted of each from `table`; it decides which of the fully trained count as best.
        second_seeds: how many are trained by the proxy with a second seed.
        fully: how many are trained fully.
        fully_twice: how many of the best of those are trained fully with a second seed.
        compared: how many of the fully trained ones are trained in all other ways.
        random_starts: how many that start from ImageNet weights are also trained from random weights.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    space: str
    data: str
    data_fingerprint: str
    table: str
    seed: int
    architectures: tuple[str, ...]
    latency_ms: tuple[float, ...]
    second_seeds: Count
    fully: Count
    fully_twice: Count
    compared: Count
    random_starts: Count


@dataclass(frozen=True)
class Job:
    """One training to record."""

    architecture: Architecture
    fidelity: str
    seed: int

    @property
    def key(self) -> str:
        """Name of its files."""
        return f"{self.architecture.key}.{self.fidelity}.{self.seed}"


def draw_architectures(
    space: SearchSpace,
    count: int,
    latency_ms: Callable[[Architecture], float],
    max_latency_ms: float,
    seed: int = 0,
    on_pool: Callable[[int, int], None] = lambda *_: None,
) -> list[Architecture]:
    """Draw architectures that are spread over latencies, families and input sizes.

    The named designs of the space come first. The others are drawn from strata of predicted latency; within a
    stratum the families, head strides and input sizes that have been drawn least are drawn next. Every
    beginning of the list is spread as evenly as the whole.

    Args:
        latency_ms: predicts a latency in milliseconds.
        max_latency_ms: slower networks are left out: they cost minutes to train and no search wants them.
        on_pool: called with how many of how many random candidates are predicted.

    Raises:
        NasdepthError: the space holds too few networks below the limit.
    """
    rng = random.Random(seed)
    chosen = list(space.named().values())[:count]
    pool: dict[Architecture, float] = {}
    tries = _POOL_PER_ARCHITECTURE * count
    for index in range(tries):
        one = space.sample(rng)
        if one not in pool and one not in chosen and (ms := latency_ms(one)) <= max_latency_ms:
            pool[one] = ms
        on_pool(index + 1, tries)
    wanted = count - len(chosen)
    if len(pool) < wanted:
        raise NasdepthError(
            f"architectures: {count} are asked for, but only {len(pool) + len(chosen)} of {tries} random "
            f"ones are predicted below {max_latency_ms:g} ms; ask for fewer, or raise the limit"
        )
    strata = _strata(pool)
    taken: Counter[tuple[str, object]] = Counter()
    drawn = [0] * len(strata)
    while wanted:
        # the stratum that is furthest behind its share
        at = min((i for i, s in enumerate(strata) if s.members), key=lambda i: drawn[i] / strata[i].weight)
        one = min(strata[at].members, key=lambda a: sum(taken[trait] for trait in _traits(a)))
        strata[at].members.remove(one)
        taken.update(_traits(one))
        drawn[at] += 1
        chosen.append(one)
        wanted -= 1
    return chosen


def draw_plan(
    space: str,
    data: str,
    table: str,
    *,
    architectures: int,
    max_latency_ms: float,
    seed: int = 0,
    on_pool: Callable[[int, int], None] = lambda *_: None,
    **counts: int,
) -> RecordPlan:
    """Draw the architectures of a new plan.

    Args:
        space: YAML file or name of a search space.
        data: source of the images, see `nasdepth.data.load_split`.
        table: latency table or device pack by which architectures are spread over latencies.
        architectures: how many.
        counts: the fields of `RecordPlan` that say how many of them are trained in which way.

    Raises:
        NasdepthError: the space, the data or the table cannot be used.
    """
    check_seed(seed)
    split = load_split(data, "train")
    searched, predictor = SearchSpace.load(space), load_predictor(table)

    def latency_ms(one: Architecture) -> float:
        return predictor.estimate(architecture_kernels(one, predictor.runtime)).latency_ms

    drawn = draw_architectures(searched, architectures, latency_ms, max_latency_ms, seed, on_pool)
    return RecordPlan(
        space=f"{searched.name} {searched.fingerprint}",
        data=absolute_source(data),
        data_fingerprint=split.fingerprint,
        table=f"{predictor.table.name} {predictor.table.fingerprint}",
        seed=seed,
        architectures=tuple(map(str, drawn)),
        latency_ms=tuple(round(latency_ms(one), 4) for one in drawn),
        **counts,
    )


def planned_jobs(
    architectures: Sequence[Architecture], second_seeds: int, fully: int, compared: int
) -> list[Job]:
    """All trainings, in an order in which every kind of them is always done to about the same share.

    Args:
        architectures: each is trained by the proxy.
        second_seeds: how many are trained by the proxy with a second seed.
        fully: how many are trained fully.
        compared: how many of those are trained in all other ways as well.
    """
    kinds = [
        [Job(one, PROXY, 0) for one in architectures],
        [Job(one, PROXY, 1) for one in architectures[:second_seeds]],
        [Job(one, FULL, 0) for one in architectures[:fully]],
        *([Job(one, name, 0) for one in architectures[:fully][:compared]] for name in COMPARED),
    ]
    placed = [
        ((index + 1) / len(jobs), order, job)
        for order, jobs in enumerate(kinds)
        for index, job in enumerate(jobs)
    ]
    return [job for *_, job in sorted(placed, key=lambda one: one[:2])]


@dataclass
class _Stratum:
    members: list[Architecture]
    weight: float


def _strata(pool: dict[Architecture, float]) -> list[_Stratum]:
    """Candidates in bins of equal width in log latency."""
    low, high = min(pool.values()), max(pool.values())
    width = math.log(high / low) / _STRATA or 1.0
    bins: dict[int, list[Architecture]] = {}
    for one, ms in pool.items():
        bins.setdefault(min(int(math.log(ms / low) / width), _STRATA - 1), []).append(one)
    return [
        _Stratum(members, math.exp(-_COST_EXPONENT * width * place))
        for place, members in sorted(bins.items())
    ]


def _traits(one: Architecture) -> list[tuple[str, object]]:
    pixels = one.input_height * one.input_width
    return [
        ("family", one.encoder.family),
        ("head stride", one.head_stride),
        ("log2 pixels", round(2 * math.log2(pixels))),
        ("width", round(one.encoder.width, 1)),
    ]
