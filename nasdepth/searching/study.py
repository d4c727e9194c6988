"""The search: Optuna asks, the table and the proxy answer, nothing is trained twice or lost."""

from __future__ import annotations

import math
import os
import secrets
import socket
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import optuna
from optuna.exceptions import ExperimentalWarning, UpdateFinishedTrialError
from optuna.trial import TrialState

from nasdepth.architecture import Architecture
from nasdepth.errors import SEEDS, DeviceError, NasdepthError, StudyError
from nasdepth.kernels.precision import Precision
from nasdepth.latency import LatencyEstimate
from nasdepth.searching.candidate import train_candidate
from nasdepth.searching.claims import (
    FAILED_TRY,
    WORKER,
    Heartbeat,
    Recovery,
    TrialLost,
    died_of,
    failures,
    holder,
    in_flight,
)
from nasdepth.searching.confirm import confirm, confirmations, with_confirmations
from nasdepth.searching.events import SearchEvents
from nasdepth.searching.founding import STUDY_NAME, Direction, found, settle
from nasdepth.searching.goals import SCORE, Goal
from nasdepth.searching.measure import CandidateBench, judged, keep_measurement, measurements
from nasdepth.searching.objective import Objective
from nasdepth.searching.pruning import make_pruner
from nasdepth.searching.records import (
    KNOWN,
    SPENT,
    WHOLE,
    Outcome,
    TrialRecord,
    leader,
    ranked,
    worth_choosing,
)
from nasdepth.searching.sampling import (
    DEFAULT_SAMPLER,
    SamplerContext,
    believed_si_rmse,
    check_sampler,
    make_sampler,
)
from nasdepth.searching.stopping import Idle
from nasdepth.searching.storage import HEARTBEAT_S, STORAGE_ERRORS, open_storage, shown, why
from nasdepth.searching.verdicts import Verdicts
from nasdepth.searching.warm_start import reused
from nasdepth.space import SearchSpace
from nasdepth.training import StepReport

SHARED = "nasdepth_settings"
_BUDGET, _MINUTES = "nasdepth_budget", "nasdepth_training_minutes"
_LOOK_AGAIN_S = 1.0
# of a candidate whose training fails
_TRIES = 3
_FAILED_BEFORE_GIVING_UP = 3
# no candidate is expected below this share of the lowest si-RMSE seen, nor of its own so far
_OPTIMISM = 0.7
# an interval may reach down to 0, which has no logarithm
_FASTEST_MS = 1e-6


@dataclass
class Search:
    """One search over one space, stored in one Optuna study.

    Several processes may run the same study at once on one storage: none trains what another one has trained
    or is training, and what a dead one was training is put back.

    Attributes:
        storage: URL, see `open_storage`.
        goal: what makes one network better than another.
        pruner: which rule ends a training early, see `nasdepth.searching.pruning`.
        sampler: what decides on the next candidate; one of `nasdepth.searching.sampling.SAMPLERS`.
        earlier: trainings of other runs on the same data, by the same proxy and seed. The sampler learns from
            them, and what was trained to the end counts as known under this search's latencies.
        study_name: of the study in that storage, which may hold many.
        heartbeat_s: seconds between two signs of life; all processes of a study use the same.
        worker_seed: what keeps this process from proposing what the others propose.
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
    goal: Goal = SCORE
    max_latency_ms: float | None = None
    seed: int = 0
    pruner: str = "median"
    sampler: str = DEFAULT_SAMPLER
    earlier: tuple[TrialRecord, ...] = ()
    study_name: str = STUDY_NAME
    heartbeat_s: int = HEARTBEAT_S
    worker_seed: int = 0
    bench: CandidateBench | None = None
    unsure_percent: float | None = None
    events: SearchEvents = field(default_factory=SearchEvents)
    _failed_in_a_row: int = field(default=0, init=False, repr=False)
    _told: dict[int, TrialRecord | None] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.unsure_percent is not None and self.bench is None:
            raise StudyError("measuring unsure candidates needs the latency table's own device")
        check_sampler(self.sampler, self.goal)
        self._worker = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self._where = shown(self.storage)
        self._heartbeat: Heartbeat | None = None
        self.events = replace(self.events, step=self._checked(self.events.step))
        self._storage = open_storage(self.storage, self.heartbeat_s)
        self._storage.away, self._storage.back = self.events.storage_away, self.events.storage_back
        try:
            directions: list[Direction] = ["minimize", "minimize"] if self.goal.front else ["maximize"]
            founded = found(self._storage, self.study_name, directions)
            self.study = optuna.load_study(study_name=self.study_name, storage=self._storage)
            if founded:
                self._name_values()
            self.study.pruner = make_pruner(self.pruner, self.objective.rungs, self.goal)
            settle(
                self.study,
                self.identity | {"objective": self.goal.text},
                [self.space.parameters(design) for design in self.space.named().values()],
                founded=founded,
                where=self._where,
            )
            self._recovery = Recovery(self.study, self._storage)
            self._verdicts = Verdicts(self.study, self.goal, self.events, self._recovery)
            self._recovery.finish = self._verdicts.finish
            self._recovery()
            known = {one.architecture for one in self._as_told if one.outcome in KNOWN}
            unknown = [one for one in self.earlier if one.architecture not in known]
            for record in reused(unknown, self.space, self.objective, self.max_latency_ms):
                self._verdicts.add(record, self.space)
            self._said = {record.number for record in self._as_told}
            self.study.sampler = make_sampler(self.sampler, self._sampler_context())
        except STORAGE_ERRORS as error:
            raise StudyError(
                f"{self._where}: cannot be opened as a study ({why(error, self.storage)})"
            ) from error

    def _name_values(self) -> None:
        """Say what the study's values are, for the dashboard."""
        names = ["si-RMSE", "latency in ms"] if self.goal.front else [f"{self.goal.text}, log2"]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            self.study.set_metric_names(names)

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
        trials = self.study.get_trials(deepcopy=False)
        for trial in trials:
            # an ended trial cannot change, and a search asks for all of them several times a trial
            if trial.state.is_finished() and trial.number not in self._told:
                self._told[trial.number] = TrialRecord.from_trial(trial) or died_of(trial, trials)
        return [record for _, record in sorted(self._told.items()) if record is not None]

    @property
    def spent(self) -> int:
        """Trials that were trained, wholly or until they were pruned: what a budget counts."""
        return sum(record.outcome in SPENT for record in self._as_told)

    @property
    def spent_here(self) -> int:
        """How many of those this process has trained."""
        trials = self.study.get_trials(deepcopy=False)
        mine = [trial for trial in trials if trial.user_attrs.get(WORKER) == self._worker]
        return sum(record.outcome in SPENT for trial in mine if (record := TrialRecord.from_trial(trial)))

    @property
    def budget(self) -> int | None:
        """What the last search on this study was given; None if none has begun yet."""
        return self.study.user_attrs.get(_BUDGET)

    @property
    def training_s(self) -> float:
        """Seconds that all trials were trained and validated for, by whichever process."""
        return sum(record.training_s for record in self._as_told if record.outcome in SPENT)

    def set_budget(self, budget: int, training_minutes: float | None = None) -> None:
        """Tell every process of the study how many trials to train, and for how long in all."""
        if budget < 1:
            raise StudyError(f"the budget is {budget}; at least one trial must be trained")
        if training_minutes is not None and not training_minutes > 0:
            raise StudyError(f"the training minutes are {training_minutes:g}; they must be above 0")
        self.study.set_user_attr(_BUDGET, budget)
        self.study.set_user_attr(_MINUTES, training_minutes)

    def _out_of_time(self) -> bool:
        minutes = self.study.user_attrs.get(_MINUTES)
        return minutes is not None and self.training_s >= 60 * minutes

    def share(self, content: dict) -> None:
        """Keep in the study what another process needs to join it."""
        try:
            self.study.set_user_attr(SHARED, content)
        except STORAGE_ERRORS as error:
            raise self._cannot_write(error) from error

    def known_records(self) -> list[TrialRecord]:
        """`records`, or what is known of them where the storage does not answer at once."""
        try:
            with self._storage.without_patience():
                return self.records
        except STORAGE_ERRORS:
            return [record for _, record in sorted(self._told.items()) if record is not None]

    def run(self, budget: int | None = None, training_minutes: float | None = None) -> list[TrialRecord]:
        """Search until `budget` trials of the study have been trained, by whichever process.

        Ctrl-C (KeyboardInterrupt) passes through after the running trial has been put back in the queue.

        Args:
            budget: None for what the study's other processes were given.
            training_minutes: no further trial begins once all trials together were trained for so long.

        Raises:
            StudyError: the storage fails, no proposal meets the latency limit, or the device refuses all.
            DeviceError: the device is lost; the running trial has been put back in the queue.
        """
        try:
            if budget is not None:
                self.set_budget(budget, training_minutes)
            self._run(budget)
        except STORAGE_ERRORS as error:
            raise self._cannot_write(error) from error
        return self.records

    def _run(self, budget: int | None) -> None:
        idle = Idle(self.max_latency_ms)
        while True:
            self._recovery()
            self._tell_of_others()
            total = budget or self.budget
            if total is None:
                # the search that makes the study has not begun yet
                self.events.waiting(0)
                time.sleep(_LOOK_AGAIN_S)
                continue
            trials = self.study.get_trials(deepcopy=False)
            running, spent = in_flight(trials), self.spent
            queued = any(trial.state is TrialState.WAITING for trial in trials)
            enough = spent + running >= total or self._out_of_time()
            if enough or (idle.exhausted(spent) and not queued):
                if not running:
                    return
                # what is in flight may be put back, if its worker dies
                self.events.waiting(running)
                time.sleep(_LOOK_AGAIN_S)
                continue
            if record := self._trial(total):
                idle.count(record)

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
                top = ranked(self.records, self.goal)[:count]
                unmeasured = [one.architecture for one in top if one.latency_source == "estimate"]
                if not unmeasured:
                    return self.records
                self._measure(unmeasured)
        except STORAGE_ERRORS as error:
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
                top = self.believed_best(count)
                waiting = [record for record in top if record.architecture not in confirmed]
                if not waiting:
                    return self.records
                record = waiting[0]
                self.events.confirming(record, objective.rungs[-1])
                result = confirm(
                    self.study, objective, record.architecture, self.events.epoch, self.events.step
                )
                self.events.confirmed(record, result)
        except STORAGE_ERRORS as error:
            raise self._cannot_write(error) from error

    def believed_best(self, count: int) -> list[TrialRecord]:
        """The trained candidates that are believed to be best, the best first.

        None is among them that is no better than the mean depth map, unless all are like that.
        """
        return sorted(worth_choosing(self.records), key=self._belief())[:count]

    def _belief(self) -> Callable[[TrialRecord], float]:
        """How good a trained candidate is believed to be, smaller being better."""
        believed = believed_si_rmse(self.study, self._sampler_context())

        def loss(record: TrialRecord) -> float:
            si_rmse, latency_ms = record.reached
            return -self.goal.merit(max(believed.get(record.architecture, si_rmse), 0.0), latency_ms)

        return loss

    def _cannot_write(self, error: Exception) -> StudyError:
        local = self.storage.startswith(("sqlite:", "journal:"))
        mend = "free some space" if local else "bring the database back"
        return StudyError(
            f"{self._where}: the study cannot be written ({why(error, self.storage)}); {mend} and run again "
            "with `resume`, every finished trial is kept"
        )

    def _checked(self, step: Callable[[StepReport], None]) -> Callable[[StepReport], None]:
        """The callback of a step, which first stops a training that another worker has taken over."""

        def checked(report: StepReport) -> None:
            if self._heartbeat is not None:
                self._heartbeat.check()
            step(report)

        return checked

    def _tell_of_others(self) -> None:
        """Let the front end hear of what other processes have ended since the last time."""
        for record in self._as_told:
            if record.number not in self._said:
                self._said.add(record.number)
                self.events.trial_ended(record)

    def _trial(self, budget: int) -> TrialRecord | None:
        """Ask for one candidate and judge it; None if the trial was lost before it had one."""
        with warnings.catch_warnings():
            # ours is `Heartbeat`
            warnings.filterwarnings(
                "ignore", "Heartbeat of storage is supposed to be used with Study.optimize"
            )
            trial = self.study.ask()
        self._said.add(trial.number)
        record = None
        try:
            with Heartbeat(self._storage, trial) as heartbeat:
                self._heartbeat = heartbeat
                trial.set_user_attr(WORKER, self._worker)
                record = TrialRecord(
                    trial.number,
                    self.space.suggest(trial),
                    Outcome.FAILED,
                    mean_map_si_rmse=self.objective.mean_map_si_rmse,
                )
                return self._judge(trial, record, budget)
        except (KeyboardInterrupt, DeviceError):
            # what was asked for is asked for again, by this or another process
            with suppress(*STORAGE_ERRORS, UpdateFinishedTrialError), self._storage.without_patience():
                if record is None:
                    self._verdicts.fail(trial)
                else:
                    self._verdicts.put_back(trial, record)
            raise
        except (TrialLost, UpdateFinishedTrialError):
            if record is None:
                return None
            note = f"no sign of life came for {self._storage.grace_s} s: another worker trains it"
            lost = replace(record, outcome=Outcome.INTERRUPTED, note=note)
            self.events.trial_ended(lost)
            return lost
        finally:
            self._heartbeat = None

    def _judge(self, trial: optuna.Trial, record: TrialRecord, budget: int) -> TrialRecord:
        """Train one candidate, unless it is known, too slow, refused, or one more than the budget."""
        started = time.perf_counter()
        try:
            if held := holder(self.study, trial, record.architecture, self._recovery):
                return self._verdicts.repeat(trial, record, held)
            if self.spent + in_flight(self.study.get_trials(deepcopy=False), trial.number) >= budget:
                return self._verdicts.put_back(trial, record)
            record = self._timed(record)
            if record.outcome in (Outcome.TOO_SLOW, Outcome.REFUSED):
                return self._verdicts.tell(trial, record, record.outcome)
            record = train_candidate(
                trial,
                record,
                self.objective,
                self.events,
                goal=self.goal,
                hopeless_above=self._si_rmse_to_win(record.known_latency_ms) / _OPTIMISM,
            )
        except (KeyboardInterrupt, DeviceError, TrialLost, UpdateFinishedTrialError, *STORAGE_ERRORS):
            raise
        except Exception as error:
            return self._failed(trial, record, error)
        record = replace(record, total_s=time.perf_counter() - started)
        self._failed_in_a_row = 0
        return self._verdicts.tell(trial, record, record.outcome)

    def _failed(self, trial: optuna.Trial, record: TrialRecord, error: Exception) -> TrialRecord:
        """Put a candidate back whose training fails, or after some tries leave it as failed."""
        trials = self.study.get_trials(deepcopy=False)
        tries = 1 + failures(str(record.architecture), trials)
        where = traceback.extract_tb(error.__traceback__)[-1]
        note = f"{type(error).__name__}: {_first_line(error)} ({Path(where.filename).name}:{where.lineno})"
        # a model's error is the same every time, one of memory or of a disk need not be
        passing = not isinstance(error, NasdepthError)
        if passing and tries < _TRIES:
            return self._verdicts.put_back(trial, replace(record, note=f"{FAILED_TRY}{tries}: {note}"))
        if self._failed_in_a_row + 1 >= _FAILED_BEFORE_GIVING_UP:
            # that is no candidate's doing: this one is tried again when the cause is mended
            self._verdicts.put_back(trial, replace(record, note=note))
            raise StudyError(
                f"{_FAILED_BEFORE_GIVING_UP} candidates in a row failed, the last ({record.architecture}) "
                f"with: {note}; mend that and run again with `resume`. Every finished trial is kept"
            ) from error
        self._failed_in_a_row += 1
        record = replace(record, outcome=Outcome.FAILED, note=note)
        return self._verdicts.tell(trial, record, Outcome.FAILED)

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
        assert self.bench is not None, "only a search with a device measures"
        self.events.measuring(architectures)
        with closing(self.bench.measure(architectures, self._precision_of)) as measured:
            for architecture, measurement in measured:
                keep_measurement(self.study, architecture, measurement)
                self.events.measured(architecture, measurement)

    def _precision_of(self, architecture: Architecture) -> Precision:
        """In which precision a candidate is deployed: the one that its estimate is of."""
        known = (record.precision for record in self.records if record.architecture == architecture)
        return next(known, None) or self.objective.latency(architecture).precision

    def _too_slow(self, latency_ms: float) -> str:
        """Why a candidate of this latency is not worth a training; empty if it is."""
        if self.max_latency_ms is not None and latency_ms > self.max_latency_ms:
            return f"above {self.max_latency_ms:g} ms"
        trained = [record.reached[0] for record in self.records if record.outcome in WHOLE]
        needed = self._si_rmse_to_win(latency_ms)
        if not trained or needed >= _OPTIMISM * min(trained):
            return ""
        return f"would need si-RMSE {needed:.3f} to be the best"

    def _si_rmse_to_win(self, latency_ms: float) -> float:
        """What a candidate of this latency has to reach to beat the best so far."""
        top = leader(self.records, self.goal)
        if self.goal.front or top is None:
            return math.inf
        needed = self.goal.si_rmse_for(self.goal.merit(*top.reached), latency_ms)
        return needed if top.mean_map_si_rmse is None else min(needed, top.mean_map_si_rmse)

    def _sampler_context(self) -> SamplerContext:
        return SamplerContext(
            space=self.space,
            latencies=self.objective.latencies,
            runtime=self.objective.runtime,
            goal=self.goal,
            max_latency_ms=self.max_latency_ms,
            seed=(self.seed + self.worker_seed) % SEEDS,
            trials=len(self.study.get_trials(deepcopy=False)),
            earlier=self.earlier,
            refusal=self.objective.refusal,
            too_slow=self._too_slow,
            pretrained=self.objective.pretrained,
            mean_map_si_rmse=self.objective.mean_map_si_rmse,
        )


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
