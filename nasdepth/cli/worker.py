"""nasdepth worker."""

from __future__ import annotations

import os
from typing import Annotated

from typer import Option

from nasdepth.cli._board import Board
from nasdepth.cli.console import App, Json, notes, print_json, progress
from nasdepth.cli.data import DATA_HELP
from nasdepth.cli.search import STORAGE_HELP
from nasdepth.errors import StudyError

Storage = Annotated[str | None, Option(help=STORAGE_HELP)]
StudyName = Annotated[str | None, Option(help="Of the study; nasdepth by default.")]
Data = Annotated[str | None, Option(help=f"The study's data set, if it is elsewhere here. {DATA_HELP}")]
Table = Annotated[str | None, Option(help="The study's latency table, if it is elsewhere here.")]
Threads = Annotated[int | None, Option(min=1, help="CPU threads of a training; every core by default.")]


def register(app: App) -> None:
    app.command()(worker)


def worker(
    storage: Storage = None,
    study_name: StudyName = None,
    data: Data = None,
    table: Table = None,
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Train candidates for a search that another process has started with --storage.

    Everything is read from the study: space, data set, table, proxy, budget. Ctrl-C puts the running
    candidate back; a worker that is killed is missed after a minute, and another one trains its candidate.

    Examples: `nasdepth worker --storage postgresql://me@db.example/nas`;
    `NASDEPTH_STORAGE=postgresql://me:secret@db.example/nas nasdepth worker --study-name phone`
    """
    from nasdepth.searching import STUDY_NAME, join
    from nasdepth.searching.storage import VARIABLE, shown

    url = storage or os.environ.get(VARIABLE)
    if not url:
        raise StudyError(f"which study? Give its storage with --storage, or in the variable {VARIABLE}")
    with progress() as bar:
        board = Board(bar, None)
        session, settings = join(
            url, study_name or STUDY_NAME, data=data, table=table, threads=threads, events=board.events()
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
        spent = {"spent": session.spent, "spent_here": session.spent_here}
        print_json("worker", study_name=session.study_name, **spent)
    else:
        notes.print(f"done: {session.spent} candidates are trained, {session.spent_here} of them here")
