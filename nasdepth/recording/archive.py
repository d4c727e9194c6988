"""The file that recorded trainings end in: a compressed CSV with a card beside it."""

from __future__ import annotations

import csv
import gzip
import math
import zlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from pydantic import BaseModel, ConfigDict

from nasdepth.config import read_fields, validated
from nasdepth.data import DepthSplit
from nasdepth.data.baselines import trivial_depth
from nasdepth.errors import DataError, NasdepthError
from nasdepth.files import whole_file, write_text
from nasdepth.reading import open_regular
from nasdepth.recording.fidelities import FIDELITIES
from nasdepth.recording.folder import RecordFolder
from nasdepth.recording.plan import RecordPlan
from nasdepth.recording.training import TrainingRecord

_SUFFIX, _CARD_SUFFIX = ".csv.gz", ".yaml"
_ROWS = {"si_rmse": 5, "loss": 5, "seconds": 2, "image_errors": 4}


class ArchiveCard(BaseModel):
    """Where a file of records comes from.

    Attributes:
        fit_images, held_out_images: how many images were trained on, and how many judge.
        mean_map_si_rmse: what predicting the mean depth map reaches on these; None where it is not known.
        recipes: by fidelity, the recipe of every part in full.
        machines: how many records each machine has made.
        records: how many records each fidelity has, by seed.
        plan: what is to be recorded; `open_records` goes on with it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    date: date
    fit_images: int
    held_out_images: int
    mean_map_si_rmse: float | None = None
    recipes: dict[str, list[dict[str, Any]]]
    machines: dict[str, int]
    records: dict[str, dict[int, int]]
    plan: RecordPlan


@dataclass(frozen=True)
class Records:
    """Recorded trainings with their card."""

    card: ArchiveCard
    trainings: tuple[TrainingRecord, ...]

    @property
    def table(self) -> str:
        """Name of the latency table by which the plan spread its architectures."""
        return self.card.plan.table.split()[0]

    def of(self, fidelity: str, seed: int | None = 0) -> list[TrainingRecord]:
        """The trainings of one fidelity; of any seed if it is None."""
        return [one for one in self.trainings if one.fidelity == fidelity and seed in (None, one.seed)]


def collect_records(folder: RecordFolder, fit: DepthSplit, held_out: DepthSplit) -> Records:
    """Everything in a folder, with its card.

    Args:
        fit: the images that were trained on.
        held_out: the images that judge.

    Raises:
        StudyError: a file in the folder is damaged.
    """
    trainings = folder.records()
    counts = counted(trainings)
    mean_map = trivial_depth(fit, held_out).mean_map
    card = ArchiveCard(
        date=date.today(),
        fit_images=len(fit),
        held_out_images=len(held_out),
        mean_map_si_rmse=round(mean_map, 5) if math.isfinite(mean_map) else None,
        recipes={
            name: [recipe.model_dump(mode="json") for recipe in FIDELITIES[name].recipes()] for name in counts
        },
        machines=dict(Counter(one.machine for one in trainings)),
        records=counts,
        # the folder of the images means nothing on another machine
        plan=folder.plan.model_copy(update={"data": Path(folder.plan.data).name}),
    )
    return Records(card, tuple(trainings))


def counted(trainings: Iterable[TrainingRecord]) -> dict[str, dict[int, int]]:
    """How many trainings there are of each fidelity and seed."""
    found: dict[str, dict[int, int]] = {}
    for (fidelity, seed), count in sorted(Counter((one.fidelity, one.seed) for one in trainings).items()):
        found.setdefault(fidelity, {})[seed] = count
    return found


def write_records(path: str | Path, records: Records) -> None:
    """Write `NAME.csv.gz` and `NAME.yaml`.

    Raises:
        NasdepthError: the folder cannot be written; what was there is untouched.
    """
    path = _named(path)
    rows = []
    for one in records.trainings:
        row = one.to_dict()
        for column, digits in _ROWS.items():
            row[column] = " ".join(f"{value:.{digits}f}" for value in row[column])
        rows.append(row)
    text = pd.DataFrame(rows).to_csv(index=False)
    with whole_file(path) as temporary:
        # without a time stamp the same records make the same bytes
        temporary.write_bytes(gzip.compress(text.encode(), mtime=0))
    card = records.card.model_dump(mode="json")
    write_text(_card(path), yaml.safe_dump(card, sort_keys=False, width=110, default_flow_style=None))


def load_records(path: str | Path) -> Records:
    """Read what `write_records` has written.

    Raises:
        DataError: a file is missing or damaged; the message names it, and the row.
    """
    path = _named(path)
    try:
        with open_regular(path, error=DataError) as file:
            frame = pd.read_csv(
                file, compression="gzip", dtype=dict.fromkeys(_ROWS, str), keep_default_na=False
            )
    except (EOFError, ValueError, zlib.error, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as recorded trainings ({error}); restore it") from error
    fields = read_fields(_card(path), example="plan: ...", error=DataError)
    card = validated(ArchiveCard, fields, _card(path), error=DataError)
    trainings = []
    for line, row in enumerate(frame.to_dict("records"), 2):
        try:
            values = row | {column: [float(value) for value in row[column].split()] for column in _ROWS}
            trainings.append(TrainingRecord.from_dict(values))
        except KeyError as error:
            raise DataError(f"{path}: has no column {error}; restore it") from error
        except (NasdepthError, TypeError, ValueError, AttributeError) as error:
            raise DataError(f"{path}: line {line} is damaged: {error}") from error
    return Records(card, tuple(trainings))


def _named(path: str | Path) -> Path:
    path = Path(path)
    return path if path.name.endswith(_SUFFIX) else path.with_name(path.name + _SUFFIX)


def _card(path: Path) -> Path:
    return path.with_name(path.name.removesuffix(_SUFFIX) + _CARD_SUFFIX)
