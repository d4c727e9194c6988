"""Making a study once, however many processes want it at the same moment, and knowing it again."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Literal

import optuna
from optuna.exceptions import DuplicatedStudyError
from optuna.storages import BaseStorage
from optuna.trial import TrialState

from nasdepth.errors import StudyError

Direction = Literal["minimize", "maximize"]

STUDY_NAME = "nasdepth"
IDENTITY = "nasdepth_identity"
# whoever makes a study fills it in less time; if not, it died
_PATIENCE_S = 10.0
_LOOK_AGAIN_S = 0.1


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Optuna says on stderr that a study exists; what it says elsewhere is the caller's to decide."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


def found(storage: BaseStorage, name: str, directions: Sequence[Direction]) -> bool:
    """Make an empty study if there is none of this name; whether this call is the one that made it."""
    try:
        with quiet_optuna():
            optuna.create_study(study_name=name, storage=storage, directions=list(directions))
    except DuplicatedStudyError:
        return False
    return True


# of studies that were made before it could be chosen
_IMPLIED = {"precision": "float32"}


def settle(
    study: optuna.Study, identity: Mapping[str, str], queue: Sequence[dict], *, founded: bool, where: str
) -> None:
    """Queue what comes first and write what the study is of, or compare with what is written.

    Args:
        identity: what must be equal for trials to be comparable.
        queue: parameters of the first trials.
        founded: whether this process made the study; others wait until that one is done, or finish its work.
        where: the storage, for messages.

    Raises:
        StudyError: the study is of something else, or not nasdepth's.
    """
    deadline = time.monotonic() + (0 if founded else _PATIENCE_S)
    while (stored := study.user_attrs.get(IDENTITY)) is None:
        if any(trial.state is not TrialState.WAITING for trial in study.get_trials(deepcopy=False)):
            raise StudyError(f"{where}: holds a study that nasdepth did not make")
        if time.monotonic() >= deadline:
            break
        time.sleep(_LOOK_AGAIN_S)
    if stored is None:
        with quiet_optuna():
            for parameters in queue:
                study.enqueue_trial(parameters, skip_if_exists=True)
        # last: it says that the study is complete
        study.set_user_attr(IDENTITY, dict(identity))
        return
    for what, value in identity.items():
        if stored.get(what, _IMPLIED.get(what)) != value:
            raise StudyError(
                f"{where}: this study was made with another {what} ({stored.get(what)}, now {value}); its "
                "trials cannot be compared. Resume with what it was made with, or search in a new folder"
            )
