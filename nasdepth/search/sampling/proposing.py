"""A sampler that decides on a whole architecture at once."""

from __future__ import annotations

import random
from abc import abstractmethod
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import FrozenTrial

from nasdepth.architecture import Architecture
from nasdepth.search.sampling.candidates import Candidates
from nasdepth.search.sampling.context import SamplerContext
from nasdepth.search.sampling.observations import Observations, observe

# Draws until one is a candidate and new; a limit may leave next to nothing of a space
_DRAWS = 100


class ProposingSampler(BaseSampler):
    """Proposes architectures; Optuna is told their parameters as a relative search space of each trial's own.

    What is proposed depends on the seed, the trial's number and the trials so far, not on how long the
    process has been running: a resumed study goes on with draws of its own.
    """

    def __init__(self, context: SamplerContext) -> None:
        self.context = context
        self.candidates = Candidates(context)
        self._proposed: dict[int, dict[str, Any]] = {}
        self._independent = RandomSampler(seed=context.seed)

    @abstractmethod
    def propose(self, seen: Observations, number: int, rng: random.Random) -> Architecture:
        """The architecture to train next.

        Args:
            seen: all that is known.
            number: of the trial.
            rng: fresh for each trial.
        """

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        context = self.context
        seen = observe(study, context.space, trial.number, context.earlier)
        rng = random.Random(f"{context.seed} {trial.number}")
        architecture = self.propose(seen, trial.number, rng)
        self._proposed[trial.number] = context.space.parameters(architecture)
        return context.space.distributions(architecture)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self._proposed.pop(trial.number)

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Complete a queued trial of which only some parameters are fixed."""
        return self._independent.sample_independent(study, trial, param_name, param_distribution)

    def sample(self, rng: random.Random, known: frozenset[Architecture]) -> Architecture:
        """A random candidate that is not known; anything where such a one is hard to find."""
        for _ in range(_DRAWS):
            one = self.context.space.sample(rng)
            if one not in known and self.candidates.of([one]):
                return one
        return one
