"""nasdepth doctor: look at a device before measuring on it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from nasdepth.cli.console import Json, out, print_json
from nasdepth.errors import DeviceError

_STYLES = {"ok": "green", "warning": "yellow", "problem": "bold red"}


def register(app: typer.Typer) -> None:
    app.command()(doctor)


def doctor(
    device: Annotated[
        str,
        typer.Option("--device", help="local, local-gpu, ssh://user@host or adb, with ?option=value."),
    ] = "local",
    threads: Annotated[int | None, typer.Option("--threads", min=1, help="Threads of the runtime.")] = None,
    as_json: Json = False,
) -> None:
    """Say what would spoil measurements on a device, and what to change.

    Exit status: 0 where its figures can be trusted, 1 where they cannot.

    Example: `nasdepth doctor --device ssh://pi@raspberrypi?threads=4`
    """
    from nasdepth.devices import Diagnosis, Finding, open_device

    opened = open_device(device, threads)
    try:
        with opened:
            diagnosis = opened.diagnose()
    except DeviceError as error:
        diagnosis = Diagnosis(device, None, (Finding("device", "cannot be used", "problem", str(error)),))
    if as_json:
        print_json(
            "doctor",
            device=diagnosis.uri,
            verdict=diagnosis.verdict,
            info=asdict(diagnosis.info) if diagnosis.info else None,
            findings=[asdict(finding) for finding in diagnosis.findings],
        )
    else:
        table = Table("", "found", "verdict", "what to change", title=escape(diagnosis.uri))
        for one in diagnosis.findings:
            verdict = f"[{_STYLES[one.verdict]}]{one.verdict}[/]"
            table.add_row(escape(one.name), escape(one.value), verdict, escape(one.advice))
        out.print(table)
    if diagnosis.verdict == "problem":
        raise typer.Exit(1)
