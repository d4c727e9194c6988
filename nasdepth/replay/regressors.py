"""Regressions that answer for architectures that were never trained; none is a sampler's own surrogate."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import numpy as np
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVR

from nasdepth.errors import NasdepthError, nearest

_SEED = 0


class Regressor(ABC):
    """A regression of several columns at once."""

    @abstractmethod
    def fit(self, rows: np.ndarray, targets: np.ndarray) -> Regressor:
        """Fit (architectures, columns) targets to (architectures, features) rows."""

    @abstractmethod
    def predict(self, rows: np.ndarray) -> np.ndarray:
        """(architectures, columns) for (architectures, features) rows."""


class ExtraTrees(Regressor):
    """Extremely randomised trees (Geurts, Ernst and Wehenkel 2006)."""

    def fit(self, rows: np.ndarray, targets: np.ndarray) -> ExtraTrees:
        self._scaler = StandardScaler().fit(targets)
        forest = ExtraTreesRegressor(150, min_samples_leaf=2, max_features=0.5, random_state=_SEED)
        forest.fit(rows, self._scaler.transform(targets))
        self._trees = [tree.tree_ for tree in forest.estimators_]
        return self

    def predict(self, rows: np.ndarray) -> np.ndarray:
        # for one architecture at a time, nearly all of the cost would be the forest's own checks
        single = np.ascontiguousarray(rows, dtype=np.float32)
        mean = np.mean([tree.predict(single).reshape(len(rows), -1) for tree in self._trees], axis=0)
        return self._scaler.inverse_transform(mean)


class SupportVectors(Regressor):
    """Support vector regression with a radial kernel (Drucker et al. 1997), one a column."""

    def fit(self, rows: np.ndarray, targets: np.ndarray) -> SupportVectors:
        self._features, self._targets = StandardScaler().fit(rows), StandardScaler().fit(targets)
        scaled = self._features.transform(rows)
        columns = self._targets.transform(targets).T
        self._columns = [SVR(C=1.0, epsilon=0.1, gamma=0.004).fit(scaled, column) for column in columns]
        return self

    def predict(self, rows: np.ndarray) -> np.ndarray:
        scaled = self._features.transform(rows)
        answers = [one.predict(scaled) for one in self._columns]
        return self._targets.inverse_transform(np.stack(answers, axis=1))


class Mixed(Regressor):
    """The mean of extra trees and support vectors, which err in different places."""

    def fit(self, rows: np.ndarray, targets: np.ndarray) -> Mixed:
        self._parts = [part.fit(rows, targets) for part in (ExtraTrees(), SupportVectors())]
        return self

    def predict(self, rows: np.ndarray) -> np.ndarray:
        return np.mean([part.predict(rows) for part in self._parts], axis=0)


REGRESSORS: dict[str, Callable[[], Regressor]] = {
    "mixed": Mixed,
    "extra-trees": ExtraTrees,
    "support-vectors": SupportVectors,
}
"""By name, what a world can be fitted with."""


def make_regressor(name: str) -> Regressor:
    """A regression that is not fitted yet.

    Raises:
        NasdepthError: there is no such regression.
    """
    if name not in REGRESSORS:
        raise NasdepthError(
            f"world {name!r} does not exist{nearest(name, REGRESSORS)}; there are {', '.join(REGRESSORS)}"
        )
    return REGRESSORS[name]()
