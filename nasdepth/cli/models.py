"""nasdepth retrain, export, evaluate, benchmark: from an architecture to the score it really has."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from rich.markup import escape
from rich.progress import Progress
from typer import Argument, Option

from nasdepth.cli.console import App, EpochBar, Json, notes, out, print_json, progress
from nasdepth.cli.data import DATA_HELP
from nasdepth.cli.latency import DeviceUri, InputShape, Threads
from nasdepth.errors import DeviceError

if TYPE_CHECKING:
    from nasdepth.models.pretrained import Start
    from nasdepth.searching import RetrainEvents, Retraining, RetrainResult
    from nasdepth.training import Epoch


Strings = list[str] | None

RunFolder = Annotated[Path | None, Option("--run", help="Search whose best to train; the newest by default.")]
Network = Annotated[
    str | None, Option("--arch", help="Architecture string, named design or teacher:ENCODER@HxW instead.")
]
Baseline = Annotated[
    str | None, Option(help="Trained alike, to compare with: litedepth (but beside a teacher) or none.")
]
Data = Annotated[str | None, Option(help=DATA_HELP + " The search's by default.")]
Mix = Annotated[
    Strings, Option(help="SOURCE=WEIGHT: further data with its share of the steps to --data's 1. Repeatable.")
]
TestData = Annotated[str | None, Option(help="Data whose test split to score on, where it is not --data's.")]
RecipeName = Annotated[str, Option(help="Name (see `nasdepth recipes list`) or a YAML file.")]
Changes = Annotated[
    Strings, Option("--set", help="FIELD=VALUE of the recipe, as loss.gradient.weight=0.5. Repeatable.")
]
Epochs = Annotated[int | None, Option(help="Short for --set epochs=.")]
BatchSize = Annotated[int | None, Option(help="Short for --set batch_size=.")]
Pretrained = Annotated[
    bool | None,
    Option("--pretrained/--no-pretrained", help="Start from ImageNet weights.", show_default=False),
]
TeacherFile = Annotated[
    Path | None, Option(help="Checkpoint to distil from, where the recipe has a term for it.")
]
NoTeacher = Annotated[bool, Option("--no-teacher", help="Leave out the loss terms that need a teacher.")]
Labels = Annotated[
    Path | None, Option(help="Folder of segmentation labels of --data, ID.png for each image.")
]
Table = Annotated[str | None, Option(help="For the predicted latency; the search's by default.")]
Seed = Annotated[int, Option(help="Random seed of the trainings.")]
OutFolder = Annotated[Path | None, Option("--out", help="Where checkpoints, models and results go.")]

Source = Annotated[str, Argument(help="A checkpoint.pt, an architecture string or a named design.")]
Target = Annotated[Path, Argument(help="The .tflite to write.")]

DepthFile = Annotated[Path, Argument(help="A depth .tflite, 480x640 in and out.")]
ScoredData = Annotated[str, Option("--data", help=DATA_HELP)]
Split = Annotated[Literal["train", "test"], Option(help="Which split.")]
MedianScaled = Annotated[
    bool, Option("--median-scaled", help="Scale each depth map to the true median first, if not metric.")
]

Models = Annotated[list[Path], Argument(help="One or more .tflite files.")]
MinRuns = Annotated[int, Option(min=1, help="Timed runs at least.")]
CsvFile = Annotated[
    Path | None,
    Option("--csv", help="Also write a CSV, as `nasdepth latency calibrate --anchors` reads it."),
]


def register(app: App) -> None:
    for command in (retrain, export, evaluate, benchmark):
        app.command()(command)


def retrain(
    run: RunFolder = None,
    architecture: Network = None,
    baseline: Baseline = None,
    data: Data = None,
    mix: Mix = None,
    test_data: TestData = None,
    recipe: RecipeName = "default",
    changes: Changes = None,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    pretrained: Pretrained = None,
    teacher: TeacherFile = None,
    no_teacher: NoTeacher = False,
    labels: Labels = None,
    table: Table = None,
    device: DeviceUri = "local",
    threads: Threads = None,
    seed: Seed = 0,
    out_folder: OutFolder = None,
    as_json: Json = False,
) -> None:
    """Train the best architecture fully, export it, score the .tflite and measure it on the device.

    Ctrl-C loses at most one epoch: the same command continues from the checkpoint.

    Examples: `nasdepth retrain --run runs/search-1`;
    `nasdepth retrain --arch litedepth --data my_data --recipe litedepth --set epochs=100 --baseline none`;
    `torchrun --nproc-per-node 2 -m nasdepth retrain --arch fastdepth --data my_data`
    """
    from nasdepth import api
    from nasdepth.training.recipe import parse_overrides

    short = {"epochs": epochs, "batch_size": batch_size, "pretrained": pretrained}
    retraining = api.open_retraining(
        architecture,
        run=run,
        baseline=baseline,
        data=data,
        mix=dict(map(_portion, mix or ())),
        test_data=test_data,
        recipe=recipe,
        changes={name: value for name, value in short.items() if value is not None}
        | parse_overrides(changes or ()),
        teacher=teacher,
        no_teacher=no_teacher,
        labels=labels,
        table=table,
        device=device,
        threads=threads,
        seed=seed,
        out=out_folder,
    )
    with retraining, progress() as bar:
        _say_what_is_trained(retraining, recipe)
        result = retraining.run(_training_events(bar, retraining.recipe.epochs))
    if result is None:
        return
    if as_json:
        print_json("retrain", **result.to_json())
    else:
        _print_retrained(result, retraining.different_device)


def _say_what_is_trained(retraining: Retraining, recipe: str) -> None:
    from nasdepth.report.terminal import table_words

    mixture, test_split = retraining.mixture, retraining.test_split
    images = " + ".join(f"{len(portion.split)} of {portion.name}" for portion in mixture.portions)
    tested = "none" if test_split is None else len(test_split)
    notes.print(
        f"{images} to train, {tested} to test; recipe {recipe} "
        f"({retraining.recipe.fingerprint}), {retraining.recipe.epochs} epochs of {mixture.steps_per_epoch} "
        f"steps; {retraining.folder}; latencies estimated from {table_words(retraining.table)}"
    )
    if test_split is None:
        notes.print(f"{retraining.data} is video, without depth to score on; --test-data names some that has")


def _training_events(bar: Progress, epochs: int) -> RetrainEvents:
    from nasdepth.searching import RetrainEvents

    steps = EpochBar(bar, "waiting", epochs)

    def begun(name: str, start: Start) -> None:
        steps.relabel(name)
        notes.print(f"{name}: encoder starts from {start.source}")

    def epoch_ended(name: str, epoch: Epoch) -> None:
        notes.print(f"{name}: epoch {epoch.epoch + 1}/{epochs}, loss {epoch.loss:.4f}, {epoch.seconds:.1f} s")

    return RetrainEvents(begun, epoch_ended, steps.step)


def _print_retrained(result: RetrainResult, different_device: str) -> None:
    from nasdepth.report.terminal import retrained_table

    out.print(retrained_table(result.networks, result.table.card.device))
    if different_device:
        notes.print(
            f"[yellow]estimates and measurements are of two devices[/yellow] ({escape(different_device)}): "
            "neither confirms the other, and the score is of the device that measured",
            soft_wrap=True,
        )
    for one in result.networks:
        out.print(f"{one.model}  {one.model.stat().st_size / 1e6:.2f} MB  {one.architecture}", soft_wrap=True)


def _portion(text: str) -> tuple[str, str]:
    source, _, weight = text.rpartition("=")
    return (source, weight) if source else (text, "1")


def export(source: Source, target: Target, as_json: Json = False) -> None:
    """Convert a trained checkpoint (or an untrained architecture, to measure it) to a float32 .tflite.

    Example: `nasdepth export runs/search-1/retrain/0f5118691aec/checkpoint.pt depth.tflite`
    """
    from nasdepth import api
    from nasdepth.report.terminal import figures_table

    result = api.export(source, target)
    if not result.trained:
        notes.print("[yellow]untrained weights[/yellow]: good for measuring latency, not for depth")
    figures = {
        "model": str(result.path),
        "model_bytes": result.path.stat().st_size,
        "architecture": str(result.architecture),
        "operators": len(result.operators),
        "relative_error_against_torch": result.relative_error,
    }
    if as_json:
        print_json("export", **figures)
        return
    out.print(
        figures_table("exported", figures | {"relative_error_against_torch": f"{result.relative_error:.1e}"})
    )


def evaluate(
    model: DepthFile,
    data: ScoredData = "scenes",
    split: Split = "test",
    median_scaled: MedianScaled = False,
    as_json: Json = False,
) -> None:
    """Score a .tflite on a data set: the challenge's metrics, WHDR of ordinal pairs, or of relative depth the
    error after alignment.

    Example: `nasdepth evaluate depth.tflite --data my_data`
    """
    from nasdepth.data import open_split
    from nasdepth.deploy import TFLiteDepth, evaluate_tflite
    from nasdepth.report.terminal import figures_table

    TFLiteDepth(model)  # a bad file should not wait for the data
    loaded = open_split(data, split)
    with progress() as bar:
        task = bar.add_task("evaluating", total=len(loaded))
        measured = evaluate_tflite(
            model, loaded, lambda done, _: bar.update(task, completed=done), median_scaled=median_scaled
        )
    metrics = measured.compute()
    if as_json:
        print_json(
            "evaluation",
            model=str(model),
            data=data,
            split=split,
            images=len(loaded),
            median_scaled=median_scaled,
            **metrics,
        )
        return
    out.print(figures_table(f"{model} on {data}, {split} ({len(loaded)} images)", metrics))


def benchmark(
    models: Models,
    device: DeviceUri = "local",
    threads: Threads = None,
    min_runs: MinRuns = 50,
    input_shape: InputShape = None,
    csv_file: CsvFile = None,
    as_json: Json = False,
) -> None:
    """Measure .tflite files on a device.

    Example: `nasdepth benchmark depth.tflite --device local --threads 1`
    """
    from nasdepth.devices import open_device
    from nasdepth.packs import write_anchors
    from nasdepth.report.terminal import figures_table
    from nasdepth.tflite.input_shape import fixed_files, parse_shape

    shape = parse_shape(input_shape) if input_shape is not None else None
    with fixed_files(models, shape) as files, open_device(device, threads) as opened:
        timed = opened.measure(files, min_runs=min_runs, min_seconds=1.0)
        measured = [replace(one, model=path) for path, one in zip(models, timed, strict=True)]
        info = opened.describe()
    if csv_file:
        write_anchors(csv_file, measured, info)
    if as_json:
        rows = [asdict(one) | {"model": str(one.model)} for one in measured]
        print_json("benchmark", device=asdict(info), measurements=rows)
    else:
        place = f"{info.soc}, {info.threads} thread(s), {info.runtime} {info.runtime_version}"
        for one in measured:
            if not one.error:
                figures = {
                    name: value for name, value in asdict(one).items() if name not in ("model", "error")
                }
                out.print(figures_table(f"{one.model} on {place}", figures))
    if failed := [f"{one.model}: {one.error}" for one in measured if one.error]:
        raise DeviceError(f"{device} cannot run " + "; ".join(failed))
