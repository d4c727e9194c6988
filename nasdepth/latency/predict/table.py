"""`LatencyTable`: measured times of kernels on one device, as CSV with a device card beside it."""

from __future__ import annotations

import csv
import hashlib
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from nasdepth.errors import TableError
from nasdepth.files import find_shipped, whole_file
from nasdepth.kernels.kernel import KERNEL_COLUMNS, OPTIONAL_COLUMNS, Kernel
from nasdepth.latency.predict.card import DeviceCard

_TIME_COLUMNS = ("latency_ms", "median_ms", "spread", "runs")
COLUMNS = (*KERNEL_COLUMNS, *_TIME_COLUMNS, "error")


@dataclass(frozen=True, slots=True)
class Timing:
    """A kernel's time: 10th percentile and median in ms without the interpreter's overhead, the spread
    (90th over 10th percentile, minus 1) and the number of runs."""

    latency_ms: float
    median_ms: float
    spread: float
    runs: int


@dataclass(frozen=True)
class LatencyTable:
    """Kernels' times on one device under one setting.

    Attributes:
        name: `<device>-<runtime>-<threads>t`.
        card: the device and how far to trust the table.
        timings: measured kernels, in the order of the file.
        rejected: kernels that the device cannot run, with the runtime's own words.
    """

    name: str
    card: DeviceCard
    timings: Mapping[Kernel, Timing]
    rejected: Mapping[Kernel, str] = field(default_factory=dict)

    @cached_property
    def fingerprint(self) -> str:
        """12 hex digits that change with any figure of the table or its card."""
        return hashlib.sha256((self._csv() + self.card.to_yaml()).encode()).hexdigest()[:12]

    def save(self, folder: str | Path) -> Path:
        """Write `<name>.csv` and `<name>.yaml` into `folder`; returns the path of the CSV.

        Raises:
            NasdepthError: cannot be written; what was there before is untouched.
        """
        path = Path(folder) / f"{self.name}.csv"
        with whole_file(path) as rows, whole_file(path.with_suffix(".yaml")) as card:
            rows.write_text(self._csv(), encoding="utf-8")
            card.write_text(self.card.to_yaml(), encoding="utf-8")
        return path

    def with_card(self, **changes: Any) -> LatencyTable:
        """The same times under a card with other fields."""
        count = len(self.timings) + len(self.rejected)
        card = self.card.model_copy(update={"kernels": count, **changes})
        return LatencyTable(self.name, card, self.timings, self.rejected)

    def merged(self, other: LatencyTable) -> LatencyTable:
        """Both tables' kernels under this one's card; where both have a kernel, this one's time stands.

        The calibration stays, it is of the device; the validation goes, it was of fewer kernels.

        Raises:
            TableError: they are of different devices or settings; the message names the field.
        """
        self.card.require_same(other.card, self.name, f"table {other.name}")
        timings = {**other.timings, **self.timings}
        rejected = {**other.rejected, **self.rejected}
        rejected = {kernel: error for kernel, error in rejected.items() if kernel not in timings}
        merged = LatencyTable(self.name, self.card, timings, rejected)
        same = set(timings) == set(self.timings)
        return self if same else merged.with_card(validation=None)

    @classmethod
    def load_if_there(cls, path: Path) -> LatencyTable | None:
        """`load` of a path, None where neither the table nor its card exists."""
        return cls.load(path) if path.exists() or path.with_suffix(".yaml").exists() else None

    @classmethod
    def load(cls, name_or_path: str | Path) -> LatencyTable:
        """Read a table by path, or by name from those that ship with nasdepth.

        Raises:
            NasdepthError: no such table; the message lists the shipped ones.
            TableError: the table or its card is damaged; the message names file, line, column and value.
        """
        path = find_shipped("latency_tables", name_or_path, ".csv")
        card = DeviceCard.read(path.with_suffix(".yaml"))
        timings, rejected = _read_rows(path)
        if len(timings) + len(rejected) != card.kernels:
            raise TableError(
                f"{path}: {len(timings) + len(rejected)} rows, but its card says kernels: {card.kernels}; a "
                "part of the table is missing or the card belongs to another. Restore both, or build again."
            )
        return cls(path.stem, card, timings, rejected)

    def _csv(self) -> str:
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n", restval="")
        writer.writeheader()
        for kernel, timing in self.timings.items():
            times = {name: f"{getattr(timing, name):.6g}" for name in ("latency_ms", "median_ms", "spread")}
            writer.writerow({**kernel.to_row(), **times, "runs": timing.runs})
        for kernel, error in self.rejected.items():
            writer.writerow({**kernel.to_row(), "error": " ".join(error.split())})
        return text.getvalue()


def _read_rows(path: Path) -> tuple[dict[Kernel, Timing], dict[Kernel, str]]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise TableError(f"{path}: cannot be read ({error}); restore it or build it again") from None
    if not text.endswith("\n"):
        line = text.count("\n") + 1
        raise TableError(f"{path}, line {line}: the last line is cut off; restore the file or build it again")
    reader = csv.reader(io.StringIO(text))
    header = tuple(next(reader, ()))
    columns = tuple(name for name in COLUMNS if name in header or name not in OPTIONAL_COLUMNS)
    if header != columns:
        missing, unknown = sorted(set(columns) - set(header)), sorted(set(header) - set(COLUMNS))
        problem = f"missing columns {missing}" if missing else f"unknown columns {unknown}"
        if not missing and not unknown:
            problem = "columns in another order or twice"
        raise TableError(f"{path}, line 1: {problem}; expected {','.join(COLUMNS)}")
    timings: dict[Kernel, Timing] = {}
    rejected: dict[Kernel, str] = {}
    for cells in reader:
        where = f"{path}, line {reader.line_num}"
        if len(cells) != len(columns):
            raise TableError(f"{where}: {len(cells)} cells instead of {len(columns)}; restore or build again")
        row = dict(zip(columns, cells, strict=True))
        try:
            kernel = Kernel.from_row(row)
        except ValueError as error:
            raise TableError(f"{where}: {error}") from None
        if kernel in timings or kernel in rejected:
            raise TableError(f"{where}: {kernel} is there twice; delete one of the two rows")
        if row["error"]:
            rejected[kernel] = row["error"]
        else:
            timings[kernel] = Timing(
                _number(row, "latency_ms", where),
                _number(row, "median_ms", where),
                _number(row, "spread", where, zero=True),
                int(_number(row, "runs", where)),
            )
    return timings, rejected


def _number(row: dict[str, str], column: str, where: str, *, zero: bool = False) -> float:
    try:
        value = float(row[column])
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value < 0 or (value == 0 and not zero):
        raise TableError(
            f"{where}: column {column} is {row[column]!r}; it must be a number "
            f"{'from' if zero else 'above'} 0. Delete the row (and count it off `kernels` in the card) or "
            "build the table again."
        )
    return value
