"""What a sampler may know of the search that it serves."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from nasdepth.architecture import Architecture
from nasdepth.latency import LatencyEstimate
from nasdepth.models.pretrained import weights_here
from nasdepth.searching.goals import SCORE, Goal
from nasdepth.searching.records import TrialRecord
from nasdepth.space import SearchSpace

Mode = Literal["score", "pareto"]


def mode_of(goal: Goal) -> Mode:
    """How many values a study of a goal has, in the words of samplers: `score` for one, `pareto` for two."""
    return "pareto" if goal.front else "score"


def _has_weights(family: str) -> bool:
    return weights_here(family).pretrained


@dataclass(frozen=True)
class SamplerContext:
    """A search as its sampler sees it.

    Attributes:
        space: what may be proposed.
        latencies: the latency estimates of many architectures, in order; None where the table cannot answer.
        runtime: whose kernels the device executes, as `nasdepth.latency.architecture_kernels` takes it.
        goal: what makes one network better than another.
        max_latency_ms: nothing slower is proposed; None for no bound.
        seed: of every random draw.
        trials: number of trials that the study held when the sampler was made.
        earlier: trainings of other runs on the same data, by the same proxy and seed.
        refusal: why the device cannot run an architecture; empty if it can.
        too_slow: why a candidate of this latency (ms) would not be trained; empty if it would be.
        pretrained: whether ImageNet weights of a family are at hand.
        mean_map_si_rmse: what predicting the mean depth map reaches; a candidate above it is of no use,
            however fast. None if unknown.
    """

    space: SearchSpace
    latencies: Callable[[Sequence[Architecture]], list[LatencyEstimate | None]]
    runtime: str = "xnnpack"
    goal: Goal = SCORE
    max_latency_ms: float | None = None
    seed: int = 0
    trials: int = 0
    earlier: tuple[TrialRecord, ...] = ()
    refusal: Callable[[Architecture], str] = lambda _: ""
    too_slow: Callable[[float], str] = lambda _: ""
    pretrained: Callable[[str], bool] = _has_weights
    mean_map_si_rmse: float | None = None

    @property
    def mode(self) -> Mode:
        """`score` where one value is maximised, `pareto` where si-RMSE and latency stand side by side."""
        return mode_of(self.goal)

    @property
    def useful_below(self) -> float:
        """The si-RMSE that a candidate must stay below to be of any use."""
        return math.inf if self.mean_map_si_rmse is None else self.mean_map_si_rmse
