"""Searches that are killed before one statement of their database, and what is left when they are resumed.

The trainings are a formula, so that a search takes a second; all else is the search that ships. Run as a
program it kills one search before every statement: `python crash.py [--every N] [--postgresql]`.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import os
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.trial import TrialState
from sqlalchemy import create_engine, event, text
from sqlalchemy.engine import Engine

from nasdepth.architecture import Architecture
from nasdepth.latency import LatencyEstimate, architecture_kernels
from nasdepth.models.pretrained import Start
from nasdepth.searching.objective import Rung
from nasdepth.searching.records import SPENT, Outcome, TrialRecord
from nasdepth.searching.study import Search
from nasdepth.space import SearchSpace
from nasdepth.training import Epoch

_START = Start("formula", pretrained=False)
# which of the named designs are worth a training depends on what was trained before them
_JUDGED = (*SPENT, Outcome.TOO_SLOW)
BUDGET = 8
_LIMIT_S = 90.0
# seven named designs lie in it, which are queued; the eighth candidate is drawn
_SPACE, _NAMED = "depth", 7


@dataclass(frozen=True)
class Formula:
    """An objective whose trainings take no time: larger networks are better."""

    trained: Path
    rungs: tuple[int, ...] = (2,)
    mean_map_si_rmse: float | None = 0.9
    runtime: str = "xnnpack"

    def refusal(self, architecture: Architecture) -> str:
        return ""

    def latency(self, architecture: Architecture) -> LatencyEstimate:
        latency_ms = 1 + _mmacs(architecture)
        return LatencyEstimate(latency_ms, 0.1, (latency_ms - 0.2, latency_ms + 0.2), 1.0, 0.0, ())

    def latencies(self, architectures: Sequence[Architecture]) -> list[LatencyEstimate | None]:
        return [self.latency(one) for one in architectures]

    def pretrained(self, family: str) -> bool:
        return False

    def begin(self, architecture: Architecture) -> FormulaTraining:
        return FormulaTraining(self, architecture)

    def longer(self, epochs: int) -> Formula:
        return replace(self, rungs=(epochs,))


@dataclass(frozen=True)
class FormulaTraining:
    objective: Formula
    architecture: Architecture
    start: Start = _START

    def train_rung(
        self, index: int, on_epoch: Callable[[Epoch], None], on_step: Callable[[Any], None]
    ) -> Rung:
        si_rmse = 0.5 - 0.05 * math.log2(1 + _mmacs(self.architecture))
        epochs = tuple(Epoch(number, si_rmse, si_rmse, 0.1) for number in range(self.objective.rungs[index]))
        for epoch in epochs:
            on_epoch(epoch)
        with self.objective.trained.open("a") as journal:
            journal.write(f"{self.architecture}\n")
        return Rung(epochs, np.array([si_rmse]))


def _mmacs(architecture: Architecture) -> float:
    return sum(kernel.macs for kernel in architecture_kernels(architecture)) / 1e6


def search(url: str, folder: Path, kill_before: int | None, counted: Path | None = None) -> None:
    """A search to its budget; killed, as by SIGKILL, before the statement of that number."""
    statements = 0

    def before(*_: Any) -> None:
        nonlocal statements
        statements += 1
        if statements == kill_before:
            os.kill(os.getpid(), signal.SIGKILL)

    for name in ("before_cursor_execute", "commit"):
        event.listen(Engine, name, before)
    session = Search(
        SearchSpace.load(_SPACE),
        Formula(folder / "trained"),
        identity={"space": "crash"},
        storage=url,
        sampler="random",
        heartbeat_s=1,
    )
    # nobody else works on this study: whoever gives no sign of life is dead
    session._storage.grace_s = 0.0
    session.run(BUDGET)
    if counted:
        counted.write_text(str(statements))


@dataclass(frozen=True)
class Left:
    """What a study looks like in the end; nothing is twice, running, or told otherwise than recorded."""

    spent: int
    twice: tuple[str, ...]
    running: int
    unlike: tuple[int, ...]
    named: int
    unqueued: int
    trained_again: int


def left(url: str, folder: Path) -> Left:
    """The invariants of a study that was resumed and ended."""
    with_driver = url.replace("postgresql://", "postgresql+psycopg://")
    study = optuna.load_study(study_name="nasdepth", storage=with_driver)
    trials = study.get_trials(deepcopy=False)
    records = {trial.number: TrialRecord.from_trial(trial) for trial in trials}
    results = Counter(str(one.architecture) for one in records.values() if one and one.outcome in SPENT)
    complete = {trial.number for trial in trials if trial.state is TrialState.COMPLETE}
    trained = {n for n, one in records.items() if one and one.outcome == "trained"}
    journal = Counter((folder / "trained").read_text().split("\n")[:-1])
    return Left(
        spent=sum(results.values()),
        twice=tuple(name for name, count in results.items() if count > 1),
        running=sum(trial.state is TrialState.RUNNING for trial in trials),
        # a record that says trained, of a trial that Optuna calls failed, or the other way round
        unlike=tuple(sorted(trained - complete)),
        named=len({one.name for one in records.values() if one and one.name and one.outcome in _JUDGED}),
        unqueued=sum(trial.state is TrialState.WAITING for trial in trials),
        trained_again=sum(count - 1 for count in journal.values()),
    )


def _in_a_process(*arguments: Any) -> int | None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["nasdepth.searching.study", "nasdepth.searching.workers"])
    process = context.Process(target=search, args=arguments)
    process.start()
    process.join(_LIMIT_S)
    if process.is_alive():
        process.kill()
        process.join()
        return None
    return process.exitcode


def _presume_dead(url: str) -> None:
    """What a minute of silence does: signs of life are old."""
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        tables = {"sqlite": "SELECT name FROM sqlite_master WHERE name = 'trial_heartbeats'"}
        query = tables.get(engine.dialect.name, "SELECT to_regclass('trial_heartbeats')")
        if connection.execute(text(query)).scalar():
            connection.execute(text("UPDATE trial_heartbeats SET heartbeat = '2020-01-01 00:00:00'"))
    engine.dispose()


def count_statements(new_database: Callable[[], str]) -> int:
    """How many statements and commits the search makes that nobody kills."""
    folder = Path(tempfile.mkdtemp(prefix="nasdepth-crash-"))
    try:
        assert _in_a_process(new_database(), folder, None, folder / "count") == 0
        return int((folder / "count").read_text())
    finally:
        shutil.rmtree(folder)


def killed_before(statement: int, new_database: Callable[[], str]) -> str:
    """Kill a search before one statement and resume it; what is wrong then, empty for nothing."""
    folder = Path(tempfile.mkdtemp(prefix="nasdepth-crash-"))
    try:
        url = new_database()
        killed = _in_a_process(url, folder, statement)
        if killed != -signal.SIGKILL:
            return f"was not killed, but ended with {killed}"
        _presume_dead(url)
        resumed = _in_a_process(url, folder, None)
        if resumed != 0:
            return f"its resume ended with {resumed}"
        found = left(url, folder)
        sound = Left(BUDGET, (), 0, (), _NAMED, found.unqueued, found.trained_again)
        # what was being trained when the kill came is trained again, nothing else
        return "" if found == sound and found.trained_again <= 1 else str(found)
    finally:
        shutil.rmtree(folder)


def sqlite_databases() -> Callable[[], str]:
    """New, empty SQLite files, one each time."""

    def new() -> str:
        return f"sqlite:///{tempfile.mkdtemp(prefix='nasdepth-crash-db-')}/study.db"

    return new


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=int, default=1, help="kill before every N-th statement only")
    parser.add_argument("--first", type=int, default=1, help="the first statement to kill before")
    parser.add_argument("--postgresql", action="store_true", help="on a private PostgreSQL server")
    options = parser.parse_args()
    server = None
    new = sqlite_databases()
    if options.postgresql:
        from private_postgres import PrivatePostgres

        server, numbers = PrivatePostgres(), iter(range(10**6))
        new = lambda: server.database(f"crash{next(numbers)}")  # noqa: E731
    try:
        total, began, wrong = count_statements(new), time.monotonic(), 0
        places = range(options.first, total + 1, options.every)
        for done, statement in enumerate(places, 1):
            if problem := killed_before(statement, new):
                wrong += 1
                print(f"statement {statement} of {total}: {problem}", flush=True)
            if done % 25 == 0:
                print(f"{done}/{len(places)}, {time.monotonic() - began:.0f} s, {wrong} wrong", flush=True)
        print(f"{len(places)} kills at {total} statements: {wrong} left damage", flush=True)
    finally:
        if server:
            server.close()
    raise SystemExit(bool(wrong))


if __name__ == "__main__":
    main()
