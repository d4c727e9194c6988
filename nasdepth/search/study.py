"""The search: Optuna asks, the table and the proxy answer, nothing is trained twice or lost."""

from __future__ import annotations

import math
import os
import socket
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

import optuna
from optuna.trial import TrialState
from sqlalchemy.exc import SQLAlchemyError

from nasdepth.architecture import Architecture
from nasdepth.errors import DivergedError, StudyError
from nasdepth.models import name_of
from nasdepth.models.pretrained import Start
from nasdepth.score import log2_score, si_rmse_worth
from nasdepth.search.objective import ProxyObjective
from nasdepth.search.records import ATTRIBUTE, SPENT, Outcome, TrialRecord, best
from nasdepth.space import SearchSpace
from nasdepth.training import Epoch, StepReport

Objective = Literal["score", "pareto"]
STUDY_NAME = "nasdepth"
_IDENTITY = "nasdepth_identity"
_WORKER = "worker"
# a sampler that keeps proposing what is known has nothing left to find
_REPEATS_BEFORE_GIVING_UP = 200
# no candidate is expected below this share of the lowest si-RMSE seen, nor of its own after two epochs
_OPTIMISM = 0.7
# the table is asked in milliseconds, but a limit that nothing meets must not spin for ever
_TOO_SLOW_BEFORE_GIVING_UP = 500


@dataclass
class SearchEvents:
    """What a front end may want to hear; every callback is optional."""

    trial_started: Callable[[Architecture, float], None] = lambda *_: None
    encoder_started: Callable[[str, Start], None] = lambda *_: None
    step: Callable[[StepReport], None] = lambda _: None
    epoch: Callable[[Epoch], None] = lambda _: None
    trial_ended: Callable[[TrialRecord], None] = lambda _: None


@dataclass
class Search:
    """One search over one space, stored in one Optuna study.

    Several processes may run the same study at once on one storage.

    Raises:
        StudyError: the storage cannot be opened, or holds a study of something else.
    """

    space: SearchSpace
    objective: ProxyObjective
    identity: dict[str, str]
    storage: str
    mode: Objective = "score"
    max_latency_ms: float | None = None
    seed: int = 0
    events: SearchEvents = field(default_factory=SearchEvents)

    def __post_init__(self) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        try:
            self.study = self._open()
        except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
            raise StudyError(f"{self.storage}: cannot be opened as a study ({_first_line(error)})") from error
        self._check_identity()
        self._fail_orphans()
        if not self.study.trials:
            for design in self.space.named().values():
                self.study.enqueue_trial(self.space.parameters(design))

    @property
    def records(self) -> list[TrialRecord]:
        """Every ended trial, oldest first."""
        records = (TrialRecord.from_trial(trial) for trial in self.study.get_trials(deepcopy=False))
        return [record for record in records if record is not None]

    @property
    def spent(self) -> int:
        """Trials that were trained, wholly or until they were pruned: what a budget counts."""
        return sum(record.outcome in SPENT for record in self.records)

    def run(self, budget: int) -> list[TrialRecord]:
        """Search until `budget` trials of the study have been trained.

        Ctrl-C (KeyboardInterrupt) passes through after the running trial has been put back in the queue.

        Raises:
            StudyError: the storage fails, or no proposal meets the latency limit.
        """
        if budget < 1:
            raise StudyError(f"the budget is {budget}; at least one trial must be trained")
        idle = dict.fromkeys((Outcome.REPEATED, Outcome.TOO_SLOW), 0)
        try:
            while self.spent < budget:
                outcome = self._trial().outcome
                idle = {o: n + 1 if o is outcome else (0 if outcome in SPENT else n) for o, n in idle.items()}
                if idle[Outcome.REPEATED] >= _REPEATS_BEFORE_GIVING_UP:
                    break
                if idle[Outcome.TOO_SLOW] >= _TOO_SLOW_BEFORE_GIVING_UP:
                    if self.spent:
                        break
                    raise StudyError(
                        f"{_TOO_SLOW_BEFORE_GIVING_UP} proposals in a row are slower than "
                        f"{self.max_latency_ms:g} ms; raise --max-latency-ms or search a space of smaller "
                        "networks"
                    )
        except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
            raise StudyError(
                f"{self.storage}: the study cannot be written ({_first_line(error)}); free some space and "
                "run again with --resume, every finished trial is kept"
            ) from error
        return self.records

    def _trial(self) -> TrialRecord:
        started = time.perf_counter()
        trial = self.study.ask()
        trial.set_user_attr(_WORKER, f"{socket.gethostname()}:{os.getpid()}")
        architecture = self.space.suggest(trial)
        record = TrialRecord(trial.number, architecture, Outcome.FAILED)
        known = self._known().get(architecture)
        if known is not None:
            again = replace(
                known, number=trial.number, outcome=Outcome.REPEATED, note=f"trial {known.number}"
            )
            return self._tell(trial, again, known.outcome)
        try:
            estimate = self.objective.latency(architecture)
            record = replace(
                record,
                latency_ms=estimate.latency_ms,
                latency_sd_ms=estimate.sd_ms,
                measured_share=estimate.measured_share,
            )
            if why := self._too_slow(estimate.latency_ms):
                return self._tell(
                    trial, replace(record, outcome=Outcome.TOO_SLOW, note=why), Outcome.TOO_SLOW
                )
            record = self._train(trial, record)
        except KeyboardInterrupt:
            # what was asked for is asked for again on resume
            self._tell(trial, replace(record, outcome=Outcome.INTERRUPTED), Outcome.FAILED)
            self.study.enqueue_trial(trial.params)
            raise
        except (SQLAlchemyError, optuna.exceptions.StorageInternalError):
            raise
        except Exception as error:
            failed = replace(record, outcome=Outcome.FAILED, note=_first_line(error))
            self._tell(trial, failed, Outcome.FAILED)
            raise
        record = replace(record, total_s=time.perf_counter() - started)
        return self._tell(trial, record, record.outcome)

    def _too_slow(self, latency_ms: float) -> str:
        """Why a candidate of this latency is not worth a training; empty if it is."""
        if self.max_latency_ms is not None and latency_ms > self.max_latency_ms:
            return f"above {self.max_latency_ms:g} ms"
        trained = [record.si_rmse for record in self.records if record.outcome is Outcome.TRAINED]
        needed = self._si_rmse_to_win(latency_ms)
        if not trained or needed >= _OPTIMISM * min(trained):
            return ""
        return f"would need si-RMSE {needed:.3f} to be the best"

    def _si_rmse_to_win(self, latency_ms: float) -> float:
        """What a candidate of this latency has to reach to beat the best so far."""
        top = best(self.records)
        if self.mode == "pareto" or top is None:
            return math.inf
        return top.si_rmse - si_rmse_worth(latency_ms / top.latency_ms)

    def _train(self, trial: optuna.Trial, record: TrialRecord) -> TrialRecord:
        """Train one candidate, stopping when its intermediate score is hopeless."""
        self.events.trial_started(record.architecture, record.latency_ms)
        starts: list[Start] = []
        epochs: list[Epoch] = []
        to_win = self._si_rmse_to_win(record.latency_ms)

        def on_start(start: Start) -> None:
            starts.append(start)
            self.events.encoder_started(record.architecture.encoder.family, start)

        def on_epoch(epoch: Epoch) -> None:
            epochs.append(epoch)
            self.events.epoch(epoch)
            if self.mode == "score":  # Optuna cannot prune with two objectives
                trial.report(log2_score(epoch.si_rmse, record.latency_ms), epoch.epoch)
                hopeless = epoch.epoch >= 1 and _OPTIMISM * epoch.si_rmse > to_win
                if epoch.epoch + 1 < self.objective.recipe.epochs and (hopeless or trial.should_prune()):
                    raise optuna.TrialPruned

        outcome = Outcome.TRAINED
        try:
            self.objective.train(record.architecture, on_start, on_epoch, self.events.step)
        except optuna.TrialPruned:
            outcome = Outcome.PRUNED
        except DivergedError as error:
            outcome, record = Outcome.DIVERGED, replace(record, note=str(error))
        return replace(
            record,
            outcome=outcome,
            si_rmse=epochs[-1].si_rmse if epochs else None,
            curve=tuple(epoch.si_rmse for epoch in epochs),
            start=starts[0].source,
            training_s=sum(epoch.seconds for epoch in epochs),
        )

    def _tell(self, trial: optuna.Trial, record: TrialRecord, as_outcome: Outcome) -> TrialRecord:
        trial.set_user_attr(ATTRIBUTE, record.to_attribute())
        trial.set_user_attr("si_rmse", record.si_rmse)
        trial.set_user_attr("latency_ms", record.latency_ms)
        trial.set_user_attr("architecture", str(record.architecture))
        if name := name_of(record.architecture):
            trial.set_user_attr("design", name)
        if as_outcome is Outcome.TRAINED:
            values = record.log2_score if self.mode == "score" else [record.si_rmse, record.latency_ms]
            self.study.tell(trial, values)
        elif as_outcome in (Outcome.FAILED, Outcome.DIVERGED):
            self.study.tell(trial, state=TrialState.FAIL)
        else:
            # Optuna prunes only single-objective studies
            self.study.tell(trial, state=TrialState.PRUNED if self.mode == "score" else TrialState.FAIL)
        self.events.trial_ended(record)
        return record

    def _known(self) -> dict[Architecture, TrialRecord]:
        """What has been trained already, by canonical architecture; what was too slow is asked again."""
        return {record.architecture: record for record in self.records if record.outcome in SPENT}

    def _open(self) -> optuna.Study:
        if self.mode == "pareto":
            return optuna.create_study(
                study_name=STUDY_NAME,
                storage=self.storage,
                load_if_exists=True,
                directions=["minimize", "minimize"],
                sampler=optuna.samplers.NSGAIISampler(population_size=20, seed=self.seed),
            )
        study = optuna.create_study(
            study_name=STUDY_NAME,
            storage=self.storage,
            load_if_exists=True,
            direction="maximize",
            pruner=optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=1),
        )
        # `group` suits a space whose parameters depend on one another; Optuna calls it experimental
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        # a resumed sampler must not repeat the draws of the first run
        study.sampler = optuna.samplers.TPESampler(
            n_startup_trials=10,
            multivariate=True,
            group=True,
            constant_liar=True,
            seed=self.seed + len(study.get_trials(deepcopy=False)),
        )
        return study

    def _check_identity(self) -> None:
        stored = self.study.user_attrs.get(_IDENTITY)
        identity = self.identity | {"objective": self.mode}
        if stored is None:
            if self.study.trials:
                raise StudyError(f"{self.storage}: holds a study that nasdepth did not make")
            self.study.set_user_attr(_IDENTITY, identity)
            return
        for what, value in identity.items():
            if stored.get(what) != value:
                raise StudyError(
                    f"{self.storage}: this study was made with another {what} ({stored.get(what)}, now "
                    f"{value}); its trials cannot be compared. Resume with what it was made with, or search "
                    "in a new folder"
                )

    def _fail_orphans(self) -> None:
        """Put back what a killed process of this machine left running."""
        host = socket.gethostname()
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            worker, _, pid = str(trial.user_attrs.get(_WORKER, "")).rpartition(":")
            if worker == host and not _alive(int(pid)):
                self.study.tell(trial.number, state=TrialState.FAIL)
                if trial.params:
                    self.study.enqueue_trial(trial.params)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return pid != os.getpid()


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
