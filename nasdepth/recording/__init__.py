"""Recorded trainings: which architectures are trained how, the trainings themselves, and the file they end in.

A record says what a network reached under a proxy, under full training, or under another way of training. Searches
are replayed against records in seconds, and records tell how well a proxy ranks (`nasdepth.replay`).
"""

from nasdepth.recording.archive import ArchiveCard, Records, load_records, write_records
from nasdepth.recording.fidelities import FIDELITIES, FULL, PROXY, Fidelity
from nasdepth.recording.folder import RecordFolder, RecordSettings
from nasdepth.recording.plan import Job, draw_architectures, planned_jobs
from nasdepth.recording.training import TrainingRecord, record_training

__all__ = [
    "FIDELITIES",
    "FULL",
    "PROXY",
    "ArchiveCard",
    "Fidelity",
    "Job",
    "RecordFolder",
    "RecordSettings",
    "Records",
    "TrainingRecord",
    "draw_architectures",
    "load_records",
    "planned_jobs",
    "record_training",
    "write_records",
]
