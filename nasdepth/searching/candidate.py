"""One candidate's training in a study: rung by rung, reported to Optuna, ended early when it is hopeless."""

from __future__ import annotations

from dataclasses import replace

import optuna

from nasdepth.errors import DivergedError
from nasdepth.searching.events import SearchEvents
from nasdepth.searching.goals import Goal
from nasdepth.searching.objective import Objective
from nasdepth.searching.pruning import LATENCY_ATTRIBUTE
from nasdepth.searching.records import Outcome, TrialRecord
from nasdepth.training import Epoch


def train_candidate(
    trial: optuna.Trial,
    record: TrialRecord,
    objective: Objective,
    events: SearchEvents,
    *,
    goal: Goal,
    hopeless_above: float,
) -> TrialRecord:
    """Train the candidate of a trial as far as it is worth it.

    Args:
        record: with the candidate's architecture and latency.
        goal: whose merit is reported after each epoch, so that trainings may end early. With a front none is:
            Optuna cannot prune by two objectives.
        hopeless_above: si-RMSE (in log depth) above which no training is expected to win any more.

    Returns:
        The record with what was reached: trained, pruned or diverged.
    """
    latency_ms = record.known_latency_ms
    events.trial_started(record.architecture, latency_ms)
    training = objective.begin(record.architecture)
    events.encoder_started(record.architecture.encoder.family, training.start)
    # a pruner may want to tell the latency's part of a score from the depth's
    trial.set_user_attr(LATENCY_ATTRIBUTE, latency_ms)
    rungs = objective.rungs
    epochs: list[Epoch] = []
    reached: list[float] = []

    def on_epoch(epoch: Epoch) -> None:
        epochs.append(epoch)
        events.epoch(epoch)
        done = epoch.epoch + 1
        if done == rungs[len(reached)]:
            reached.append(epoch.validated)
        elif len(rungs) > 1:
            return  # within a rung the learning rate is still high
        if not goal.front:
            trial.report(goal.merit(epoch.validated, latency_ms), done)
            settled = len(rungs) > 1 or done > 1
            hopeless = settled and epoch.validated > hopeless_above
            if done < rungs[-1] and (hopeless or trial.should_prune()):
                raise optuna.TrialPruned

    outcome = Outcome.TRAINED
    try:
        for index in range(len(rungs)):
            training.train_rung(index, on_epoch, events.step)
    except optuna.TrialPruned:
        outcome = Outcome.PRUNED
    except DivergedError as error:
        outcome, record = Outcome.DIVERGED, replace(record, note=str(error))
    return replace(
        record,
        outcome=outcome,
        si_rmse=epochs[-1].si_rmse if epochs else None,
        curve=tuple(epoch.validated for epoch in epochs),
        rungs=tuple(reached) if len(rungs) > 1 else (),
        start=training.start.source,
        training_s=sum(epoch.seconds for epoch in epochs),
    )
