"""What a search is for: goals by name, such as the challenge's score, or the lowest si-RMSE under a limit."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, overload

import numpy as np

from nasdepth.errors import StudyError, nearest
from nasdepth.score import C_PER_MS, SI_RMSE_EXPONENT


@dataclass(frozen=True)
class Goal:
    """What makes one network better than another: a merit in octaves, the larger the better.

    The merit falls by `exponent` octaves with each unit of si-RMSE, and by `octaves` of the latency. The
    challenge's score is 2 to the power of such a merit.

    Attributes:
        exponent: octaves that a unit of si-RMSE costs, above 0.
        octaves: what a latency in ms costs; takes and gives an array. Nothing where it is always 0.
        front: whether networks that are better in either si-RMSE or latency stand side by side; the merit
            then names the winner among them.
        text: how the goal was written, with its parameters.
    """

    exponent: float
    octaves: Callable[[np.ndarray], np.ndarray]
    front: bool = False
    text: str = ""

    @overload
    def merit(self, si_rmse: float, latency_ms: float) -> float: ...
    @overload
    def merit(self, si_rmse: np.ndarray, latency_ms: np.ndarray) -> np.ndarray: ...
    def merit(self, si_rmse: Any, latency_ms: Any) -> Any:
        """How good networks of this si-RMSE and latency are, in octaves."""
        merit = -self.exponent * si_rmse - self.octaves(np.asarray(latency_ms, float))
        return merit if isinstance(si_rmse, np.ndarray) else float(merit)

    def si_rmse_for(self, merit: float, latency_ms: float) -> float:
        """The si-RMSE that a network of this latency needs for a merit."""
        return (-merit - float(self.octaves(np.asarray(latency_ms, float)))) / self.exponent

    def octaves_sd(self, latency_ms: np.ndarray, log2_sd: np.ndarray) -> np.ndarray:
        """Standard deviation of the latency's part of the merit.

        Args:
            log2_sd: standard deviation of the logarithm to base 2 of each latency.
        """
        # half an octave to either side tells the slope
        slope = self.octaves(latency_ms * math.sqrt(2)) - self.octaves(latency_ms / math.sqrt(2))
        return np.abs(slope) * log2_sd


GoalMaker = Callable[..., Goal]
GOALS: dict[str, GoalMaker] = {}
DEFAULT_GOAL = "score"


def register_goal(name: str) -> Callable[[GoalMaker], GoalMaker]:
    """Add a goal under a name, for `nasdepth search --objective NAME`.

    What is decorated is a function of numbers with defaults, which a user may set as in
    `score:exponent=40`. The first line of its docstring is the summary that errors show.
    """

    def register(make: GoalMaker) -> GoalMaker:
        if name in GOALS:
            raise ValueError(f"goal {name!r} is registered twice")
        GOALS[name] = make
        return make

    return register


def parse_goal(text: str) -> Goal:
    """A goal as a user writes it: `quality`, or `score:exponent=40,constant=1e-6`.

    Raises:
        StudyError: there is no such goal or parameter, or the value is no number; the message names it.

    >>> round(parse_goal("score").merit(0.2773, 46), 2)  # 297.79, the winner of 2022
    8.22
    """
    name, _, rest = text.partition(":")
    if name not in GOALS:
        known = "; ".join(f"{one} ({_summary(make)})" for one, make in GOALS.items())
        raise StudyError(f"`objective` is {text!r}: no such goal{nearest(name, GOALS)}; there are {known}")
    allowed = inspect.signature(GOALS[name]).parameters
    values: dict[str, float] = {}
    for pair in filter(None, rest.split(",")):
        parameter, _, value = pair.partition("=")
        if parameter not in allowed:
            has = f"it has {', '.join(allowed)}" if allowed else "it has none"
            raise StudyError(f"`objective` {text!r}: {name} has no parameter {parameter!r}; {has}")
        try:
            values[parameter] = float(value)
        except ValueError:
            raise StudyError(f"`objective` {text!r}: {parameter} is {value!r}; it must be a number") from None
    goal = GOALS[name](**values)
    if not 0 < goal.exponent < math.inf:
        raise StudyError(f"`objective` {text!r}: the exponent is {goal.exponent:g}; it must be above 0")
    return replace(goal, text=text)


def _summary(make: GoalMaker) -> str:
    return (make.__doc__ or "").strip().partition("\n")[0].rstrip(".")


@register_goal("score")
def _score(exponent: float = SI_RMSE_EXPONENT, constant: float = C_PER_MS) -> Goal:
    """The challenge's score, 2^(-exponent si-RMSE) / (constant * ms)."""
    if not 0 < constant < math.inf:
        raise StudyError(f"`objective` score: the constant is {constant:g}; it must be above 0")
    return Goal(exponent, lambda latency_ms: np.log2(constant * latency_ms))


@register_goal("quality")
def _quality() -> Goal:
    """The lowest si-RMSE of what is within the latency limit."""
    return Goal(SI_RMSE_EXPONENT, np.zeros_like)


@register_goal("pareto")
def _pareto() -> Goal:
    """The whole front of si-RMSE and latency; the winner is its network of the highest score."""
    return replace(_score(), front=True)


SCORE = parse_goal(DEFAULT_GOAL)
