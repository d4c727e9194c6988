"""Anchors: measured networks from a CSV file, with the kernels that they run."""

from __future__ import annotations

import csv
import io
import math
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from nasdepth.devices import DeviceInfo, Measurement
from nasdepth.errors import NasdepthError, SpaceError, TableError
from nasdepth.files import write_text
from nasdepth.kernels.kernel import Kernel
from nasdepth.kernels.precision import Precision
from nasdepth.latency.extract import architecture_kernels, tflite_kernels
from nasdepth.models import resolve
from nasdepth.packs.kernel_lists import quantised
from nasdepth.packs.public_models import EXAMPLES, family_of, public_kernels
from nasdepth.packs.published_operations import PublishedModel

# What `nasdepth benchmark --csv` writes beside the times
_TIMES = ("latency_ms", "median_ms", "min_ms", "spread", "runs")
DEVICE_FIELDS = tuple(field.name for field in fields(DeviceInfo))


@dataclass(frozen=True, slots=True)
class Anchor:
    """A measured network.

    Attributes:
        name: as the file has it.
        family: networks built alike; what is left out together to see how far a fit carries.
        group: networks that differ in little, such as one at several input sizes, and a network that was
            measured twice; no part of them is left out without the rest.
        precision: of most of its multiplications.
        kernels: in order.
        latency_ms: measured.
    """

    name: str
    family: str
    precision: str
    kernels: tuple[Kernel, ...]
    latency_ms: float
    group: str
    setting_sd: float = 0.0


def read_anchors(
    path: str | Path,
    runtime: str,
    *,
    latency_column: str = "latency_ms",
    size_column: str | None = None,
    where: Mapping[str, Sequence[str]] | None = None,
    published: Mapping[str, PublishedModel] | None = None,
    listed: Mapping[str, Sequence[Kernel]] | None = None,
    precision: str = "float32",
) -> list[Anchor]:
    """Read a CSV with columns `model` and `latency_ms`, one row a measured network.

    A model is the name of a published network (`mobilenet-v2-0.5-160`), a .tflite file beside the CSV or by
    its path, a named design, an architecture string, or the name of a network in `published` or `listed`.
    Further columns may be there: `precision` says how a published or listed network was quantised, `family`
    and `group` what is left out together, and `setting_sd` by what fraction the row's setting may differ from
    that of the others (see `Anchor`).

    Args:
        path: of the CSV.
        runtime: whose fusion rules apply: `xnnpack`, `tflite` or `gpu`.
        latency_column: another name for `latency_ms`; one that ends in `_us` holds microseconds.
        size_column: input size of published networks, where their names do not have it.
        where: {column: values} of which a row must have one; other rows are passed over.
        published: models that are known operator by operator, by name.
        listed: the kernels of networks, by name; int8 ones are `quantised` where they are listed as float32.
        precision: of rows that do not say it.

    Raises:
        TableError: a column, a value or a model that does not read; the message names file, line and column.
    """
    path = Path(path)
    where = where or {}
    try:
        with path.open(encoding="utf-8", newline="") as text:
            reader = csv.DictReader(text)
            rows = [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TableError(f"{path}: cannot be read as CSV ({error})") from None
    columns = reader.fieldnames or []
    needed = ["model", latency_column, *where, *([size_column] if size_column else [])]
    if missing := [name for name in needed if name not in columns]:
        raise TableError(f"{path}, line 1: no column {missing[0]!r}; it has {', '.join(columns) or 'none'}")
    anchors = []
    for line, row in rows:
        if any(row[column] not in values for column, values in where.items()):
            continue
        at = f"{path}, line {line}"
        name = row["model"] + (f"-{row[size_column]}" if size_column and row[size_column] else "")
        said = row.get("precision") or precision
        if said not in ("float32", "int8", "uint8"):
            raise TableError(f"{at}: column precision is {said!r}; it must be float32 or int8")
        if listed and name in listed:
            kernels, family = _listed_kernels(listed[name], said), name
        elif published and name in published:
            kernels, family = published_kernels(published[name], runtime), _letters(name)
        else:
            kernels, family = model_kernels(name, runtime, said, at, path.parent)
        anchors.append(
            Anchor(
                name,
                row.get("family") or family,
                precision_of(kernels),
                kernels,
                _ms(row[latency_column], at, latency_column),
                row.get("group") or name,
                _fraction(row.get("setting_sd") or "0", at, "setting_sd"),
            )
        )
    if not anchors:
        chosen = ", ".join(f"{column}={' or '.join(values)}" for column, values in where.items())
        raise TableError(f"{path}: no row" + (f" with {chosen}" if chosen else ""))
    return anchors


def published_kernels(model: PublishedModel, runtime: str) -> tuple[Kernel, ...]:
    """What a runtime runs of a model that is known operator by operator."""
    return model.gpu_kernels if runtime == "gpu" else model.cpu_kernels


def _listed_kernels(kernels: Sequence[Kernel], precision: str) -> tuple[Kernel, ...]:
    return tuple(kernels) if precision == "float32" else quantised(kernels)


def _letters(name: str) -> str:
    """`seresnet` of `seresnet10`: models of a family differ in what follows the letters."""
    return re.match(r"[a-z]*", name)[0] or name


def write_anchors(path: str | Path, measured: Iterable[Measurement], info: DeviceInfo) -> None:
    """Write measurements as `read_anchors` and `read_setting` read them; what the device refused is left out.

    Raises:
        NasdepthError: cannot be written.
    """
    path = Path(path)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("model", *_TIMES, *DEVICE_FIELDS))
    for one in measured:
        if not one.error:
            # read from wherever the CSV then lies, as long as the models lie with it
            model = os.path.relpath(one.model, path.parent)
            times = [f"{getattr(one, name):.6g}" for name in _TIMES]
            writer.writerow((model, *times, *(getattr(info, name) for name in DEVICE_FIELDS)))
    write_text(path, text.getvalue())


def read_setting(path: str | Path) -> dict[str, str]:
    """Fields of the device card that a CSV of `nasdepth benchmark --csv` has as columns.

    Raises:
        TableError: rows of two devices or settings; the message names the field.
    """
    try:
        with Path(path).open(encoding="utf-8", newline="") as text:
            rows = list(csv.DictReader(text))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TableError(f"{path}: cannot be read as CSV ({error})") from None
    found: dict[str, str] = {}
    for name in DEVICE_FIELDS if rows and set(DEVICE_FIELDS) <= rows[0].keys() else ():
        values = sorted({row[name] for row in rows})
        if len(values) > 1:
            raise TableError(
                f"{path}: column {name} is {values[0]!r} and {values[1]!r}; anchors of a pack are of one "
                "device under one setting"
            )
        found[name] = values[0]
    return found


def model_kernels(
    name: str, runtime: str, precision: str = "float32", where: str = "", folder: Path = Path()
) -> tuple[tuple[Kernel, ...], str]:
    """(kernels, family) of whatever a user may call a model.

    Raises:
        TableError: it is nothing of that; the message begins with `where`.
        ModelFileError, UnknownKernelError: a .tflite that is damaged, or has an operation without kernel.
    """
    quantised: Precision = "float32" if precision == "float32" else "int8"
    if name.endswith(".tflite"):
        path = folder / name if (folder / name).is_file() else Path(name)
        return tflite_kernels(path, runtime, quantised), path.stem
    if family := family_of(name):
        return public_kernels(name, runtime, quantised), family
    try:
        architecture = resolve(name)
    except SpaceError as error:
        raise TableError(
            f"{where + ': ' if where else ''}{name!r} is no published network (such as "
            f"{', '.join(EXAMPLES)}), no .tflite file, and: {error}"
        ) from None
    return architecture_kernels(architecture, runtime, quantised), architecture.encoder.family


def precision_of(kernels: tuple[Kernel, ...]) -> str:
    """The precision of most multiplications, or of most kernels where there are none."""
    macs: Counter[str] = Counter()
    for kernel in kernels:
        macs[block_of(kernel)] += kernel.macs + 1
    if not macs:
        raise NasdepthError("a model without operations has no precision")
    return macs.most_common(1)[0][0]


def block_of(kernel: Kernel) -> str:
    """Which coefficients a kernel takes: float32 or int8, uint8 being as fast as that."""
    return "float32" if kernel.precision == "float32" else "int8"


def _fraction(text: str, where: str, column: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise TableError(f"{where}: column {column} is {text!r}; it must be a fraction of 0 to 1")
    return value


def _ms(text: str | None, where: str, column: str) -> float:
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value <= 0:
        raise TableError(f"{where}: column {column} is {text!r}; it must be milliseconds above 0")
    return value / 1e3 if column.endswith("_us") else value
