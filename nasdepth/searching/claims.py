"""Which worker trains what: signs of life, claims on architectures, and what a dead worker leaves behind."""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Callable, Iterable
from contextlib import suppress
from copy import deepcopy

import optuna
from optuna.exceptions import ExperimentalWarning, UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from nasdepth.architecture import Architecture
from nasdepth.searching.records import ANNOUNCED, ATTRIBUTE, KNOWN, Outcome, TrialRecord
from nasdepth.searching.storage import STORAGE_ERRORS, PatientStorage

WORKER = "worker"
FAILED_TRY = "failed at try "
_CLAIMED = "claimed"
# Optuna's retry callback writes these into the trial that takes a dead one's place
_HISTORY = "retry_history"
_FIXED = "fixed_params"
_DEATHS_BEFORE_GIVING_UP = 3
_LOOK_AGAIN_S = 0.1


class TrialLost(Exception):
    """The study has given this trial to another worker, because no sign of life came for too long."""


class Heartbeat:
    """Shows that the worker of a trial lives, from a thread, as long as the block lasts.

    Optuna has such a thread inside of `Study.optimize` alone, and that one ends at the first error of the
    storage; a database that is restarted must not cost every worker its trial.

    Attributes:
        lost: whether the trial was given to another worker.
    """

    def __init__(self, storage: PatientStorage, trial: optuna.Trial) -> None:
        self._storage = storage
        self._trial_id = trial._trial_id
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self.lost = False

    def __enter__(self) -> Heartbeat:
        self._storage.record_heartbeat(self._trial_id)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def check(self) -> None:
        """Raise `TrialLost` if the trial is another worker's now."""
        if self.lost:
            raise TrialLost

    def _beat(self) -> None:
        backend = self._storage.backend
        while not self._ended.wait(self._storage.heartbeat_s):
            try:
                if backend.get_trial(self._trial_id).state is not TrialState.RUNNING:
                    raise UpdateFinishedTrialError
                backend.record_heartbeat(self._trial_id)
            except UpdateFinishedTrialError:
                self.lost = True
                break
            # the next one may get through
            except STORAGE_ERRORS:
                self._storage.silent()
        backend.remove_session()


class Recovery:
    """Puts what dead workers were training back into the queue, and what was interrupted.

    Attributes:
        finish: ends a running trial whose record is written already; its worker died before it could.

    A trial is put back in two writes. Whoever dies between them is repaired too: every failed trial without
    a result of its own gets a successor, whoever made it fail.
    """

    def __init__(self, study: optuna.Study, storage: PatientStorage) -> None:
        self._study, self._storage = study, storage
        self.finish: Callable[[FrozenTrial], None] = lambda _: None
        self._nameless_since: dict[int, float] = {}

    def __call__(self) -> None:
        """End trials without a sign of life, by their record where they have one, then put back."""
        for trial_id in self._storage._get_stale_trial_ids(self._study._study_id):
            trial = self._storage.get_trial(trial_id)
            if ATTRIBUTE in trial.user_attrs:
                self.finish(trial)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            optuna.storages.fail_stale_trials(self._study)
        self._fail_nameless()
        self.put_back()

    def _fail_nameless(self) -> None:
        """Fail trials whose worker died before its first sign of life; Optuna lets them run for ever."""
        now, running = time.monotonic(), self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        nameless = [trial.number for trial in running if WORKER not in trial.user_attrs]
        self._nameless_since = {number: self._nameless_since.get(number, now) for number in nameless}
        for number, since in self._nameless_since.items():
            if now - since > self._storage.grace_s:
                # another worker may have been quicker
                with suppress(ValueError, UpdateFinishedTrialError):
                    self._study.tell(number, state=TrialState.FAIL)

    def put_back(self) -> None:
        """Give every failed trial without a result a successor, unless too many workers died over it."""
        trials = self._study.get_trials(deepcopy=False)
        succeeded = {number for trial in trials for number in trial.system_attrs.get(_HISTORY, ())}
        for trial in trials:
            unfinished = trial.state is TrialState.FAIL and _outcome(trial) in (None, Outcome.INTERRUPTED)
            decided = ANNOUNCED in trial.user_attrs or {_FIXED, _HISTORY} & trial.system_attrs.keys()
            if unfinished and decided and trial.number not in succeeded and not given_up(trial, trials):
                _succeed(self._study, trial)


def _succeed(study: optuna.Study, trial: FrozenTrial) -> None:
    """Queue what a trial was to train."""
    # what the former worker announced is not the next one's word
    bare = optuna.trial.create_trial(
        state=TrialState.WAITING,
        params=trial.params,
        distributions=trial.distributions,
        # Optuna's callback appends to the list in it, and this one is the storage's own
        system_attrs=deepcopy(
            {
                key: value
                for key, value in trial.system_attrs.items()
                if key != "heartbeat" and not key.startswith("constraints:")
            }
        ),
    )
    bare.number = trial.number
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        optuna.storages.RetryHeartbeatStaleTrialCallback()(study, bare)


def given_up(trial: FrozenTrial, trials: list[FrozenTrial]) -> bool:
    """Whether every worker that tried this candidate died, so often that it must be the candidate's doing."""
    if trial.state is not TrialState.FAIL or _outcome(trial) is not None:
        return False
    # a journal's and a database's list are both in the order of numbers
    history = [trials[number] for number in trial.system_attrs.get(_HISTORY, ())]
    return 1 + sum(_outcome(one) is None for one in history) > _DEATHS_BEFORE_GIVING_UP


def died_of(trial: FrozenTrial, trials: list[FrozenTrial]) -> TrialRecord | None:
    """The record of a candidate that was given up, which no worker lived to write; None for all others."""
    if ANNOUNCED not in trial.user_attrs or not given_up(trial, trials):
        return None
    died = [*trial.system_attrs.get(_HISTORY, ()), trial.number]
    return TrialRecord(
        trial.number,
        Architecture.parse(trial.user_attrs[ANNOUNCED]),
        Outcome.FAILED,
        note=f"every process that trained it died ({len(died)} tries: trials {', '.join(map(str, died))})",
    )


def failures(architecture: str, trials: Iterable[FrozenTrial]) -> int:
    """How often a training of this architecture has ended with an error, and was put back."""
    records = (trial.user_attrs.get(ATTRIBUTE) for trial in trials if trial.state.is_finished())
    return sum(
        one["architecture"] == architecture and one["note"].startswith(FAILED_TRY) for one in records if one
    )


def holder(
    study: optuna.Study, trial: optuna.Trial, architecture: Architecture, waiting: Callable[[], None]
) -> FrozenTrial | None:
    """The trial that has trained or is training this architecture; None if it is this trial's to train.

    A storage has no lock that outlives a write, so the workers agree as in Lamport's bakery. A trial first
    announces its architecture and then reads all others'. It gives way to one that has been trained, to one
    that has claimed it, and to a running one of lower number. If only running ones of higher number are left
    that have not decided, it waits: those that read before its announcement claim, the rest give way to it.
    Of two trials that both read before either had claimed, the later to announce has seen the other one.

    Args:
        waiting: called between two looks at undecided trials; it fails those whose worker is dead.
    """
    text = str(architecture)
    trial.set_user_attr(ANNOUNCED, text)
    while True:
        trials = study.get_trials(deepcopy=False)
        others = [
            one for one in trials if one.user_attrs.get(ANNOUNCED) == text and one.number != trial.number
        ]
        for other in others:
            running = other.state is TrialState.RUNNING
            first = other.number < trial.number or _CLAIMED in other.user_attrs
            if _outcome(other) in (*KNOWN, Outcome.FAILED) or (running and first) or given_up(other, trials):
                return other
        if not any(other.state is TrialState.RUNNING for other in others):
            trial.set_user_attr(_CLAIMED, True)
            return None
        time.sleep(_LOOK_AGAIN_S)
        waiting()


def in_flight(trials: Iterable[FrozenTrial], before: int | None = None) -> int:
    """How many trials are running, of all or of those with a number below `before`."""
    return sum(
        trial.state is TrialState.RUNNING and (before is None or trial.number < before) for trial in trials
    )


def _outcome(trial: FrozenTrial) -> Outcome | None:
    stored = trial.user_attrs.get(ATTRIBUTE)
    return None if stored is None else Outcome(stored["outcome"])
