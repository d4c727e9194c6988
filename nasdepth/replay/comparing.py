"""Samplers compared: their searches replayed in the same worlds, kept in a file, summed up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from nasdepth.recording import Records
from nasdepth.recording.training import commit
from nasdepth.replay.replaying import Replay, Setting, Trace
from nasdepth.replay.results import Summary, read_traces, replay_all, summaries, write_traces
from nasdepth.replay.surrogate import HeldOutError
from nasdepth.searching.goals import SCORE
from nasdepth.searching.sampling import check_sampler


@dataclass(frozen=True)
class Comparison:
    """What the searches of several samplers came to.

    Attributes:
        setting: what was replayed.
        world_error: how well the world predicts recorded architectures that it was not fitted to.
        fidelities: the other ways of training that the world knows, sorted.
        summaries: one for each sampler.
        traces: every search, sampler by sampler.
    """

    setting: Setting
    world_error: HeldOutError
    fidelities: tuple[str, ...]
    summaries: tuple[Summary, ...]
    traces: tuple[Trace, ...]


def compare_samplers(
    records: Records,
    setting: Setting,
    samplers: Sequence[str],
    seeds: int,
    *,
    workers: int = 1,
    kept_in: Path | None = None,
    on_progress: Callable[[str, int, int], None] = lambda *_: None,
    on_other_versions: Callable[[Sequence[str]], None] = lambda _: None,
    on_interrupt: Callable[[int], None] = lambda _: None,
) -> Comparison:
    """Replay searches of each sampler, each seed in a world of its own, and compare what they find.

    Args:
        records: of trainings of the setting's space.
        setting: what is replayed.
        samplers: by name, in the order of the comparison.
        seeds: searches of each sampler.
        workers: processes that replay at once.
        kept_in: CSV of finished searches. Those of the same setting are not replayed again, and each further
            one is added when it ends.
        on_progress: called with what is being done, and how many of how many steps of it are.
        on_other_versions: called with the versions of nasdepth that replayed searches in the file, if they
            are others than this one.
        on_interrupt: called with the number of finished searches when Ctrl-C has ended the replay.

    Raises:
        StudyError: there is no such sampler.
        DataError: too few records, records of another space, or a damaged file of finished searches.
        NasdepthError: the space or the table cannot be read, or the file cannot be written.
    """
    for name in samplers:
        check_sampler(name, SCORE)
    earlier = read_traces(kept_in) if kept_in is not None else []
    replay = Replay(records, setting, on_progress)
    done = {(one.sampler, one.seed): one for one in earlier if one.setting == replay.fingerprint}
    others = [one for one in earlier if one.setting != replay.fingerprint]
    if versions := {one.commit for one in done.values()} - {commit()}:
        on_other_versions(sorted(versions))
    wanted = [(name, seed) for seed in range(seeds) for name in samplers]
    missing = [one for one in wanted if one not in done]
    finished = len(wanted) - len(missing)
    on_progress("replaying searches", finished, len(wanted))
    try:
        for trace in replay_all(replay, records, missing, workers):
            done[trace.sampler, trace.seed] = trace
            if kept_in is not None:
                write_traces(kept_in, [*others, *done.values()])
            finished += 1
            on_progress("replaying searches", finished, len(wanted))
    except KeyboardInterrupt:
        on_interrupt(len(done))
        raise
    traces = tuple(done[name, seed] for name in samplers for seed in range(seeds))
    surrogate = replay.surrogate
    return Comparison(
        setting, surrogate.error, tuple(sorted(surrogate.fidelities)), tuple(summaries(traces)), traces
    )
