"""A regression of recorded trainings that answers for every architecture, with its own error held out.

NAS-Bench-301 (Zela et al. 2022) and JAHS-Bench-201 (Bansal et al. 2022) replay searches in the same way.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.stats import kendalltau, spearmanr
from sklearn.model_selection import KFold

from nasdepth.architecture import Architecture
from nasdepth.errors import DataError
from nasdepth.recording import PROXY, Records, TrainingRecord
from nasdepth.recording.training import TRAINED
from nasdepth.replay.features import features
from nasdepth.replay.regressors import make_regressor

_FOLDS = 10
_FEWEST_ARCHITECTURES = 20
_FEWEST_PAIRS = 8
# The noise is taken off what a regression leaves over, but never all of it
_LEAST_OWN_SHARE = 0.25


@dataclass(frozen=True)
class HeldOutError:
    """How well a regression foretells trainings that it was not fitted to.

    Attributes:
        architectures: how many were foretold, each by a regression fitted without it.
        rmse: of si-RMSE.
        r2: share of the variance of si-RMSE that is foretold.
        spearman, kendall: rank correlations.
        noise: standard deviation of si-RMSE between seeds of one architecture.
        own: standard deviation of what is left when the noise is taken off.
    """

    architectures: int
    rmse: float
    r2: float
    spearman: float
    kendall: float
    noise: float
    own: float


@dataclass(frozen=True)
class Fidelity:
    """Another way of training, as a line through (log proxy, log this) of the architectures trained in both.

    Attributes:
        intercept, slope: of the line.
        noise: standard deviation of log si-RMSE between seeds.
        own: standard deviation of an architecture's own deviation from the line.
        deviations: (architectures,) from the line, each scaled to `own`; an architecture that was not trained
            in this way gets one of them.
        shapes: (architectures, epochs) log of the ratio of the si-RMSE after every epoch to the last one's.
        epoch_seconds: median ratio of an epoch's seconds to those of the proxy.
    """

    intercept: float
    slope: float
    noise: float
    own: float
    deviations: np.ndarray
    shapes: np.ndarray
    epoch_seconds: float


@dataclass(frozen=True)
class Prediction:
    """What the regression says of one architecture under the proxy.

    Attributes:
        log_si_rmse: natural logarithm of the last epoch's si-RMSE.
        shape: (epochs,) log of the ratio of the si-RMSE after every epoch to the last one's.
        epoch_seconds: of one epoch, validation included.
    """

    log_si_rmse: float
    shape: np.ndarray
    epoch_seconds: float


class Surrogate:
    """A regression fitted to all records of the proxy, and lines from the proxy to other ways of training.

    Args:
        records: trainings; those that diverged are left out of the fits.
        runtime: whose kernels are counted, as `nasdepth.latency.architecture_kernels` takes it.
        regressor: one of `nasdepth.replay.REGRESSORS`.

    Raises:
        DataError: there are too few records.
        NasdepthError: there is no such regressor.
    """

    def __init__(self, records: Records, runtime: str = "xnnpack", regressor: str = "mixed") -> None:
        self.records, self.runtime, self.regressor = records, runtime, regressor
        self._known: dict[str, dict[Architecture, list[TrainingRecord]]] = defaultdict(dict)
        lengths = {
            name: _usual_epochs(records.of(name, None)) for name in {r.fidelity for r in records.trainings}
        }
        for one in sorted(records.trainings, key=lambda one: one.seed):
            if one.outcome == TRAINED and len(one.si_rmse) == lengths[one.fidelity]:
                self._known[one.fidelity].setdefault(one.architecture, []).append(one)
        proxies = self._known.get(PROXY, {})
        if len(proxies) < _FEWEST_ARCHITECTURES:
            raise DataError(
                f"the records hold {len(proxies)} architectures trained by the proxy; a world needs at least "
                f"{_FEWEST_ARCHITECTURES}; go on with `nasdepth record`"
            )
        self.architectures = tuple(proxies)
        self.epochs = lengths[PROXY]
        self.pretrained = frozenset(
            one.encoder.family for one, many in proxies.items() if any(r.pretrained for r in many)
        )
        self._machine = Counter(
            (one.machine, one.threads) for many in proxies.values() for one in many
        ).most_common()[0][0]
        self._predictions: dict[Architecture, Prediction] = {}
        rows = np.array([self._features(one) for one in self.architectures])
        targets = np.array([self._target(proxies[one]) for one in self.architectures])
        missing = np.isnan(targets)  # seconds of other machines
        targets = np.where(missing, np.nanmean(targets, axis=0), targets)
        self._model = make_regressor(regressor).fit(rows, targets)
        held_out = np.empty_like(targets)
        for fit, left in KFold(min(_FOLDS, len(rows)), shuffle=True, random_state=0).split(rows):
            held_out[left] = make_regressor(regressor).fit(rows[fit], targets[fit]).predict(rows[left])
        residuals = targets - held_out
        seeds = np.array([len(proxies[one]) for one in self.architectures])
        self.noise = self._noise(PROXY)
        self.own = _own_sd(residuals[:, 0], self.noise**2 / seeds)
        spread = residuals[:, 0].std()
        #: (architectures, 1 + epochs - 1 + 1): deviations of log si-RMSE, of the shape, and of log seconds
        self.deviations = residuals - residuals.mean(axis=0)
        if spread > 0:
            self.deviations[:, 0] *= self.own / spread
        self._prior = dict(zip(self.architectures, held_out[:, 0], strict=True))
        self.error = _error(np.exp(targets[:, 0]), np.exp(held_out[:, 0]), self.noise, self.own)

    @property
    def useful_below(self) -> float:
        """si-RMSE of the mean depth map, which a network must beat to be of any use; infinite if unknown."""
        mean_map = self.records.card.mean_map_si_rmse
        return math.inf if mean_map is None else mean_map

    def recorded(self, architecture: Architecture, fidelity: str = PROXY) -> list[TrainingRecord]:
        """The trainings of an architecture in one way that did not diverge, by seed."""
        return self._known.get(fidelity, {}).get(architecture, [])

    def predict(self, architecture: Architecture) -> Prediction:
        """What the regression says, whether or not the architecture was recorded."""
        if architecture not in self._predictions:
            self.prepare([architecture])
        return self._predictions[architecture]

    def prepare(self, architectures: Sequence[Architecture]) -> None:
        """Predict many at once, which is much faster than one after another."""
        new = [one for one in dict.fromkeys(architectures) if one not in self._predictions]
        if not new:
            return
        answers = self._model.predict(np.array([self._features(one) for one in new]))
        for one, (final, *shape, log_seconds) in zip(new, answers, strict=True):
            self._predictions[one] = Prediction(final, np.array([*shape, 0.0]), math.exp(log_seconds))

    def expected(self, architecture: Architecture) -> tuple[float, float]:
        """log si-RMSE under the proxy, and how far it may still be off (standard deviation).

        Of a recorded architecture, the mean over its seeds is drawn towards what a regression without it
        says, as far as the noise and the regression's error ask for.
        """
        known = self.recorded(architecture)
        if not known:
            return self.predict(architecture).log_si_rmse, self.own
        weight = _weight(self.own, self.noise, len(known))
        prior = self._prior[architecture]
        mean = float(np.mean([math.log(one.final) for one in known]))
        return prior + weight * (mean - prior), self.own * math.sqrt(1 - weight)

    @cached_property
    def fidelities(self) -> dict[str, Fidelity]:
        """The other ways of training that enough architectures were trained in, by name."""
        lines = {name: self._line(name) for name in self._known if name != PROXY}
        return {name: line for name, line in lines.items() if line is not None}

    def on_machine(self, one: TrainingRecord) -> bool:
        """Whether it was trained on the machine, and with the threads, that most were trained on."""
        return (one.machine, one.threads) == self._machine

    def _features(self, architecture: Architecture) -> np.ndarray:
        return features(architecture, self.pretrained, self.runtime)

    def _target(self, trainings: Sequence[TrainingRecord]) -> np.ndarray:
        """log si-RMSE, the shape of the curve but for its end, and log seconds of an epoch."""
        curves = [np.log(one.si_rmse) for one in trainings]
        shape = np.mean([curve - curve[-1] for curve in curves], axis=0)[:-1]
        seconds = [np.median(one.seconds) for one in trainings if self.on_machine(one)]
        log_seconds = float(np.mean(np.log(seconds))) if seconds else math.nan
        return np.array([np.mean([math.log(one.final) for one in trainings]), *shape, log_seconds])

    def _noise(self, fidelity: str) -> float:
        """Standard deviation of log si-RMSE between seeds; 0 if no architecture has two."""
        groups = [np.log([one.final for one in many]) for many in self._known[fidelity].values()]
        variances = [(group.var(ddof=1), len(group) - 1) for group in groups if len(group) > 1]
        if not variances:
            return 0.0
        values, freedom = zip(*variances, strict=True)
        return float(np.sqrt(np.average(values, weights=freedom)))

    def _line(self, name: str) -> Fidelity | None:
        both = [one for one in self.architectures if one in self._known[name]]
        if len(both) < _FEWEST_PAIRS:
            return None
        x = np.array([self.expected(one)[0] for one in both])
        y = np.array([np.mean([math.log(r.final) for r in self._known[name][one]]) for one in both])
        slope, intercept = np.polyfit(x, y, 1)
        leverage = 1 / len(x) + (x - x.mean()) ** 2 / ((x - x.mean()) ** 2).sum()
        left_out = (y - intercept - slope * x) / (1 - leverage)
        noise = self._noise(name) or self.noise
        seeds = np.array([len(self._known[name][one]) for one in both])
        unsure = np.array([self.expected(one)[1] for one in both])
        own = _own_sd(left_out, noise**2 / seeds + (slope * unsure) ** 2)
        scale = own / left_out.std() if left_out.std() > 0 else 0.0
        firsts = [self._known[name][one][0] for one in both]
        curves = [np.log(one.si_rmse) for one in firsts]
        ratios = [
            np.median(one.seconds) / np.median(self._known[PROXY][one.architecture][0].seconds)
            for one in firsts
        ]
        return Fidelity(
            float(intercept),
            float(slope),
            noise,
            own,
            (left_out - left_out.mean()) * scale,
            np.array([curve - curve[-1] for curve in curves]),
            float(np.median(ratios)),
        )

    def expected_under(self, name: str, architecture: Architecture, log_proxy: float) -> tuple[float, bool]:
        """log si-RMSE in another way of training, and whether records of the architecture itself say so.

        Args:
            log_proxy: log of the noise-free si-RMSE under the proxy.
        """
        line = self.fidelities[name]
        prior = line.intercept + line.slope * log_proxy
        known = self.recorded(architecture, name)
        if not known:
            return prior, False
        mean = float(np.mean([math.log(one.final) for one in known]))
        return prior + _weight(line.own, line.noise, len(known)) * (mean - prior), True


def _usual_epochs(trainings: Sequence[TrainingRecord]) -> int:
    return Counter(len(one.si_rmse) for one in trainings).most_common()[0][0]


def _weight(own: float, noise: float, seeds: int) -> float:
    """How much the mean over an architecture's seeds says beside a regression."""
    total = own**2 + noise**2 / seeds
    return own**2 / total if total > 0 else 1.0


def _own_sd(residuals: np.ndarray, noise: np.ndarray) -> float:
    variance = float(np.mean(residuals**2))
    return math.sqrt(max(variance - float(np.mean(noise)), _LEAST_OWN_SHARE * variance))


def _error(actual: np.ndarray, foretold: np.ndarray, noise: float, own: float) -> HeldOutError:
    residuals, level = actual - foretold, float(actual.mean())
    return HeldOutError(
        architectures=len(actual),
        rmse=float(np.sqrt(np.mean(residuals**2))),
        r2=float(1 - residuals.var() / actual.var()),
        spearman=float(spearmanr(actual, foretold).statistic),
        kendall=float(kendalltau(actual, foretold).statistic),
        noise=noise * level,
        own=own * level,
    )
