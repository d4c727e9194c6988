"""nasdepth record."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

from rich.progress import Progress
from rich.table import Table
from typer import Argument, Option

from nasdepth.cli.console import App, EpochBar, Json, notes, out, print_json, progress
from nasdepth.cli.data import DATA_HELP

if TYPE_CHECKING:
    from nasdepth.recording import Job, RecordFolder, TrainingRecord
    from nasdepth.training import StepReport

Folder = Annotated[Path, Argument(help="Folder of the records; the plan is made if there is none.")]
Data = Annotated[str | None, Option(help=f"For a new plan, or where the data has moved. {DATA_HELP}")]
Space = Annotated[str, Option(help="Search space of a new plan: a YAML file or a name.")]
LatencyTable = Annotated[
    str, Option(help="Latency table by which a new plan spreads architectures over latencies.")
]
Architectures = Annotated[int, Option(min=2, help="Trained by the proxy.")]
SecondSeeds = Annotated[int, Option(min=0, help="Of these, trained with a second seed.")]
Fully = Annotated[int, Option(min=0, help="Of these, trained fully.")]
FullyTwice = Annotated[int, Option(min=0, help="Best of those, trained fully with a second seed.")]
Compared = Annotated[
    int, Option(min=0, help="Of the fully trained, trained in all other ways (epochs, images, ...).")
]
RandomStarts = Annotated[
    int, Option(min=0, help="Of those with ImageNet weights, trained from random weights as well.")
]
MaxLatency = Annotated[float, Option(help="Leave out what is predicted to be slower.")]
Seed = Annotated[int, Option(help="Random seed of the drawn architectures.")]
Minutes = Annotated[float | None, Option(help="Start no training after so many minutes.")]
Archive = Annotated[
    Path | None, Option("--archive", help="Also write all records to this .csv.gz, with its card.")
]
Restore = Annotated[
    Path | None, Option(help="Begin a new folder with the plan and the records of this .csv.gz.")
]
AddedRuns = Annotated[
    list[Path] | None,
    Option(
        help="Run folder of a search on the same images by the same proxy, whose trainings are taken over. "
        "May be given several times."
    ),
]
Train = Annotated[bool, Option("--train/--no-train", help="Train, or only count and write.")]


def register(app: App) -> None:
    app.command()(record)


def record(
    folder: Folder,
    data: Data = None,
    space: Space = "depth",
    table: LatencyTable = "zen4-xnnpack-1t",
    architectures: Architectures = 300,
    second_seeds: SecondSeeds = 60,
    fully: Fully = 30,
    fully_twice: FullyTwice = 8,
    compared: Compared = 30,
    random_starts: RandomStarts = 20,
    max_latency_ms: MaxLatency = 16.0,
    seed: Seed = 0,
    minutes: Minutes = None,
    archive: Archive = None,
    restore: Restore = None,
    add: AddedRuns = None,
    train: Train = True,
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
    from nasdepth.recording import collect_records, open_records, write_records
    from nasdepth.searching import Run

    with progress() as bar:
        board = _Board(bar)
        recording = open_records(
            folder,
            data,
            restore,
            board.predicted,
            space=space,
            table=table,
            architectures=architectures,
            max_latency_ms=max_latency_ms,
            seed=seed,
            second_seeds=second_seeds,
            fully=fully,
            fully_twice=fully_twice,
            compared=compared,
            random_starts=random_starts,
        )
        fit, held_out = recording.open_data(data)
        for run in map(Run.open, add or ()):
            notes.print(f"{run.folder}: {recording.add_run(run)} trainings are new")
        finished = 0
        if train:
            board.follow(recording)
            try:
                finished = recording.run(fit, held_out, minutes)
            except KeyboardInterrupt:
                notes.print(f"stopped; go on with: nasdepth record {quote(str(folder))}")
                raise
    if archive is not None:
        write_records(archive, collect_records(recording, fit, held_out))
    _print_counts(recording, finished, as_json)


def _print_counts(recording: RecordFolder, finished: int, as_json: bool) -> None:
    from nasdepth.recording import counted

    trainings, wanted = recording.records(), len(recording.jobs())
    counts = counted(trainings)
    if as_json:
        print_json("record", folder=str(recording.path), finished=finished, records=counts, wanted=wanted)
        return
    title = f"{recording.path}: {len(trainings)} of {wanted}"
    shown = Table("way of training", "seed", "trainings", title=title, box=None)
    for fidelity, seeds in counts.items():
        for number, count in seeds.items():
            shown.add_row(fidelity, str(number), str(count))
    out.print(shown)


class _Board:
    """What a recording shows while it runs."""

    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._task = bar.add_task("predicting latencies", visible=False)
        self._epochs: EpochBar | None = None

    def predicted(self, done: int, total: int) -> None:
        """Random candidates of a new plan have their latencies."""
        self._bar.update(self._task, completed=done, total=total, visible=True)

    def follow(self, records: RecordFolder) -> None:
        """Show the trainings of a folder from now on."""
        from nasdepth.recording import RecordEvents

        self._records = records
        done, wanted = len(records.records()), len(records.jobs())
        self._bar.reset(self._task, description="trainings", total=wanted, completed=done, visible=True)
        records.events = RecordEvents(self._started, self._step, self._ended)

    def _started(self, job: Job) -> None:
        from nasdepth.recording import FIDELITIES

        epochs = sum(recipe.epochs for recipe in FIDELITIES[job.fidelity].recipes())
        self._close()
        self._epochs = EpochBar(self._bar, f"{job.fidelity} {job.architecture.encoder}", epochs)

    def _step(self, report: StepReport) -> None:
        if self._epochs is not None:
            self._epochs.step(report)

    def _ended(self, one: TrainingRecord) -> None:
        done, wanted = len(self._records.records()), len(self._records.jobs())
        self._bar.update(self._task, completed=done, total=wanted)
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
