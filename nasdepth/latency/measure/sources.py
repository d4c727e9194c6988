"""Which tables and packs of other devices a new table starts from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nasdepth.devices import DeviceInfo
from nasdepth.errors import NasdepthError
from nasdepth.latency.predict import Predictor, load_predictor, runtime_of, shipped_tables
from nasdepth.latency.predict.card import read_card
from nasdepth.latency.predict.files import card_path, find_table

NO_SOURCES = "none"


def sources_for(info: DeviceInfo, names: Sequence[str] = ()) -> dict[str, Predictor]:
    """Predictors of other devices that a table of this device starts from, by name.

    Args:
        info: the new device.
        names: of tables and packs, or their files; `none` alone for no transfer. Empty chooses from those
            that ship: measured tables under the same runtime, those with as many threads where there are any,
            and packs for this very board.

    Raises:
        NasdepthError: there is no such table, or `none` stands among others.
    """
    if NO_SOURCES in names:
        if len(names) > 1:
            raise NasdepthError(
                f"sources {', '.join(names)}: {NO_SOURCES!r} stands for no table; give it alone"
            )
        return {}
    chosen = names or _chosen(info)
    predictors = map(load_predictor, chosen)
    return {predictor.table.name: predictor for predictor in predictors}


def _chosen(info: DeviceInfo) -> list[str]:
    # cards alone: rows of tables that are not wanted would take seconds to read
    cards = {name: read_card(card_path(find_table(name))) for name in shipped_tables()}
    runtime = runtime_of(info.delegate)
    measured = [
        name
        for name, card in cards.items()
        if card.get("kind") == "measured" and runtime_of(str(card.get("delegate"))) == runtime
    ]
    alike = [name for name in measured if cards[name].get("threads") == info.threads]
    return [*(alike or measured), *(name for name, card in cards.items() if _is_pack_for(card, info))]


def _is_pack_for(card: Mapping[str, Any], info: DeviceInfo) -> bool:
    """Whether a pack describes this board under this delegate, with as many threads.

    Boards say their names in full: a Raspberry Pi 4 Model B Rev 1.4 is a Raspberry Pi 4 Model B.
    """
    setting = [getattr(info, field) for field in ("delegate", "threads", "os_bits")]
    same = [card.get(field) for field in ("delegate", "threads", "os_bits")] == setting
    board = str(card.get("device") or "?").lower()
    return card.get("kind") != "measured" and same and info.soc.lower().startswith(board)
