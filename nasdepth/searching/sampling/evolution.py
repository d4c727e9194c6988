"""Regularised evolution."""

from __future__ import annotations

import random

import numpy as np

from nasdepth.architecture import Architecture
from nasdepth.searching.sampling.context import SamplerContext
from nasdepth.searching.sampling.observations import Observations
from nasdepth.searching.sampling.proposing import ProposingSampler

_DRAWS = 100


class RegularisedEvolutionSampler(ProposingSampler):
    """Of a few that are drawn from the youngest, the best one has a child; the oldest dies.

    Real, Aggarwal, Huang and Le 2019, "Regularized Evolution for Image Classifier Architecture Search". Their
    population of 100 and tournament of 25 are of tens of thousands of trainings; a search has hundreds.

    Args:
        population: how many of the latest trainings live; as many are drawn at random first.
        tournament: how many of them are drawn to compete.
    """

    def __init__(self, context: SamplerContext, population: int = 25, tournament: int = 8) -> None:
        super().__init__(context)
        self._population, self._tournament = population, tournament

    def propose(self, seen: Observations, number: int, rng: random.Random) -> Architecture:
        scores = self.context.goal.merit(seen.si_rmse, seen.latency_ms)
        living = [
            (bool(si_rmse < self.context.useful_below), float(score), one)
            for si_rmse, score, one in zip(seen.si_rmse, scores, seen.architectures, strict=True)
            if np.isfinite(score) and self.context.space.contains(one)
        ][-self._population :]
        if len(living) < self._population:
            return self.sample(rng, seen.known)
        drawn = rng.sample(living, min(self._tournament, len(living)))
        parent = max(drawn, key=lambda one: one[:2])[2]
        for _ in range(_DRAWS):
            child = self.context.space.mutate(parent, rng)
            if child not in seen.known and self.candidates.of([child]):
                return child
        return self.sample(rng, seen.known)
