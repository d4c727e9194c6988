"""The command line: parse, call the library, print."""

from __future__ import annotations

import errno
import signal
import sys
import warnings
from typing import Annotated, TextIO

import typer
from rich.markup import escape

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
    submit,
    worker,
    zoo,
)
from nasdepth.cli.console import App, notes
from nasdepth.errors import NasdepthError, NasdepthWarning, brief
from nasdepth.plugins import load_plugins

_STATES_OF_THE_MACHINE = {
    errno.EACCES,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EIO,
    errno.EISDIR,
    errno.ELOOP,
    errno.EMFILE,
    errno.ENAMETOOLONG,
    errno.ENFILE,
    errno.ENOENT,
    errno.ENOSPC,
    errno.ENOTDIR,
    errno.ENOTEMPTY,
    errno.EPERM,
    errno.EROFS,
}

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
submit.register(app)
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
    warnings.showwarning = _show_warning
    try:
        app()
    except NasdepthError as error:
        notes.print(f"[bold red]error:[/bold red] {escape(str(error))}", soft_wrap=True)
        sys.exit(error.exit_code)
    except OSError as error:
        # a full disk, a folder that may not be read, a name that is too long: wherever it was met
        if error.filename is None or error.errno not in _STATES_OF_THE_MACHINE:
            raise
        notes.print(
            f"[bold red]error:[/bold red] {escape(brief(error.filename))}: {error.strerror}; nothing that "
            "was finished is lost",
            soft_wrap=True,
        )
        sys.exit(NasdepthError.exit_code)


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Show our own warnings as sentences, and others as Python does."""
    if issubclass(category, NasdepthWarning):
        notes.print(f"[yellow]warning:[/yellow] {escape(str(message))}", soft_wrap=True)
    else:
        sys.stderr.write(warnings.formatwarning(message, category, filename, lineno, line))
