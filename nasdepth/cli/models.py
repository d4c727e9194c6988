"""nasdepth retrain, export, evaluate, benchmark: from an architecture to the score it really has."""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from rich.markup import escape
from rich.progress import Progress
from typer import Argument, Option

from nasdepth.cli.console import App, EpochBar, Json, notes, out, print_json, progress
from nasdepth.cli.data import DATA_HELP
from nasdepth.cli.latency import DeviceUri, InputShape, Threads
from nasdepth.errors import DeviceError

if TYPE_CHECKING:
    from rich.table import Table as RichTable

    from nasdepth.api import Exported
    from nasdepth.data import ImageSplit
    from nasdepth.models.pretrained import Start
    from nasdepth.searching import RetrainEvents, Retraining, RetrainResult
    from nasdepth.training import Epoch


Strings = list[str] | None

RunFolder = Annotated[Path | None, Option("--run", help="Search whose best to train; the newest by default.")]
Trial = Annotated[int | None, Option(min=0, help="Number of a trial of the search, instead of its best.")]
UnderMs = Annotated[
    float | None, Option(min=0.0, help="Of the search, the lowest si-RMSE that takes at most so many ms.")
]
Top = Annotated[int, Option(min=1, help="So many of the search's best.")]
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
MeasuringDevice = Annotated[
    str | None,
    Option(help="URI of the device that measures; the search's by default, else this machine (local)."),
]
Seed = Annotated[int, Option(help="Random seed of the trainings.")]
OutFolder = Annotated[Path | None, Option("--out", help="Where checkpoints, models and results go.")]

Source = Annotated[
    str, Argument(help="A checkpoint.pt, a float32 .tflite, an architecture string or a named design.")
]
Target = Annotated[Path, Argument(help="The .tflite to write.")]
ExportPrecision = Annotated[
    Literal["float32", "fp16", "int8"],
    Option(
        "--precision", help="int8: faster on CPUs and a third of the size; fp16: half the size, for GPUs."
    ),
]
CalibrationData = Annotated[
    str | None, Option("--calibration", help="Data whose training images int8 is calibrated on. " + DATA_HELP)
]
CalibrationImages = Annotated[int, Option("--calibration-images", help="How many of them; at least 5.")]
FileEnds = Annotated[
    Literal["uint8", "float32"],
    Option("--ends", help="What an int8 file takes: the camera's bytes, or floats. Depth is float32 mm."),
]
ReportFile = Annotated[
    Path | None, Option("--report", help="JSON file for the comparison with float32, layer by layer.")
]

DepthFile = Annotated[Path, Argument(help="A depth .tflite, 480x640 in and out.")]
ScoredData = Annotated[str, Option("--data", help=DATA_HELP)]
Split = Annotated[
    Literal["train", "test", "all"] | None,
    Option(help="Which split; test by default, or all images of a folder without splits."),
]
MedianScaled = Annotated[
    bool, Option("--median-scaled", help="Scale each depth map to the true median first, if not metric.")
]
CapM = Annotated[
    float | None, Option("--cap-m", help="Leave out depth beyond so many metres; 80 or 50 for KITTI.")
]
Crop = Annotated[
    Literal["eigen", "garg", "nyu"] | None,
    Option(help="Judge a part of each image: Eigen's or Garg's of KITTI, or Eigen's of NYU."),
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
    trial: Trial = None,
    under_ms: UnderMs = None,
    top: Top = 1,
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
    device: MeasuringDevice = None,
    threads: Threads = None,
    seed: Seed = 0,
    precision: ExportPrecision = "float32",
    out_folder: OutFolder = None,
    as_json: Json = False,
) -> None:
    """Train the best architecture fully, export it, score the .tflite and measure it on the device.

    Ctrl-C loses at most one epoch: the same command continues from the checkpoint.

    Examples: `nasdepth retrain --run runs/search-1`;
    `nasdepth retrain --run runs/search-1 --under-ms 10`; `nasdepth retrain --run runs/search-1 --top 3`;
    `nasdepth retrain --arch litedepth --data my_data --recipe litedepth --set epochs=100 --baseline none`;
    `torchrun --nproc-per-node 2 -m nasdepth retrain --arch fastdepth --data my_data`
    """
    from nasdepth import api
    from nasdepth.training.recipe import parse_overrides

    short = {"epochs": epochs, "batch_size": batch_size, "pretrained": pretrained}
    retraining = api.open_retraining(
        architecture,
        run=run,
        trial=trial,
        under_ms=under_ms,
        top=top,
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
        precision=precision,
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
        _print_retrained(result)


def _say_what_is_trained(retraining: Retraining, recipe: str) -> None:
    from nasdepth.architecture import Architecture
    from nasdepth.report.terminal import table_words
    from nasdepth.zoo import name_of, recipes_of

    mixture, test_split = retraining.mixture, retraining.test_split
    for portion in mixture.portions:
        _say_hints(portion.split)
    images = " + ".join(f"{len(portion.split)} of {portion.name}" for portion in mixture.portions)
    tested = "none" if test_split is None else len(test_split)
    notes.print(
        f"{images} to train, {tested} to test; recipe {recipe} "
        f"({retraining.recipe.fingerprint}), {retraining.recipe.epochs} epochs of {mixture.steps_per_epoch} "
        f"steps; {retraining.folder}; latencies estimated from {table_words(retraining.table)}"
    )
    chosen = retraining.architectures[0]
    if recipe == "default" and isinstance(chosen, Architecture) and (own := recipes_of(chosen)):
        notes.print(f"{name_of(chosen)} was trained by its authors as in --recipe {' or '.join(own)}")
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


def _print_retrained(result: RetrainResult) -> None:
    from nasdepth.report.terminal import estimate_lines, network_name, retrained_table

    out.print(retrained_table(result))
    if result.different_device:
        notes.print(
            f"[yellow]the table's device did not measure[/yellow] ({escape(result.different_device)}): "
            "the time measured here says nothing of it, so there is no score. Name the table's device by "
            "--device, or by --table a table of the device that measured",
            soft_wrap=True,
        )
    for line in estimate_lines(result):
        out.print(escape(line), soft_wrap=True, highlight=False)
    for one in result.networks:
        megabytes = one.model.stat().st_size / 1e6
        out.print(
            f"{network_name(one)}: {one.architecture}\n"
            f"  {one.model}  {megabytes:.2f} MB; pictures: {one.model.parent / 'samples'}",
            soft_wrap=True,
            highlight=False,
        )
    if (model := result.best.model).suffix == ".tflite":
        out.print(f"next: nasdepth predict {model} PHOTO --out pictures", soft_wrap=True, highlight=False)


def _portion(text: str) -> tuple[str, str]:
    source, _, weight = text.rpartition("=")
    return (source, weight) if source else (text, "1")


def export(
    source: Source,
    target: Target,
    precision: ExportPrecision = "float32",
    calibration: CalibrationData = None,
    calibration_images: CalibrationImages = 100,
    ends: FileEnds = "uint8",
    report: ReportFile = None,
    as_json: Json = False,
) -> None:
    """Convert a trained checkpoint (or an untrained architecture, to measure it) to a verified .tflite.

    Examples: `nasdepth export runs/search-1/retrain/0f5118691aec/checkpoint.pt depth.tflite`;
    `nasdepth export checkpoint.pt int8.tflite --precision int8 --calibration my_data --report layers.json`
    """
    from nasdepth import api

    with progress() as bar:
        task = bar.add_task("calibrating", total=None, visible=precision == "int8")
        result = api.export(
            source,
            target,
            precision=precision,
            calibration=calibration,
            calibration_images=calibration_images,
            ends=ends,
            report=report,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    if not result.trained:
        notes.print("[yellow]untrained weights[/yellow]: good for measuring latency, not for depth")
    for warning in result.warnings:
        notes.print(f"[yellow]note[/yellow]: {escape(warning)}", soft_wrap=True)
    figures = _export_figures(result)
    if as_json:
        print_json("export", **figures)
    else:
        out.print(figures_of_export(figures))


def _export_figures(result: Exported) -> dict[str, Any]:
    converted = result.converted
    checked = converted.verification if converted else None
    exact = None if math.isnan(result.relative_error) else result.relative_error
    return {
        "model": str(result.path),
        "model_bytes": result.path.stat().st_size,
        "architecture": result.architecture,
        "precision": result.precision,
        "operators": len(result.operators),
        "relative_error_against_torch": exact,
        "calibration_images": converted.calibrated_on if converted else 0,
        "compared_images": checked.images if checked else 0,
        "si_rmse_against_float": checked.si_rmse if checked else None,
        "mean_scale_against_float": checked.scale if checked else None,
        "partitions": checked.partitions if checked else None,
        "partitions_of_float": checked.float_partitions if checked else None,
        "kept_float": converted.kept_float if converted else {},
        "warnings": list(result.warnings),
    }


def figures_of_export(figures: dict[str, Any]) -> RichTable:
    """What `export` prints: what is not so is not named."""
    from nasdepth.report.terminal import figures_table

    shown = {
        name: value
        for name, value in figures.items()
        if value not in (None, 0, {}, []) or name == "operators"
    }
    if (error := shown.pop("relative_error_against_torch", None)) is not None:
        shown["relative_error_against_torch"] = f"{error:.1e}"
    shown.pop("warnings", None)
    return figures_table("exported", shown)


def evaluate(
    model: DepthFile,
    data: ScoredData = "scenes",
    split: Split = None,
    median_scaled: MedianScaled = False,
    cap_m: CapM = None,
    crop: Crop = None,
    as_json: Json = False,
) -> None:
    """Score a .tflite on a data set: the challenge's metrics and Eigen's, WHDR of ordinal pairs, or of
    relative depth the error after alignment.

    Examples: `nasdepth evaluate depth.tflite --data my_data`;
    `nasdepth evaluate depth.tflite --data kitti:KITTI@eigen --cap-m 80 --crop garg --median-scaled`
    """
    from nasdepth.data import open_split, split_to_score
    from nasdepth.deploy import TFLiteDepth, evaluate_tflite
    from nasdepth.metrics import Protocol
    from nasdepth.report.terminal import figures_table

    protocol = Protocol(cap_m, crop)

    TFLiteDepth(model)  # a bad file should not wait for the data
    split = split or split_to_score(data)
    loaded = open_split(data, split)
    _say_hints(loaded)
    with progress() as bar:
        task = bar.add_task("evaluating", total=len(loaded))
        measured = evaluate_tflite(
            model,
            loaded,
            lambda done, _: bar.update(task, completed=done),
            median_scaled=median_scaled,
            protocol=protocol,
            eigen=True,
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
            **asdict(protocol),
            **metrics,
        )
        return
    out.print(figures_table(f"{model} on {data}, {split} ({len(loaded)} images)", metrics))


def _say_hints(split: ImageSplit) -> None:
    from nasdepth.data.inspect import hints

    for words in hints(split):
        notes.print(f"[yellow]{escape(words)}[/yellow]", soft_wrap=True)


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
