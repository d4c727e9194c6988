"""What a study remembers of a trial, and the Pareto front of many."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Literal

from optuna.trial import FrozenTrial

from nasdepth.architecture import Architecture
from nasdepth.kernels.precision import Precision
from nasdepth.latency import LatencyEstimate
from nasdepth.models import name_of
from nasdepth.score import log2_score, score
from nasdepth.searching.goals import SCORE, Goal

ATTRIBUTE = "nasdepth"
_EQUAL = 1e-9
ANNOUNCED = "architecture"


class Outcome(StrEnum):
    """How a trial ended."""

    TRAINED = "trained"
    REUSED = "reused"
    PRUNED = "pruned"
    TOO_SLOW = "too slow"
    REFUSED = "refused"
    REPEATED = "repeated"
    DIVERGED = "diverged"
    FAILED = "failed"
    INTERRUPTED = "interrupted"


# Trained to the end, here or in the run that a search started from
WHOLE = (Outcome.TRAINED, Outcome.REUSED)
# What a budget counts
SPENT = (Outcome.TRAINED, Outcome.PRUNED, Outcome.DIVERGED)
# what is not trained again
KNOWN = (*SPENT, Outcome.REUSED)


@dataclass(frozen=True)
class TrialRecord:
    """One trial.

    Attributes:
        number: Optuna's number of the trial.
        precision: of the deployed file that the latencies are of; what is trained does not depend on it.
        latency_ms: what counts: the device's measurement where there is one, otherwise the table's estimate.
        measured_latency_ms: of the exported network on the table's device.
        estimated_latency_ms, estimated_latency_sd_ms: the table's estimate, and its standard deviation.
        estimated_latency_low_ms, estimated_latency_high_ms: the estimate's 90 % interval.
        measured_share, unknown_share: of the estimate; what stands in the table as measured kernels, and what
            lies far outside of all that was measured.
        si_rmse: under the proxy, on images held out of the training split; None if never validated.
        curve: si-RMSE after every validated epoch.
        rungs: si-RMSE at the end of every finished rung, where a training has several.
        confirmed_si_rmse: of a second, longer training from another seed; None where there was none.
        mean_map_si_rmse: of the mean depth map on the same images, which needs no network; None if unknown.
        start: where the encoder's first weights came from.
        training_s, total_s: seconds in training and validation, and from asking to telling.
    """

    number: int
    architecture: Architecture
    outcome: Outcome
    precision: Precision = "float32"
    latency_ms: float | None = None
    measured_latency_ms: float | None = None
    estimated_latency_ms: float | None = None
    estimated_latency_sd_ms: float | None = None
    estimated_latency_low_ms: float | None = None
    estimated_latency_high_ms: float | None = None
    measured_share: float | None = None
    unknown_share: float | None = None
    si_rmse: float | None = None
    curve: tuple[float, ...] = ()
    rungs: tuple[float, ...] = ()
    confirmed_si_rmse: float | None = None
    mean_map_si_rmse: float | None = None
    start: str = ""
    training_s: float = 0.0
    total_s: float = 0.0
    note: str = ""

    @property
    def latency_source(self) -> Literal["measured", "estimate"] | None:
        """Where `latency_ms` is from."""
        if self.latency_ms is None:
            return None
        return "estimate" if self.measured_latency_ms is None else "measured"

    def with_estimate(self, estimate: LatencyEstimate) -> TrialRecord:
        """This record with the table's answer."""
        low_ms, high_ms = estimate.interval_90
        return replace(
            self,
            precision=estimate.precision,
            latency_ms=estimate.latency_ms,
            estimated_latency_ms=estimate.latency_ms,
            estimated_latency_sd_ms=estimate.sd_ms,
            estimated_latency_low_ms=low_ms,
            estimated_latency_high_ms=high_ms,
            measured_share=estimate.measured_share,
            unknown_share=estimate.unknown_share,
        )

    def with_measurement(self, latency_ms: float) -> TrialRecord:
        """This record with the device's answer, which takes the place of the estimate."""
        return replace(self, latency_ms=latency_ms, measured_latency_ms=latency_ms)

    def with_confirmation(self, si_rmse: float | None) -> TrialRecord:
        """This record with what its second training reached; one that diverged is no longer a candidate."""
        if si_rmse is None:
            return replace(self, outcome=Outcome.DIVERGED, note="its second training diverged")
        return replace(self, confirmed_si_rmse=si_rmse)

    @property
    def known_latency_ms(self) -> float:
        """`latency_ms` of a record that was at least estimated.

        Raises:
            ValueError: it was not.
        """
        if self.latency_ms is None:
            raise ValueError(f"trial {self.number} ({self.outcome}) has no latency")
        return self.latency_ms

    @property
    def reached(self) -> tuple[float, float]:
        """(`si_rmse`, `latency_ms`) of a record that was trained.

        Raises:
            ValueError: it was not.
        """
        if self.si_rmse is None:
            raise ValueError(f"trial {self.number} ({self.outcome}) has no si-RMSE")
        return self.si_rmse, self.known_latency_ms

    @property
    def score(self) -> float | None:
        """The challenge score of the proxy's si-RMSE and `latency_ms`."""
        if self.si_rmse is None or self.latency_ms is None:
            return None
        return score(self.si_rmse, self.latency_ms)

    @property
    def log2_score(self) -> float | None:
        if self.si_rmse is None or self.latency_ms is None:
            return None
        return log2_score(self.si_rmse, self.latency_ms)

    @property
    def confirmed_score(self) -> float | None:
        """The challenge score of the second training's si-RMSE and `latency_ms`."""
        if self.confirmed_si_rmse is None or self.latency_ms is None:
            return None
        return score(self.confirmed_si_rmse, self.latency_ms)

    @property
    def useful(self) -> bool:
        """Whether it predicts depth better than the mean depth map does, which does not look at the image."""
        reached = self.si_rmse if self.confirmed_si_rmse is None else self.confirmed_si_rmse
        return reached is not None and (self.mean_map_si_rmse is None or reached < self.mean_map_si_rmse)

    @property
    def name(self) -> str | None:
        """The named design that this is, if it is one."""
        return name_of(self.architecture)

    def to_attribute(self) -> dict:
        """For `trial.set_user_attr(ATTRIBUTE, ...)`."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "number"}
        return fields | {
            "architecture": str(self.architecture),
            "outcome": str(self.outcome),
            "curve": list(self.curve),
            "rungs": list(self.rungs),
        }

    def to_row(self) -> dict:
        """Flat, for CSV and JSON."""
        head = {
            "trial": self.number,
            "name": self.name,
            "score": self.score,
            "confirmed_score": self.confirmed_score,
        }
        row = head | {"latency_source": self.latency_source} | self.to_attribute()
        curves = {"curve": self.curve, "rungs": self.rungs}
        return row | {name: " ".join(f"{value:.4f}" for value in curve) for name, curve in curves.items()}

    @classmethod
    def from_trial(cls, trial: FrozenTrial) -> TrialRecord | None:
        """None for a trial that has not ended, or that nasdepth did not run."""
        stored = trial.user_attrs.get(ATTRIBUTE)
        if stored is None:
            return None
        return cls(
            number=trial.number,
            **stored
            | {
                "architecture": Architecture.parse(stored["architecture"]),
                "outcome": Outcome(stored["outcome"]),
                "curve": tuple(stored["curve"]),
                "rungs": tuple(stored.get("rungs", ())),
            },
        )


def trial_attributes(record: TrialRecord) -> dict[str, Any]:
    """What a trial keeps of a record: all of it, and what the dashboard shows."""
    attributes = {
        ATTRIBUTE: record.to_attribute(),
        "si_rmse": record.si_rmse,
        "latency_ms": record.latency_ms,
        ANNOUNCED: str(record.architecture),
    }
    return attributes | {"design": record.name} if record.name else attributes


def constraints(record: TrialRecord) -> dict[str, float]:
    """What Optuna's samplers must know beside the value: how much worse than the mean depth map it is.

    Above 0, Optuna counts the trial as infeasible.
    """
    if record.mean_map_si_rmse is None or record.si_rmse is None:
        return {}
    # equal is not better
    return {"si_rmse above the mean map": record.si_rmse - record.mean_map_si_rmse + _EQUAL}


def leader(records: Iterable[TrialRecord], goal: Goal = SCORE) -> TrialRecord | None:
    """The fully trained and useful record of the highest merit under the proxy."""
    trained = [record for record in records if record.outcome in WHOLE and record.useful]
    return max(trained, key=lambda record: goal.merit(*record.reached), default=None)


def ranked(records: Iterable[TrialRecord], goal: Goal = SCORE) -> list[TrialRecord]:
    """The fully trained records, best first: the confirmed ones, then the others by the proxy's merit.

    The score rewards speed so much that a fast network may win without having learnt anything; so the ones
    that are no better than the mean depth map come last.
    """
    trained = [record for record in records if record.outcome in WHOLE]
    return sorted(
        trained,
        key=lambda one: (one.useful, _confirmed_merit(one, goal), goal.merit(*one.reached)),
        reverse=True,
    )


def _confirmed_merit(record: TrialRecord, goal: Goal) -> float:
    if record.confirmed_si_rmse is None:
        return -math.inf
    return goal.merit(record.confirmed_si_rmse, record.known_latency_ms)


def best(records: Iterable[TrialRecord], goal: Goal = SCORE) -> TrialRecord | None:
    """The winner: the best of those that were confirmed, or the leader where none was."""
    return next(iter(ranked(records, goal)), None)


def worth_choosing(records: Iterable[TrialRecord]) -> list[TrialRecord]:
    """The fully trained records that are better than the mean depth map; all of them where none is."""
    trained = [record for record in records if record.outcome in WHOLE]
    return [record for record in trained if record.useful] or trained


def pareto_front(records: Iterable[TrialRecord]) -> list[TrialRecord]:
    """The fully trained records that no other beats in both latency and si-RMSE, fastest first.

    Those that are no better than the mean depth map are left out, unless all are like that.
    """
    trained = worth_choosing(records)
    front: list[TrialRecord] = []
    for record in sorted(trained, key=lambda record: record.reached[::-1]):
        if not front or record.reached[0] < front[-1].reached[0]:
            front.append(record)
    return front
