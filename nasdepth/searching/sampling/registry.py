"""Samplers by name."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler

from nasdepth.errors import StudyError
from nasdepth.searching.goals import Goal
from nasdepth.searching.sampling.context import Mode, SamplerContext, mode_of
from nasdepth.searching.sampling.evolution import RegularisedEvolutionSampler
from nasdepth.searching.sampling.latency_aware import LatencyAwareSampler

DEFAULT_SAMPLER = "latency-aware"
_STARTUP = 10

Make = Callable[[SamplerContext], BaseSampler]


@dataclass(frozen=True)
class SamplerEntry:
    """A registered sampler.

    Attributes:
        make: builds it for a search.
        modes: the objectives that it can propose for.
        summary: what it does, in a line.
    """

    make: Make
    modes: tuple[Mode, ...]
    summary: str


SAMPLERS: dict[str, SamplerEntry] = {}


def register_sampler(name: str, *modes: Mode) -> Callable[[Make], Make]:
    """Add a sampler under a name; both modes unless some are given.

    The first line of the function's docstring is the summary that `--help` and errors show.
    """

    def register(make: Make) -> Make:
        if name in SAMPLERS:
            raise ValueError(f"sampler {name!r} is registered twice")
        summary = (make.__doc__ or "").strip().partition("\n")[0]
        SAMPLERS[name] = SamplerEntry(make, modes or ("score", "pareto"), summary)
        return make

    return register


def check_sampler(name: str, goal: Goal) -> None:
    """Refuse a sampler that there is not, or that cannot do what is asked.

    Raises:
        StudyError: the message names the samplers that can.
    """
    mode = mode_of(goal)
    able = ", ".join(other for other, entry in SAMPLERS.items() if mode in entry.modes)
    if name not in SAMPLERS:
        raise StudyError(f"`sampler` is {name!r}; it must be one of {', '.join(SAMPLERS)}")
    if mode not in SAMPLERS[name].modes:
        raise StudyError(f"sampler {name} cannot search with `objective` {goal.text}; these can: {able}")


def make_sampler(name: str, context: SamplerContext) -> BaseSampler:
    """The sampler of a name for a search.

    Raises:
        StudyError: see `check_sampler`.
    """
    check_sampler(name, context.goal)
    with warnings.catch_warnings():
        # what Optuna calls experimental is used on purpose
        warnings.simplefilter("ignore", ExperimentalWarning)
        return SAMPLERS[name].make(context)


def _resumed(context: SamplerContext) -> int:
    """A seed that does not repeat the first run's draws."""
    return context.seed + context.trials


@register_sampler("latency-aware")
def _latency_aware(context: SamplerContext) -> BaseSampler:
    """Guesses si-RMSE alone and takes the latency as known."""
    return LatencyAwareSampler(context)


@register_sampler("tpe")
def _tpe(context: SamplerContext) -> BaseSampler:
    """Optuna's tree-structured Parzen estimator (Bergstra et al. 2011)."""
    # `group` suits a space whose parameters depend on one another
    return TPESampler(
        n_startup_trials=_STARTUP,
        multivariate=True,
        group=True,
        constant_liar=True,
        seed=_resumed(context),
    )


@register_sampler("random")
def _random(context: SamplerContext) -> BaseSampler:
    """Draws uniformly."""
    return RandomSampler(seed=_resumed(context))


@register_sampler("evolution", "score")
def _evolution(context: SamplerContext) -> BaseSampler:
    """Regularised evolution (Real et al. 2019)."""
    return RegularisedEvolutionSampler(context)


@register_sampler("gp")
def _gp(context: SamplerContext) -> BaseSampler:
    """Optuna's Gaussian process over the choices that all architectures share."""
    return GPSampler(
        n_startup_trials=_STARTUP,
        deterministic_objective=False,
        warn_independent_sampling=False,
        seed=_resumed(context),
    )


@register_sampler("nsga2", "pareto")
def _nsga2(context: SamplerContext) -> BaseSampler:
    """Optuna's NSGA-II (Deb et al. 2002), for two objectives."""
    return NSGAIISampler(population_size=20, seed=_resumed(context))
