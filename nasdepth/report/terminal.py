"""Tables for the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table

from nasdepth.devices.uri import parse_uri

if TYPE_CHECKING:  # a table costs no second of torch's import
    from nasdepth import latency
    from nasdepth.devices import DeviceInfo
    from nasdepth.latency import LatencyEstimate
    from nasdepth.latency.measure import Checked
    from nasdepth.searching import Retrained, RetrainResult, TrialRecord


def figure(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def interval(low_ms: float | None, high_ms: float | None) -> str:
    return "" if low_ms is None or high_ms is None else f"{low_ms:.3f} to {high_ms:.3f}"


def table_words(table: latency.Table) -> str:
    """A latency table in one line: what it was made on, and how far to trust it."""
    return f"{_trusted_words(table)}; {table.doubt}" if table.doubt else _trusted_words(table)


def _trusted_words(table: latency.Table) -> str:
    card = table.card
    validation = table.validation
    if card.kind == "calibrated":
        error = (
            f"MAPE {validation.mape_percent:g} % on {validation.models} left-out"
            if validation
            else "tried on no"
        )
        return f"{table.name} (calibrated, not measured, for {card.device}; {error} published networks)"
    trust = (
        f"validated on {validation.models} models, MAPE {validation.mape_percent:g} %"
        if validation
        else "unvalidated"
    )
    return f"{table.name} ({card.kind} on {card.soc}, {trust})"


def trials_lines(
    title: str, records: Iterable[TrialRecord], star: TrialRecord | None = None
) -> Iterator[str]:
    """Trials for a terminal of 80 columns: a line of figures each, and its architecture on another.

    `~` marks an estimated latency, a star the trial that is given as `star`. Where some were trained once
    more, what that reached stands beside the proxy's figures, and the score is of it.
    """
    records = list(records)
    again = any(record.confirmed_si_rmse is not None for record in records)
    yield title
    if not records:
        yield "  none"
        return
    heading = f"{'again':>8}" if again else ""
    yield f"  {'trial':>6}{'score':>10}{'si-RMSE':>9}{heading}{'ms':>11}  start     outcome"
    for record in records:
        confirmed = f"{figure(record.confirmed_si_rmse, 4):>8}" if again else ""
        number = f"{'★ ' if star is not None and record.number == star.number else ''}{record.number}"
        mark = "~" if record.latency_source == "estimate" else ""
        score = record.score if record.confirmed_score is None else record.confirmed_score
        precision = "" if record.precision == "float32" else f" {record.precision}"
        start = "random" if record.start.startswith("random") else "ImageNet" if record.start else ""
        yield (
            f"  {number:>6}{figure(score, 1):>10}{figure(record.si_rmse, 4):>9}{confirmed}"
            f"{mark + figure(record.latency_ms, 3):>11}  {start:<9} {record.outcome}{precision}"
        )
        yield f"         {f'{record.name}: ' if record.name else ''}{record.architecture}"


_METRICS = {
    "si_rmse": ("si-RMSE", 4),
    "rmse_m": ("RMSE m", 3),
    "rel": ("REL", 3),
    "whdr": ("WHDR", 4),
    "aligned_rmse": ("aligned RMSE", 4),
}


def machine_words(uri: str, info: DeviceInfo) -> str:
    """The device behind a URI in a few words, as a heading names it: `this PC, 1 thread`."""
    setting = parse_uri(uri)
    match setting.kind:
        case "local":
            machine = "this PC"
        case "local-gpu":
            machine = f"this PC's {info.gpu or 'GPU'}"
        case "ssh":
            machine = setting.host
        case _:
            machine = info.device
    if info.gpu:
        return machine if info.gpu in machine else f"{machine}, {info.gpu}"
    return f"{machine}, {info.threads} thread{'' if info.threads == 1 else 's'}"


def retrained_table(result: RetrainResult) -> Table:
    """Retrained networks side by side, best first.

    A network without a name is called by its key, which is also its folder's name. There is a score only
    where the latency table's own device measured; the estimated one is called so.
    """
    machine = machine_words(result.device, result.device_info)
    other = bool(result.different_device)
    table = Table(
        title=f"Scored on the test split as .tflite, measured on {machine}"
        + (", which is not the latency table's device: no score" if other else ""),
        title_justify="left",
        box=box.SIMPLE_HEAD,
    )
    networks = sorted(result.networks, key=lambda one: (-(one.score or 0), -(one.estimated_score or 0)))
    shown = {
        name: heading for name, heading in _METRICS.items() if any(name in one.metrics for one in networks)
    }
    table.add_column("network", overflow="fold", min_width=12)
    measured = f"ms on {machine}" if other else "measured ms"
    for heading in ("score (est.)" if other else "score", *(heading for heading, _ in shown.values())):
        table.add_column(heading, justify="right")
    for heading in (measured, "ms (est.)"):
        table.add_column(heading, justify="right")
    for one in networks:
        row = one.to_row()
        table.add_row(
            network_name(one),
            figure(one.estimated_score if other else one.score, 1) or "none",
            *(figure(row[name], digits) for name, (_, digits) in shown.items()),
            figure(row["measured_latency_ms"], 3) or "not measured",
            figure(row["estimated_latency_ms"], 3) or "no table",
        )
    return table


def network_name(network: Retrained) -> str:
    """A named design's name, otherwise the key of the architecture."""
    return network.to_row()["name"] or network.architecture.key


def estimate_lines(result: RetrainResult) -> Iterator[str]:
    """What the estimates of retrained networks are of, and how sure they are."""
    yield f"est. = estimated by {table_words(result.table)}"
    for one in result.networks:
        if one.estimate is not None:
            low_ms, high_ms = one.estimate.interval_90
            yield (
                f"{network_name(one)}: estimated {one.estimate.latency_ms:.3f} ms for "
                f"{result.table.card.device}, 90 % interval {low_ms:.3f} to {high_ms:.3f} ms"
            )


def figures_table(title: str, figures: Mapping[str, object]) -> Table:
    """Two columns: what, and how much."""
    table = Table(title=title, title_justify="left", show_header=False, box=box.SIMPLE_HEAD)
    table.add_column()
    table.add_column(overflow="fold")
    for name, value in figures.items():
        table.add_row(name, f"{value:.4f}" if isinstance(value, float) else str(value))
    return table


def layers_table(
    estimate: LatencyEstimate, title: str = "Kernels in order", most: int | None = None
) -> Table:
    """Kernels of a network with their estimated times; with `most`, the slowest only."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("kernel", overflow="fold")
    for heading in ("kMAC", "ms (est.)", "from"):
        table.add_column(heading, justify="right")
    kernels = estimate.kernels if most is None else sorted(estimate.kernels, key=lambda one: -one[1])[:most]
    for kernel, latency_ms, source in kernels:
        table.add_row(str(kernel), f"{kernel.macs / 1e3:.0f}", f"{latency_ms:.4f}", source)
    return table


def worst_table(checked: Iterable[Checked]) -> Table:
    """Models of a validation: what was predicted, and what was measured, over the drift."""
    table = Table(title="Largest errors", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("model", overflow="fold")
    for heading in ("ms (est.)", "90 % interval (est.)", "measured ms", "drift", "error", "of it measured"):
        table.add_column(heading, justify="right")
    for one in checked:
        table.add_row(
            one.guess.name,
            f"{one.estimate.latency_ms:.3f}",
            interval(*one.estimate.interval_90),
            f"{one.guess.measured_ms:.3f}",
            f"{one.guess.drift:.2f}",
            f"{one.guess.error:+.1%}",
            f"{one.estimate.measured_share:.0%}",
        )
    return table
