"""The search and what comes after it."""

from nasdepth.search.events import SearchEvents
from nasdepth.search.measure import CandidateBench, differences
from nasdepth.search.records import Outcome, TrialRecord, best, pareto_front
from nasdepth.search.retrain import Retrained, open_labels, open_training, retrain
from nasdepth.search.run import Run, Settings, describe_table, latest_run_folder, named, next_run_folder
from nasdepth.search.study import Search

__all__ = [
    "CandidateBench",
    "Outcome",
    "Retrained",
    "Run",
    "Search",
    "SearchEvents",
    "Settings",
    "TrialRecord",
    "best",
    "describe_table",
    "differences",
    "latest_run_folder",
    "named",
    "next_run_folder",
    "open_labels",
    "open_training",
    "pareto_front",
    "retrain",
]
