"""From measured networks to coefficients: Bayesian regression that cannot go negative.

The logarithm of every coefficient has a normal prior, and a network's time is known within a relative error:
minimise sum of (log(predicted / measured) / noise)^2 plus the prior's own squares (maximum a posteriori), with
the posterior's covariance from the curvature there (Laplace). So coefficients stay above 0, an error of 3 % of
2 ms weighs as much as one of 3 % of 300 ms, and a term that no network has keeps its prior.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from scipy.linalg import solve_triangular
from scipy.optimize import least_squares

from nasdepth.latency.kernels import Kernel
from nasdepth.packs.belief import Belief
from nasdepth.packs.terms import TERMS

_NOISE_ROUNDS = 3
# Less than what one device varies from run to run would be luck
_LEAST_NOISE = 0.01
_IN_ANCHORS = 2


@lru_cache(maxsize=262144)
def kernel_amounts(kernel: Kernel, terms: tuple[str, ...]) -> np.ndarray:
    """(n,) float64: how much of every term one kernel has; 0 for terms of networks."""
    return np.array([one.amount(kernel) if (one := TERMS[name]).amount else 0.0 for name in terms])


def network_amounts(kernels: Sequence[Kernel], terms: tuple[str, ...], runtime: str) -> np.ndarray:
    """(n,) float64: how much of every term a network has beside its kernels."""
    return np.array(
        [one.of_network(kernels, runtime) if (one := TERMS[name]).of_network else 0.0 for name in terms]
    )


@dataclass(frozen=True)
class Observation:
    """A measured network, or a single operation, in terms.

    Attributes:
        kernels: (k, n) amounts of its kernels.
        floors_ms: (k,) what each kernel takes at the roofline.
        rest: (n,) amounts of the network beside its kernels; zeros for a single operation.
        latency_ms: measured.
        whole: False for a single operation.
    """

    kernels: np.ndarray
    floors_ms: np.ndarray
    rest: np.ndarray
    latency_ms: float
    whole: bool = True

    @classmethod
    def of(
        cls, kernels: Sequence[Kernel], latency_ms: float, belief: Belief, runtime: str, whole: bool = True
    ) -> Observation:
        terms = belief.terms
        rest = network_amounts(kernels, terms, runtime) if whole else np.zeros(len(terms))
        return cls(
            np.array([kernel_amounts(kernel, terms) for kernel in kernels]).reshape(-1, len(terms)),
            np.array([belief.roofline.ms(kernel) for kernel in kernels]),
            rest,
            latency_ms,
            whole,
        )


class _Stack:
    """Observations as arrays, and their times as a function of log coefficients and the end-to-end ratio."""

    def __init__(self, observations: Sequence[Observation]) -> None:
        self.kernels = np.concatenate([one.kernels for one in observations])
        self.floors = np.concatenate([one.floors_ms for one in observations])
        self.rest = np.stack([one.rest for one in observations])
        self.starts = np.cumsum([0, *(len(one.floors_ms) for one in observations)])[:-1]
        self.whole = np.array([one.whole for one in observations])
        self.log_ms = np.log([one.latency_ms for one in observations])

    def times(self, logs: np.ndarray, ratio: float) -> tuple[np.ndarray, np.ndarray]:
        """(N,) ms and (N, n + 1) derivatives of their logarithms."""
        values = np.exp(logs)
        parts = self.kernels * values
        sums = parts.sum(1)
        held = sums < self.floors
        parts[held] = 0.0
        by_network = np.add.reduceat(parts, self.starts, axis=0)
        total = np.add.reduceat(np.maximum(sums, self.floors), self.starts)
        scale = np.where(self.whole, np.exp(ratio), 1.0)
        rest = self.rest * values
        times = scale * total + rest.sum(1)
        slopes = np.column_stack([scale[:, None] * by_network + rest, np.where(self.whole, scale * total, 0)])
        return times, slopes / times[:, None]


def fit(observations: Sequence[Observation], belief: Belief) -> Belief:
    """The belief after seeing observations; `novelty_sd` and `sd_factor` are left as they were."""
    stack = _Stack(observations)
    count = len(belief.terms)
    free = belief.end_to_end_sd > 0
    precision = _precision(belief, free)
    root = np.linalg.cholesky(precision).T
    centre = np.append(belief.mean, belief.end_to_end) if free else belief.mean
    start, noise = centre, {True: belief.noise, False: belief.noise}

    def split(parameters: np.ndarray) -> tuple[np.ndarray, float]:
        return (parameters[:count], parameters[count]) if free else (parameters, belief.end_to_end)

    for _ in range(_NOISE_ROUNDS):
        sd = np.where(stack.whole, noise[True], noise[False])

        def residuals(parameters: np.ndarray, sd: np.ndarray = sd) -> np.ndarray:
            times, _ = stack.times(*split(parameters))
            return np.concatenate([(np.log(times) - stack.log_ms) / sd, root @ (parameters - centre)])

        def jacobian(parameters: np.ndarray, sd: np.ndarray = sd) -> np.ndarray:
            _, slopes = stack.times(*split(parameters))
            return np.concatenate([slopes[:, : len(parameters)] / sd[:, None], root])

        start = least_squares(residuals, start, jacobian, method="lm", xtol=1e-6, ftol=1e-8).x
        curvature = jacobian(start).T @ jacobian(start)
        covariance = np.linalg.inv(curvature)
        errors = np.log(stack.times(*split(start))[0]) - stack.log_ms
        slopes = stack.times(*split(start))[1][:, : len(start)] / sd[:, None]
        leverage = np.einsum("ij,jk,ik->i", slopes, covariance, slopes)
        for whole in (True, False):
            chosen = stack.whole == whole
            left = belief.noise_count + max(float((1 - leverage[chosen]).sum()), 0.0)
            squares = belief.noise_count * belief.noise**2 + float((errors[chosen] ** 2).sum())
            noise[whole] = max((squares / left) ** 0.5, _LEAST_NOISE)
    logs, ratio = split(start)
    wholes = [one for one in observations if one.whole] or list(observations)
    shares = np.array([shares_of(one, logs, ratio) for one in wholes])
    return replace(
        belief,
        mean=logs,
        covariance=covariance[:count, :count],
        end_to_end=float(ratio),
        end_to_end_sd=float(covariance[-1, -1] ** 0.5) if free else 0.0,
        noise=noise[True],
        noise_count=belief.noise_count + len(wholes),
        anchored=belief.anchored | _anchored(observations, belief.terms),
        shares=_ranges(belief, shares),
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
    times, slopes = _Stack([observation]).times(belief.mean, belief.end_to_end)
    slope = slopes[0]
    own = slope[:-1] @ belief.covariance @ slope[:-1] + (slope[-1] * belief.end_to_end_sd) ** 2
    novelty = belief.novelty(shares_of(observation, belief.mean, belief.end_to_end))
    return Prediction(float(times[0]), float((own + belief.noise**2) ** 0.5), novelty)


def shares_of(observation: Observation, logs: np.ndarray, ratio: float) -> np.ndarray:
    """(n,) shares of a network's time, by term."""
    scale = np.exp(ratio) if observation.whole else 1.0
    parts = (scale * observation.kernels.sum(0) + observation.rest) * np.exp(logs)
    return parts / parts.sum()


def _precision(belief: Belief, free: bool) -> np.ndarray:
    count = len(belief.terms) + free
    covariance = np.zeros((count, count))
    covariance[: len(belief.terms), : len(belief.terms)] = belief.covariance
    if free:
        covariance[-1, -1] = belief.end_to_end_sd**2
    root = np.linalg.cholesky(covariance)
    inverse = solve_triangular(root, np.eye(count), lower=True)
    return inverse.T @ inverse


def _anchored(observations: Sequence[Observation], terms: tuple[str, ...]) -> frozenset[str]:
    has = np.array([(one.kernels.sum(0) + one.rest) > 0 for one in observations]).sum(0)
    return frozenset(name for name, count in zip(terms, has, strict=True) if count >= _IN_ANCHORS)


def _ranges(belief: Belief, shares: np.ndarray) -> dict[str, tuple[float, float]]:
    low, high = shares.min(0), shares.max(0)
    ranges = {}
    for index, name in enumerate(belief.terms):
        before = belief.shares.get(name, (low[index], high[index]))
        ranges[name] = (min(before[0], float(low[index])), max(before[1], float(high[index])))
    return ranges
