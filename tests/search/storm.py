"""Real workers on one study, some of them killed while they train, and what came of it."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from optuna.trial import TrialState

from nasdepth.search import Run, Settings, TrialRecord
from nasdepth.search.claims import given_up
from nasdepth.search.records import SPENT, Outcome


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
    exit_codes: Counter


def storm(
    settings: Settings,
    folder: Path,
    *,
    workers: int,
    kills: int,
    budget: int,
    limit_s: float = 600.0,
    seed: int = 0,
) -> Storm:
    """Let `workers` processes of `nasdepth worker` search; kill one of those at work, start another, `kills` times."""
    session = Run.create(folder, settings).search(progress=False)
    session.set_budget(budget)
    rng, began = random.Random(seed), time.monotonic()
    alive: dict[int, subprocess.Popen] = {}
    ended: Counter = Counter()
    log = (folder / "workers.log").open("ab")

    def start() -> None:
        process = subprocess.Popen(
            [sys.executable, "-m", "nasdepth", "worker", "--threads", "1"],
            env=os.environ | {"NASDEPTH_STORAGE": settings.storage, "OMP_NUM_THREADS": "1"},
            stdout=log,
            stderr=log,
        )
        alive[process.pid] = process

    for _ in range(workers):
        start()
    killed = 0
    while alive and time.monotonic() - began < limit_s:
        time.sleep(rng.uniform(0.05, 0.3))
        trials = session.study.get_trials(deepcopy=False)
        spent = session.spent
        running = [trial for trial in trials if trial.state is TrialState.RUNNING]
        at_work = {int(str(trial.user_attrs.get("worker", "::0")).split(":")[1]) for trial in running}
        targets = sorted(at_work & alive.keys())
        # kills are spread over the budget, none of them after its end
        if killed < kills and targets and spent >= killed * budget // (kills + 1):
            pid = rng.choice(targets)
            process = alive.pop(pid)
            process.send_signal(signal.SIGKILL)
            process.wait()
            killed += 1
            start()
        for pid, process in list(alive.items()):
            if process.poll() is not None:
                ended[process.returncode] += 1
                del alive[pid]
    for process in alive.values():
        process.kill()
        process.wait()
        ended["hung"] += 1
    log.close()
    seconds = time.monotonic() - began
    return _figures(session, workers, killed, budget, seconds, ended)


def _figures(session, workers: int, kills: int, budget: int, seconds: float, ended: Counter) -> Storm:
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
        exit_codes=ended,
    )
