"""nasdepth retrain, export, evaluate, benchmark: from an architecture to the score it really has."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.markup import escape

from nasdepth.cli._defaults import DEFAULT_TABLE
from nasdepth.cli.console import EpochBar, Json, notes, out, print_json, progress
from nasdepth.cli.data import DATA_HELP
from nasdepth.cli.latency import DeviceUri, Threads
from nasdepth.errors import DeviceError


def register(app: typer.Typer) -> None:
    for command in (retrain, export, evaluate, benchmark):
        app.command()(command)


def retrain(
    run: Annotated[
        Path | None, typer.Option("--run", help="Search whose best to train; the newest by default.")
    ] = None,
    architecture: Annotated[
        str | None,
        typer.Option("--arch", help="Architecture string, named design or teacher:ENCODER@HxW instead."),
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(help="Trained alike, to compare with: litedepth (but beside a teacher) or none."),
    ] = None,
    data: Annotated[str | None, typer.Option(help=DATA_HELP + " The search's by default.")] = None,
    mix: Annotated[
        list[str] | None,
        typer.Option(
            help="SOURCE=WEIGHT: further data with its share of the steps to --data's 1. Repeatable."
        ),
    ] = None,
    test_data: Annotated[
        str | None, typer.Option(help="Data whose test split to score on, where it is not --data's.")
    ] = None,
    recipe: Annotated[
        str, typer.Option(help="Name (see `nasdepth recipes list`) or a YAML file.")
    ] = "default",
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", help="FIELD=VALUE of the recipe, as loss.gradient.weight=0.5. Repeatable."),
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Short for --set epochs=.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Short for --set batch_size=.")] = None,
    pretrained: Annotated[
        bool | None,
        typer.Option("--pretrained/--no-pretrained", help="Start from ImageNet.", show_default=False),
    ] = None,
    teacher: Annotated[
        Path | None, typer.Option(help="Checkpoint to distil from, where the recipe has a term for it.")
    ] = None,
    no_teacher: Annotated[
        bool, typer.Option("--no-teacher", help="Leave out the loss terms that need a teacher.")
    ] = False,
    labels: Annotated[
        Path | None, typer.Option(help="Folder of segmentation labels of --data, ID.png for each image.")
    ] = None,
    table: Annotated[
        str | None, typer.Option(help="For the predicted latency; the search's by default.")
    ] = None,
    device: DeviceUri = "local",
    threads: Threads = None,
    seed: Annotated[int, typer.Option(help="Of the training.")] = 0,
    out_folder: Annotated[
        Path | None, typer.Option("--out", help="Where checkpoints, models and results go.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Train the best architecture fully, export it, score the .tflite and measure it on the device.

    Ctrl-C loses at most one epoch: the same command continues from the checkpoint.

    Examples: `nasdepth retrain --run runs/search-1`;
    `nasdepth retrain --arch litedepth --data my_data --recipe litedepth --set epochs=100 --baseline none`;
    `torchrun --nproc-per-node 2 -m nasdepth retrain --arch fastdepth --data my_data`
    """
    from nasdepth.data import open_split
    from nasdepth.devices import open_device
    from nasdepth.files import write_json
    from nasdepth.models import Teacher, name_of, parse_any, resolve
    from nasdepth.packs import load_predictor
    from nasdepth.report.terminal import retrained_table, table_words
    from nasdepth.search import Run, describe_table, latest_run_folder, open_labels, open_training
    from nasdepth.search import retrain as retrain_one
    from nasdepth.search.measure import differences
    from nasdepth.training.distributed import is_first_process
    from nasdepth.training.recipe import parse_overrides, recipe_for

    searched = Run.open(run or latest_run_folder()) if architecture is None or run is not None else None
    chosen = parse_any(architecture) if architecture else searched.best_architecture()
    given = {"epochs": epochs, "batch_size": batch_size, "pretrained": pretrained}
    overrides = {name: value for name, value in given.items() if value is not None}
    overrides |= {f"mixture.{source}": weight for source, weight in map(_portion, mix or ())}
    resolved = recipe_for(recipe, overrides | parse_overrides(changes or ()), teacher, no_teacher)
    beside = baseline or ("none" if isinstance(chosen, Teacher) else "litedepth")
    compared = [chosen] if beside == "none" or resolve(beside) == chosen else [chosen, resolve(beside)]
    data = data or (searched.settings.data if searched else "scenes")
    table = table or (searched.settings.table if searched else DEFAULT_TABLE)
    folder = out_folder or (searched.folder if searched else Path("runs")) / "retrain"
    predictor = load_predictor(table)
    loaded_table = predictor.table
    measuring = open_device(device, threads)
    info = measuring.describe()
    measured_with = info.threads
    mixture, validation = open_training(data, resolved, seed)
    extras = open_labels(labels, resolved, mixture)
    has_test = test_data is not None or mixture.portions[0].split.kind != "video"
    test_split = open_split(test_data or data, "test") if has_test else None
    images = " + ".join(f"{len(portion.split)} of {portion.name}" for portion in mixture.portions)
    notes.print(
        f"{images} to train, {len(test_split) if has_test else 'none'} to test; recipe {recipe} "
        f"({resolved.fingerprint}), {resolved.epochs} epochs of {mixture.steps_per_epoch} steps; {folder}; "
        f"latencies estimated from {table_words(loaded_table)}"
    )
    if not has_test:
        notes.print(f"{data} is video, without depth to score on; --test-data names some that has")
    results = []
    with measuring, progress() as bar:
        for one in compared:
            label = name_of(one) or str(one.encoder)
            steps = EpochBar(bar, label, resolved.epochs)
            result = retrain_one(
                one,
                mixture,
                test_split,
                resolved,
                folder / one.key,
                measuring,
                predictor,
                seed=seed,
                validation=validation,
                extras=extras,
                on_start=lambda start, label=label: notes.print(
                    f"{label}: encoder starts from {start.source}"
                ),
                on_epoch=lambda epoch, label=label: notes.print(
                    f"{label}: epoch {epoch.epoch + 1}/{resolved.epochs}, loss {epoch.loss:.4f}, "
                    f"{epoch.seconds:.1f} s"
                ),
                on_step=steps.step,
            )
            steps.close()
            if result is not None:
                results.append(result)
    if not is_first_process():
        return
    content = {
        "data": data,
        "test_data": test_data or (data if has_test else None),
        "device": device,
        "threads": measured_with,
        "recipe": resolved.model_dump(mode="json"),
        "table": describe_table(loaded_table),
        "results": [result.to_row() for result in results],
    }
    write_json(folder / "results.json", {"schema": "nasdepth-retrain-1", **content})
    if as_json:
        print_json("retrain", **content)
        return
    out.print(retrained_table(results, loaded_table.card.device))
    if different := differences(info, loaded_table.card):
        notes.print(
            f"[yellow]estimates and measurements are of two devices[/yellow] ({escape(different)}): neither "
            "confirms the other, and the score is of the device that measured",
            soft_wrap=True,
        )
    for result in results:
        out.print(
            f"{result.model}  {result.model.stat().st_size / 1e6:.2f} MB  {result.architecture}",
            soft_wrap=True,
        )


def _portion(text: str) -> tuple[str, str]:
    source, _, weight = text.rpartition("=")
    return (source, weight) if source else (text, "1")


def export(
    source: Annotated[str, typer.Argument(help="A checkpoint.pt, an architecture string or a named design.")],
    target: Annotated[Path, typer.Argument(help="The .tflite to write.")],
    as_json: Json = False,
) -> None:
    """Convert a trained checkpoint (or an untrained architecture, to measure it) to a float32 .tflite.

    Example: `nasdepth export runs/search-1/retrain/0f5118691aec/checkpoint.pt depth.tflite`
    """
    from nasdepth.deploy import export_tflite
    from nasdepth.models import build_any
    from nasdepth.report.terminal import figures_table
    from nasdepth.training import load_model

    trained = source.endswith(".pt") or Path(source).is_file()
    model = load_model(source) if trained else build_any(source)
    if not trained:
        notes.print("[yellow]untrained weights[/yellow]: good for measuring latency, not for depth")
    result = export_tflite(model, target)
    figures = {
        "model": str(result.path),
        "model_bytes": result.path.stat().st_size,
        "architecture": str(model.architecture),
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
    model: Annotated[Path, typer.Argument(help="A depth .tflite, 480x640 in and out.")],
    data: Annotated[str, typer.Option(help=DATA_HELP)] = "scenes",
    split: Annotated[Literal["train", "test"], typer.Option(help="Which split.")] = "test",
    median_scaled: Annotated[
        bool,
        typer.Option("--median-scaled", help="Scale each depth map to the true median first, if not metric."),
    ] = False,
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
    models: Annotated[list[Path], typer.Argument(help="One or more .tflite files.")],
    device: DeviceUri = "local",
    threads: Threads = None,
    min_runs: Annotated[int, typer.Option(min=1, help="Timed runs at least.")] = 50,
    csv_file: Annotated[
        Path | None,
        typer.Option("--csv", help="Also write a CSV, as `nasdepth latency calibrate --anchors` reads it."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure .tflite files on a device.

    Example: `nasdepth benchmark depth.tflite --device local --threads 1`
    """
    from nasdepth.devices import open_device
    from nasdepth.packs import write_anchors
    from nasdepth.report.terminal import figures_table
    from nasdepth.tflite.flatbuffer import read_model

    for path in models:
        read_model(path)
    with open_device(device, threads) as opened:
        measured = list(opened.measure(models, min_runs=min_runs, min_seconds=1.0))
        info = opened.describe()
    if csv_file:
        write_anchors(csv_file, measured, info)
    rows = [
        {
            "model": str(one.model),
            "latency_ms": one.latency_ms,
            "median_ms": one.median_ms,
            "min_ms": one.min_ms,
            "spread": one.spread,
            "runs": one.runs,
            "error": one.error,
        }
        for one in measured
    ]
    if as_json:
        from dataclasses import asdict

        print_json("benchmark", device=asdict(info), measurements=rows)
    else:
        for row in rows:
            if row["error"] is None:
                runtime = f"{info.runtime} {info.runtime_version}"
                title = f"{row['model']} on {info.soc}, {info.threads} thread(s), {runtime}"
                out.print(figures_table(title, {k: v for k, v in row.items() if k not in ("model", "error")}))
    failed = [f"{row['model']}: {row['error']}" for row in rows if row["error"]]
    if failed:
        raise DeviceError(f"{device} cannot run " + "; ".join(failed))
