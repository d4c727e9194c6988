"""How a trial ends: what Optuna is told of it, and what goes back into the queue."""

from __future__ import annotations

from dataclasses import replace

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from nasdepth.searching.claims import Recovery, TrialLost
from nasdepth.searching.events import SearchEvents
from nasdepth.searching.goals import Goal
from nasdepth.searching.records import WHOLE, Outcome, TrialRecord, constraints, trial_attributes
from nasdepth.space import SearchSpace


class Verdicts:
    """Ends the trials of a study.

    Args:
        study: whose trials end.
        goal: whose merit the study maximises; with a front, si-RMSE and latency side by side.
        events: hear of every trial that ended.
        recovery: puts back what was not trained.
    """

    def __init__(
        self,
        study: optuna.Study,
        goal: Goal,
        events: SearchEvents,
        recovery: Recovery,
    ) -> None:
        self._study, self._goal, self._events, self._recovery = study, goal, events, recovery

    def tell(self, trial: optuna.Trial, record: TrialRecord, as_outcome: Outcome) -> TrialRecord:
        """End a trial with a record.

        Args:
            as_outcome: how Optuna is to take it; another one than the record's where it repeats a trial.

        Raises:
            TrialLost: another worker has ended it otherwise.
        """
        for name, value in trial_attributes(record).items():
            trial.set_user_attr(name, value)
        if as_outcome in WHOLE:
            for name, value in constraints(record).items():
                trial.set_constraint(name, value)
        try:
            self._end(trial, record, as_outcome)
        except (UpdateFinishedTrialError, ValueError) as error:
            ended = self._study.get_trials(deepcopy=False)[trial.number]
            if not ended.state.is_finished():
                raise
            # the storage may have gone away after it had written this and before it could say so
            if TrialRecord.from_trial(ended) != record:
                raise TrialLost from error
        self._events.trial_ended(record)
        return record

    def repeat(self, trial: optuna.Trial, record: TrialRecord, held: FrozenTrial) -> TrialRecord:
        """Give way to another trial of the same architecture."""
        known = TrialRecord.from_trial(held)
        if known is None:
            note = f"trial {held.number}, which another worker trains or died of"
            return self.tell(trial, replace(record, outcome=Outcome.REPEATED, note=note), Outcome.FAILED)
        again = replace(known, number=trial.number, outcome=Outcome.REPEATED, note=f"trial {held.number}")
        return self.tell(trial, again, known.outcome)

    def put_back(self, trial: optuna.Trial, record: TrialRecord) -> TrialRecord:
        """End a trial without a result and queue it again."""
        record = self.tell(trial, replace(record, outcome=Outcome.INTERRUPTED), Outcome.FAILED)
        self._recovery.put_back()
        return record

    def fail(self, trial: optuna.Trial) -> None:
        """End a trial that has no architecture yet, and queue what it was to try again."""
        self._study.tell(trial, state=TrialState.FAIL)
        self._recovery.put_back()

    def add(self, record: TrialRecord, space: SearchSpace) -> None:
        """Tell the study what another run trained to the end."""
        self._study.add_trial(
            optuna.trial.create_trial(
                params=space.parameters(record.architecture),
                distributions=space.distributions(record.architecture),
                user_attrs=trial_attributes(record),
                constraints=constraints(record),
                values=self._values(record),
            )
        )

    def _end(self, trial: optuna.Trial, record: TrialRecord, as_outcome: Outcome) -> None:
        if as_outcome in WHOLE:
            self._study.tell(trial, self._values(record))
        elif as_outcome in (Outcome.FAILED, Outcome.DIVERGED):
            self._study.tell(trial, state=TrialState.FAIL)
        else:
            # Optuna prunes only single-objective studies
            self._study.tell(trial, state=TrialState.FAIL if self._goal.front else TrialState.PRUNED)

    def _values(self, record: TrialRecord) -> list[float]:
        """What the study optimises."""
        si_rmse, latency_ms = record.reached
        return [si_rmse, latency_ms] if self._goal.front else [self._goal.merit(si_rmse, latency_ms)]
