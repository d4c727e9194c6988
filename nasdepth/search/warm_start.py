"""Trainings of other runs, taken over by a search of the same data: si-RMSE does not depend on the device."""

from __future__ import annotations

from collections.abc import Mapping

import optuna
from sqlalchemy.exc import SQLAlchemyError

from nasdepth.errors import StudyError
from nasdepth.search.records import WHOLE, Outcome, TrialRecord
from nasdepth.search.study import IDENTITY, STUDY_NAME, quiet_optuna

# What si-RMSE depends on beside the architecture
_MUST_AGREE = ("data set", "proxy recipe", "seed")
_TRAINED = (*WHOLE, Outcome.PRUNED, Outcome.DIVERGED)


def earlier_trainings(storage: str, where: str, identity: Mapping[str, str]) -> tuple[TrialRecord, ...]:
    """The trainings of a study that another one may learn from.

    Args:
        storage: URL of the study.
        where: what an error calls it.
        identity: of the search that learns; see `nasdepth.search.Search`.

    Raises:
        StudyError: it cannot be read, or trained on other data, by another proxy or from another seed; the
            message names each difference.
    """
    try:
        with quiet_optuna():
            study = optuna.load_study(study_name=STUDY_NAME, storage=storage)
        trials = study.get_trials(deepcopy=False)
    except KeyError:
        raise StudyError(f"{where}: holds no search to start from") from None
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        raise StudyError(f"{where}: its study cannot be read ({str(error).splitlines()[0]})") from error
    theirs = study.user_attrs.get(IDENTITY, {})
    different = [
        f"{what} is {theirs.get(what)}, here it is {identity[what]}"
        for what in _MUST_AGREE
        if theirs.get(what) != identity[what]
    ]
    if different:
        raise StudyError(
            f"{where}: its trainings cannot be taken over: {'; '.join(different)}. Search with the same "
            "data, proxy and seed, or leave out --from"
        )
    records = (TrialRecord.from_trial(trial) for trial in trials)
    return tuple(record for record in records if record is not None and record.outcome in _TRAINED)
