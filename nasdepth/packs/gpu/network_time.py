"""From profiled kernels to networks on a GPU, and how far that is off.

A profiler runs kernels one by one; a network uploads an image, queues all kernels, waits and reads a result:

    latency = base + kernel_ms * kernels + sum over groups of factor * (sum of the group's kernels),

fitted in relative error, nothing negative, with a Gaussian prior that holds every factor near a common one.
Some of the error is a share of the latency and some is so many milliseconds whatever it is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import nnls

from nasdepth.latency.accuracy import SD_OF_INTERVAL_90, nine_in_ten
from nasdepth.latency.predict.card import with_five_digits
from nasdepth.packs.gpu.card import NetworkFit
from nasdepth.packs.gpu.operation_times import GROUPS

type Floats = Sequence[float] | np.ndarray

GROUP_NAMES = tuple(dict.fromkeys(GROUPS.values()))
# Kernels of one group err together by this share of their variance
_SHARED = 0.3
# Factors differ by about this much between groups
_FACTOR_SD = 0.15
_NOISE = 0.04
_FEWEST = 6
_SHARES = np.array([0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.07, 0.1, 0.15])
_ABSOLUTES = np.array([0, 0.005, 0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3])


@dataclass(frozen=True, slots=True)
class Sums:
    """A network's kernels as a profiler would show them.

    Attributes:
        row: (2 + groups,) float64: 1, number of kernels, ms by group in the order of `GROUP_NAMES`.
        variance: of the sum, in ms squared, from the forms' errors.
    """

    row: np.ndarray
    variance: float


def add_up(
    forms: Sequence[str], latencies_ms: Floats, sds_ms: Floats, known: Sequence[bool] | np.ndarray
) -> Sums:
    """Sum kernels by group; those of one form err partly together, those a prior answers for entirely."""
    totals, together = defaultdict[str, float](float), defaultdict[str, float](float)
    squares = guessed = 0.0
    for form, latency_ms, sd_ms, sure in zip(forms, latencies_ms, sds_ms, known, strict=True):
        totals[GROUPS[form]] += latency_ms
        if sure:
            squares += (1 - _SHARED) * sd_ms**2
            together[form] += sd_ms
        else:
            guessed += sd_ms
    row = np.array([1.0, len(forms), *(totals[group] for group in GROUP_NAMES)])
    return Sums(row, squares + _SHARED * sum(one**2 for one in together.values()) + guessed**2)


@dataclass(frozen=True, slots=True)
class Factors:
    """By group of forms."""

    values: dict[str, float]

    def of(self, form: str) -> float:
        """Of a form's group."""
        return self.values[GROUPS[form]]


@dataclass(frozen=True)
class NetworkModel:
    """The step from kernels to a network.

    Attributes:
        weights: (2 + groups,) float64: base_ms, kernel_ms, factors.
        covariance: of them.
        relative_sd, absolute_sd_ms, sd_factor: see `NetworkFit`.
        networks: how many it was fitted to.
    """

    weights: np.ndarray
    covariance: np.ndarray
    relative_sd: float = 0.05
    absolute_sd_ms: float = 0.0
    sd_factor: float = 1.0
    networks: int = 1

    @property
    def kernel_ms(self) -> float:
        """Of every kernel beside its own time."""
        return float(self.weights[1])

    @property
    def factors(self) -> Factors:
        """By group."""
        return Factors(dict(zip(GROUP_NAMES, map(float, self.weights[2:]), strict=True)))

    def predict(self, sums: Sums) -> tuple[float, float]:
        """(latency, standard deviation) in ms."""
        latency_ms = float(sums.row @ self.weights)
        return latency_ms, self.sd_factor * self.plain_sd(sums, latency_ms)

    def plain_sd(self, sums: Sums, latency_ms: float) -> float:
        """Standard deviation in ms before `sd_factor`."""
        own = float(sums.row @ self.covariance @ sums.row)
        rest = (self.relative_sd * latency_ms) ** 2 + self.absolute_sd_ms**2
        return (own + sums.variance + rest) ** 0.5

    def to_card(self) -> NetworkFit:
        """As a card has it, with five digits."""
        factors = {name: with_five_digits(value) for name, value in self.factors.values.items()}
        return NetworkFit(
            networks=self.networks,
            base_ms=with_five_digits(self.weights[0]),
            kernel_ms=with_five_digits(self.weights[1]),
            factors=factors,
            covariance=tuple(
                tuple(with_five_digits(value) for value in row[: index + 1])
                for index, row in enumerate(self.covariance)
            ),
            relative_sd=with_five_digits(self.relative_sd),
            absolute_sd_ms=with_five_digits(self.absolute_sd_ms),
            sd_factor=with_five_digits(self.sd_factor),
        )


def from_card(fit: NetworkFit) -> NetworkModel:
    """What `NetworkModel.to_card` wrote."""
    weights = [fit.base_ms, fit.kernel_ms, *(fit.factors[name] for name in GROUP_NAMES)]
    lower = np.zeros((len(weights), len(weights)))
    for index, row in enumerate(fit.covariance):
        lower[index, : len(row)] = row
    values, vectors = np.linalg.eigh(lower + np.tril(lower, -1).T)
    return NetworkModel(
        np.array(weights),
        (vectors * np.maximum(values, 0)) @ vectors.T,  # without what rounding made negative
        fit.relative_sd,
        fit.absolute_sd_ms,
        fit.sd_factor,
        fit.networks,
    )


def fit_network(
    networks: Sequence[Sums], latencies_ms: Sequence[float], families: Sequence[str] | None = None
) -> NetworkModel:
    """Fit to measured networks; the errors come from leaving them out, a family at a time.

    Args:
        networks: as a profiler would show them.
        latencies_ms: measured.
        families: what is left out together; every network by itself where that is None.

    Raises:
        ValueError: fewer than 6 networks.
    """
    if len(networks) < _FEWEST:
        raise ValueError(f"{len(networks)} networks; a step from kernels to networks needs {_FEWEST}")
    rows = np.stack([one.row for one in networks])
    latencies = np.asarray(latencies_ms, np.float64)
    spread = np.sqrt([one.variance for one in networks])
    guesses, own = np.empty(len(latencies)), np.empty(len(latencies))
    labels = np.array(families or range(len(latencies)))
    # one family alone would leave nothing to fit to
    labels = labels if len(set(labels.tolist())) > 1 else np.arange(len(latencies))
    for label in set(labels.tolist()):
        out = labels == label
        weights, covariance = _solve(rows[~out], latencies[~out])
        guesses[out] = rows[out] @ weights
        own[out] = np.einsum("ij,jk,ik->i", rows[out], covariance, rows[out])
    errors = guesses - latencies
    share, absolute = _noise(errors, guesses, own + spread**2, float(np.median(latencies)))
    sd = np.sqrt(own + spread**2 + (share * guesses) ** 2 + absolute**2)
    factor = nine_in_ten(np.abs(errors) / sd) / SD_OF_INTERVAL_90
    weights, covariance = _solve(rows, latencies)
    return NetworkModel(weights, covariance, share, absolute, factor, len(latencies))


def adapted(network: NetworkModel, networks: Sequence[Sums], latencies_ms: Sequence[float]) -> NetworkModel:
    """The step for another board, clock or version, from few networks measured there: all of it faster or
    slower by one factor, and every part a little by itself. Intervals keep their width until more is known.

    Raises:
        ValueError: no network.
    """
    if not networks:
        raise ValueError("no network; adapting needs 1, and 5 to 10 are better")
    rows = np.stack([one.row for one in networks])
    latencies = np.asarray(latencies_ms, np.float64)
    ratios = rows @ network.weights / latencies
    centre = network.weights * float(ratios.sum() / (ratios**2).sum())
    scale = np.maximum(_FACTOR_SD * centre, 1e-3 * centre.max())
    matrix = np.concatenate([rows / latencies[:, None] / _NOISE, np.diag(1 / scale)])
    wanted = np.concatenate([np.full(len(latencies), 1 / _NOISE), centre / scale])
    return replace(
        network,
        weights=nnls(matrix, wanted)[0],
        covariance=np.linalg.inv(matrix.T @ matrix),
        networks=network.networks + len(networks),
    )


def _solve(rows: np.ndarray, latencies: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Maximum a posteriori weights and their covariance."""
    groups = rows.shape[1] - 2
    summed = np.column_stack([rows[:, :2], rows[:, 2:].sum(1)])
    scaled = summed / latencies[:, None]
    common = nnls(scaled, np.ones(len(latencies)))[0][2]
    prior = np.column_stack([np.zeros((groups, 2)), np.eye(groups) / (_FACTOR_SD * common)])
    matrix = np.concatenate([rows / latencies[:, None] / _NOISE, prior])
    wanted = np.concatenate([np.full(len(latencies), 1 / _NOISE), np.full(groups, 1 / _FACTOR_SD)])
    weights = nnls(matrix, wanted)[0]
    # a base that nothing supports is as uncertain as the smallest network is long
    loose = np.diag([1 / latencies.min() ** 2, 1 / latencies.min() ** 2, *np.zeros(groups)])
    return weights, np.linalg.inv(matrix.T @ matrix + loose)


def _noise(errors: np.ndarray, guesses: np.ndarray, known: np.ndarray, typical: float) -> tuple[float, float]:
    """(share, ms): what makes the errors likeliest beside what is known."""
    best = (np.inf, 0.0, 0.0)
    for share in _SHARES:
        for absolute in _ABSOLUTES * typical:
            variance = known + (share * guesses) ** 2 + absolute**2
            surprise = float(np.sum(np.log(variance) + errors**2 / variance))
            best = min(best, (surprise, float(share), float(absolute)))
    return best[1], best[2]
