"""A sampler that decides on a whole architecture at once."""

from __future__ import annotations

import random
from abc import abstractmethod
from collections.abc import Collection
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import FrozenTrial

from nasdepth.architecture import Architecture
from nasdepth.searching.sampling.candidates import Candidate, Candidates
from nasdepth.searching.sampling.context import SamplerContext
from nasdepth.searching.sampling.observations import Observations, observe

# Draws until one is a candidate and new; a limit may leave next to nothing of a space
_DRAWS = 100
# How many are changed at once (squared), and how often, to get below such a limit
_BEAM, _DESCENT = 6, 25


class ProposingSampler(BaseSampler):
    """Proposes architectures; Optuna is told their parameters as a relative search space of each trial's own.

    What is proposed depends on the seed, the trial's number and the trials so far, not on how long the
    process has been running: a resumed study goes on with draws of its own.
    """

    def __init__(self, context: SamplerContext) -> None:
        self.context = context
        self.candidates = Candidates(context)
        self._proposed: dict[int, dict[str, Any]] = {}
        # once nothing was found, nothing will be
        self._exhausted = False
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

    def sample(self, rng: random.Random, known: Collection[Architecture]) -> Architecture:
        """A random candidate that is not known; anything where there is none."""
        for _ in range(_DRAWS):
            one = self.context.space.sample(rng)
            if one not in known and self.candidates.of([one]):
                return one
        found = [] if self._exhausted else self.descend(rng, known, count=1)
        self._exhausted = not found
        return found[0].architecture if found else one

    def descend(self, rng: random.Random, known: Collection[Architecture], count: int) -> list[Candidate]:
        """Candidates within a limit that random ones hardly meet, by changing the fastest again and again.

        Returns:
            At least `count` that are not known, where so many are found.
        """
        space = self.context.space
        fastest = self.candidates.of((space.sample(rng) for _ in range(_DRAWS)), limited=False)
        found: dict[Candidate, None] = {}
        for _ in range(_DESCENT):
            if len(found) >= count:
                break
            fastest = sorted(dict.fromkeys(fastest), key=lambda one: one.latency_ms)[:_BEAM]
            parents = [rng.choice(list(found) or fastest) for _ in range(_BEAM**2)]
            near = [space.mutate(one.architecture, rng, rng.choice((1, 2, 3))) for one in parents]
            found.update(
                dict.fromkeys(one for one in self.candidates.of(near) if one.architecture not in known)
            )
            fastest += self.candidates.of(near, limited=False)
        return list(found)
