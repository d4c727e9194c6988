"""Surrogates: si-RMSE of any candidate, with its uncertainty, learnt from few trainings."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve
from scipy.optimize import minimize

# Spread of targets below which they count as equal
_FLAT = 1e-9


class Surrogate(ABC):
    """A regression that knows how unsure it is."""

    @abstractmethod
    def fit(self, features: np.ndarray, targets: np.ndarray, relative_noise: np.ndarray) -> None:
        """Learn from observations; what was learnt before is forgotten.

        Args:
            features: (observations, features), on a scale of about 1.
            targets: (observations,), in their own unit.
            relative_noise: (observations,); how many times noisier, in variance, each target is than a
                target of noise 1.
        """

    @abstractmethod
    def predict(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of the noiseless target at (candidates, features)."""


class BayesianLinear(Surrogate):
    """Bayesian linear regression with some products of features.

    All weights have one Gaussian prior. Its width is the one under which the targets are most probable
    (evidence maximisation; MacKay 1992, "Bayesian Interpolation").

    Args:
        products: pairs of columns whose products become features as well.
    """

    # Noise variance over prior variance of a weight; the evidence is flat enough for a grid
    _RATIOS = np.geomspace(1e-2, 1e4, 61)
    # Weak belief that noise is this share of the targets' variance, worth so many observations
    _NOISE_SHARE, _NOISE_WORTH = 0.2, 2.0

    def __init__(self, products: Sequence[tuple[int, int]] = ()) -> None:
        self._left = [left for left, _ in products]
        self._right = [right for _, right in products]

    def _expanded(self, features: np.ndarray) -> np.ndarray:
        return np.hstack([features, features[:, self._left] * features[:, self._right]])

    def fit(self, features: np.ndarray, targets: np.ndarray, relative_noise: np.ndarray) -> None:
        weights = 1 / relative_noise
        x = self._expanded(features)
        self._centre = np.average(x, axis=0, weights=weights)
        self._mean, self._spread = _location(targets, weights)
        root = np.sqrt(weights)
        y = (targets - self._mean) / self._spread * root
        u, singular, vt = np.linalg.svd((x - self._centre) * root[:, None], full_matrices=False)
        squares, along = singular**2, u.T @ y
        rest = max(float(y @ y - along @ along), 0.0)

        # one row for each ratio; the noise's own variance is integrated out
        growth = squares[None, :] / self._RATIOS[:, None] + 1
        count = len(y) + self._NOISE_WORTH
        noise = rest + (along**2 / growth).sum(axis=1) + self._NOISE_WORTH * self._NOISE_SHARE
        best = int(np.argmin(count * np.log(noise) + np.log(growth).sum(axis=1)))
        ratio, variance = self._RATIOS[best], noise[best] / count

        self._weights = vt.T @ (singular / (squares + ratio) * along)
        self._axes, self._known = vt, squares / (squares + ratio)
        self._prior = variance / ratio
        self._offset_variance = variance / weights.sum()

    def predict(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        x = self._expanded(features) - self._centre
        unknown = (x**2).sum(axis=1) - (x @ self._axes.T) ** 2 @ self._known
        variance = self._prior * np.maximum(unknown, 0.0) + self._offset_variance
        return self._mean + self._spread * (x @ self._weights), self._spread * np.sqrt(variance)


class GaussianProcess(Surrogate):
    """A Gaussian process: a linear part plus Matern 5/2 with one length scale for each group of features.

    Scales, variances and noise are those of highest posterior density (Rasmussen and Williams 2006, chapter
    5). Beyond `learn_from` observations, they are learnt from an evenly spread part of them.

    Args:
        groups: columns of each group.
        learn_from: observations that the hyperparameters are learnt from, at most.
    """

    _RELEVANCE, _MATERN, _LINEAR, _NOISE = 0.3, 0.7, 0.1, 0.05
    _RELEVANCE_SD, _MATERN_SD, _LINEAR_SD, _NOISE_SD = 1.2, 0.8, 1.2, 1.0
    _STEPS, _REACH_SDS, _JITTER = 30, 4.0, 1e-6

    def __init__(self, groups: Sequence[Sequence[int]], learn_from: int = 200) -> None:
        self._groups = [list(columns) for columns in groups]
        self._learn_from = learn_from
        count = len(groups)
        # logs of: relevance of each group (inverse squared length scales), variances of both parts, noise
        self._expected = np.log([*[self._RELEVANCE] * count, self._MATERN, self._LINEAR, self._NOISE])
        self._sds = np.array(
            [*[self._RELEVANCE_SD] * count, self._MATERN_SD, self._LINEAR_SD, self._NOISE_SD]
        )

    def fit(self, features: np.ndarray, targets: np.ndarray, relative_noise: np.ndarray) -> None:
        self._centre = features.mean(axis=0)
        self._targets = targets
        self._mean, self._spread = _location(targets, 1 / relative_noise)
        x, y = features - self._centre, (targets - self._mean) / self._spread
        part = np.arange(len(y))
        if len(y) > self._learn_from:  # spread over good and bad ones
            part = np.argsort(targets, kind="stable")[
                np.linspace(0, len(y) - 1, self._learn_from).astype(int)
            ]
        theta = self._most_probable(x[part], y[part], relative_noise[part])
        relevance, (self._matern, self._linear, noise) = np.exp(theta[:-3]), np.exp(theta[-3:])
        self._scale = np.zeros(features.shape[1])
        for columns, weight in zip(self._groups, relevance, strict=True):
            self._scale[columns] = np.sqrt(weight) / len(columns) ** 0.25
        self._x = x
        covariance = self._covariance(x, x)
        covariance[np.diag_indices_from(covariance)] += noise * relative_noise + self._JITTER
        self._factor = cho_factor(covariance, lower=True)
        self._solved = cho_solve(self._factor, y)

    def predict(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        x = features - self._centre
        cross = self._covariance(x, self._x)
        prior = self._matern + self._linear * (x**2).mean(axis=1)
        explained = (cross * cho_solve(self._factor, cross.T).T).sum(axis=1)
        sd = np.sqrt(np.maximum(prior - explained, self._JITTER))
        return self._mean + self._spread * (cross @ self._solved), self._spread * sd

    def leave_one_out(self) -> tuple[np.ndarray, np.ndarray]:
        """What each observation would have been foretold to be without itself.

        Returns:
            Means and variances of the observations, noise included, in the order of `fit`; the
            hyperparameters are those of all observations (Rasmussen and Williams 2006, section 5.4.2).
        """
        precision = np.diag(cho_solve(self._factor, np.eye(len(self._solved))))
        observed = self._targets
        mean = observed - self._spread * self._solved / precision
        return mean, self._spread**2 / precision

    def _covariance(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        distances = _squared_distances(left * self._scale, right * self._scale)
        return self._matern * _matern(distances)[0] + self._linear / left.shape[1] * (left @ right.T)

    def _most_probable(self, x: np.ndarray, y: np.ndarray, relative_noise: np.ndarray) -> np.ndarray:
        """The hyperparameters of highest posterior density, as logs."""
        size, count = len(y), len(self._groups)
        distances = np.stack(
            [_squared_distances(x[:, one], x[:, one]) / len(one) ** 0.5 for one in self._groups]
        ).reshape(count, -1)
        products = x @ x.T / x.shape[1]
        identity = np.eye(size)

        def loss(theta: np.ndarray) -> tuple[float, np.ndarray]:
            relevance, (matern, linear, noise) = np.exp(theta[:-3]), np.exp(theta[-3:])
            shape, slope = _matern((relevance @ distances).reshape(size, size))
            covariance = matern * shape + linear * products
            covariance[np.diag_indices(size)] += noise * relative_noise + self._JITTER
            away = (theta - self._expected) / self._sds
            try:
                factor = cho_factor(covariance, lower=True, check_finite=False)
            except LinAlgError:
                return 1e10, np.zeros_like(theta)
            solved = cho_solve(factor, y, check_finite=False)
            value = 0.5 * y @ solved + np.log(np.diag(factor[0])).sum() + 0.5 * away @ away
            # derivative of the likelihood by the covariance, both halves
            by = 0.5 * (cho_solve(factor, identity, check_finite=False) - np.outer(solved, solved))
            gradient = np.empty_like(theta)
            gradient[:-3] = matern * relevance * (distances @ (by * slope).ravel())
            gradient[-3] = matern * (by * shape).sum()
            gradient[-2] = linear * (by * products).sum()
            gradient[-1] = noise * (np.diag(by) * relative_noise).sum()
            return float(value), gradient + away / self._sds

        # without bounds a first step can be so long that nothing is finite
        reach = self._REACH_SDS * self._sds
        bounds = np.column_stack([self._expected - reach, self._expected + reach])
        found = minimize(
            loss, self._expected, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": self._STEPS}
        )
        return found.x


class MeanOf(Surrogate):
    """The equal mixture of several surrogates; where they disagree, it is the less sure."""

    def __init__(self, *members: Surrogate) -> None:
        self._members = members

    def fit(self, features: np.ndarray, targets: np.ndarray, relative_noise: np.ndarray) -> None:
        for member in self._members:
            member.fit(features, targets, relative_noise)

    def predict(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        answers = [member.predict(features) for member in self._members]
        means, sds = (np.array(values) for values in zip(*answers, strict=True))
        return means.mean(axis=0), np.sqrt((sds**2).mean(axis=0) + means.var(axis=0))


def _location(targets: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    """Weighted mean and standard deviation; the latter is 1 where all targets are equal."""
    mean = float(np.average(targets, weights=weights))
    spread = float(np.sqrt(np.average((targets - mean) ** 2, weights=weights)))
    return mean, spread if spread > _FLAT else 1.0


def _squared_distances(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    squares = (left**2).sum(axis=1)[:, None] + (right**2).sum(axis=1)[None, :] - 2 * left @ right.T
    return np.maximum(squares, 0.0)


def _matern(squared: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Matern 5/2 at squared distances, and its derivative by them."""
    root = np.sqrt(5 * squared)
    decay = np.exp(-root)
    return (1 + root + root**2 / 3) * decay, -5 / 6 * (1 + root) * decay
