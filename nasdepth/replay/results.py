"""Many replayed searches: run by several processes, kept in a file, summed up with error bars."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, fields
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd

from nasdepth.errors import DataError
from nasdepth.files import whole_file
from nasdepth.plugins import load_plugins
from nasdepth.recording import Records
from nasdepth.replay.replaying import CHECKPOINTS, Replay, Setting, Trace

_ROWS = tuple(one.name for one in fields(Trace) if one.type.startswith("tuple"))
# regret against seconds is shown at these shares of what the cheapest sampler's searches took
SECONDS_SHARES = (0.1, 0.25, 0.5, 1.0)


def write_traces(path: str | Path, traces: Sequence[Trace]) -> None:
    """Write replayed searches as CSV, one row a search, whole or not at all.

    Raises:
        NasdepthError: the file cannot be written.
    """
    rows = [
        asdict(one) | {name: " ".join(f"{value:.5g}" for value in getattr(one, name)) for name in _ROWS}
        for one in traces
    ]
    with whole_file(path) as temporary:
        pd.DataFrame(rows).to_csv(temporary, index=False)


def read_traces(path: str | Path) -> list[Trace]:
    """Read what `write_traces` has written; an empty list if there is no file.

    Raises:
        DataError: the file is damaged; the message names it.
    """
    if not Path(path).exists():
        return []
    try:
        frame = pd.read_csv(
            path, dtype=dict.fromkeys((*_ROWS, "commit", "setting"), str), keep_default_na=False
        )
        return [
            Trace(**row | {name: tuple(map(float, row[name].split())) for name in _ROWS})
            for row in frame.to_dict("records")
        ]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DataError(f"{path}: is no file of replayed searches ({error}); give another file") from error


def replay_all(
    replay: Replay,
    records: Records,
    wanted: Sequence[tuple[str, int]],
    workers: int = 1,
) -> Iterator[Trace]:
    """Replay (sampler, seed) searches and yield each as it ends.

    Args:
        replay: runs them if there is one worker, and was made of `records`.
        records: handed to the processes of more workers.
        workers: how many processes replay at once.
    """
    if workers == 1:
        for sampler, seed in wanted:
            yield replay.run(sampler, seed)
        return
    pool = ProcessPoolExecutor(workers, get_context("spawn"), _make, (records, replay.setting))
    try:
        futures = [pool.submit(_run, sampler, seed) for sampler, seed in wanted]
        for future in as_completed(futures):
            yield future.result()
    finally:
        # on Ctrl-C nobody waits for searches that are under way
        pool.terminate_workers() if hasattr(pool, "terminate_workers") else pool.shutdown(cancel_futures=True)


_replay: Replay | None = None


def _make(records: Records, setting: Setting) -> None:
    global _replay
    load_plugins()
    _replay = Replay(records, setting)


def _run(sampler: str, seed: int) -> Trace:
    if _replay is None:
        raise RuntimeError("this process has no replay; the pool that runs it begins with _make")
    return _replay.run(sampler, seed)


@dataclass(frozen=True)
class Mean:
    """A mean over searches with its standard error."""

    value: float
    error: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Mean:
        """Of values, of which NaN ones are left out."""
        known = np.array([value for value in values if math.isfinite(value)])
        if not len(known):
            return cls(math.nan, math.nan)
        spread = float(known.std(ddof=1)) if len(known) > 1 else math.nan
        return cls(float(known.mean()), spread / math.sqrt(len(known)))


@dataclass(frozen=True)
class Summary:
    """One sampler's searches. Regret is in octaves of the noise-free score, from the best that is known.

    Attributes:
        observed: by number of trials, the regret of the candidate that looks best.
        believed: by number of trials, the regret of the one that a surrogate of all trainings believes best.
        by_seconds: by virtual seconds, the regret of the candidate that looks best.
        reaches_random: trial at which the mean regret is down to that of random search at its end; None if it
            never is, or random search was not replayed.
        final: log2 of the fully trained score of what the search ends with.
        worth_random, worth_tpe: by how much the final score is higher than random search's and TPE's in the
            same
            worlds: log2, mean over seeds; None where there is nothing to compare with.
        seconds: virtual, of whole searches.
        proposal_s: real seconds a trial.
    """

    sampler: str
    searches: int
    observed: dict[int, Mean]
    believed: dict[int, Mean]
    by_seconds: dict[float, Mean]
    reaches_random: int | None
    final: Mean
    worth_random: Mean | None
    worth_tpe: Mean | None
    seconds: Mean
    proposal_s: float


def regrets(traces: Sequence[Trace], best: Mapping[int, float]) -> np.ndarray:
    """(searches, trials): regret of the candidate that looks best.

    A search that ended early keeps its last value.

    Args:
        best: by seed, the best score that is known; see `best_known`.
    """
    length = max(len(one.observed) for one in traces)
    return np.array([best[one.seed] - np.array(_padded(one.observed, length)) for one in traces])


def best_known(traces: Sequence[Trace]) -> dict[int, float]:
    """By seed, the best score of the world that anything has found."""
    best: dict[int, float] = {}
    for one in traces:
        best[one.seed] = max(best.get(one.seed, -math.inf), one.best_known)
    return best


def summaries(traces: Sequence[Trace]) -> list[Summary]:
    """One for each sampler, in the order in which they first come."""
    groups: dict[str, list[Trace]] = {}
    for one in traces:
        groups.setdefault(one.sampler, []).append(one)
    best = best_known(traces)
    curves = {name: np.nanmean(regrets(group, best), axis=0) for name, group in groups.items()}
    cheapest = min(float(np.mean([one.seconds[-1] for one in group])) for group in groups.values())
    target = curves["random"][-1] if "random" in curves else None
    return [
        Summary(
            sampler=name,
            searches=len(group),
            observed={
                count: Mean.of([best[one.seed] - _padded(one.observed, count)[count - 1] for one in group])
                for count in CHECKPOINTS
                if count <= len(curves[name])
            },
            believed={
                count: Mean.of(
                    [best[one.seed] - one.believed[place] for one in group if place < len(one.believed)]
                )
                for place, count in enumerate(CHECKPOINTS)
                if any(place < len(one.believed) for one in group)
            },
            by_seconds={
                share * cheapest: Mean.of([_after(one, share * cheapest, best[one.seed]) for one in group])
                for share in SECONDS_SHARES
            },
            reaches_random=_first_at(curves[name], target),
            final=Mean.of([one.final for one in group]),
            worth_random=_worth(group, groups.get("random")) if name != "random" else None,
            worth_tpe=_worth(group, groups.get("tpe")) if name != "tpe" else None,
            seconds=Mean.of([one.seconds[-1] for one in group]),
            proposal_s=float(np.mean([one.proposal_s / len(one.seconds) for one in group])),
        )
        for name, group in groups.items()
    ]


def _padded(values: Sequence[float], length: int) -> list[float]:
    return [*values, *[values[-1]] * (length - len(values))]


def _first_at(curve: np.ndarray, target: float | None) -> int | None:
    if target is None or not (curve <= target).any():
        return None
    return int(np.argmax(curve <= target)) + 1


def _after(trace: Trace, seconds: float, best: float) -> float:
    done = int(np.searchsorted(trace.seconds, seconds, side="right"))
    return best - trace.observed[done - 1] if done else math.nan


def _worth(group: Sequence[Trace], others: Sequence[Trace] | None) -> Mean | None:
    theirs = {one.seed: one.final for one in others or ()}
    both = [one.final - theirs[one.seed] for one in group if one.seed in theirs]
    return Mean.of(both) if both else None
