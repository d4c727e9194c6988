"""nasdepth worker."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from nasdepth.cli._board import Board
from nasdepth.cli.console import Json, notes, print_json, progress
from nasdepth.cli.data import DATA_HELP
from nasdepth.cli.search import STORAGE_HELP
from nasdepth.errors import StudyError


def register(app: typer.Typer) -> None:
    app.command()(worker)


def worker(
    storage: Annotated[str | None, typer.Option(help=STORAGE_HELP)] = None,
    study_name: Annotated[str | None, typer.Option(help="Of the study; nasdepth by default.")] = None,
    data: Annotated[
        str | None, typer.Option(help=f"The study's data set, if it is elsewhere here. {DATA_HELP}")
    ] = None,
    table: Annotated[
        str | None, typer.Option(help="The study's latency table, if it is elsewhere here.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads of a training; every core by default.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Train candidates for a search that another process has started with --storage.

    Everything is read from the study: space, data set, table, proxy, budget. Ctrl-C puts the running
    candidate back; a worker that is killed is missed after a minute, and another one trains its candidate.

    Examples: `nasdepth worker --storage postgresql://me@db.example/nas`;
    `NASDEPTH_STORAGE=postgresql://me:secret@db.example/nas nasdepth worker --study-name phone`
    """
    import torch

    from nasdepth.data.scenes import parse_scenes
    from nasdepth.searching import STUDY_NAME, join
    from nasdepth.searching.storage import VARIABLE, shown

    url = storage or os.environ.get(VARIABLE)
    if not url:
        raise StudyError(f"which study? Give its storage with --storage, or in the variable {VARIABLE}")
    if threads:
        torch.set_num_threads(threads)
    with progress() as bar:
        board = Board(bar, None)
        session, settings = join(
            url,
            study_name or STUDY_NAME,
            data=str(Path(data).resolve()) if data and not parse_scenes(data) else data,
            table=table,
            events=board.events(),
        )
        notes.print(
            f"{session.study_name} in {shown(url)}: {session.space.name} space, {settings.data}, budget "
            f"{session.budget or 'not said yet'}",
            soft_wrap=True,
        )
        board.start(session)
        try:
            session.run()
        except KeyboardInterrupt:
            notes.print("stopped; the running candidate is put back for another worker")
            raise
    if as_json:
        print_json(
            "worker",
            study_name=session.study_name,
            spent=session.spent,
            spent_here=session.spent_here,
        )
        return
    notes.print(f"done: {session.spent} candidates are trained, {session.spent_here} of them here")
