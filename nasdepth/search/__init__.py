"""The search and what comes after it."""

from nasdepth.search.events import SearchEvents
from nasdepth.search.founding import STUDY_NAME
from nasdepth.search.measure import CandidateBench, differences
from nasdepth.search.records import Outcome, TrialRecord, best, pareto_front
from nasdepth.search.retrain import Retrained, open_labels, open_training, retrain
from nasdepth.search.run import Run, describe_table, latest_run_folder, named, new_run_folder
from nasdepth.search.settings import Settings
from nasdepth.search.storage import shown
from nasdepth.search.study import Search
from nasdepth.search.workers import LocalWorkers, join, share_of_cores

__all__ = [
    "STUDY_NAME",
    "CandidateBench",
    "LocalWorkers",
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
    "join",
    "latest_run_folder",
    "named",
    "new_run_folder",
    "open_labels",
    "open_training",
    "pareto_front",
    "retrain",
    "share_of_cores",
    "shown",
]
