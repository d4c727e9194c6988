"""nasdepth report: runs as one HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from rich.markup import escape
from typer import Argument, Option

from nasdepth.cli.console import App, Json, notes, out, print_json

Runs = Annotated[list[Path], Argument(help="Run folders; several are shown side by side.")]
OutFile = Annotated[Path, Option("--out", help="The page to write.")]
RetrainedIn = Annotated[
    list[Path] | None,
    Option("--retrained", help="Folder of retrained networks, one for each run in order; RUN/retrain."),
]
Images = Annotated[int, Option(min=0, help="Test photographs to compare networks on; 0 for none.")]


def register(app: App) -> None:
    app.command()(report)


def report(
    runs: Runs,
    out_file: OutFile = Path("report.html"),
    retrained: RetrainedIn = None,
    images: Images = 4,
    as_json: Json = False,
) -> None:
    """Write one HTML page about runs: front, winner, layers, importances, curves, pictures, device, commands.

    It needs no network and no other file, so it can be mailed. A run that is still searched can be shown too.

    Examples:

    `nasdepth report runs/search-1`

    `nasdepth report runs/search-1 runs/search-2 --out compared.html`
    """
    from nasdepth import api

    written = api.write_report(runs, out_file, retrained=retrained or (), images=images)
    if as_json:
        print_json("report", path=str(written.path), runs=list(written.runs), missing=written.missing)
        return
    for words in written.missing:
        notes.print(f"[yellow]not shown[/yellow]: {escape(words)}", soft_wrap=True)
    out.print(f"{written.path}  {written.path.stat().st_size / 1e6:.1f} MB", soft_wrap=True, highlight=False)
