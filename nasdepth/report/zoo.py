"""Named designs: tables for the terminal, and docs/zoo.md."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table

from nasdepth.report.terminal import figure, interval

if TYPE_CHECKING:
    from nasdepth.latency import LatencyEstimate
    from nasdepth.searching.survey import Layer, Predicted, Surveyed
    from nasdepth.searching.zoo_table import Agreement, Row, ZooSurvey
    from nasdepth.zoo import Design, Published

_WIDTH = 110


def published_words(published: Published) -> str:
    """What is published of a design, in a line."""
    known = {
        "MB": published.size_mb,
        "M parameters": published.parameters_m,
        "ms Pi 4": published.pi4_ms,
        "ms Adreno 640" if published.on_gpu else "ms on that phone's CPU": published.adreno640_ms,
        "si-RMSE": published.si_rmse,
        "score": published.score,
    }
    words = [f"{unit} {value:g}" if unit in ("si-RMSE", "score") else f"{value:g} {unit}"
             for unit, value in known.items() if value is not None]  # fmt: skip
    return ", ".join(words)


def designs_table(rows: Sequence[tuple[Design, int, Sequence[str]]]) -> Table:
    """Every design with its parameters, what is published, and whether the full space holds it."""
    table = Table(title="Named designs", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("design", no_wrap=True)
    table.add_column("source", overflow="fold")
    table.add_column("parameters", justify="right")
    table.add_column("published", overflow="fold")
    table.add_column("in the full space")
    for design, parameters, outside in rows:
        source = design.source.partition(";")[0]
        held = "no" if outside else "yes"
        table.add_row(
            design.name, source, f"{parameters / 1e6:.3f} M", published_words(design.published), held
        )
    return table


def stages_table(layers: Sequence[Layer]) -> Table:
    """A network stage by stage."""
    table = Table(title="Stages", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("stage")
    table.add_column("what", overflow="fold")
    for heading in ("output", "parameters", "MMACs"):
        table.add_column(heading, justify="right")
    for layer in layers:
        shape = "x".join(map(str, layer.out_shape))
        table.add_row(layer.name, layer.what, shape, f"{layer.parameters:,}", f"{layer.mmacs:.2f}")
    return table


def design_figures(
    surveyed: Surveyed, predicted: Iterable[Predicted], outside: Sequence[str]
) -> dict[str, str]:
    """All that is known of a design, but for its stages.

    Args:
        surveyed: the design.
        predicted: its latencies by several tables.
        outside: why the full space does not hold it; empty where it does.
    """
    design, left = surveyed.design, surveyed.gpu_left
    return {
        "architecture": design.text,
        "source": design.source,
        "published": published_words(design.published) or "nothing",
        "widths": design.widths,
        "stands for": design.stands_for or "-",
        "trained by": ", ".join(f"--recipe {name}" for name in design.recipes) or "-",
        "parameters": f"{surveyed.parameters:,}",
        "MMACs": f"{surveyed.mmacs:.2f}",
        "XNNPACK partitions": str(surveyed.partitions),
        "wholly on a GPU": "no: " + ", ".join(left) if left else "yes, by the rules",
        **{
            f"ms on {one.table} (est.)": _predicted_words(one) + _sizing_note(design, one.table)
            for one in predicted
        },
        "full space": "outside: " + "; ".join(outside) if outside else "holds it",
    }


def _predicted_words(one: Predicted) -> str:
    if one.estimate is None:
        return "refused"
    without = f", without {', '.join(one.without)}" if one.without else ""
    return f"{one.estimate.latency_ms:.3f}, 90 % interval {interval(*one.estimate.interval_90)}{without}"


def _sizing_note(design: Design, table: str) -> str:
    """What must be said with an estimate that the design's open widths were chosen by."""
    if not (design.sized_by_time and table.startswith("rpi4")):
        return ""
    return "; its open widths were chosen by such an estimate, so it confirms neither them nor the table"


def zoo_document(survey: ZooSurvey) -> str:
    """The text of docs/zoo.md."""
    rows, measured_on = survey.rows, survey.measured_on
    measured = f" Times measured here are of {measured_on}." if measured_on else ""
    headings = [
        "design", "source", "parameters, M", "MMACs", "MB", "MB published", "partitions", "wholly on the GPU",
        "Pi 4 ms, predicted", "Pi 4 ms, published", "Adreno 640 ms, predicted", "Adreno 640 ms, published",
        *(["ms measured here"] if measured_on else []),
    ]  # fmt: skip
    lines = [f"| {' | '.join(headings)} |", "|---|---|" + "---:|" * (len(headings) - 2)]
    lines += [f"| {' | '.join(_cells(row, bool(measured_on)))} |" for row in rows]
    return "\n".join([
        "# The zoo",
        "",
        _fold(
            "Written by `nasdepth zoo table`; change `nasdepth/zoo`, not this file. Every design is "
            "usable wherever an architecture is: `nasdepth search` starts from those that lie in its "
            "space, `nasdepth retrain --arch NAME` trains one."
        ),
        "",
        *lines,
        "",
        _fold(
            "MB are 2**20 bytes of the float32 .tflite. Parameters are without over-parameterisation. "
            "Partitions are the pieces that XNNPACK and the runtime's own kernels run in turn. Wholly on "
            "the GPU: by the rules of the GPU delegate; named are operations that it does not take. "
            f"Predictions, with their 90 % interval, are by `{survey.pi4}` and `{survey.adreno640}`, "
            "calibrated on other networks; published times are the challenge's, whose threads and runtime on "
            "the Pi 4 are unpublished, and a time in brackets is of that phone's CPU, as the report says "
            "that the model could not use the GPU. Where the open widths of a design were chosen by its "
            "predicted time on the Pi 4, none is shown: it would agree with the published one whatever the "
            f"truth.{measured}"
        ),
        "",
        *(f"{_fold(agreement_words(one))}\n" for one in survey.agreements),
        "## Designs",
        "",
        *(line for row in rows for line in _section(row)),
    ])  # fmt: skip


def agreement_words(one: Agreement) -> str:
    """A rank correlation in a line."""
    value = "too few to say" if one.spearman is None else f"{one.spearman:.3f}"
    return (
        f"Rank correlation (Spearman) of predicted and published {one.device} times: {value}, over "
        f"{len(one.names)}: {', '.join(one.names)}."
    )


def _cells(row: Row, measured: bool) -> list[str]:
    design, published = row.design, row.design.published
    parameters = f"{row.parameters / 1e6:.3f}"
    if published.parameters_m is not None:
        parameters += f" (published {published.parameters_m:g})"
    gpu = "yes" if not row.gpu_left else "no: " + ", ".join(row.gpu_left)
    if row.gpu_tried is not None:
        gpu += "; tried: " + (row.gpu_tried or "yes")
    phone = "" if published.adreno640_ms is None else f"{published.adreno640_ms:g}"
    cells = [
        f"[{design.name}](#{design.name.replace('.', '')})",
        design.source.partition(";")[0],
        parameters,
        f"{row.mmacs:.0f}" if row.mmacs >= 100 else f"{row.mmacs:.1f}",
        figure(row.size_mb, 2),
        "" if published.size_mb is None else f"{published.size_mb:g}",
        str(row.partitions),
        gpu,
        "sized by it" if design.sized_by_time else _estimate(row.pi4),
        "" if published.pi4_ms is None else f"{published.pi4_ms:g}",
        _estimate(row.adreno640, row.gpu_left),
        f"({phone})" if phone and not published.on_gpu else phone,
    ]
    if measured:
        cells.append("" if row.measured_ms is None else _ms(row.measured_ms))
    return cells


def _ms(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}"


def _estimate(estimate: LatencyEstimate | None, left: Sequence[str] = ()) -> str:
    if estimate is None:
        return "refused"
    low_ms, high_ms = estimate.interval_90
    unknown = f", {estimate.unknown_share:.0%} unknown" if estimate.unknown_share >= 0.005 else ""
    without = f", without {', '.join(left)}" if left else ""
    return f"{_ms(estimate.latency_ms)} ({_ms(low_ms)} to {_ms(high_ms)}{unknown}{without})"


def _section(row: Row) -> list[str]:
    design = row.design
    facts = {
        "Source": design.source,
        "Published": published_words(design.published) or "nothing",
        "Widths": design.widths,
        "Stands for": design.stands_for,
        "Recipe": ", ".join(f"`{name}`" for name in design.recipes),
        "Full space": "outside: " + "; ".join(row.outside) if row.outside else "holds it",
    }
    lines = [f"### {design.name}", "", "```", design.text, "```", ""]
    for name, words in facts.items():
        if words:
            lines += [_fold(f"- {name}: {words}", "  ")]
    return [*lines, ""]


def _fold(text: str, indent: str = "") -> str:
    return textwrap.fill(
        text, _WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
