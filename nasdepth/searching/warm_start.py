"""Trainings of other runs, taken over by a search of the same data: si-RMSE does not depend on the device."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import optuna

from nasdepth.errors import StudyError
from nasdepth.searching.founding import IDENTITY
from nasdepth.searching.objective import Objective
from nasdepth.searching.records import WHOLE, Outcome, TrialRecord
from nasdepth.searching.storage import STORAGE_ERRORS, open_storage, why
from nasdepth.space import SearchSpace

# What si-RMSE depends on beside the architecture
_MUST_AGREE = ("data set", "proxy recipe", "rungs", "seed")
_TRAINED = (*WHOLE, Outcome.PRUNED, Outcome.DIVERGED)


def earlier_trainings(
    storage: str, study_name: str, where: str, identity: Mapping[str, str]
) -> tuple[TrialRecord, ...]:
    """The trainings of a study that another one may learn from.

    Args:
        storage: URL of the study.
        study_name: of the study in that storage.
        where: what an error calls it.
        identity: of the search that learns; see `nasdepth.searching.Search`.

    Raises:
        StudyError: it cannot be read, or trained on other data, by another proxy or from another seed; the
            message names each difference.
    """
    try:
        study = optuna.load_study(study_name=study_name, storage=open_storage(storage))
        trials = study.get_trials(deepcopy=False)
    except KeyError:
        raise StudyError(f"{where}: holds no search to start from") from None
    except STORAGE_ERRORS as error:
        raise StudyError(f"{where}: its study cannot be read ({why(error, storage)})") from error
    theirs = study.user_attrs.get(IDENTITY, {})
    different = [
        f"{what} is {theirs.get(what)}, here it is {identity[what]}"
        for what in _MUST_AGREE
        if theirs.get(what) != identity[what]
    ]
    if different:
        raise StudyError(
            f"{where}: its trainings cannot be taken over: {'; '.join(different)}. Search with the same "
            "data, proxy and seed, or leave out `from_runs`"
        )
    records = (TrialRecord.from_trial(trial) for trial in trials)
    return tuple(record for record in records if record is not None and record.outcome in _TRAINED)


def reused(
    earlier: Sequence[TrialRecord], space: SearchSpace, objective: Objective, max_latency_ms: float | None
) -> Iterator[TrialRecord]:
    """What other runs trained to the end, under the latencies of this search.

    What the device refuses, what is above the limit and what lies outside the space is left out.
    """
    whole = {one.architecture: one for one in earlier if one.outcome in WHOLE}
    runs = [one for one in whole if space.contains(one) and not objective.refusal(one)]
    for architecture, estimate in zip(runs, objective.latencies(runs), strict=True):
        if estimate is None or (max_latency_ms is not None and estimate.latency_ms > max_latency_ms):
            continue
        other = whole[architecture]
        yield replace(
            other,
            outcome=Outcome.REUSED,
            measured_latency_ms=None,
            mean_map_si_rmse=objective.mean_map_si_rmse,
            training_s=0.0,
            total_s=0.0,
            note=f"{other.note or f'trial {other.number}'} of another run",
        ).with_estimate(estimate)
