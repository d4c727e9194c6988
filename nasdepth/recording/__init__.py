"""Recorded trainings: which architectures are trained how, the trainings themselves, and their file.

A record says what a network reached under a proxy, under full training, or under another way of training.
Searches are replayed against records in seconds, and records tell how well a proxy ranks (`nasdepth.replay`).
"""

from nasdepth.recording.archive import (
    ArchiveCard,
    Records,
    collect_records,
    counted,
    load_records,
    write_records,
)
from nasdepth.recording.fidelities import FIDELITIES, FULL, PROXY, RANDOM_START, Fidelity
from nasdepth.recording.folder import RecordEvents, RecordFolder
from nasdepth.recording.opening import PlanOptions, open_records
from nasdepth.recording.plan import Job, RecordPlan, draw_architectures, draw_plan, planned_jobs
from nasdepth.recording.training import TrainingRecord, record_training

__all__ = [
    "FIDELITIES",
    "FULL",
    "PROXY",
    "RANDOM_START",
    "ArchiveCard",
    "Fidelity",
    "Job",
    "PlanOptions",
    "RecordEvents",
    "RecordFolder",
    "RecordPlan",
    "Records",
    "TrainingRecord",
    "collect_records",
    "counted",
    "draw_architectures",
    "draw_plan",
    "load_records",
    "open_records",
    "planned_jobs",
    "record_training",
    "write_records",
]
