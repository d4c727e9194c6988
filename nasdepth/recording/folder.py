"""A folder of recorded trainings that many processes fill together."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote

from nasdepth.architecture import Architecture
from nasdepth.config import read_fields, validated
from nasdepth.data import DepthSplit, load_split
from nasdepth.errors import NasdepthError, StudyError
from nasdepth.files import write_json
from nasdepth.reading import read_json
from nasdepth.recording.fidelities import FIDELITIES, FULL, PROXY, RANDOM_START
from nasdepth.recording.plan import Job, RecordPlan, planned_jobs
from nasdepth.recording.training import TRAINED, TrainingRecord, commit, record_training
from nasdepth.score import log2_score
from nasdepth.searching.objective import hold_out_validation
from nasdepth.searching.records import Outcome
from nasdepth.searching.run import Run
from nasdepth.searching.warm_start import earlier_trainings
from nasdepth.training import StepReport

_PLAN, _TRAININGS, _CLAIMS = "plan.json", "trainings", "claims"


@dataclass
class RecordEvents:
    """What a front end may want to hear; every callback is optional."""

    started: Callable[[Job], None] = lambda _: None
    step: Callable[[StepReport], None] = lambda _: None
    ended: Callable[[TrainingRecord], None] = lambda _: None


@dataclass
class RecordFolder:
    """One folder of records.

    Every finished training is a file of its own. A training that is under way holds a lock which ends with
    its process: any number of processes on a shared file system divide the work, and none waits for a dead
    one.
    """

    path: Path
    plan: RecordPlan
    events: RecordEvents = field(default_factory=RecordEvents)

    @classmethod
    def create(cls, path: Path, plan: RecordPlan, trainings: Iterable[TrainingRecord] = ()) -> RecordFolder:
        """Write a new plan, and what has been trained for it elsewhere.

        Raises:
            StudyError: the folder holds a plan already.
        """
        if cls.exists(path):
            raise StudyError(
                f"{path / _PLAN}: exists already; go on with: nasdepth record {quote(str(path))}"
            )
        folder = cls(path, plan)
        for one in trainings:
            write_json(folder._file(Job(one.architecture, one.fidelity, one.seed)), one.to_dict())
        write_json(path / _PLAN, plan.model_dump(mode="json"))
        return folder

    @classmethod
    def open(cls, path: Path) -> RecordFolder:
        """Open a folder that `create` has made.

        Raises:
            StudyError: there is no plan, or it is damaged.
        """
        plan = path / _PLAN
        if not plan.exists():
            raise StudyError(
                f"{plan}: cannot be read (No such file or directory); start one by naming its `data`"
            )
        fields = read_fields(plan, example='"data": "scenes"', error=StudyError)
        return cls(path, validated(RecordPlan, fields, plan, error=StudyError))

    @classmethod
    def exists(cls, path: Path) -> bool:
        """Whether a folder holds a plan."""
        return (path / _PLAN).is_file()

    def open_data(self, source: str | None = None) -> tuple[DepthSplit, DepthSplit]:
        """The images to train on and those that are held out, as a search divides them.

        Args:
            source: where the images are; where the plan says, unless given.

        Raises:
            DataError: they cannot be read.
            StudyError: they are other images than the plan's.
        """
        source = source or self.plan.data
        split = load_split(source, "train")
        if split.fingerprint != self.plan.data_fingerprint:
            raise StudyError(
                f"{source}: its fingerprint is {split.fingerprint}, the records in {self.path} are of "
                f"{self.plan.data_fingerprint}; give the same images as `data`"
            )
        return hold_out_validation(split)

    def jobs(self) -> list[Job]:
        """All trainings that are known to be wanted so far, most urgent first.

        Those that depend on results (a second full training of the best, random starts) join later.
        """
        plan = self.plan
        architectures = [Architecture.parse(text) for text in plan.architectures]
        latencies = dict(zip(architectures, plan.latency_ms, strict=True))
        first = [one for one in self.records() if one.seed == 0 and one.architecture in latencies]
        full = [one for one in first if one.fidelity == FULL]
        pretrained = [one for one in first if one.fidelity == PROXY and one.pretrained]
        later = [Job(one.architecture, RANDOM_START, 0) for one in pretrained[: plan.random_starts]]
        if len(full) >= plan.fully:
            trained = [one for one in full if one.outcome == TRAINED]
            trained.sort(key=lambda one: -log2_score(one.final, latencies[one.architecture]))
            later += [Job(one.architecture, FULL, 1) for one in trained[: plan.fully_twice]]
        return later + planned_jobs(architectures, plan.second_seeds, plan.fully, plan.compared)

    def records(self) -> list[TrainingRecord]:
        """Every finished training, in the order in which they ended.

        Raises:
            StudyError: a file is damaged.
        """
        found = []
        for path in sorted((self.path / _TRAININGS).glob("*.json"), key=lambda one: one.stat().st_mtime_ns):
            try:
                found.append(TrainingRecord.from_dict(read_json(path, error=StudyError)))
            except (NasdepthError, ValueError, TypeError, KeyError, AttributeError) as error:
                raise StudyError(
                    f"{path}: is damaged ({error}); delete it, and it is trained again"
                ) from error
        return found

    def add_run(self, run: Run) -> int:
        """Take over what a search has trained to the end by the proxy.

        Searches train where the good networks are, which few random architectures are. Their records hold no
        losses, no errors of single images and no machine, since a study keeps none.

        Returns:
            How many trainings are new here.

        Raises:
            StudyError: the search trained on other images or by another proxy, or cannot be read.
        """
        (recipe,) = FIDELITIES[PROXY].recipes()
        identity = {
            "data set": self.plan.data_fingerprint,
            "proxy recipe": recipe.fingerprint,
            "rungs": f"({recipe.epochs},)",
            "seed": str(run.settings.seed),
        }
        added = 0
        for one in earlier_trainings(run.storage, run.settings.study_name, str(run.folder), identity):
            path = self._file(Job(one.architecture, PROXY, run.settings.seed))
            if one.outcome is not Outcome.TRAINED or path.exists():
                continue
            record = TrainingRecord(
                architecture=one.architecture,
                fidelity=PROXY,
                seed=run.settings.seed,
                outcome=TRAINED,
                pretrained=one.start.startswith("ImageNet"),
                start=one.start,
                si_rmse=tuple(round(si_rmse, 5) for si_rmse in one.curve),
                loss=(),
                seconds=(round(one.training_s / len(one.curve), 2),) * len(one.curve),
                image_errors=(),
                machine="unknown (a search)",
                threads=1,
                commit=commit(),
            )
            write_json(path, record.to_dict())
            added += 1
        return added

    def run(self, fit: DepthSplit, validation: DepthSplit, minutes: float | None = None) -> int:
        """Train what nobody has trained or is training, until nothing is left.

        Ctrl-C (KeyboardInterrupt) passes through; a training of one part goes on from its last epoch then.

        Args:
            minutes: start no further training after so many.

        Returns:
            How many trainings this process has finished.
        """
        ends = None if minutes is None else time.monotonic() + 60 * minutes
        finished = 0
        while ends is None or time.monotonic() < ends:
            claimed = next((True for job in self.jobs() if self._train_if_free(job, fit, validation)), False)
            if not claimed:
                break
            finished += 1
        return finished

    def _train_if_free(self, job: Job, fit: DepthSplit, validation: DepthSplit) -> bool:
        if self._file(job).exists():
            return False
        with self._claim(job) as ours:
            # another process may have finished it between the two looks
            if not ours or self._file(job).exists():
                return False
            self.events.started(job)
            checkpoint = self.path / _CLAIMS / f"{job.key}.pt"
            record = record_training(
                job.architecture,
                job.fidelity,
                FIDELITIES[job.fidelity],
                fit,
                validation,
                job.seed,
                checkpoint=checkpoint,
                on_step=self.events.step,
            )
            write_json(self._file(job), record.to_dict())
            checkpoint.unlink(missing_ok=True)
        self.events.ended(record)
        return True

    def _file(self, job: Job) -> Path:
        return self.path / _TRAININGS / f"{job.key}.json"

    @contextmanager
    def _claim(self, job: Job) -> Iterator[bool]:
        """Hold a job; False if another process does."""
        path = self.path / _CLAIMS / f"{job.key}.lock"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle = path.open("w")
        except OSError as error:
            raise NasdepthError(f"{path}: cannot be written ({error.strerror})") from error
        with handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            yield True
