"""The search: Optuna asks, the table and the proxy answer, nothing is trained twice or lost."""

from __future__ import annotations

import math
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import optuna
from optuna.trial import TrialState
from sqlalchemy.exc import SQLAlchemyError

from nasdepth.architecture import Architecture
from nasdepth.devices import Measurement
from nasdepth.errors import DeviceError, DivergedError, StudyError
from nasdepth.latency import LatencyEstimate
from nasdepth.models import name_of
from nasdepth.models.pretrained import Start
from nasdepth.score import log2_score, si_rmse_worth
from nasdepth.search.confirm import Confirmation, confirm, confirmations, with_confirmations
from nasdepth.search.measure import CandidateBench, judged, keep_measurement, measurements
from nasdepth.search.objective import Objective
from nasdepth.search.pruning import make_pruner
from nasdepth.search.records import ATTRIBUTE, SPENT, WHOLE, Outcome, TrialRecord, leader
from nasdepth.search.sampling import (
    DEFAULT_SAMPLER,
    SamplerContext,
    believed_si_rmse,
    check_sampler,
    make_sampler,
)
from nasdepth.space import SearchSpace
from nasdepth.training import Epoch, StepReport

Mode = Literal["score", "pareto"]
STUDY_NAME = "nasdepth"
IDENTITY = "nasdepth_identity"
_WORKER = "worker"
# a sampler that keeps proposing what is known has nothing left to find
_REPEATS_BEFORE_GIVING_UP = 200
# no candidate is expected below this share of the lowest si-RMSE seen, nor of its own after two epochs
_OPTIMISM = 0.7
# the table is asked in milliseconds, but a limit that nothing meets must not spin for ever
_TOO_SLOW_BEFORE_GIVING_UP = 500
_REFUSED_BEFORE_GIVING_UP = 30
# an interval may reach down to 0, which has no logarithm
_FASTEST_MS = 1e-6


@dataclass
class SearchEvents:
    """What a front end may want to hear; every callback is optional."""

    trial_started: Callable[[Architecture, float], None] = lambda *_: None
    encoder_started: Callable[[str, Start], None] = lambda *_: None
    step: Callable[[StepReport], None] = lambda _: None
    epoch: Callable[[Epoch], None] = lambda _: None
    measuring: Callable[[Sequence[Architecture]], None] = lambda _: None
    measured: Callable[[Architecture, Measurement], None] = lambda *_: None
    confirming: Callable[[TrialRecord, int], None] = lambda *_: None
    confirmed: Callable[[TrialRecord, Confirmation], None] = lambda *_: None
    trial_ended: Callable[[TrialRecord], None] = lambda _: None


@dataclass
class Search:
    """One search over one space, stored in one Optuna study.

    Several processes may run the same study at once on one storage.

    Attributes:
        pruner: which rule ends a training early, see `nasdepth.search.pruning`.
        sampler: what decides on the next candidate; one of `nasdepth.search.sampling.SAMPLERS`.
        earlier: trainings of other runs on the same data, by the same proxy and seed. The sampler learns from
            them, and what was trained to the end counts as known under this search's latencies.
        bench: the table's device, if it is at hand.
        unsure_percent: before its training, a candidate is measured whose 90 % interval reaches further than
            this to either side, in percent of its estimate; None measures none. Needs a bench.

    Raises:
        StudyError: the storage cannot be opened, or holds a study of something else.
    """

    space: SearchSpace
    objective: Objective
    identity: dict[str, str]
    storage: str
    mode: Mode = "score"
    max_latency_ms: float | None = None
    seed: int = 0
    pruner: str = "median"
    sampler: str = DEFAULT_SAMPLER
    earlier: tuple[TrialRecord, ...] = ()
    bench: CandidateBench | None = None
    unsure_percent: float | None = None
    events: SearchEvents = field(default_factory=SearchEvents)

    def __post_init__(self) -> None:
        if self.unsure_percent is not None and self.bench is None:
            raise StudyError("measuring unsure candidates needs the latency table's own device")
        check_sampler(self.sampler, self.mode)
        try:
            self.study = self._open()
        except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
            raise StudyError(f"{self.storage}: cannot be opened as a study ({_first_line(error)})") from error
        self._check_identity()
        self._fail_orphans()
        first = not self.study.trials
        self._reuse()
        if first:
            known = self._known()
            for design in self.space.named().values():
                if design not in known:
                    self.study.enqueue_trial(self.space.parameters(design))
        self.study.sampler = make_sampler(self.sampler, self._sampler_context())

    @property
    def records(self) -> list[TrialRecord]:
        """Every ended trial, oldest first, as it stands after all that was measured since."""
        measured = measurements(self.study)
        told = [
            judged(record, measured.get(record.architecture), self.max_latency_ms) for record in self._as_told
        ]
        return with_confirmations(told, confirmations(self.study))

    @property
    def _as_told(self) -> list[TrialRecord]:
        """Every ended trial as it was when it ended."""
        records = (TrialRecord.from_trial(trial) for trial in self.study.get_trials(deepcopy=False))
        return [record for record in records if record is not None]

    @property
    def spent(self) -> int:
        """Trials that were trained, wholly or until they were pruned: what a budget counts."""
        return sum(record.outcome in SPENT for record in self._as_told)

    def run(self, budget: int) -> list[TrialRecord]:
        """Search until `budget` trials of the study have been trained.

        Ctrl-C (KeyboardInterrupt) passes through after the running trial has been put back in the queue.

        Raises:
            StudyError: the storage fails, no proposal meets the latency limit, or the device refuses all.
            DeviceError: the device is lost; the running trial has been put back in the queue.
        """
        if budget < 1:
            raise StudyError(f"the budget is {budget}; at least one trial must be trained")
        idle = dict.fromkeys((Outcome.REPEATED, Outcome.TOO_SLOW, Outcome.REFUSED), 0)
        try:
            while self.spent < budget:
                record = self._trial()
                outcome = record.outcome
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
                if idle[Outcome.REFUSED] >= _REFUSED_BEFORE_GIVING_UP:
                    if self.spent:
                        break
                    raise StudyError(
                        f"the device refused {_REFUSED_BEFORE_GIVING_UP} proposals in a row, the last with: "
                        f"{record.note}; search a space without that operation"
                    )
        except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
            raise self._cannot_write(error) from error
        return self.records

    def measure_top(self, count: int) -> list[TrialRecord]:
        """Measure trained candidates until the `count` best by what is then known are all measured.

        Raises:
            DeviceError: the device is lost; what was measured is kept.
            StudyError: the storage fails, or there is no bench.
        """
        if self.bench is None:
            raise StudyError("measuring candidates needs the latency table's own device")
        try:
            while True:
                trained = [record for record in self.records if record.outcome in WHOLE]
                top = sorted(trained, key=lambda record: -record.log2_score)[:count]
                unmeasured = [one.architecture for one in top if one.latency_source == "estimate"]
                if not unmeasured:
                    return self.records
                self._measure(unmeasured)
        except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
            raise self._cannot_write(error) from error

    def confirm_top(self, count: int, epochs: int) -> list[TrialRecord]:
        """Train the candidates that are believed to be best once more, longer and from another seed.

        One that diverges makes room for the next. What was confirmed before is not trained again.

        Args:
            epochs: of the second training.

        Raises:
            StudyError: the storage fails; what was confirmed before is kept.
        """
        objective = self.objective.longer(epochs)
        try:
            while True:
                confirmed = confirmations(self.study)
                trained = [record for record in self.records if record.outcome in WHOLE]
                top = sorted(trained, key=self._belief())[:count]
                waiting = [record for record in top if record.architecture not in confirmed]
                if not waiting:
                    return self.records
                record = waiting[0]
                self.events.confirming(record, objective.rungs[-1])
                result = confirm(
                    self.study, objective, record.architecture, self.events.epoch, self.events.step
                )
                self.events.confirmed(record, result)
        except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
            raise self._cannot_write(error) from error

    def _belief(self) -> Callable[[TrialRecord], float]:
        """How good a trained candidate is believed to be, smaller being better."""
        believed = believed_si_rmse(self.study, self._sampler_context())

        def loss(record: TrialRecord) -> float:
            si_rmse = max(believed.get(record.architecture, record.si_rmse), 0.0)
            return -log2_score(si_rmse, record.latency_ms)

        return loss

    def _cannot_write(self, error: Exception) -> StudyError:
        return StudyError(
            f"{self.storage}: the study cannot be written ({_first_line(error)}); free some space and run "
            "again with --resume, every finished trial is kept"
        )

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
            record = self._timed(record)
            if record.outcome in (Outcome.TOO_SLOW, Outcome.REFUSED):
                return self._tell(trial, record, record.outcome)
            record = self._train(trial, record)
        except (KeyboardInterrupt, DeviceError):
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

    def _timed(self, record: TrialRecord) -> TrialRecord:
        """The record with its latency: estimated, and measured where the estimate is too unsure."""
        if why := self.objective.refusal(record.architecture):
            return replace(record, outcome=Outcome.REFUSED, note=why)
        estimate = self.objective.latency(record.architecture)
        record = record.with_estimate(estimate)
        known = measurements(self.study).get(record.architecture)
        unsure = known is None and self._unsure(estimate)
        # what would be too slow at its luckiest is not worth an export
        fastest_ms = max(estimate.interval_90[0], _FASTEST_MS) if unsure else estimate.latency_ms
        if known is None and (why := self._too_slow(fastest_ms)):
            return replace(record, outcome=Outcome.TOO_SLOW, note=why)
        if unsure:
            self._measure([record.architecture])
            known = measurements(self.study)[record.architecture]
        if known is None:
            return record
        if known.error:
            return replace(record, outcome=Outcome.REFUSED, note=known.error)
        why = self._too_slow(known.latency_ms)
        record = record.with_measurement(known.latency_ms)
        return replace(record, outcome=Outcome.TOO_SLOW, note=why) if why else record

    def _unsure(self, estimate: LatencyEstimate) -> bool:
        if self.unsure_percent is None:
            return False
        low_ms, high_ms = estimate.interval_90
        return (high_ms - low_ms) / 2 > self.unsure_percent / 100 * estimate.latency_ms

    def _measure(self, architectures: Sequence[Architecture]) -> None:
        """Measure candidates on the device and keep every answer in the study at once."""
        self.events.measuring(architectures)
        with closing(self.bench.measure(architectures)) as measured:
            for architecture, measurement in measured:
                keep_measurement(self.study, architecture, measurement)
                self.events.measured(architecture, measurement)

    def _too_slow(self, latency_ms: float) -> str:
        """Why a candidate of this latency is not worth a training; empty if it is."""
        if self.max_latency_ms is not None and latency_ms > self.max_latency_ms:
            return f"above {self.max_latency_ms:g} ms"
        trained = [record.si_rmse for record in self.records if record.outcome in WHOLE]
        needed = self._si_rmse_to_win(latency_ms)
        if not trained or needed >= _OPTIMISM * min(trained):
            return ""
        return f"would need si-RMSE {needed:.3f} to be the best"

    def _si_rmse_to_win(self, latency_ms: float) -> float:
        """What a candidate of this latency has to reach to beat the best so far."""
        top = leader(self.records)
        if self.mode == "pareto" or top is None:
            return math.inf
        return top.si_rmse - si_rmse_worth(latency_ms / top.latency_ms)

    def _train(self, trial: optuna.Trial, record: TrialRecord) -> TrialRecord:
        """Train one candidate rung by rung, and stop when its intermediate score is hopeless."""
        self.events.trial_started(record.architecture, record.latency_ms)
        training = self.objective.begin(record.architecture)
        self.events.encoder_started(record.architecture.encoder.family, training.start)
        # a pruner may want to tell the latency's part of a score from the depth's
        trial.set_user_attr("latency_ms", record.latency_ms)
        rungs = self.objective.rungs
        epochs: list[Epoch] = []
        reached: list[float] = []
        to_win = self._si_rmse_to_win(record.latency_ms)

        def on_epoch(epoch: Epoch) -> None:
            epochs.append(epoch)
            self.events.epoch(epoch)
            done = epoch.epoch + 1
            if done == rungs[len(reached)]:
                reached.append(epoch.si_rmse)
            elif len(rungs) > 1:
                return  # within a rung the learning rate is still high
            if self.mode == "score":  # Optuna cannot prune with two objectives
                trial.report(log2_score(epoch.si_rmse, record.latency_ms), done)
                settled = len(rungs) > 1 or done > 1
                hopeless = settled and _OPTIMISM * epoch.si_rmse > to_win
                if done < rungs[-1] and (hopeless or trial.should_prune()):
                    raise optuna.TrialPruned

        outcome = Outcome.TRAINED
        try:
            for index in range(len(rungs)):
                training.train_rung(index, on_epoch, self.events.step)
        except optuna.TrialPruned:
            outcome = Outcome.PRUNED
        except DivergedError as error:
            outcome, record = Outcome.DIVERGED, replace(record, note=str(error))
        return replace(
            record,
            outcome=outcome,
            si_rmse=epochs[-1].si_rmse if epochs else None,
            curve=tuple(epoch.si_rmse for epoch in epochs),
            rungs=tuple(reached) if len(rungs) > 1 else (),
            start=training.start.source,
            training_s=sum(epoch.seconds for epoch in epochs),
        )

    def _tell(self, trial: optuna.Trial, record: TrialRecord, as_outcome: Outcome) -> TrialRecord:
        for name, value in _attributes(record).items():
            trial.set_user_attr(name, value)
        if as_outcome in WHOLE:
            self.study.tell(trial, self._values(record))
        elif as_outcome in (Outcome.FAILED, Outcome.DIVERGED):
            self.study.tell(trial, state=TrialState.FAIL)
        else:
            # Optuna prunes only single-objective studies
            self.study.tell(trial, state=TrialState.PRUNED if self.mode == "score" else TrialState.FAIL)
        self.events.trial_ended(record)
        return record

    def _values(self, record: TrialRecord) -> list[float]:
        """What the study optimises."""
        return [record.log2_score] if self.mode == "score" else [record.si_rmse, record.latency_ms]

    def _known(self) -> dict[Architecture, TrialRecord]:
        """What has been trained already, by canonical architecture; what was too slow is asked again."""
        known = (*SPENT, Outcome.REUSED)
        return {record.architecture: record for record in self._as_told if record.outcome in known}

    def _sampler_context(self) -> SamplerContext:
        return SamplerContext(
            space=self.space,
            latencies=self.objective.latencies,
            runtime=self.objective.runtime,
            mode=self.mode,
            max_latency_ms=self.max_latency_ms,
            seed=self.seed,
            trials=len(self.study.get_trials(deepcopy=False)),
            earlier=self.earlier,
            refusal=self.objective.refusal,
            too_slow=self._too_slow,
        )

    def _reuse(self) -> None:
        """Tell the study of architectures that another run trained to the end, under this search's latencies.

        What the device refuses, what is above the limit and what lies outside the space is left out.
        """
        known = self._known()
        whole = {one.architecture: one for one in self.earlier if one.outcome in WHOLE}
        fresh = [one for one in whole if one not in known and self.space.contains(one)]
        runs = [one for one in fresh if not self.objective.refusal(one)]
        for architecture, estimate in zip(runs, self.objective.latencies(runs), strict=True):
            limit = self.max_latency_ms
            if estimate is None or (limit is not None and estimate.latency_ms > limit):
                continue
            other = whole[architecture]
            record = replace(
                other,
                outcome=Outcome.REUSED,
                measured_latency_ms=None,
                training_s=0.0,
                total_s=0.0,
                note=f"{other.note or f'trial {other.number}'} of another run",
            ).with_estimate(estimate)
            self.study.add_trial(
                optuna.trial.create_trial(
                    params=self.space.parameters(architecture),
                    distributions=self.space.distributions(architecture),
                    user_attrs=_attributes(record),
                    values=self._values(record),
                )
            )

    def _open(self) -> optuna.Study:
        pareto = self.mode == "pareto"
        with quiet_optuna():
            return optuna.create_study(
                study_name=STUDY_NAME,
                storage=self.storage,
                load_if_exists=True,
                directions=["minimize", "minimize"] if pareto else ["maximize"],
                pruner=make_pruner(self.pruner, self.objective.rungs),
            )

    def _check_identity(self) -> None:
        stored = self.study.user_attrs.get(IDENTITY)
        identity = self.identity | {"objective": self.mode}
        if stored is None:
            if self.study.trials:
                raise StudyError(f"{self.storage}: holds a study that nasdepth did not make")
            self.study.set_user_attr(IDENTITY, identity)
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


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Optuna says on stderr that a study exists; what it says elsewhere is the caller's to decide."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


def _attributes(record: TrialRecord) -> dict[str, Any]:
    """What a trial keeps of a record: all of it, and what the dashboard shows."""
    attributes = {
        ATTRIBUTE: record.to_attribute(),
        "si_rmse": record.si_rmse,
        "latency_ms": record.latency_ms,
        "architecture": str(record.architecture),
    }
    name = name_of(record.architecture)
    return attributes | {"design": name} if name else attributes


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
