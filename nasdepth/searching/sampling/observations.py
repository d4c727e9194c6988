"""Observations: what the trials of a study say of si-RMSE, each with how far it can be believed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import optuna
from optuna.trial import FixedTrial, FrozenTrial, TrialState

from nasdepth.architecture import Architecture
from nasdepth.errors import SpaceError
from nasdepth.searching.measure import measurements
from nasdepth.searching.records import WHOLE, Outcome, TrialRecord
from nasdepth.space import SearchSpace

# The noise of a training, as a share of the variance among finished ones; unfinished ones are noisier
_NOISE_SHARE = 0.05
# Noise of a curve that nothing can be compared with, and of a training that diverged
_UNKNOWN_NOISE, _DIVERGED_NOISE = 20.0, 4.0
# In how many curves' worth of belief a later value changes as much as an earlier one
_PARALLEL_WORTH = 2.0
# Beyond the upper quartile by more than so many interquartile ranges (Tukey's "far out"), bad is just bad
_FAR_OUT, _ENOUGH_FOR_QUARTILES = 3.0, 6
# So few curves do not show how far they differ; then a variance of si-RMSE that exceeds all of them
_FEW, _UNSURE = 3, 1.0
# Outcomes that a second proposal would meet again
_FINAL = (*WHOLE, Outcome.PRUNED, Outcome.DIVERGED, Outcome.REFUSED, Outcome.FAILED)
_LEARNT_FROM = (*WHOLE, Outcome.PRUNED, Outcome.DIVERGED)


@dataclass(frozen=True)
class Observations:
    """Trainings, as a surrogate takes them.

    Attributes:
        architectures: that were trained, wholly or in part; oldest first.
        si_rmse: (architectures,) at the end of a whole training; extrapolated for the others.
        relative_noise: (architectures,) variance in multiples of a whole training's noise.
        latency_ms: (architectures,) what counts in this study; NaN for trainings of other studies.
        whole: (architectures,) whether each was trained to the end.
        pending: architectures that train elsewhere at this moment, or wait in the queue.
        known: architectures that must not be proposed again.
    """

    architectures: tuple[Architecture, ...]
    si_rmse: np.ndarray
    relative_noise: np.ndarray
    latency_ms: np.ndarray
    whole: np.ndarray
    pending: tuple[Architecture, ...]
    known: frozenset[Architecture]


def observe(
    study: optuna.Study, space: SearchSpace, asking: int, earlier: Sequence[TrialRecord] = ()
) -> Observations:
    """All that a study and earlier trainings say at this moment.

    Args:
        study: to read.
        space: of the study.
        asking: number of the trial that asks; it is not pending.
        earlier: trainings of other studies; they are used where this study has none of the architecture.
    """
    measured = measurements(study)
    records, pending = [], []
    for trial in study.get_trials(deepcopy=False):
        if trial.state in (TrialState.RUNNING, TrialState.WAITING):
            if trial.number != asking and (one := _architecture_of(trial, space)) is not None:
                pending.append(one)
        elif (record := TrialRecord.from_trial(trial)) is not None:
            measurement = measured.get(record.architecture)
            if measurement is not None and not measurement.error:
                record = record.with_measurement(measurement.latency_ms)
            records.append(record)
    known = {record.architecture for record in records if record.outcome in _FINAL}
    known |= {one for one, measurement in measured.items() if measurement.error}

    used = [record for record in records if record.outcome in _LEARNT_FROM]
    here = {record.architecture for record in used}
    elsewhere = [one for one in earlier if one.outcome in _LEARNT_FROM and one.architecture not in here]
    used = [*elsewhere, *used]
    # what a training gave before it diverged says nothing of where others end
    curves = [() if one.outcome is Outcome.DIVERGED else (one.rungs or one.curve) for one in used]
    values, noise = final_values(curves, [one.outcome in WHOLE for one in used])
    foreign = len(elsewhere)
    latencies = [np.nan] * foreign + [one.latency_ms or np.nan for one in used[foreign:]]
    return Observations(
        architectures=tuple(one.architecture for one in used),
        si_rmse=values,
        relative_noise=noise,
        latency_ms=np.array(latencies, dtype=float),
        whole=np.array([one.outcome in WHOLE for one in used], dtype=bool),
        pending=tuple(pending),
        known=frozenset(known | set(pending)),
    )


def final_values(curves: Sequence[Sequence[float]], whole: Sequence[bool]) -> tuple[np.ndarray, np.ndarray]:
    """The value at the end of whole curves, foretold for the others.

    A curve is a series of values of one meaning each: si-RMSE after each epoch, or at the end of each rung. A
    curve that ends early goes on, from each index to the next, as those did on average that have both. How
    far these differed from one another is what it is the less sure by.

    Args:
        curves: of each training. An empty one is a training that failed and counts as the worst of all.
        whole: which of them are complete.

    Returns:
        Values, and their variances in multiples of the noise of a whole training.
    """
    count = len(curves)
    values, noise = np.full(count, np.nan), np.ones(count)
    ends = np.array([curve[-1] for curve, done in zip(curves, whole, strict=True) if done])
    length = max((len(curve) for curve, done in zip(curves, whole, strict=True) if done), default=0)
    unit = _NOISE_SHARE * float(ends.var()) if len(ends) > 1 else 0.0
    steps = [_step(curves, index) for index in range(max(length - 1, 0))]
    for place, (curve, done) in enumerate(zip(curves, whole, strict=True)):
        if done:
            values[place] = curve[-1]
        elif not curve or not np.isfinite(curve[-1]):
            noise[place] = _DIVERGED_NOISE
        else:
            value, variance = float(curve[-1]), 0.0
            for centre, offset, slope, rest in steps[len(curve) - 1 :]:
                value, variance = offset + slope * (value - centre), slope**2 * variance + rest
            values[place] = value
            noise[place] = 1 + variance / unit if unit else _UNKNOWN_NOISE
    return _capped(values), np.minimum(noise, _UNKNOWN_NOISE)


def _step(curves: Sequence[Sequence[float]], index: int) -> tuple[float, float, float, float]:
    """From an index of curves to the next: mean before and after, slope, and variance of what is left."""
    both = [(one[index], one[index + 1]) for one in curves if len(one) > index + 1]
    before, after = (np.array(side) for side in zip(*both, strict=True))
    x, y = before - before.mean(), after - after.mean()
    belief = _PARALLEL_WORTH * float(x @ x) / len(x)
    total = float(x @ x) + belief
    slope = min(max((float(x @ y) + belief) / total, 0.0), 1.0) if total > 0 else 1.0
    rest = float(((y - slope * x) ** 2).sum()) / (len(x) - 2) if len(x) > _FEW else _UNSURE
    return float(before.mean()), float(after.mean()), slope, rest


def _capped(values: np.ndarray) -> np.ndarray:
    """Values of which hopeless ones are no worse than bad; what is missing counts as the worst."""
    present = values[np.isfinite(values)]
    if not len(present):
        return np.ones_like(values)
    lower, upper = np.quantile(present, [0.25, 0.75])
    if len(present) >= _ENOUGH_FOR_QUARTILES and upper > lower:
        values = np.minimum(values, upper + _FAR_OUT * (upper - lower))
    return np.where(np.isfinite(values), values, np.nanmax(values))


def _architecture_of(trial: FrozenTrial, space: SearchSpace) -> Architecture | None:
    """What a trial that has not ended trains, or will; None where that is not known yet."""
    try:
        if text := trial.user_attrs.get("architecture"):
            return Architecture.parse(text)
        return space.suggest(FixedTrial(trial.system_attrs.get("fixed_params") or trial.params))
    except (SpaceError, ValueError):  # FixedTrial's own where a parameter was not suggested yet
        return None
