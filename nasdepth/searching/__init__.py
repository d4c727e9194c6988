"""The search and what comes after it."""

from nasdepth.searching.events import SearchEvents
from nasdepth.searching.founding import STUDY_NAME
from nasdepth.searching.measure import CandidateBench, differences
from nasdepth.searching.records import Outcome, TrialRecord, best, pareto_front
from nasdepth.searching.retraining import (
    Retrained,
    RetrainEvents,
    Retraining,
    RetrainResult,
    open_labels,
    open_training,
    retrain,
)
from nasdepth.searching.run import Run, describe_table, latest_run_folder, named, new_run_folder
from nasdepth.searching.running import SearchResult, open_run, run_search
from nasdepth.searching.settings import SearchOptions, Settings
from nasdepth.searching.storage import shown
from nasdepth.searching.study import Search
from nasdepth.searching.workers import LocalWorkers, join, share_of_cores

__all__ = [
    "STUDY_NAME",
    "CandidateBench",
    "LocalWorkers",
    "Outcome",
    "RetrainEvents",
    "RetrainResult",
    "Retrained",
    "Retraining",
    "Run",
    "Search",
    "SearchEvents",
    "SearchOptions",
    "SearchResult",
    "Settings",
    "TrialRecord",
    "best",
    "describe_table",
    "differences",
    "join",
    "latest_run_folder",
    "named",
    "new_run_folder",
    "open_labels",
    "open_run",
    "open_training",
    "pareto_front",
    "retrain",
    "run_search",
    "share_of_cores",
    "shown",
]
