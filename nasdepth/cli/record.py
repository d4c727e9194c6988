"""nasdepth record."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from nasdepth.cli.console import EpochBar, Json, notes, out, print_json, progress
from nasdepth.cli.data import DATA_HELP


def register(app: typer.Typer) -> None:
    app.command()(record)


def record(
    folder: Annotated[Path, typer.Argument(help="Folder of the records; the plan is made if there is none.")],
    data: Annotated[
        str | None, typer.Option(help=f"For a new plan, or where the data has moved. {DATA_HELP}")
    ] = None,
    space: Annotated[str, typer.Option(help="Search space of a new plan: a YAML file or a name.")] = "depth",
    table: Annotated[
        str, typer.Option(help="Latency table by which a new plan spreads architectures over latencies.")
    ] = "zen4-xnnpack-1t",
    architectures: Annotated[int, typer.Option(min=2, help="Trained by the proxy.")] = 300,
    second_seeds: Annotated[int, typer.Option(min=0, help="Of these, trained with a second seed.")] = 60,
    fully: Annotated[int, typer.Option(min=0, help="Of these, trained fully.")] = 30,
    fully_twice: Annotated[
        int, typer.Option(min=0, help="Best of those, trained fully with a second seed.")
    ] = 8,
    compared: Annotated[
        int,
        typer.Option(min=0, help="Of the fully trained, trained in all other ways (epochs, images, ...)."),
    ] = 30,
    random_starts: Annotated[
        int, typer.Option(min=0, help="Of those with ImageNet weights, trained from random weights as well.")
    ] = 20,
    max_latency_ms: Annotated[float, typer.Option(help="Leave out what is predicted to be slower.")] = 16.0,
    seed: Annotated[int, typer.Option(help="Random seed of the drawn architectures.")] = 0,
    minutes: Annotated[float | None, typer.Option(help="Start no training after so many minutes.")] = None,
    out_file: Annotated[
        Path | None, typer.Option("--archive", help="Also write all records to this .csv.gz, with its card.")
    ] = None,
    restore: Annotated[
        Path | None, typer.Option(help="Begin a new folder with the plan and the records of this .csv.gz.")
    ] = None,
    add: Annotated[
        list[Path] | None,
        typer.Option(
            help="Run folder of a search on the same images by the same proxy, whose trainings are taken "
            "over. May be given several times."
        ),
    ] = None,
    train: Annotated[bool, typer.Option("--train/--no-train", help="Train, or only count and write.")] = True,
    as_json: Json = False,
) -> None:
    """Record trainings of many architectures, for replaying searches and for judging proxies.

    Any number of processes may run this on one folder at once, on one machine or on a shared file system;
    they divide the trainings. Ctrl-C loses at most an epoch, and the same command goes on.

    Examples: `nasdepth record runs/records --data my_data`;
    `nice nasdepth record runs/records --minutes 60`;
    `nasdepth record runs/records --no-train --archive records/my_data.csv.gz`;
    `nasdepth record runs/records --restore records/my_data.csv.gz --data my_data`
    """
    from nasdepth.errors import StudyError
    from nasdepth.recording import (
        RecordEvents,
        RecordFolder,
        collect_records,
        counted,
        draw_plan,
        load_records,
        write_records,
    )
    from nasdepth.searching import Run

    finished = 0
    with progress() as bar:
        if restore is not None:
            if data is None:
                raise StudyError(f"{restore}: records of images that are not in it; say where with --data")
            records = load_records(restore)
            plan = records.card.plan.model_copy(update={"data": str(Path(data).resolve())})
            RecordFolder.create(folder, plan, records.trainings)
        elif not RecordFolder.exists(folder):
            if data is None:
                raise StudyError(f"{folder}: holds no plan; give the images to train on with --data")
            drawing = bar.add_task("predicting latencies")
            plan = draw_plan(
                space,
                data,
                table,
                architectures=architectures,
                max_latency_ms=max_latency_ms,
                seed=seed,
                on_pool=lambda done, total: bar.update(drawing, completed=done, total=total),
                second_seeds=second_seeds,
                fully=fully,
                fully_twice=fully_twice,
                compared=compared,
                random_starts=random_starts,
            )
            bar.remove_task(drawing)
            RecordFolder.create(folder, plan)
        recording = RecordFolder.open(folder)
        fit, held_out = recording.open_data(data)
        for run in map(Run.open, add or ()):
            notes.print(f"{run.folder}: {recording.add_run(run)} trainings are new")
        if train:
            board = _Board(bar, recording)
            recording.events = RecordEvents(board.started, board.step, board.ended)
            try:
                finished = recording.run(fit, held_out, minutes)
            except KeyboardInterrupt:
                notes.print(f"stopped; go on with: nasdepth record {folder}")
                raise
    if out_file is not None:
        write_records(out_file, collect_records(recording, fit, held_out))
    trainings, wanted = recording.records(), len(recording.jobs())
    counts = counted(trainings)
    if as_json:
        print_json("record", folder=str(folder), finished=finished, records=counts, wanted=wanted)
        return
    shown = Table(
        "way of training", "seed", "trainings", title=f"{folder}: {len(trainings)} of {wanted}", box=None
    )
    for fidelity, seeds in counts.items():
        for number, count in seeds.items():
            shown.add_row(fidelity, str(number), str(count))
    out.print(shown)


class _Board:
    """What a recording shows while it runs."""

    def __init__(self, bar, records) -> None:
        self._total = bar.add_task("trainings", total=len(records.jobs()), completed=len(records.records()))
        self._bar, self._records = bar, records
        self._epochs: EpochBar | None = None

    def started(self, job) -> None:
        from nasdepth.recording import FIDELITIES

        epochs = sum(recipe.epochs for recipe in FIDELITIES[job.fidelity].recipes())
        self._close()
        self._epochs = EpochBar(self._bar, f"{job.fidelity} {job.architecture.encoder}", epochs)

    def step(self, report) -> None:
        self._epochs.step(report)

    def ended(self, one) -> None:
        done, wanted = len(self._records.records()), len(self._records.jobs())
        self._bar.update(self._total, completed=done, total=wanted)
        notes.print(
            f"{done:4d}/{wanted} {one.fidelity:12} seed {one.seed} si-RMSE {one.final:.4f} "
            f"{sum(one.seconds):6.1f} s {one.architecture}",
            highlight=False,
            soft_wrap=True,
        )
        self._close()

    def _close(self) -> None:
        if self._epochs is not None:
            self._epochs.close()
            self._epochs = None
