"""Real workers on one study, some of them killed while they train, and what came of it."""

from __future__ import annotations

import multiprocessing
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

import optuna
from optuna.trial import TrialState

from nasdepth.cli import main
from nasdepth.searching import Run, Search, Settings, TrialRecord
from nasdepth.searching.claims import given_up
from nasdepth.searching.records import SPENT, Outcome


@dataclass
class Storm:
    """Figures of one storm.

    Attributes:
        trained: architectures with a result.
        trained_twice: of those, with more than one.
        begun: trainings that were begun; more than `trained` by what was killed.
        gave_way: proposals that another worker had trained or was training.
        lost: architectures that were claimed and have neither a result nor a place in the queue.
        running: trials that nobody trains and that are still called running.
        exit_codes: of the workers that were not killed.
    """

    workers: int
    kills: int
    budget: int
    trained: int
    trained_twice: int
    begun: int
    gave_way: int
    lost: int
    running: int
    seconds: float
    exit_codes: dict


def storm(
    settings: Settings,
    folder: Path,
    *,
    workers: int,
    kills: int,
    budget: int,
    limit_s: float = 600.0,
    seed: int = 0,
    progress: Callable[[str], None] = lambda _: None,
) -> Storm:
    """Let so many processes of `nasdepth worker` search; `kills` times kill one at work and start another."""
    session = Run.create(folder, settings).search(progress=False)
    session.set_budget(budget)
    rng, began = random.Random(seed), time.monotonic()
    alive: dict[int, BaseProcess] = {}
    ended: Counter = Counter()
    killed = 0
    log = folder / "workers.log"
    try:
        for _ in range(workers):
            _start(alive, settings.storage, log)
        while alive and time.monotonic() - began < limit_s:
            time.sleep(rng.uniform(0.05, 0.3))
            targets = sorted(at_work(session.study) & alive.keys())
            # kills are spread over the budget, none of them after its end
            if killed < kills and targets and session.spent >= killed * budget // (kills + 1):
                process = alive.pop(rng.choice(targets))
                process.kill()
                process.join()
                killed += 1
                seconds = time.monotonic() - began
                progress(f"{seconds:6.1f} s, {session.spent} trained: kill {killed} of {kills}")
                _start(alive, settings.storage, log)
            for pid, process in list(alive.items()):
                if process.exitcode is not None:
                    ended[process.exitcode] += 1
                    del alive[pid]
    finally:
        for process in alive.values():
            process.kill()
            process.join()
            ended["hung"] += 1
    seconds = time.monotonic() - began
    return _figures(session, workers, killed, budget, seconds, ended)


def at_work(study: optuna.Study) -> set[int]:
    """Process ids of the workers that have a running trial."""
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    return {
        int(trial.user_attrs["worker"].split(":")[1]) for trial in running if "worker" in trial.user_attrs
    }


def _start(alive: dict[int, BaseProcess], storage: str, log: Path) -> None:
    # workers are forked from a process that has imported everything: seconds of each start that prove nothing
    forking = multiprocessing.get_context("forkserver")
    forking.set_forkserver_preload(["nasdepth.cli", "nasdepth.searching"])
    process = forking.Process(target=_work, args=(storage, log))
    process.start()
    alive[process.pid] = process


def _work(storage: str, log: Path) -> None:
    """`nasdepth worker`, as its command line runs it."""
    with log.open("ab") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    os.environ["NASDEPTH_STORAGE"] = storage
    sys.argv = ["nasdepth", "worker", "--threads", "1"]
    main()


def _figures(session: Search, workers: int, kills: int, budget: int, seconds: float, ended: Counter) -> Storm:
    trials = session.study.get_trials(deepcopy=False)
    records = [record for trial in trials if (record := TrialRecord.from_trial(trial))]
    results = Counter(str(record.architecture) for record in records if record.outcome in SPENT)
    claimed = [trial for trial in trials if trial.user_attrs.get("claimed")]
    successors = {
        trial.system_attrs["failed_trial"]
        for trial in trials
        if trial.state is TrialState.WAITING and "failed_trial" in trial.system_attrs
    }
    lost = {
        trial.user_attrs["architecture"]
        for trial in claimed
        if trial.user_attrs["architecture"] not in results
        and not given_up(trial, trials)
        and trial.system_attrs.get("failed_trial", trial.number) not in successors
        and (record := TrialRecord.from_trial(trial)) is None
    }
    return Storm(
        workers=workers,
        kills=kills,
        budget=budget,
        trained=len(results),
        trained_twice=sum(count > 1 for count in results.values()),
        begun=len(claimed),
        gave_way=sum(record.outcome is Outcome.REPEATED for record in records),
        lost=len(lost),
        running=sum(trial.state is TrialState.RUNNING for trial in trials),
        seconds=round(seconds, 1),
        exit_codes=dict(ended),
    )
