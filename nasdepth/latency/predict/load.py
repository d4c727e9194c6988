"""`load_predictor`: whatever answers for a device, by the name or the path of its file."""

from __future__ import annotations

from pathlib import Path

from nasdepth.latency.predict.card import parse_card, read_card
from nasdepth.latency.predict.files import card_path, find_table
from nasdepth.latency.predict.kinds import PredictorKind, kind_of
from nasdepth.latency.predict.predictor import Predictor
from nasdepth.latency.predict.table import Table


def load_predictor(name_or_path: str | Path) -> Predictor:
    """The predictor of a measured table or of a device pack.

    Args:
        name_or_path: a file (the rows or the card of a table, the card of a pack), or the name of what ships
            with nasdepth.

    Raises:
        NasdepthError: there is no such table or pack; the message lists those that ship.
        TableError: it is damaged; the message names file, field and value.
    """
    kind, table = _read(name_or_path)
    return kind.predictor(table)


def load_table(name_or_path: str | Path) -> Table:
    """What `load_predictor` predicts from; the same errors."""
    return _read(name_or_path)[1]


def _read(name_or_path: str | Path) -> tuple[PredictorKind, Table]:
    path = find_table(name_or_path)
    card = card_path(path)
    content = read_card(card)
    kind = kind_of(content, card)
    return kind, kind.table.read(path, parse_card(card, content, kind.card))
