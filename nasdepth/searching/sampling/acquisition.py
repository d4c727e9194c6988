"""Acquisition: how much a training of each candidate may be expected to win, its latency being known."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import numpy as np
from scipy.special import log_ndtr, ndtr

from nasdepth.score import SI_RMSE_EXPONENT
from nasdepth.searching.goals import SCORE, Goal

_LOG_SQRT_2_PI = 0.5 * math.log(2 * math.pi)
# In standard deviations below the best: where one form loses its digits, the next has them
_FAR, _VERY_FAR = -5.0, -30.0
# A candidate that is of no use stands this many octaves below the others
_USELESS_OCTAVES = 100.0
# The hypervolume is bounded this far beyond the worst of what is believed, in its unit
_MARGIN_OCTAVES = 0.5


class Acquisition(ABC):
    """Ranks candidates by what their training may be expected to win."""

    @abstractmethod
    def gain(
        self, mean: np.ndarray, sd: np.ndarray, latency_ms: np.ndarray, latency_sd: np.ndarray
    ) -> np.ndarray:
        """The larger the better; all arrays are (candidates,).

        Args:
            mean, sd: of si-RMSE, as a surrogate believes it.
            latency_ms, latency_sd: the estimate, and the standard deviation of its log2.
        """

    @abstractmethod
    def standing(self, si_rmse: np.ndarray, latency_ms: np.ndarray) -> np.ndarray:
        """How good candidates of a believed si-RMSE are; the larger the better."""


class MeritImprovement(Acquisition):
    """The logarithm of the expected improvement of a goal's merit, such as log2 of the challenge's score.

    Expected improvement is of Jones, Schonlau and Welch 1998, "Efficient Global Optimization of Expensive
    Black-Box Functions". The merit's latency term is the estimate; only si-RMSE and what the estimate is
    unsure by are uncertain. An improvement counts as far as the candidate is expected to be of use (Gardner
    et al. 2014, "Bayesian Optimization with Inequality Constraints"): the score alone would take the fastest
    network, even one that has learnt nothing.

    Args:
        si_rmse, latency_ms: (trained candidates,) believed si-RMSE, and latency; the best useful one is to
            beat, or any where none is useful.
        useful_below: si-RMSE from which a candidate is of no use.
        goal: whose merit.
    """

    def __init__(
        self,
        si_rmse: np.ndarray,
        latency_ms: np.ndarray,
        useful_below: float = math.inf,
        goal: Goal = SCORE,
    ) -> None:
        self._useful_below, self._goal = useful_below, goal
        useful = si_rmse < useful_below
        scores = goal.merit(si_rmse, latency_ms)
        self._best = float(scores[useful].max() if useful.any() else scores.min())

    def gain(
        self, mean: np.ndarray, sd: np.ndarray, latency_ms: np.ndarray, latency_sd: np.ndarray
    ) -> np.ndarray:
        spread = np.hypot(self._goal.exponent * sd, self._goal.octaves_sd(latency_ms, latency_sd))
        gain = log_expected_excess(self._goal.merit(mean, latency_ms) - self._best, spread)
        return gain + log_ndtr((self._useful_below - mean) / sd)

    def standing(self, si_rmse: np.ndarray, latency_ms: np.ndarray) -> np.ndarray:
        useless = si_rmse >= self._useful_below
        return self._goal.merit(si_rmse, latency_ms) - _USELESS_OCTAVES * useless


class HypervolumeImprovement(Acquisition):
    """The expected growth of the area that is dominated in (si-RMSE, log2 ms).

    With the latency known, the area that a candidate adds is an integral over the latencies above its own, of
    how far its si-RMSE lies below the front's there. The front is a staircase, so the expectation is a sum of
    one expected excess for each step (compare Emmerich et al. 2006, where both objectives are uncertain).

    Args:
        si_rmse, latency_ms: (trained candidates,) believed si-RMSE, and latency.
        max_latency_ms: where the area ends; half an octave above the slowest trained candidate by default.
        useful_below: si-RMSE where the area ends.
    """

    def __init__(
        self,
        si_rmse: np.ndarray,
        latency_ms: np.ndarray,
        max_latency_ms: float | None = None,
        useful_below: float = math.inf,
    ) -> None:
        octaves = np.log2(latency_ms)
        end = float(octaves.max()) + _MARGIN_OCTAVES if max_latency_ms is None else np.log2(max_latency_ms)
        order = np.lexsort((si_rmse, octaves))
        lowest = np.minimum.accumulate(si_rmse[order])
        self._starts = np.concatenate([[-np.inf], octaves[order]])
        self._ends = np.concatenate([octaves[order], [max(end, float(octaves.max()))]])
        # faster than all that is trained, anything counts down from the worst
        worst = float(si_rmse.max()) + _MARGIN_OCTAVES / SI_RMSE_EXPONENT
        self._levels = np.minimum(np.concatenate([[worst], lowest]), useful_below)

    def gain(
        self, mean: np.ndarray, sd: np.ndarray, latency_ms: np.ndarray, latency_sd: np.ndarray
    ) -> np.ndarray:
        own = np.log2(latency_ms)[:, None]
        widths = np.clip(self._ends - np.maximum(self._starts, own), 0.0, None)
        excess = expected_excess(self._levels - mean[:, None], sd[:, None])
        return (widths * excess).sum(axis=1)

    def standing(self, si_rmse: np.ndarray, latency_ms: np.ndarray) -> np.ndarray:
        step = np.searchsorted(self._starts, np.log2(latency_ms), side="right") - 1
        return self._levels[step] - si_rmse


def expected_excess(mean: np.ndarray, sd: np.ndarray) -> np.ndarray:
    """E[max(x, 0)] of normal variables."""
    z = mean / sd
    return sd * (z * ndtr(z) + np.exp(-0.5 * z**2 - _LOG_SQRT_2_PI))


def log_expected_excess(mean: np.ndarray, sd: np.ndarray) -> np.ndarray:
    """log E[max(x, 0)] of normal variables, exact also where the expectation underflows."""
    z = np.asarray(mean / sd, dtype=float)
    near = np.maximum(z, _FAR)
    exact = np.log(near * ndtr(near) + np.exp(-0.5 * near**2 - _LOG_SQRT_2_PI))
    # density * (1 - |z| * Mills' ratio)
    far = np.clip(z, _VERY_FAR, _FAR)
    log_density = -0.5 * far**2 - _LOG_SQRT_2_PI
    tail = log_density + np.log1p(far * np.exp(log_ndtr(far) - log_density))
    # the same by the ratio's series
    last = np.minimum(z, _VERY_FAR)
    series = -0.5 * last**2 - _LOG_SQRT_2_PI - 2 * np.log(-last) + np.log1p(-3 / last**2)
    return np.log(sd) + np.select([z > _FAR, z > _VERY_FAR], [exact, tail], series)
