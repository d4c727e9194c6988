"""Device packs in the terminal: how far off, and what there is."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.table import Table

if TYPE_CHECKING:
    from nasdepth import latency
    from nasdepth.latency.accuracy import CrossValidation, FamilyError, Validation


def checks_table(title: str, check: CrossValidation) -> Table:
    """Errors on networks that a fit had not seen: ten folds, then family by family."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("left out")
    for heading in ("networks", "MAPE %", "bias %", "within 10 %", "in 90 % interval"):
        table.add_column(heading, justify="right")
    rows: dict[str, Validation | FamilyError] = {"a tenth at random": check.folds} if check.folds else {}
    rows |= dict(check.families)
    for name, one in rows.items():
        table.add_row(
            name,
            str(one.models),
            f"{one.mape_percent:.2f}",
            f"{one.bias_percent:+.2f}",
            f"{one.within_10_percent:.0f} %",
            f"{one.interval_90_coverage_percent:.0f} %",
        )
    return table


def device_row(table: latency.Table, path: Path) -> dict[str, Any]:
    """What `nasdepth latency devices` says of one table."""
    card = table.card
    checked = table.validation
    measured = card.kind == "measured"
    return {
        "name": table.name,
        "path": str(path),
        "device": card.device,
        "soc": card.soc,
        "gpu": card.gpu,
        "runtime": card.runtime,
        "runtime_version": card.runtime_version,
        "delegate": card.delegate,
        "threads": card.threads,
        "inferred": list(getattr(card, "inferred", ())),
        "kind": card.kind,
        "precisions": table.precisions,
        "mape_percent": checked and checked.mape_percent,
        "validated_on": _validated_on(checked, measured),
        "doubt": table.doubt,
        "kernels": table.kernels,
        "terms": table.terms,
    }


def devices_table(rows: Iterable[dict[str, Any]]) -> Table:
    """`device_row`s for people."""
    table = Table(title="Latency tables and device packs", title_justify="left", box=box.SIMPLE_HEAD)
    for heading in ("name", "device", "runtime"):
        table.add_column(heading, overflow="fold")
    table.add_column("threads", justify="right")
    table.add_column("kind")
    table.add_column("MAPE %", justify="right")
    table.add_column("validated on", overflow="fold")
    table.add_column("kernels or terms", justify="right")
    for row in rows:
        delegate = "" if row["delegate"] == "none" else f", {row['delegate']}"
        error = row["mape_percent"]
        table.add_row(
            row["name"],
            f"{row['device']}, {row['gpu'] or row['soc']}",
            f"{row['runtime']} {row['runtime_version']}{delegate}{_inferred(row)}",
            str(row["threads"]),
            row["kind"],
            "" if error is None else f"{error:.1f}",
            row["validated_on"] + (f"; {row['doubt']}" if row["doubt"] else ""),
            f"{row['kernels']} kernels" if row["kernels"] else f"{row['terms']} terms",
        )
    return table


def _inferred(row: dict[str, Any]) -> str:
    """What of a setting no source states."""
    words = ", ".join(name.replace("_", " ") for name in row["inferred"])
    return f" (inferred from the times: {words})" if words else ""


def _validated_on(checked: Validation | None, measured: bool) -> str:
    if checked is None:
        return "nothing"
    how = "networks measured anew" if measured else "left-out published networks"
    return f"{checked.models} {how}"
