"""`LatencyAwareSampler`: it has to guess si-RMSE alone, since the latency is known before a training."""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence

import numpy as np

from nasdepth.architecture import Architecture
from nasdepth.models import name_of
from nasdepth.searching.sampling.acquisition import Acquisition, HypervolumeImprovement, MeritImprovement
from nasdepth.searching.sampling.candidates import Candidate
from nasdepth.searching.sampling.context import SamplerContext
from nasdepth.searching.sampling.features import PRODUCTS, columns, groups
from nasdepth.searching.sampling.observations import Observations
from nasdepth.searching.sampling.proposing import ProposingSampler
from nasdepth.searching.sampling.surrogates import BayesianLinear, GaussianProcess, MeanOf, Surrogate

# Fewer trainings than that say nothing of what matters
_LEAST_OBSERVED = 4
# The pool grows by the trial, so that no trial waits for the estimates of all of it
_POOL_BEGIN, _POOL_GROWTH, _POOL_END = 300, 50, 1500
# With fewer within the limit, others are looked for among what is fast
_POOL_LEAST = 60
_SPREAD_AMONG = 48
_PARENTS, _CHILDREN, _CROSSED_SHARE = 12, 100, 0.25
# How fast the chance of a parent falls with its place
_PARENT_DECAY = 0.35
_CLIMBERS, _STEPS_OF_EACH = 5, 8
# Of each source, the best that are looked at one by one
_SHORTLIST = 200


def default_surrogate() -> Surrogate:
    """The mean of a linear model and a Gaussian process, which is steadier than either."""
    products = [(left, right) for left, right in map(columns, PRODUCTS)]
    return MeanOf(BayesianLinear(products), GaussianProcess(list(groups().values())))


class LatencyAwareSampler(ProposingSampler):
    """Bayesian optimisation in which a surrogate predicts si-RMSE alone.

    Each proposal is the best by expected improvement of a few hundred to thousands of candidates: a random
    pool that is drawn once, children of the best so far, and neighbours of the best of these. The improvement
    is of the goal's merit with the candidate's own latency put in; for a front it is of the dominated
    hypervolume. What the improvement is measured from is the best as the surrogate believes it, so a lucky
    training does not stop the search. It counts as far as a candidate is expected to beat the mean depth map.

    Args:
        context: of the search.
        surrogate: of si-RMSE.
        startup: random trials before the surrogate decides, beyond named designs. They are spread over
            families and sizes in the faster half of the space.
    """

    def __init__(self, context: SamplerContext, surrogate: Surrogate | None = None, startup: int = 5) -> None:
        super().__init__(context)
        self._surrogate = surrogate or default_surrogate()
        self._startup = startup
        self._pool: list[Candidate] = []
        self._pool_rng = random.Random(f"{context.seed} pool")
        self._pool_drawn = 0
        self._spread_columns = columns_of("family", "size")

    def propose(self, seen: Observations, number: int, rng: random.Random) -> Architecture:
        self._fill_pool(number)
        begun = [one for one in (*seen.architectures, *seen.pending) if name_of(one) is None]
        rows, has = self.candidates.features(seen.architectures)
        if len(begun) < self._startup or len(rows) < _LEAST_OBSERVED:
            return self._spread(seen, rng)
        believed = self._believe(seen, rows, has)
        if believed is None:
            return self._spread(seen, rng)
        acquisition, standing = believed
        return self._best(seen, acquisition, standing, rng) or self.sample(rng, seen.known)

    def _fill_pool(self, number: int) -> None:
        """Grow the pool to what this trial has; it holds the same whenever the process was started."""
        if not self._pool_drawn:
            self._draw(_POOL_BEGIN)
            if len(self._pool) < _POOL_LEAST:
                known = {one.architecture for one in self._pool}
                self._pool += self.descend(self._pool_rng, known, _POOL_LEAST)
        self._draw(min(_POOL_BEGIN + _POOL_GROWTH * number, _POOL_END))

    def _draw(self, wanted: int) -> None:
        """Draw until so many were drawn for the pool."""
        missing = wanted - self._pool_drawn
        if missing > 0:
            self._pool_drawn = wanted
            known = {one.architecture for one in self._pool}
            drawn = self.candidates.of(self.context.space.sample(self._pool_rng) for _ in range(missing))
            self._pool += [one for one in drawn if one.architecture not in known]

    def _spread(self, seen: Observations, rng: random.Random) -> Architecture:
        """A starting trial: of some in the pool's faster half, the one least like all that was begun."""
        new = [one for one in self._pool if one.architecture not in seen.known]
        if not new:
            return self.sample(rng, seen.known)
        fast = sorted(new, key=lambda one: one.latency_ms)[: (len(new) + 1) // 2]
        drawn = rng.sample(fast, min(_SPREAD_AMONG, len(fast)))
        begun, _ = self.candidates.features([*seen.architectures, *seen.pending])
        if not len(begun):
            return drawn[0].architecture
        rows = np.array([one.features for one in drawn])[:, None, self._spread_columns]
        distances = ((rows - begun[None, :, self._spread_columns]) ** 2).sum(axis=2).min(axis=1)
        return drawn[int(distances.argmax())].architecture

    def _believe(
        self, seen: Observations, rows: np.ndarray, has: np.ndarray
    ) -> tuple[Acquisition, dict[Architecture, float]] | None:
        """Learn from all that is known; how candidates are ranked, and how good each seen one is."""
        surrogate, context = self._surrogate, self.context
        values, noise = seen.si_rmse[has], seen.relative_noise[has]
        surrogate.fit(rows, values, noise)
        latency_ms, whole = seen.latency_ms[has], seen.whole[has]
        mean, _ = surrogate.predict(rows)
        ours = np.isfinite(latency_ms)
        counts = ours & whole if (ours & whole).any() else ours
        if not counts.any():
            return None
        acquisition: Acquisition
        if context.mode == "score":
            acquisition = MeritImprovement(
                mean[counts], latency_ms[counts], context.useful_below, context.goal
            )
        else:
            acquisition = HypervolumeImprovement(
                mean[counts], latency_ms[counts], context.max_latency_ms, context.useful_below
            )
        # what looked good and what is believed to be good both have children
        standing = np.maximum(
            acquisition.standing(mean[ours], latency_ms[ours]),
            acquisition.standing(values[ours], latency_ms[ours]),
        )
        places = np.flatnonzero(has)[ours]
        named = {seen.architectures[place]: float(one) for place, one in zip(places, standing, strict=True)}
        self._believe_pending(seen.pending, rows, values, noise)
        return acquisition, named

    def _believe_pending(
        self, pending: Sequence[Architecture], rows: np.ndarray, values: np.ndarray, noise: np.ndarray
    ) -> None:
        """Take what trains elsewhere for as good as it is believed to be.

        (Ginsbourger, Le Riche and Carraro 2010 call it kriging believer.)
        """
        more, _ = self.candidates.features(pending)
        if len(more):
            guess, _ = self._surrogate.predict(more)
            self._surrogate.fit(
                np.vstack([rows, more]),
                np.concatenate([values, guess]),
                np.concatenate([noise, np.ones(len(more))]),
            )

    def _best(
        self,
        seen: Observations,
        acquisition: Acquisition,
        standing: dict[Architecture, float],
        rng: random.Random,
    ) -> Architecture | None:
        """The candidate of the highest gain that would be trained; None where there is none."""
        gains: dict[Candidate, float] = {}

        def rank(candidates: Sequence[Candidate]) -> None:
            new = [one for one in candidates if one.architecture not in seen.known]
            gains.update(self._shortlist(new, acquisition))

        rank(self._pool)
        rank(self.candidates.of(self._children(standing, rng)))
        climbers = sorted(gains, key=gains.__getitem__, reverse=True)[:_CLIMBERS]
        space = self.context.space
        rank(
            self.candidates.of(
                space.mutate(one.architecture, rng) for one in climbers for _ in range(_STEPS_OF_EACH)
            )
        )
        slowest_ms = np.inf
        for one in sorted(gains, key=gains.__getitem__, reverse=True):
            if one.latency_ms >= slowest_ms:
                continue
            if not self.context.too_slow(one.latency_ms):
                return one.architecture
            slowest_ms = one.latency_ms  # and so is whatever is slower
        return None

    def _shortlist(
        self, candidates: Sequence[Candidate], acquisition: Acquisition
    ) -> list[tuple[Candidate, float]]:
        if not candidates:
            return []
        mean, sd = self._surrogate.predict(np.array([one.features for one in candidates]))
        latency_ms = np.array([one.latency_ms for one in candidates])
        latency_sd = np.array([one.latency_sd for one in candidates])
        gains = acquisition.gain(mean, sd, latency_ms, latency_sd)
        order = np.argsort(-gains, kind="stable")[:_SHORTLIST]
        return [(candidates[place], float(gains[place])) for place in order]

    def _children(self, standing: dict[Architecture, float], rng: random.Random) -> Collection[Architecture]:
        """Mutants and crossings of the best, the better the more."""
        space = self.context.space
        ranked = sorted(standing, key=standing.__getitem__, reverse=True)
        # a measured latency, or another worker's space, may be of what cannot be proposed here
        parents = [one for one in ranked[: 2 * _PARENTS] if space.contains(one)][:_PARENTS]
        children: dict[Architecture, None] = {}
        for _ in range(_CHILDREN if parents else 0):
            parent = parents[min(int(rng.expovariate(_PARENT_DECAY)), len(parents) - 1)]
            if len(parents) > 1 and rng.random() < _CROSSED_SHARE:
                children[space.cross(parent, rng.choice(parents), rng)] = None
            else:
                children[space.mutate(parent, rng, 1 + min(int(rng.expovariate(1.0)), 4))] = None
        return children


def columns_of(*wanted: str) -> list[int]:
    """Columns of some groups of features."""
    return [column for name in wanted for column in groups()[name]]
