"""Replays of searches against recorded trainings, and how well cheap trainings rank.

A regression fitted to the records answers for every architecture of the space; whole searches then run
against it in seconds, on a virtual clock. What the records say of proxies is in `nasdepth.replay.ranking`.
"""

from nasdepth.replay.comparing import Comparison, compare_samplers
from nasdepth.replay.ranking import Ranking, rank_fidelities
from nasdepth.replay.regressors import REGRESSORS
from nasdepth.replay.replaying import CHECKPOINTS, TOP, Replay, Setting, Trace
from nasdepth.replay.results import (
    Mean,
    Summary,
    best_known,
    read_traces,
    regrets,
    replay_all,
    summaries,
    write_traces,
)
from nasdepth.replay.surrogate import HeldOutError, Surrogate
from nasdepth.replay.world import Latencies, Training, World

__all__ = [
    "CHECKPOINTS",
    "REGRESSORS",
    "TOP",
    "Comparison",
    "HeldOutError",
    "Latencies",
    "Mean",
    "Ranking",
    "Replay",
    "Setting",
    "Summary",
    "Surrogate",
    "Trace",
    "Training",
    "World",
    "best_known",
    "compare_samplers",
    "rank_fidelities",
    "read_traces",
    "regrets",
    "replay_all",
    "summaries",
    "write_traces",
]
