"""From measured networks to coefficients: Bayesian regression that cannot go negative.

The logarithm of every coefficient has a normal prior, and a network's time is known within a relative
error: minimise the sum of (log(predicted / measured) / noise)^2 plus the prior's own squares (maximum a
posteriori), with the posterior's covariance from the curvature there (Laplace). So coefficients stay above
0, an error of 3 % of 2 ms weighs as much as one of 3 % of 300 ms, and a term that no network has keeps its
prior.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from scipy.optimize import least_squares
from scipy.sparse import csr_array

from nasdepth.kernels.kernel import Kernel
from nasdepth.packs.physical.coefficients import Belief
from nasdepth.packs.physical.terms import TERMS, Term

_NOISE_ROUNDS = 3
# Less than what one device varies from run to run would be luck
_LEAST_NOISE = 0.01


@lru_cache(maxsize=262144)
def kernel_amounts(kernel: Kernel, terms: tuple[str, ...]) -> np.ndarray:
    """(n,) float64: how much of every term one kernel has; 0 for terms of networks."""
    amounts = np.zeros(len(terms))
    for index, one in _terms_of(kernel.op, terms):
        amounts[index] = one.of(kernel)
    return amounts


@lru_cache(maxsize=1024)
def _terms_of(op: str, terms: tuple[str, ...]) -> list[tuple[int, Term]]:
    return [(index, TERMS[name]) for index, name in enumerate(terms) if op in TERMS[name].ops]


def network_amounts(kernels: Sequence[Kernel], terms: tuple[str, ...], runtime: str) -> np.ndarray:
    """(n,) float64: how much of every term a network has beside its kernels."""
    return np.array(
        [one.of_network(kernels, runtime) if (one := TERMS[name]).of_network else 0.0 for name in terms]
    )


@dataclass(frozen=True)
class Observations:
    """N measured networks in terms.

    Attributes:
        kernels: (u, n) float64, amounts of the u kernels that differ.
        floors_ms: (u,) what each of them takes at the roofline.
        counts: (N, u) sparse, how often each network has each kernel.
        rest: (N, n) amounts of the networks beside their kernels.
        latency_ms: (N,) measured.
        setting_sd: (N,) relative sd by which the setting of each may differ from that of the others.
    """

    kernels: np.ndarray
    floors_ms: np.ndarray
    counts: csr_array
    rest: np.ndarray
    latency_ms: np.ndarray
    setting_sd: np.ndarray

    @classmethod
    def of(
        cls,
        networks: Sequence[Sequence[Kernel]],
        latency_ms: Sequence[float],
        belief: Belief,
        runtime: str,
        setting_sd: Sequence[float] = (),
    ) -> Observations:
        """From the kernels, in order, and the times of at least one network."""
        numbers: dict[Kernel, int] = {}
        rows, columns = [], []
        for row, kernels in enumerate(networks):
            rows += [row] * len(kernels)
            columns += [numbers.setdefault(kernel, len(numbers)) for kernel in kernels]
        shape = (len(networks), len(numbers))
        return cls(
            np.array([kernel_amounts(kernel, belief.terms) for kernel in numbers]),
            np.array([belief.roofline.ms(kernel) for kernel in numbers]),
            csr_array((np.ones(len(rows)), (rows, columns)), shape),
            np.stack([network_amounts(kernels, belief.terms, runtime) for kernels in networks]),
            np.array(latency_ms, np.float64),
            np.array(setting_sd or [0.0] * len(networks)),
        )

    def __len__(self) -> int:
        return len(self.latency_ms)

    def chosen(self, indices: Sequence[int]) -> Observations:
        """Some of the networks, in that order."""
        rows = np.asarray(indices, int)
        counts = self.counts[rows]
        used = np.unique(counts.indices)
        return Observations(
            self.kernels[used],
            self.floors_ms[used],
            csr_array(counts[:, used]),
            self.rest[rows],
            self.latency_ms[rows],
            self.setting_sd[rows],
        )

    def times(self, logs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(N,) ms and (N, n) derivatives by the logarithms of coefficients."""
        return _Times(self).at(logs)


class _Times:
    """Times as a function of log coefficients; keeps what the next point is likely to need."""

    def __init__(self, observations: Observations) -> None:
        self.observations = observations
        self.last: tuple[np.ndarray, tuple[np.ndarray, np.ndarray]] | None = None
        self.free: tuple[np.ndarray, np.ndarray] | None = None

    def at(self, logs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See `Observations.times`."""
        if self.last is None or not np.array_equal(self.last[0], logs):
            self.last = logs.copy(), self._computed(logs)
        return self.last[1]

    def _computed(self, logs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        seen, values = self.observations, np.exp(logs)
        sums = seen.kernels @ values
        times = seen.counts @ np.maximum(sums, seen.floors_ms) + seen.rest @ values
        return times, self._amounts(sums >= seen.floors_ms) * values

    def _amounts(self, free: np.ndarray) -> np.ndarray:
        """(N, n) of the networks' terms; kernels at the roofline have none, no coefficient matters there."""
        if self.free is None or not np.array_equal(self.free[0], free):
            seen = self.observations
            self.free = free, seen.counts @ (seen.kernels * free[:, None]) + seen.rest
        return self.free[1]


def fit(observations: Observations, belief: Belief, near: Belief | None = None) -> Belief:
    """The belief after seeing observations; `novelty_sd` and `sd_factor` are left as they were.

    Args:
        observations: of at least one network.
        belief: before.
        near: where the search for the most probable coefficients begins; `belief` by default. The answer to a
            similar question makes it several times shorter.
    """
    precision = np.linalg.inv(belief.covariance)
    root = np.linalg.cholesky(precision).T
    log_ms = np.log(observations.latency_ms)
    times_of = _Times(observations)
    near = near or belief
    logs, noise = near.mean, near.noise
    for _ in range(_NOISE_ROUNDS):
        sd = np.hypot(noise, observations.setting_sd)

        def residuals(logs: np.ndarray, sd: np.ndarray = sd) -> np.ndarray:
            errors = np.log(times_of.at(logs)[0]) - log_ms
            return np.concatenate([errors / sd, root @ (logs - belief.mean)])

        def jacobian(logs: np.ndarray, sd: np.ndarray = sd) -> np.ndarray:
            times, slopes = times_of.at(logs)
            return np.concatenate([slopes / (times * sd)[:, None], root])

        logs = least_squares(residuals, logs, jacobian, method="lm", xtol=1e-6, ftol=1e-8).x
        slopes = jacobian(logs)
        covariance = np.linalg.inv(slopes.T @ slopes)
        # each network counts as far as its setting is that of the others
        weights = (noise / sd) ** 2
        rows = slopes[: len(observations)]
        explained = float(weights @ np.einsum("ij,jk,ik->i", rows, covariance, rows))
        errors = np.log(times_of.at(logs)[0]) - log_ms
        squares = belief.noise_count * belief.noise**2 + float(weights @ errors**2)
        count = belief.noise_count + weights.sum() - explained
        noise = max((squares / count) ** 0.5, _LEAST_NOISE)
    return replace(
        belief,
        mean=logs,
        covariance=covariance,
        noise=noise,
        noise_count=belief.noise_count + len(observations),
        anchored=belief.anchored | _informed(belief, covariance),
        shares=_ranges(belief, times_of.at(logs)[1]),
    )


@dataclass(frozen=True, slots=True)
class Prediction:
    """A network's time in ms; its relative sd within what was measured; how far it lies beyond, 0 to 1."""

    latency_ms: float
    inner_sd: float
    novelty: float

    def relative_sd(self, belief: Belief) -> float:
        """Of both, as the interval needs it."""
        beyond = belief.novelty_sd * self.novelty
        return belief.sd_factor * (self.inner_sd**2 + beyond**2) ** 0.5


def predict(observations: Observations, belief: Belief) -> list[Prediction]:
    """The times of networks; what was measured of them is not used."""
    answers = []
    for time_ms, slopes in zip(*observations.times(belief.mean), strict=True):
        relative = slopes / time_ms
        own = float(relative @ belief.covariance @ relative)
        novelty = belief.novelty(slopes / slopes.sum())
        answers.append(Prediction(float(time_ms), (own + belief.noise**2) ** 0.5, novelty))
    return answers


def _informed(belief: Belief, covariance: np.ndarray) -> frozenset[str]:
    after = replace(belief, covariance=covariance)
    parts = np.eye(len(belief.terms))
    return frozenset(name for name, one in zip(belief.terms, parts, strict=True) if after.informed(one))


def _ranges(belief: Belief, slopes: np.ndarray) -> dict[str, tuple[float, float]]:
    shares = slopes / slopes.sum(1, keepdims=True)
    low, high = shares.min(0), shares.max(0)
    ranges = {}
    for index, name in enumerate(belief.terms):
        before = belief.shares.get(name, (low[index], high[index]))
        ranges[name] = (min(before[0], float(low[index])), max(before[1], float(high[index])))
    return ranges
