"""nasdepth latency: measure tables, predict from them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nasdepth.cli.console import Json, notes, out, print_json, progress
from nasdepth.report.terminal import figures_table, layers_table

app = typer.Typer(help="Latency tables and predictions.", no_args_is_help=True, rich_markup_mode="markdown")

DEFAULT_TABLE = "x86-64-xnnpack-1t"
Table = Annotated[str, typer.Option("--table", help="CSV file, or the name of a shipped table.")]
DeviceUri = Annotated[str, typer.Option("--device", help="local: this machine's CPU.")]
Threads = Annotated[int, typer.Option("--threads", min=1, help="Threads of the runtime.")]


@app.command()
def build(
    device: DeviceUri = "local",
    threads: Threads = 1,
    space: Annotated[str, typer.Option("--space", help="Whose kernels to measure.")] = "depth",
    out_folder: Annotated[Path, typer.Option("--out", help="Folder of the table.")] = Path("latency_tables"),
    name: Annotated[str | None, typer.Option(help="Of the table; device-runtime-threads by default.")] = None,
    minutes: Annotated[
        float | None, typer.Option(min=0.1, help="Stop measuring in time to end by then.")
    ] = None,
    validate: Annotated[int, typer.Option(min=0, help="Whole networks to check the table against.")] = 24,
    as_json: Json = False,
) -> None:
    """Measure every kernel that a space needs on a device, and write a table with its device card.

    Ctrl-C loses nothing: the same command goes on where it stopped.

    Example: `nasdepth latency build --device local --threads 1 --space quick`
    """
    from nasdepth.devices import open_device
    from nasdepth.latency.build import build as build_table
    from nasdepth.space import SearchSpace

    with progress() as bar:
        task = bar.add_task("planning", total=None)
        table = build_table(
            open_device(device, threads),
            SearchSpace.load(space),
            out_folder,
            name,
            minutes=minutes,
            validate=validate,
            progress=lambda done, total, label: bar.update(
                task, completed=done, total=total, description=f"measuring {label[:60]}"
            ),
        )
    path = out_folder / f"{table.name}.csv"
    card = table.card.model_dump(mode="json")
    if as_json:
        print_json("table", path=str(path), **card)
        return
    out.print(figures_table(str(path), card))
    for kernel, words in table.rejected.items():
        notes.print(f"[yellow]the device cannot run[/yellow] {kernel}: {words}")
    out.print(f"search with it: nasdepth search --budget 200 --table {path}")


@app.command()
def predict(
    architectures: Annotated[
        list[str], typer.Argument(help="Architecture strings, named designs, or .tflite files.")
    ],
    table: Table = DEFAULT_TABLE,
    by_layer: Annotated[bool, typer.Option("--by-layer", help="Also list every kernel.")] = False,
    as_json: Json = False,
) -> None:
    """Estimate latencies from a table; what was measured is the table's kernels, not the network.

    Example: `nasdepth latency predict litedepth model.tflite --by-layer`
    """
    from nasdepth.latency import LatencyTable, TablePredictor, architecture_kernels, tflite_kernels
    from nasdepth.models import resolve

    loaded = LatencyTable.load(table)
    predictor = TablePredictor(loaded)
    answers = []
    for text in architectures:
        kernels = tflite_kernels(text) if text.endswith(".tflite") else architecture_kernels(resolve(text))
        answers.append((text, predictor.estimate(kernels)))
    if as_json:
        print_json(
            "latency",
            table=loaded.name,
            estimates=[_estimate_json(text, estimate, by_layer) for text, estimate in answers],
        )
        return
    for text, estimate in answers:
        low, high = estimate.interval_90
        figures = {
            "latency (estimate)": f"{estimate.latency_ms:.3f} ms ± {estimate.sd_ms:.3f}",
            "90 % interval": f"{low:.3f} to {high:.3f} ms",
            "of that time measured": f"{estimate.measured_share:.0%}",
            "of that time interpolated": f"{estimate.interpolated_share:.0%}",
            "table": f"{loaded.name}, {loaded.card.kind} {loaded.card.date}, {loaded.card.soc}",
        }
        out.print(figures_table(text, figures))
        if by_layer:
            out.print(layers_table(estimate))


def _estimate_json(text: str, estimate, by_layer: bool) -> dict:
    content = {
        "architecture": text,
        "latency_ms": estimate.latency_ms,
        "sd_ms": estimate.sd_ms,
        "interval_90_ms": list(estimate.interval_90),
        "measured_share": estimate.measured_share,
        "interpolated_share": estimate.interpolated_share,
    }
    if by_layer:
        content["kernels"] = [
            {"kernel": str(kernel), "latency_ms": latency_ms, "source": source}
            for kernel, latency_ms, source in estimate.kernels
        ]
    return content
