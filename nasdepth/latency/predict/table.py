"""Tables, which predictors predict from: a `LatencyTable` of measured kernels, or a `CardFile` alone."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import math
import zlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from nasdepth.errors import TableError
from nasdepth.files import whole_file
from nasdepth.kernels.kernel import KERNEL_COLUMNS, OPTIONAL_COLUMNS, Kernel
from nasdepth.latency.accuracy import Validation
from nasdepth.latency.predict.card import DeviceCard, DeviceSetting, parse_card, read_card
from nasdepth.latency.predict.doubts import doubt_of
from nasdepth.latency.predict.files import card_path, find_table, rows_path, table_stem

_TIME_COLUMNS = ("latency_ms", "median_ms", "spread", "runs")
COLUMNS = (*KERNEL_COLUMNS, *_TIME_COLUMNS, "error")


class Table[Card: DeviceSetting](ABC):
    """What a predictor predicts from: a card, and whatever lies beside it.

    Attributes:
        name: of its files.
        card: the device, and how far to trust the table.
        rejected: kernels that the device cannot run, with the runtime's own words.
    """

    name: str
    card: Card
    rejected: Mapping[Kernel, str]

    @classmethod
    @abstractmethod
    def read(cls, path: Path, card: Card) -> Self:
        """Read what lies beside a card.

        Args:
            path: of one of the table's files.
            card: already read.

        Raises:
            TableError: a file is missing or damaged; the message names file, line, column and value.
        """

    @abstractmethod
    def texts(self) -> dict[str, str]:
        """The text of every file by its suffix, in the order of the fingerprint."""

    @property
    @abstractmethod
    def precisions(self) -> list[str]:
        """Precisions of the kernels that it answers for, sorted."""

    @property
    def kernels(self) -> int:
        """Number of measured kernels."""
        return 0

    @property
    def terms(self) -> int:
        """Number of fitted coefficients of a kernel's time."""
        return 0

    @property
    def validation(self) -> Validation | None:
        """Errors on models that it was not fitted to; None where nobody looked."""
        return self.card.figures()

    @property
    def doubt(self) -> str:
        """One sentence on why the table is bad and how to mend it; empty where its card shows nothing bad."""
        return doubt_of(self.name, self.card)

    @cached_property
    def fingerprint(self) -> str:
        """12 hex digits that change with any figure of the table or its card."""
        return hashlib.sha256("".join(self.texts().values()).encode()).hexdigest()[:12]

    def save(self, folder: str | Path) -> Path:
        """Write all files into `folder`, whole or not at all; returns the path of the first.

        Rows are compressed (`.csv.gz`, which pandas reads as it is), unless they are there uncompressed.

        Raises:
            NasdepthError: cannot be written; what was there before is untouched.
        """
        first: Path | None = None
        with ExitStack() as files:
            for suffix, text in self.texts().items():
                path = Path(folder) / f"{self.name}{suffix}"
                content = text.encode()
                if suffix == ".csv":
                    path = rows_path(path) or path.with_name(f"{path.name}.gz")
                    content = gzip.compress(content, mtime=0) if path.suffix == ".gz" else content
                files.enter_context(whole_file(path)).write_bytes(content)
                first = first or path
        assert first is not None  # every table has a card
        return first


@dataclass(frozen=True)
class CardFile[Card: DeviceSetting](Table[Card]):
    """A table that is all in its card, as device packs are.

    Attributes:
        name: of the file.
        card: coefficients and all else.
        rejected: empty: it lists no kernel that its device refuses.
    """

    name: str
    card: Card
    rejected: Mapping[Kernel, str] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path, card: Card) -> Self:
        return cls(table_stem(path), card)

    def texts(self) -> dict[str, str]:
        return {".yaml": self.card.to_yaml()}

    @property
    def precisions(self) -> list[str]:
        return self.card.known_precisions()

    @property
    def terms(self) -> int:
        return self.card.terms


@dataclass(frozen=True, slots=True)
class Timing:
    """A kernel's time: 10th percentile and median in ms without the interpreter's overhead, the spread
    (90th over 10th percentile, minus 1) and the number of runs.

    A transferred time has 0 runs: both latencies are the median of what is believed, and the spread is that
    of the belief.
    """

    latency_ms: float
    median_ms: float
    spread: float
    runs: int


@dataclass(frozen=True)
class LatencyTable(Table[DeviceCard]):
    """Kernels' times on one device under one setting.

    Attributes:
        name: `<device>-<runtime>-<threads>t`, also that of its files.
        card: the device and how far to trust the table.
        timings: measured kernels, in the order of the file.
        rejected: kernels that the device cannot run, with the runtime's own words.
        transferred: kernels that were not measured here, with times that other devices' tables tell.
    """

    name: str
    card: DeviceCard
    timings: Mapping[Kernel, Timing]
    rejected: Mapping[Kernel, str] = field(default_factory=dict)
    transferred: Mapping[Kernel, Timing] = field(default_factory=dict)

    def texts(self) -> dict[str, str]:
        return {".csv": self._csv(), ".yaml": self.card.to_yaml()}

    @property
    def precisions(self) -> list[str]:
        return sorted({kernel.precision for kernel in (*self.timings, *self.transferred)})

    @property
    def kernels(self) -> int:
        return self.card.kernels - len(self.transferred)

    def with_card(self, **changes: Any) -> LatencyTable:
        """The same times under a card with other fields."""
        count = len(self.timings) + len(self.rejected) + len(self.transferred)
        card = self.card.model_copy(update={"kernels": count, **changes})
        return LatencyTable(self.name, card, self.timings, self.rejected, self.transferred)

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
        left = {
            kernel: timing
            for kernel, timing in self.transferred.items()
            if kernel not in timings and kernel not in rejected
        }
        merged = LatencyTable(self.name, self.card, timings, rejected, left)
        same = set(timings) == set(self.timings)
        if same:
            return self
        note = self.card.transfer
        if note is not None:
            note = note.model_copy(update={"rows": len(left)}) if left else None
        return merged.with_card(validation=None, transfer=note)

    @classmethod
    def load_if_there(cls, folder: str | Path, name: str) -> LatencyTable | None:
        """`load` from a folder by name, None where neither the table nor its card exists."""
        card = Path(folder) / f"{name}.yaml"
        path = rows_path(card) or card
        return cls.load(path) if path.exists() else None

    @classmethod
    def load(cls, name_or_path: str | Path) -> LatencyTable:
        """Read a measured table by any of its files, or by name from those that ship with nasdepth.

        Raises:
            NasdepthError: no such table; the message lists the shipped ones.
            TableError: the table or its card is damaged; the message names file, line, column and value.
        """
        path = find_table(name_or_path)
        card = card_path(path)
        return cls.read(path, parse_card(card, read_card(card), DeviceCard))

    @classmethod
    def read(cls, path: Path, card: DeviceCard) -> LatencyTable:
        rows = rows_path(path)
        if rows is None:
            raise TableError(
                f"{path}: is the card of a measured table, but no {table_stem(path)}.csv.gz lies beside it; "
                "copy it from where the card came from, or build the table again"
            )
        timings, rejected = _read_rows(rows)
        if len(timings) + len(rejected) != card.kernels:
            raise TableError(
                f"{rows}: {len(timings) + len(rejected)} rows, but its card says kernels: {card.kernels}; a "
                "part of the table is missing or the card belongs to another. Restore both, or build again."
            )
        measured = {kernel: one for kernel, one in timings.items() if one.runs}
        transferred = {kernel: one for kernel, one in timings.items() if not one.runs}
        return cls(table_stem(path), card, measured, rejected, transferred)

    def _csv(self) -> str:
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n", restval="")
        writer.writeheader()
        for kernel, timing in (*self.timings.items(), *self.transferred.items()):
            times = {name: f"{getattr(timing, name):.6g}" for name in ("latency_ms", "median_ms", "spread")}
            writer.writerow({**kernel.to_row(), **times, "runs": timing.runs})
        for kernel, error in self.rejected.items():
            writer.writerow({**kernel.to_row(), "error": " ".join(error.split())})
        return text.getvalue()


def _read_rows(path: Path) -> tuple[dict[Kernel, Timing], dict[Kernel, str]]:
    try:
        content = path.read_bytes()
        text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode()
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
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
                int(_number(row, "runs", where, zero=True)),
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
