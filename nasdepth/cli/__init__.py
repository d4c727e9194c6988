"""The command line: parse, call the library, print."""

from __future__ import annotations

import signal
import sys
from typing import Annotated

import typer

from nasdepth import __version__
from nasdepth.cli import (
    data,
    doctor,
    latency,
    models,
    packs,
    predict,
    recipes,
    record,
    replay,
    report,
    search,
    space,
    worker,
    zoo,
)
from nasdepth.cli.console import App, notes
from nasdepth.errors import NasdepthError
from nasdepth.plugins import load_plugins

app = App(
    name="nasdepth",
    help="Neural architecture search for single-image depth, constrained by measured latency.\n\n"
    "Three steps: latency build (measure your device), search, retrain.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(space.app, name="space")
app.add_typer(zoo.app, name="zoo")
app.add_typer(data.app, name="data")
app.add_typer(recipes.app, name="recipes")
app.add_typer(latency.app, name="latency")
packs.register(latency.app)
search.register(app)
record.register(app)
replay.register(app)
worker.register(app)
models.register(app)
predict.register(app)
report.register(app)
doctor.register(app)


def _version(show: bool) -> None:
    if show:
        typer.echo(f"nasdepth {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    plugin: Annotated[
        list[str] | None,
        typer.Option(
            "--plugin",
            metavar="MODULE",
            help="Module or .py file that registers encoder families, blocks, loss terms or samplers; "
            "before the command, repeatable. Example: nasdepth --plugin my_blocks.py search",
        ),
    ] = None,
) -> None:
    load_plugins(plugin or ())


def main() -> None:
    """Entry point: 0 done, 2 bad input or state, 130 interrupted, 1 a bug (with its traceback)."""
    # a batch system's polite stop should lose as little as Ctrl-C
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        app()
    except NasdepthError as error:
        notes.print(f"[bold red]error:[/bold red] {_escaped(error)}", soft_wrap=True)
        sys.exit(error.exit_code)


def _escaped(error: NasdepthError) -> str:
    return str(error).replace("[", "\\[")
