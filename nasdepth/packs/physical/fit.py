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

from nasdepth.kernels.kernel import Kernel
from nasdepth.packs.physical.coefficients import Belief
from nasdepth.packs.physical.terms import TERMS, Term

_NOISE_ROUNDS = 3
# Less than what one device varies from run to run would be luck
_LEAST_NOISE = 0.01
_IN_ANCHORS = 2


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
class Observation:
    """A measured network in terms.

    Attributes:
        kernels: (k, n) amounts of its kernels.
        floors_ms: (k,) what each kernel takes at the roofline.
        rest: (n,) amounts of the network beside its kernels.
        latency_ms: measured.
    """

    kernels: np.ndarray
    floors_ms: np.ndarray
    rest: np.ndarray
    latency_ms: float

    @classmethod
    def of(cls, kernels: Sequence[Kernel], latency_ms: float, belief: Belief, runtime: str) -> Observation:
        terms = belief.terms
        return cls(
            np.array([kernel_amounts(kernel, terms) for kernel in kernels]).reshape(-1, len(terms)),
            np.array([belief.roofline.ms(kernel) for kernel in kernels]),
            network_amounts(kernels, terms, runtime),
            latency_ms,
        )


class _Stack:
    """Observations as arrays, and their times as a function of log coefficients."""

    def __init__(self, observations: Sequence[Observation]) -> None:
        self.kernels = np.concatenate([one.kernels for one in observations])
        self.floors = np.concatenate([one.floors_ms for one in observations])
        self.rest = np.stack([one.rest for one in observations])
        self.starts = np.cumsum([0, *(len(one.floors_ms) for one in observations)])[:-1]
        self.log_ms = np.log([one.latency_ms for one in observations])

    def times(self, logs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(N,) ms and (N, n) derivatives of their logarithms."""
        values = np.exp(logs)
        parts = self.kernels * values
        sums = parts.sum(1)
        parts[sums < self.floors] = 0.0
        rest = self.rest * values
        times = np.add.reduceat(np.maximum(sums, self.floors), self.starts) + rest.sum(1)
        slopes = np.add.reduceat(parts, self.starts, axis=0) + rest
        return times, slopes / times[:, None]


def fit(observations: Sequence[Observation], belief: Belief) -> Belief:
    """The belief after seeing observations; `novelty_sd` and `sd_factor` are left as they were."""
    stack = _Stack(observations)
    precision = np.linalg.inv(belief.covariance)
    root = np.linalg.cholesky(precision).T
    logs, noise = belief.mean, belief.noise
    for _ in range(_NOISE_ROUNDS):

        def residuals(logs: np.ndarray, noise: float = noise) -> np.ndarray:
            errors = np.log(stack.times(logs)[0]) - stack.log_ms
            return np.concatenate([errors / noise, root @ (logs - belief.mean)])

        def jacobian(logs: np.ndarray, noise: float = noise) -> np.ndarray:
            return np.concatenate([stack.times(logs)[1] / noise, root])

        logs = least_squares(residuals, logs, jacobian, method="lm", xtol=1e-6, ftol=1e-8).x
        slopes = jacobian(logs)
        covariance = np.linalg.inv(slopes.T @ slopes)
        rows = slopes[: len(observations)]
        explained = float(np.einsum("ij,jk,ik->", rows, covariance, rows))
        errors = np.log(stack.times(logs)[0]) - stack.log_ms
        squares = belief.noise_count * belief.noise**2 + float(errors @ errors)
        noise = max((squares / (belief.noise_count + len(observations) - explained)) ** 0.5, _LEAST_NOISE)
    return replace(
        belief,
        mean=logs,
        covariance=covariance,
        noise=noise,
        noise_count=belief.noise_count + len(observations),
        anchored=belief.anchored | _anchored(observations, belief.terms),
        shares=_ranges(belief, stack.times(logs)[1]),
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


def predict(observation: Observation, belief: Belief) -> Prediction:
    """The time of a network; what was measured of it is not used."""
    times, slopes = _Stack([observation]).times(belief.mean)
    own = float(slopes[0] @ belief.covariance @ slopes[0])
    novelty = belief.novelty(slopes[0] / slopes[0].sum())
    return Prediction(float(times[0]), (own + belief.noise**2) ** 0.5, novelty)


def _anchored(observations: Sequence[Observation], terms: tuple[str, ...]) -> frozenset[str]:
    has = np.array([(one.kernels.sum(0) + one.rest) > 0 for one in observations]).sum(0)
    return frozenset(name for name, count in zip(terms, has, strict=True) if count >= _IN_ANCHORS)


def _ranges(belief: Belief, slopes: np.ndarray) -> dict[str, tuple[float, float]]:
    shares = slopes / slopes.sum(1, keepdims=True)
    low, high = shares.min(0), shares.max(0)
    ranges = {}
    for index, name in enumerate(belief.terms):
        before = belief.shares.get(name, (low[index], high[index]))
        ranges[name] = (min(before[0], float(low[index])), max(before[1], float(high[index])))
    return ranges
