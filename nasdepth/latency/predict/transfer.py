"""What tables of other processors say about kernels on a new device, corrected by what was measured there.

The logarithm of a kernel's time on the new device is modelled as a Gaussian process around the mean of its
logarithms on known devices. The correction has a constant for each operation, one for each kind of kernel,
terms that grow with the kernel's size and with what the known devices disagree about, and a smooth remainder.
How large each of them may be is not set by hand: the marginal likelihood of the measured kernels decides for
each operation (Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006, equation 2.30).
LitePred (MobiCom 2023) and HELP (NeurIPS 2021) start predictors of new devices from those of known ones, too.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy.linalg import cho_solve, cholesky, solve_triangular
from threadpoolctl import threadpool_limits

from nasdepth.errors import UnknownKernelError
from nasdepth.kernels.kernel import Kernel
from nasdepth.latency.predict.predictor import Predictor
from nasdepth.latency.predict.table_predictor import TablePredictor

# Standard deviations of logarithms before anything is measured: of a whole device's speed that is not known,
# of an operation's, and of a kind's
_DEVICE_SD, _OPERATION_SD = 2.0, 0.4
# What the marginal likelihood chooses from: a kind's constant, slopes, the smooth remainder and its length in
# octaves, and what no neighbour tells
_KIND_SDS, _SLOPE_SDS, _SMOOTH_SDS = (0.1, 0.3), (0.02, 0.1), (0.1, 0.3)
_OCTAVES, _OWN_SDS = (1.5, 4.0), (0.02, 0.05, 0.1, 0.2)
_USUAL = (0.3, 0.1, 0.3, 4.0, 0.08)
# A choice among these takes so many kernels, and the correction of an operation at most so many: what is
# smooth is known by then
_ENOUGH_TO_CHOOSE, _MOST_TO_CHOOSE, _MOST_TO_LEARN = 12, 250, 1200
_AT_ONCE = 4000


@dataclass(frozen=True, slots=True)
class Belief:
    """What is believed of n kernels' times; a log-normal distribution of each.

    Attributes:
        latency_ms: (n,) float64; median. NaN where no source knows the kernel.
        relative_sd: (n,) float64; standard deviation of the logarithm.
    """

    latency_ms: np.ndarray
    relative_sd: np.ndarray


class Sources:
    """Predictors of other devices, asked for kernels by themselves.

    Args:
        predictors: by the name of their table or pack.
    """

    def __init__(self, predictors: Mapping[str, Predictor]) -> None:
        self._predictors = dict(predictors)
        self._known: dict[Kernel, np.ndarray] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """Of the tables and packs."""
        return tuple(self._predictors)

    @property
    def kernels(self) -> list[Kernel]:
        """All that any of the tables measured."""
        found: dict[Kernel, None] = {}
        for predictor in self._predictors.values():
            if isinstance(predictor, TablePredictor):
                found.update(dict.fromkeys(predictor.table.timings))
        return list(found)

    def log_ms(self, kernels: Sequence[Kernel]) -> np.ndarray:
        """(kernels, sources) float64 logarithms of ms; NaN where a source has no answer."""
        new = list(dict.fromkeys(kernel for kernel in kernels if kernel not in self._known))
        if new:
            columns = [_log_ms(predictor, new) for predictor in self._predictors.values()]
            self._known.update(zip(new, np.column_stack(columns), strict=True))
        return np.array([self._known[kernel] for kernel in kernels]).reshape(len(kernels), len(self.names))


def _log_ms(predictor: Predictor, kernels: Sequence[Kernel]) -> np.ndarray:
    answers = np.full(len(kernels), np.nan)
    if isinstance(predictor, TablePredictor):
        known = [index for index, kernel in enumerate(kernels) if predictor.knows(kernel)]
        answers[known] = [math.log(ms) for ms, _ in predictor.uncertainty([kernels[one] for one in known])]
        return answers
    for index, kernel in enumerate(kernels):
        try:
            ((_, latency_ms, _),) = predictor.estimate([kernel]).kernels
        except UnknownKernelError:
            continue
        if latency_ms > 0:
            answers[index] = math.log(latency_ms)
    return answers


class Transfer:
    """Times of kernels on a new device: those of known devices, corrected by what was measured on it.

    Args:
        sources: known devices.
        measured_ms: kernels measured on the new device and their times; may be empty.
    """

    def __init__(self, sources: Sources, measured_ms: Mapping[Kernel, float]) -> None:
        self._sources = sources
        known = list(measured_ms)
        logs = sources.log_ms(known)
        times = np.log([measured_ms[kernel] for kernel in known])
        has = ~np.isnan(logs).all(1) if known else np.zeros(0, bool)
        off = times[has] - np.nanmean(logs[has], 1) if has.any() else np.zeros(0)
        self._shift = float(np.median(off)) if len(off) else 0.0
        self._spread = _OPERATION_SD if len(off) else _DEVICE_SD
        by_op: dict[str, list[int]] = defaultdict(list)
        for index in np.flatnonzero(has):
            by_op[_operation(known[index])].append(int(index))
        self._corrections: dict[str, _Correction] = {}
        with threadpool_limits(1, user_api="blas"):
            for operation, rows in by_op.items():
                # evenly over the order of measurement, in which what matters comes first
                some = [
                    rows[one]
                    for one in np.linspace(0, len(rows) - 1, min(len(rows), _MOST_TO_LEARN)).astype(int)
                ]
                self._corrections[operation] = _Correction(
                    [known[one] for one in some], logs[some], times[some] - self._shift
                )

    def believe(self, kernels: Sequence[Kernel]) -> Belief:
        """What is believed of kernels, measured or not."""
        logs = self._sources.log_ms(kernels)
        mean = np.full(len(kernels), np.nan)
        sd = np.full(len(kernels), np.nan)
        by_op: dict[str, list[int]] = defaultdict(list)
        for index in np.flatnonzero(~np.isnan(logs).all(1)):
            by_op[_operation(kernels[index])].append(int(index))
        with threadpool_limits(1, user_api="blas"):
            for operation, rows in by_op.items():
                correction = self._corrections.get(operation)
                for first in range(0, len(rows), _AT_ONCE):
                    some = rows[first : first + _AT_ONCE]
                    if correction is None:
                        mean[some] = np.nanmean(logs[some], 1) + self._shift
                        sd[some] = self._spread
                    else:
                        mean[some], sd[some] = correction.of([kernels[one] for one in some], logs[some])
                        mean[some] += self._shift
        return Belief(np.exp(mean), sd)


def _operation(kernel: Kernel) -> str:
    return f"{kernel.op} {kernel.precision}"


class _Correction:
    """The Gaussian process of one operation.

    Args:
        kernels: n measured ones.
        logs: (n, sources) logarithms of their times on known devices.
        times: (n,) logarithms of their times on the new one, less the shift of all operations.
    """

    def __init__(self, kernels: Sequence[Kernel], logs: np.ndarray, times: np.ndarray) -> None:
        self._inputs = _inputs(kernels, logs)
        residuals = times - self._inputs.mean
        count = len(kernels)
        self._scales = _USUAL
        if count >= _ENOUGH_TO_CHOOSE:
            some = np.linspace(0, count - 1, min(count, _MOST_TO_CHOOSE)).astype(int)
            subset = self._inputs.part(some)
            parts = _Parts(subset, subset)
            choices = product(_KIND_SDS, _SLOPE_SDS, _SMOOTH_SDS, _OCTAVES, _OWN_SDS)
            self._scales = max(choices, key=lambda one: _likelihood(parts, residuals[some], one))
        covariance = _Parts(self._inputs, self._inputs).covariance(self._scales)
        covariance[np.diag_indices(count)] += self._scales[-1] ** 2
        self._lower = cholesky(covariance, lower=True)
        self._weights = cho_solve((self._lower, True), residuals)

    def of(self, kernels: Sequence[Kernel], logs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of kernels' logarithms."""
        asked = _inputs(kernels, logs)
        parts = _Parts(asked, self._inputs)
        cross = parts.covariance(self._scales)
        seen = solve_triangular(self._lower, cross.T, lower=True)
        prior = asked.variance(self._scales)
        variance = np.maximum(prior - (seen**2).sum(0), 0) + self._scales[-1] ** 2
        return asked.mean + cross @ self._weights, np.sqrt(variance)


@dataclass(frozen=True)
class _Inputs:
    """What a correction depends on: (n, d) sizes in octaves, the sources' disagreement, kinds, prior mean."""

    sizes: np.ndarray
    disagreement: np.ndarray
    kinds: np.ndarray
    mean: np.ndarray

    def part(self, rows: np.ndarray) -> _Inputs:
        return _Inputs(self.sizes[rows], self.disagreement[rows], self.kinds[rows], self.mean[rows])

    def variance(self, scales: tuple[float, ...]) -> np.ndarray:
        kind, slope, smooth, _, _ = scales
        slopes = slope**2 * (self.sizes**2).sum(1) + (self.disagreement**2).sum(1)
        return _OPERATION_SD**2 + kind**2 + slopes + 2 * smooth**2


class _Parts:
    """Parts of a covariance that do not depend on the scales."""

    def __init__(self, first: _Inputs, second: _Inputs) -> None:
        self._same_kind = first.kinds[:, None] == second.kinds
        self._slopes = first.sizes @ second.sizes.T
        self._disagreements = first.disagreement @ second.disagreement.T
        squares = (first.sizes**2).sum(1)[:, None] + (second.sizes**2).sum(1) - 2 * self._slopes
        self._distances = np.maximum(squares, 0)

    def covariance(self, scales: tuple[float, ...]) -> np.ndarray:
        kind, slope, smooth, octaves, _ = scales
        near = smooth**2 * np.exp(-self._distances / (2 * octaves**2))
        return (
            _OPERATION_SD**2
            + slope**2 * self._slopes
            + self._disagreements
            + near
            + self._same_kind * (kind**2 + near)
        )


def _inputs(kernels: Sequence[Kernel], logs: np.ndarray) -> _Inputs:
    mean = np.nanmean(logs, 1)
    disagreement = np.nan_to_num(logs - mean[:, None])
    sizes = np.log2(
        [
            (
                1 + one.macs,
                1 + one.in_bytes,
                1 + one.out_bytes,
                1 + one.weight_bytes,
                one.in_channels,
                one.out_channels,
                one.out_pixels,
            )
            for one in kernels
        ]
    ).reshape(len(kernels), -1)
    # about the middle of what kernels are, so that a slope does not act as another constant
    middle = np.array([20, 17, 17, 12, 6, 6, 11])
    return _Inputs(
        (sizes - middle) / math.sqrt(7), disagreement, np.array([one.kind for one in kernels]), mean
    )


def _likelihood(parts: _Parts, residuals: np.ndarray, scales: tuple[float, ...]) -> float:
    covariance = parts.covariance(scales)
    covariance[np.diag_indices(len(residuals))] += scales[-1] ** 2
    lower = cholesky(covariance, lower=True)
    explained = solve_triangular(lower, residuals, lower=True)
    return float(-0.5 * (explained**2).sum() - np.log(np.diag(lower)).sum())
