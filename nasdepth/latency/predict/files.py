"""Where tables and packs lie: NAME.yaml is the card, NAME.csv.gz or NAME.csv beside it what was measured."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from pathlib import Path

from nasdepth.errors import NasdepthError, TableError
from nasdepth.files import shipped
from nasdepth.latency.predict.card import read_card

ROWS_SUFFIXES = (".csv.gz", ".csv")
_CARD_SUFFIX = ".yaml"
_FOLDER = "latency_tables"


def table_stem(path: Path) -> str:
    """The name of a table or pack, from any of its files."""
    for suffix in (*ROWS_SUFFIXES, _CARD_SUFFIX):
        if path.name.endswith(suffix):
            return path.name.removesuffix(suffix)
    return path.name


def card_path(path: Path) -> Path:
    """The card of a table, from any of its files."""
    return path.with_name(table_stem(path) + _CARD_SUFFIX)


def rows_path(path: Path) -> Path | None:
    """The measured rows of a table, from any of its files or the name of one; None where there are none."""
    candidates = (path.with_name(table_stem(path) + suffix) for suffix in ROWS_SUFFIXES)
    return next((one for one in candidates if one.is_file()), None)


def find_table(name_or_path: str | Path) -> Path:
    """The rows of a measured table or the card of a pack, of what a user typed.

    Args:
        name_or_path: the name of what ships with nasdepth, or a path; `.csv` stands for `.csv.gz` too.

    Raises:
        NasdepthError: there is no such table or pack; the message lists those that ship.
    """
    path = Path(name_or_path)
    if path.is_file():
        # a pack may lie beside the CSV of its own anchors
        rows = rows_path(path) if path.suffix == _CARD_SUFFIX and _is_measured(path) else None
        return rows or path
    if path.name.endswith(ROWS_SUFFIXES) and (rows := rows_path(path)):
        return rows
    name = Path(str(name_or_path).removeprefix(f"{_FOLDER}/"))
    if name.name == str(name) and (found := _shipped_table(table_stem(name))):
        return found
    raise NasdepthError(
        f"{name_or_path}: no such file; shipped with nasdepth are: {', '.join(shipped_tables()) or 'none'}"
    )


def every_table(more: Iterable[Path] = ()) -> list[Path]:
    """Files of all shipped tables and packs, and of those in `more` (files, or folders of such)."""
    found: dict[Path, None] = {}
    for place in (shipped(_FOLDER), *more):
        cards = sorted(place.glob(f"*{_CARD_SUFFIX}")) if place.is_dir() else [place]
        for card in cards:
            found[find_table(card).resolve()] = None
    return list(found)


def shipped_tables() -> list[str]:
    """Names of the tables and packs that ship."""
    return sorted(path.stem for path in shipped(_FOLDER).glob(f"*{_CARD_SUFFIX}"))


def is_kept(path: Path) -> bool:
    """Whether a table's file ships with nasdepth or is tracked by git: others have the same file."""
    if path.resolve().is_relative_to(shipped(_FOLDER).resolve()):
        return True
    asked = ["git", "-C", str(path.resolve().parent), "ls-files", "--error-unmatch", path.name]
    try:
        return subprocess.run(asked, capture_output=True, check=False).returncode == 0
    except OSError:
        return False  # a machine without git tracks nothing


def _shipped_table(name: str) -> Path | None:
    card = shipped(_FOLDER) / f"{name}{_CARD_SUFFIX}"
    return (rows_path(card) or card) if card.is_file() else None


def _is_measured(card: Path) -> bool:
    try:
        return read_card(card).get("kind") == "measured"
    except TableError:
        return False  # whoever reads it says what is wrong
