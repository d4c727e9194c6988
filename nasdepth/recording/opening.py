"""Opening a folder of records, with a plan that is drawn or taken over where there is none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypedDict, Unpack

from nasdepth.data import absolute_source
from nasdepth.errors import StudyError
from nasdepth.recording.archive import load_records
from nasdepth.recording.folder import RecordFolder
from nasdepth.recording.plan import draw_plan


class PlanOptions(TypedDict):
    """What a new plan holds; see `draw_plan` and `RecordPlan`."""

    space: str
    table: str
    architectures: int
    max_latency_ms: float
    seed: int
    second_seeds: int
    fully: int
    fully_twice: int
    compared: int
    random_starts: int


def open_records(
    folder: Path,
    data: str | None = None,
    restore: Path | None = None,
    on_pool: Callable[[int, int], None] = lambda *_: None,
    **plan: Unpack[PlanOptions],
) -> RecordFolder:
    """Open a folder of records; make it first if it holds no plan.

    Args:
        folder: of the records.
        data: source of the images. A folder that holds a plan does not need it.
        restore: begin a new folder with the plan and the trainings of this `.csv.gz`.
        on_pool: called with how many of how many random candidates are predicted for a new plan.
        plan: what a new plan holds.

    Raises:
        StudyError: a new folder without `data`, one to restore into that holds a plan, or a damaged plan.
        DataError: the images or the file to restore cannot be read.
        NasdepthError: the space or the table cannot be used.
    """
    if restore is not None:
        if data is None:
            raise StudyError(f"{restore}: records of images that are not in it; say where as `data`")
        records = load_records(restore)
        restored = records.card.plan.model_copy(update={"data": absolute_source(data)})
        return RecordFolder.create(folder, restored, records.trainings)
    if RecordFolder.exists(folder):
        return RecordFolder.open(folder)
    if data is None:
        raise StudyError(f"{folder}: holds no plan; give the images to train on as `data`")
    drawn = draw_plan(data=data, on_pool=on_pool, **plan)
    return RecordFolder.create(folder, drawn)
