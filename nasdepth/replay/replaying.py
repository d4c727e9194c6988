"""Whole searches on a virtual clock, and how far they are from the best that their world holds."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from nasdepth.architecture import Architecture
from nasdepth.files import cache_folder, write_json
from nasdepth.packs import Table, load_predictor
from nasdepth.recording import FIDELITIES, FULL, Records
from nasdepth.recording.training import commit
from nasdepth.replay.objective import ReplayObjective
from nasdepth.replay.oracle import best_of_space
from nasdepth.replay.surrogate import Surrogate
from nasdepth.replay.world import Latencies, World
from nasdepth.searching import Outcome, Search, SearchEvents, TrialRecord
from nasdepth.searching import best as best_of
from nasdepth.searching.records import SPENT
from nasdepth.searching.storage import MEMORY
from nasdepth.space import SearchSpace

CHECKPOINTS = (10, 25, 50, 100, 200)
"""After so many trials, what a search then believes to be best is judged as well."""
TOP = 5
"""So many of the best believed are confirmed by a full training at the end."""


@dataclass(frozen=True)
class Setting:
    """What is replayed.

    Attributes:
        table: latency table or device pack, by name or file.
        world: the regression that stands for what was not recorded, one of `REGRESSORS`.
        budget: trials of a search that are trained, wholly or until they are pruned.
        max_latency_ms: slower candidates are not trained, as in a search.
        pruner: rule by which a search ends trainings early, see `nasdepth.searching.pruning`.
        rungs: epochs after which a candidate is judged, beside the proxy's own.
        continued: whether a rung goes on from the weights of the one before it, or starts again.
    """

    space: str
    table: str
    world: str = "mixed"
    budget: int = 200
    max_latency_ms: float | None = None
    pruner: str = "median"
    rungs: tuple[int, ...] = ()
    continued: bool = True


@dataclass(frozen=True)
class Trace:
    """One replayed search. Scores are log2 and noise-free.

    Attributes:
        setting: fingerprint of the records, the space, the table and the rest of the setting.
        best_known: the best score that is known of the world.
        observed: (trials,) score of the candidate that looked best after each trial; NaN before any has.
        found: (trials,) best score among all that were trained to the end.
        seconds: (trials,) virtual seconds until each trial had ended.
        believed: score of the candidate that the search believed to be best, after each of `CHECKPOINTS` that
            it reached.
        final: score, fully trained, of the winner: of the `TOP` candidates that were believed best, the one
            whose full training was best.
        skipped: proposals that were not trained: too slow, repeated or refused.
        proposal_s: real seconds of the whole search.
        commit: of nasdepth.
    """

    setting: str
    table: str
    world: str
    sampler: str
    seed: int
    best_known: float
    observed: tuple[float, ...]
    found: tuple[float, ...]
    seconds: tuple[float, ...]
    believed: tuple[float, ...]
    final: float
    skipped: int
    proposal_s: float
    commit: str = field(default_factory=commit)


class Replay:
    """Searches on the worlds of one set of records.

    Args:
        records: of trainings of the setting's space.
        on_progress: what is being done, and how many of how many steps of it are.

    Raises:
        DataError: too few records, or records of another space.
        NasdepthError: the space or the table cannot be read.
    """

    def __init__(
        self,
        records: Records,
        setting: Setting,
        on_progress: Callable[[str, int, int], None] = lambda *_: None,
    ) -> None:
        self.setting = setting
        self.space = SearchSpace.load(setting.space)
        predictor = load_predictor(setting.table)
        self.table = predictor.table
        self.latencies = Latencies(predictor)
        on_progress("fitting the surrogate", 0, 1)
        self.surrogate = Surrogate(records, predictor.runtime, setting.world)
        self.full_epochs = FIDELITIES[FULL].recipes()[-1].epochs
        self.fingerprint = _fingerprint(records, self.space, self.table, setting)
        self.best = self._best(
            _fingerprint(
                records, self.space, self.table, Setting("", "", setting.world, 0, setting.max_latency_ms)
            ),
            lambda done, total: on_progress("looking for the best of the space", done, total),
        )

    def _best(self, fingerprint: str, on_round: Callable[[int, int], None]) -> list[Architecture]:
        """What a long search of the surrogate finds; kept in the cache folder, since it takes a minute."""
        path = cache_folder("replay") / f"best-{fingerprint}.json"
        with suppress(OSError, ValueError):
            return [Architecture.parse(text) for text in json.loads(path.read_text(encoding="utf-8"))]
        limit = self.setting.max_latency_ms
        best = best_of_space(self.space, self.surrogate, self.latencies, limit, on_round=on_round)
        write_json(path, [str(one) for one in best])
        return best

    def run(self, sampler: str, seed: int) -> Trace:
        """Replay one search.

        Raises:
            StudyError: there is no such sampler.
            DataError: the rungs of the setting were not recorded, or too rarely.
        """
        started = time.perf_counter()
        world = World(self.surrogate, self.latencies, seed)
        rungs = (*(one for one in self.setting.rungs if one < self.surrogate.epochs), self.surrogate.epochs)
        search = self._search(ReplayObjective(world, rungs, self.setting.continued), sampler, seed)
        believed: list[float] = []
        done = 0

        def trial_ended(record: TrialRecord) -> None:
            nonlocal done
            done += record.outcome in SPENT
            if record.outcome in SPENT and done in CHECKPOINTS:
                best = search.believed_best(1)
                believed.append(world.log2_score(best[0].architecture) if best else math.nan)

        search.events.trial_ended = trial_ended
        records = search.run(self.setting.budget)
        spent = [one for one in records if one.outcome in SPENT]
        true = {one.architecture: world.log2_score(one.architecture) for one in spent}
        winner = best_of(search.confirm_top(TOP, self.full_epochs))
        return Trace(
            setting=self.fingerprint,
            table=self.table.name,
            world=self.setting.world,
            sampler=sampler,
            seed=seed,
            best_known=max(*map(world.log2_score, self.best), *true.values()),
            observed=_so_far(spent, true, lambda one: (one.useful, one.log2_score)),
            found=_so_far(spent, true, lambda one: true[one.architecture]),
            seconds=tuple(np.cumsum([one.training_s for one in spent]).tolist()),
            believed=tuple(believed),
            final=world.log2_score(winner.architecture, world.fully_trained) if winner else math.nan,
            skipped=len(records) - len(spent),
            proposal_s=time.perf_counter() - started,
        )

    def _search(self, objective: ReplayObjective, sampler: str, seed: int) -> Search:
        return Search(
            self.space,
            objective,
            identity={"records": self.fingerprint},
            storage=MEMORY,
            max_latency_ms=self.setting.max_latency_ms,
            seed=seed,
            sampler=sampler,
            pruner=self.setting.pruner,
            events=SearchEvents(),
        )


def _so_far(
    spent: Sequence[TrialRecord], true: dict[Architecture, float], rank: Callable[[TrialRecord], Any]
) -> tuple[float, ...]:
    """After each trial, the true score of the trained candidate that ranks highest."""
    best, so_far = None, []
    for one in spent:
        if one.outcome is Outcome.TRAINED and (best is None or rank(one) > rank(best)):
            best = one
        so_far.append(float("nan") if best is None else true[best.architecture])
    return tuple(so_far)


def _fingerprint(records: Records, space: SearchSpace, table: Table, setting: Setting) -> str:
    trainings = [f"{one.architecture} {one.fidelity} {one.seed} {one.si_rmse}" for one in records.trainings]
    mean_map = records.card.mean_map_si_rmse
    whole = [space.fingerprint, table.fingerprint, replace(setting, space="", table=""), mean_map]
    return hashlib.sha256(repr([*sorted(trainings), *whole]).encode()).hexdigest()[:12]
