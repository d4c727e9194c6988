"""Kinds of predictors: which classes read a card and predict from it, by the card's `model` or `kind`.

A kind of one's own takes a card type and a decorator::

    class RooflineCard(DeviceSetting):
        model: Literal["roofline"] = "roofline"
        gflops: float

    @register_predictor("roofline", card=RooflineCard)
    class RooflinePredictor(Predictor):
        def __init__(self, table: CardFile[RooflineCard]) -> None:
            self.table, self.runtime = table, runtime_of(table.card.delegate)

        def estimate(self, kernels): ...

`load_predictor("mine.yaml")` then answers with it where the card says `model: roofline`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nasdepth.errors import TableError
from nasdepth.latency.predict.card import DeviceSetting
from nasdepth.latency.predict.predictor import Predictor
from nasdepth.latency.predict.table import CardFile, Table

# Packages further up whose import registers kinds that ship
_SHIPPED_IN = ("nasdepth.packs",)


@dataclass(frozen=True)
class PredictorKind:
    """Classes of one kind.

    Attributes:
        name: the card's `model`, or its `kind` where it has no model.
        card: checks the card's fields.
        table: holds the card and what lies beside it.
        predictor: is made from a table.
    """

    name: str
    card: type[DeviceSetting]
    table: type[Table]
    predictor: Callable[[Any], Predictor]


_KINDS: dict[str, PredictorKind] = {}


def register_predictor[P: type[Predictor]](
    name: str, *, card: type[DeviceSetting], table: type[Table] = CardFile
) -> Callable[[P], P]:
    """Register a predictor class, which is called with a table.

    Args:
        name: the `model` of cards that it predicts from, or their `kind` where they have no model.
        card: type of such a card.
        table: type that reads what lies beside the card; nothing by default.

    Raises:
        ValueError: another predictor is registered under that name.
    """

    def register(predictor: P) -> P:
        known = _KINDS.get(name)
        # a module that is imported anew, as notebooks do it, replaces what it registered before
        if known is not None and _place(known.predictor) != _place(predictor):
            raise ValueError(f"the predictor {name!r} is registered already, by {_place(known.predictor)}")
        _KINDS[name] = PredictorKind(name, card, table, predictor)
        return predictor

    return register


def kind_of(content: Mapping[str, Any], path: Path) -> PredictorKind:
    """The kind of a card from its fields.

    Raises:
        TableError: nothing is registered for it; the message names file, field and value.
    """
    for module in _SHIPPED_IN:
        importlib.import_module(module)
    field = "model" if "model" in content else "kind"
    name = content.get(field)
    if name not in _KINDS:
        raise TableError(
            f"{path}: {field} is {name!r}; it must be one of {', '.join(sorted(_KINDS))}. A predictor of "
            "your own is known once the module that registers it is imported"
        )
    return _KINDS[name]


def _place(predictor: Any) -> str:
    return f"{predictor.__module__}.{predictor.__qualname__}"
