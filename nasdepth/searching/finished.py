"""Runs that were searched: their trials, read from the study without opening data or table."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import optuna

from nasdepth.architecture import Architecture
from nasdepth.errors import StudyError
from nasdepth.searching.confirm import confirmations, with_confirmations
from nasdepth.searching.goals import parse_goal
from nasdepth.searching.measure import judged, measurements
from nasdepth.searching.records import SPENT, TrialRecord, best, pareto_front, ranked, worth_choosing
from nasdepth.searching.run import Run, named
from nasdepth.searching.storage import STORAGE_ERRORS, open_storage, why


@dataclass(frozen=True)
class FinishedRun:
    """A run and what it found so far; one that is still searched can be read too.

    Attributes:
        run: its folder and settings.
        study: as Optuna keeps it.
        records: every ended trial, oldest first, as it stands after measurements and second trainings.
    """

    run: Run
    study: optuna.Study
    records: tuple[TrialRecord, ...]

    @property
    def best(self) -> TrialRecord | None:
        """The winner; None if nothing was trained to the end."""
        return best(self.records, self.run.settings.goal)

    @property
    def pareto_front(self) -> list[TrialRecord]:
        """What nothing else beats in both si-RMSE and latency, fastest first."""
        return pareto_front(self.records)

    @property
    def named_designs(self) -> list[TrialRecord]:
        """The published designs among the trials, best first."""
        return named(self.records)

    @property
    def spent(self) -> int:
        """Trials that were trained, wholly or until they were pruned."""
        return sum(record.outcome in SPENT for record in self.records)

    def choose(
        self, trial: int | None = None, under_ms: float | None = None, top: int = 1
    ) -> list[Architecture]:
        """Architectures of the run that were trained to the end, the best first.

        Args:
            trial: this one alone, by its number.
            under_ms: those within a latency; the lowest si-RMSE is then the best, whatever the run's goal.
            top: how many.

        Raises:
            StudyError: there is no such trial, or none within the latency.
        """
        if trial is not None:
            found = [one for one in self.records if one.number == trial]
            if not found:
                last = max((one.number for one in self.records), default=-1)
                raise StudyError(f"`trial` is {trial}: {self.run.folder} has trials 0 to {last}")
            return [found[0].architecture]
        useful = worth_choosing(self.records)
        goal = self.run.settings.goal
        if under_ms is not None:
            goal = parse_goal("quality")
            fastest = min((one.known_latency_ms for one in useful), default=None)
            useful = [one for one in useful if one.known_latency_ms <= under_ms]
            if fastest is not None and not useful:
                raise StudyError(
                    f"`under_ms` is {under_ms:g}: the fastest useful network of {self.run.folder} takes "
                    f"{fastest:.3f} ms; search with `max_latency_ms` {under_ms:g}"
                )
        chosen = list(dict.fromkeys(one.architecture for one in ranked(useful, goal)))[:top]
        if not chosen:
            raise StudyError(f"{self.run.folder}: no trial was trained to the end; go on with `resume`")
        return chosen


def read_run(folder: str | Path) -> FinishedRun:
    """Read the trials of a run.

    Raises:
        StudyError: the folder holds no run, or its study cannot be read.
    """
    run = Run.open(Path(folder).expanduser())
    settings = run.settings
    if not settings.storage and not (run.folder / "study.db").is_file():
        raise StudyError(f"{run.folder / 'study.db'}: is not there; copy it back, its trials are in it")
    try:
        study = optuna.load_study(study_name=settings.study_name, storage=open_storage(run.storage))
        measured = measurements(study)
        found = map(TrialRecord.from_trial, study.get_trials(deepcopy=False))
        told = [
            judged(record, measured.get(record.architecture), settings.max_latency_ms)
            for record in found
            if record is not None
        ]
        records = with_confirmations(told, confirmations(study))
    except KeyError:
        raise StudyError(f"{run.folder}: its storage holds no study {settings.study_name!r}") from None
    except STORAGE_ERRORS as error:
        raise StudyError(f"{run.folder}: its study cannot be read ({why(error, run.storage)})") from error
    return FinishedRun(run, study, tuple(records))
