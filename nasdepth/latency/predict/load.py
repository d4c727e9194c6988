"""`load_predictor`: whatever answers for a device, by the name or the path of its file."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from nasdepth.errors import NasdepthError
from nasdepth.files import shipped
from nasdepth.latency.predict.predictor import Predictor, TablePredictor
from nasdepth.latency.predict.table import LatencyTable
from nasdepth.packs.gpu import GpuPack, GpuPredictor
from nasdepth.packs.physical.card import Pack
from nasdepth.packs.physical.predictor import CalibratedPredictor

# What a predictor answers from
type Table = LatencyTable | Pack | GpuPack

_FOLDER = "latency_tables"


def load_predictor(name_or_path: str | Path) -> Predictor:
    """The predictor of a measured table (CSV with a card beside it) or of a device pack (one YAML).

    Args:
        name_or_path: a file, or the name of what ships with nasdepth.

    Raises:
        NasdepthError: no such table or pack; the message lists those that ship.
        TableError: it is damaged; the message names file, field and value.
    """
    table = load_table(name_or_path)
    if isinstance(table, GpuPack):
        return GpuPredictor(table)
    return CalibratedPredictor(table) if isinstance(table, Pack) else TablePredictor(table)


def load_table(name_or_path: str | Path) -> Table:
    """What `load_predictor` predicts from; the same errors."""
    path = table_path(name_or_path)
    if path.suffix == ".csv":
        return LatencyTable.load(path)
    return GpuPack.load(path) if GpuPack.is_one(path) else Pack.load(path)


def table_path(name_or_path: str | Path) -> Path:
    """The CSV of a table or the YAML of a pack.

    Raises:
        NasdepthError: neither; the message lists those that ship.
    """
    path = Path(name_or_path)
    if path.is_file():
        beside = path.with_suffix(".csv")
        # a pack may lie beside the CSV of its own anchors
        return beside if path.suffix == ".yaml" and beside.is_file() and not _is_pack(path) else path
    name = str(name_or_path).removeprefix(f"{_FOLDER}/").removesuffix(".csv").removesuffix(".yaml")
    for candidate in (shipped(_FOLDER) / f"{name}.csv", shipped(_FOLDER) / f"{name}.yaml"):
        if candidate.name.startswith(name) and candidate.is_file():
            return candidate
    raise NasdepthError(
        f"{name_or_path}: no such file; shipped with nasdepth are: {', '.join(shipped_tables()) or 'none'}"
    )


def every_table(more: Iterable[Path] = ()) -> list[Path]:
    """Files of all shipped tables and packs, and of those in `more` (files, or folders of such)."""
    found: dict[Path, None] = {}
    for place in (shipped(_FOLDER), *more):
        cards = sorted(place.glob("*.yaml")) if place.is_dir() else [place]
        for card in cards:
            found[table_path(card).resolve()] = None
    return list(found)


def _is_pack(path: Path) -> bool:
    return "\nmodel: " in path.read_text(encoding="utf-8", errors="replace")


def shipped_tables() -> list[str]:
    """Names of the tables and packs that ship."""
    return sorted({path.stem for path in shipped(_FOLDER).glob("*.yaml")})
