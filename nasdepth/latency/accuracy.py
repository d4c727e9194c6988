"""How far predictions are off: figures of a validation, and intervals that hold nine networks in ten."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from scipy.stats import spearmanr

# A normal distribution lies within so many standard deviations of its mean nine times in ten
SD_OF_INTERVAL_90 = 1.6449
# Its 10th and 90th percentiles lie so many standard deviations from the mean
SD_OF_DECILES = 1.2816

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Percent = Annotated[float, Field(allow_inf_nan=False)]


class Strict(BaseModel):
    """Part of a card: frozen, and refuses fields that it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Validation(Strict):
    """Errors on whole models that a table or pack was not fitted to.

    Attributes:
        date: when they were measured.
        models: how many.
        mape_percent, bias_percent: mean absolute and mean signed error, of the measured latency.
        within_5_percent, within_10_percent, within_15_percent: share of the models, in percent.
        spearman: rank correlation.
        interval_90_coverage_percent: share of the models inside their 90 % interval.
        drift: how many times slower reference networks ran than when the table was built, in the median; each
            measured latency was divided by that of its own passes.
    """

    date: datetime.date
    models: Annotated[int, Field(ge=1)]
    mape_percent: NotNegative
    bias_percent: Percent
    within_5_percent: Percent
    within_10_percent: Percent
    within_15_percent: Percent
    spearman: Annotated[float, Field(ge=-1, le=1)]
    interval_90_coverage_percent: Percent
    drift: Positive = 1.0


class FamilyError(Strict):
    """Errors on the networks of one family, fitted to all others; `Validation` explains the fields."""

    models: Annotated[int, Field(ge=1)]
    mape_percent: NotNegative
    bias_percent: float
    within_10_percent: NotNegative
    interval_90_coverage_percent: NotNegative


class CrossValidation(Strict):
    """Errors on networks that a fit had not seen, the scale of its intervals included.

    Attributes:
        folds: networks dealt into ten parts at random, each left out in turn; None for too few.
        families: the same, a family at a time.
    """

    folds: Validation | None
    families: dict[str, FamilyError] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Guess:
    """What was predicted of a network and what was measured.

    Attributes:
        name: of the network.
        family: of networks that are built alike; empty where nobody asks.
        latency_ms: predicted.
        interval_90: (low, high) in ms that the prediction expects the measurement in nine times in ten.
        measured_ms: measured, on a machine as fast as when the table was built.
        drift: how many times slower than then the machine was.
    """

    name: str
    latency_ms: float
    interval_90: tuple[float, float]
    measured_ms: float
    family: str = ""
    drift: float = 1.0

    @property
    def error(self) -> float:
        """Signed relative error of the prediction."""
        return self.latency_ms / self.measured_ms - 1

    @property
    def inside(self) -> bool:
        """Whether the measurement lies in the 90 % interval."""
        low_ms, high_ms = self.interval_90
        return low_ms <= self.measured_ms <= high_ms


def summarise(guesses: Sequence[Guess], date: datetime.date | None = None) -> Validation:
    """Compute a card's figures from at least one guess.

    Args:
        guesses: of networks that the predictor was not fitted to.
        date: of the validation; today by default.
    """
    errors = 100 * np.array([one.error for one in guesses])
    ranks = spearmanr([one.latency_ms for one in guesses], [one.measured_ms for one in guesses])
    within = {f"within_{limit}_percent": percent_of(np.abs(errors) <= limit) for limit in (5, 10, 15)}
    return Validation(
        date=date or datetime.date.today(),
        models=len(guesses),
        mape_percent=round(float(np.abs(errors).mean()), 2),
        bias_percent=round(float(errors.mean()), 2),
        spearman=round(float(np.nan_to_num(ranks.statistic)), 4),
        interval_90_coverage_percent=percent_of([one.inside for one in guesses]),
        drift=round(float(np.median([one.drift for one in guesses])), 4),
        **within,
    )


def family_errors(guesses: Sequence[Guess], date: datetime.date) -> dict[str, FamilyError]:
    """Compute the figures of every family by itself."""
    by_family: dict[str, list[Guess]] = {}
    for one in guesses:
        by_family.setdefault(one.family, []).append(one)
    fields = set(FamilyError.model_fields)
    return {
        family: FamilyError(**summarise(some, date).model_dump(include=fields))
        for family, some in by_family.items()
    }


def percent_of(which: Sequence[bool] | np.ndarray) -> float:
    """Share of what is true, in percent with one decimal."""
    return round(100 * float(np.mean(which)), 1)


def nine_in_ten(deviations: Sequence[float] | np.ndarray) -> float:
    """The smallest sample quantile that nine in ten of what is not yet seen fall below (split conformal)."""
    ordered = np.sort(deviations)
    rank = min(int(np.ceil(0.9 * (len(ordered) + 1))), len(ordered)) - 1
    return float(ordered[rank])


def interval_90(latency_ms: float, sd_ms: float) -> tuple[float, float]:
    """(low, high) in ms of a normal distribution that holds nine in ten; not below 0."""
    half = SD_OF_INTERVAL_90 * sd_ms
    return max(latency_ms - half, 0.0), latency_ms + half
