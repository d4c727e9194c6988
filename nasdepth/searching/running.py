"""A whole search: candidates, second trainings of the best, measurements of the best, results on disk."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from nasdepth.errors import DeviceError, StudyError
from nasdepth.packs import Table
from nasdepth.searching.events import SearchEvents
from nasdepth.searching.records import TrialRecord, best, pareto_front
from nasdepth.searching.run import Run, latest_run_folder, named, trials_frame
from nasdepth.searching.settings import Settings
from nasdepth.searching.study import Search
from nasdepth.searching.workers import LocalWorkers, share_of_cores

# of so many trials, one is confirmed
_TRIALS_PER_CONFIRMATION = 10


@dataclass(frozen=True)
class SearchResult:
    """What a search came to.

    Attributes:
        folder: the run folder, with `trials.csv`, `pareto.csv`, `results.json` and the study.
        settings: what was searched.
        records: every trial, oldest first.
        table: the latency table whose estimates were used.
        storage: URL of the study.
        spent: how many candidates were trained, wholly or in part.
        exhausted: the search ended before its budget, because no remaining candidate is expected to win.
        warning: what a reader must know of the latencies before believing a score; empty where they are
            of a measured table.
    """

    folder: Path
    settings: Settings
    records: tuple[TrialRecord, ...]
    table: Table
    storage: str
    spent: int
    exhausted: bool
    warning: str

    @property
    def best(self) -> TrialRecord | None:
        """The winner; None if nothing was trained to the end. Look at its `useful` before you use it."""
        return best(self.records, self.settings.goal)

    @property
    def pareto_front(self) -> list[TrialRecord]:
        """What nothing else beats in both si-RMSE and latency, fastest first."""
        return pareto_front(self.records)

    @property
    def named_designs(self) -> list[TrialRecord]:
        """The published designs among the trials, best first."""
        return named(self.records)

    def to_frame(self) -> pd.DataFrame:
        """Every trial as a row, as `trials.csv` has it."""
        return trials_frame(self.records)


def open_run(folder: str | Path | None, resume: bool, **options: Any) -> Run:
    """A new run, or one that goes on.

    Args:
        folder: of the run; None for the next `runs/search-N`, or the newest when resuming.
        resume: go on with the run in the folder. Options that are given replace those that it was begun with.
        options: fields of `Settings`.

    Raises:
        StudyError: there is nothing to resume, the folder holds a run already, or an option is not allowed.
    """
    if not resume:
        return Run.create(folder, Settings.of(**options))
    run = Run.open(folder or latest_run_folder())
    return Run(run.folder, run.settings.changed(**options))


def run_search(
    run: Run,
    budget: int,
    *,
    training_minutes: float | None = None,
    workers: int = 1,
    events: SearchEvents | None = None,
    on_open: Callable[[Run, Search], None] = lambda *_: None,
    on_interrupt: Callable[[Run], None] = lambda _: None,
    on_worker_died: Callable[[str], None] = lambda _: None,
) -> SearchResult:
    """Search until so many candidates of the run are trained, and write the results into its folder.

    Then the candidates that are believed to be best are trained once more, and the best of all are measured
    where the table's device is at hand. Ctrl-C (KeyboardInterrupt) passes through after the running candidate
    has been put back and the results so far have been written; the same call on `Run.open(folder)` goes on.

    Args:
        budget: candidates to train, those of an earlier part of the run included.
        training_minutes: no further candidate begins once all together were trained for so long.
        workers: processes on this machine, each with its share of the cores.
        events: what a front end wants to hear.
        on_open: called with the run and the open search before the first candidate.
        on_interrupt: called with the run when Ctrl-C or a lost device has ended the search, after all is
            written.
        on_worker_died: called with what happened when another process of this machine is gone.

    Raises:
        StudyError: the study cannot be opened or written, or an option is not allowed.
        NasdepthError: space, data, table or device cannot be used.
    """
    _check(budget, training_minutes, workers, run.settings)
    search = run.search(events)
    on_open(run, search)
    others: AbstractContextManager[object] = nullcontext()
    if workers > 1:
        threads = share_of_cores(workers)
        torch.set_num_threads(threads)
        others = LocalWorkers(
            workers - 1, run.storage, search.study_name, run.folder, threads, on_worker_died
        )
    try:
        with others:
            records = search.run(budget, training_minutes)
        if confirmed := min(run.settings.confirm_top, math.ceil(search.spent / _TRIALS_PER_CONFIRMATION)):
            records = search.confirm_top(confirmed, run.settings.confirm_epochs)
        if search.bench and run.settings.measure_top:
            records = search.measure_top(run.settings.measure_top)
    except (KeyboardInterrupt, DeviceError):
        run.write_results(search.records)
        on_interrupt(run)
        raise
    finally:
        if search.bench:
            search.bench.device.close()
    run.write_results(records)
    return SearchResult(
        run.folder,
        run.settings,
        tuple(records),
        run.table,
        run.storage,
        search.spent,
        exhausted=search.spent < budget and not training_minutes,
        warning=run.estimate_words,
    )


def _check(budget: int, training_minutes: float | None, workers: int, settings: Settings) -> None:
    if budget < 1:
        raise StudyError(f"`budget` is {budget}; at least one trial must be trained")
    if training_minutes is not None and not training_minutes > 0:
        raise StudyError(f"`training_minutes` is {training_minutes:g}; it must be above 0")
    if workers < 1:
        raise StudyError(f"`workers` is {workers}; at least one process must train")
    if workers > 1 and settings.measure_when_unsure:
        raise StudyError(
            "`measure_when_unsure` measures while others train, which would disturb it; search with "
            "`workers` 1, or leave it to `measure_top`, which measures when all trainings are done"
        )
