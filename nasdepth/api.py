"""The front door: what a notebook or another program calls, and what the command line calls."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

from nasdepth.architecture import Architecture
from nasdepth.defaults import DEFAULT_TABLE
from nasdepth.deploy import Export, export_tflite
from nasdepth.devices import open_device
from nasdepth.errors import NasdepthError, NasdepthWarning, TableError
from nasdepth.files import cache_folder
from nasdepth.latency import LatencyEstimate, LatencyTable, load_predictor, load_table
from nasdepth.latency.measure import Report
from nasdepth.latency.measure import build_table as measure_table
from nasdepth.latency.measure import validate_table as check_table
from nasdepth.latency.predict.files import find_table
from nasdepth.models import Teacher, build_any, parse_any, resolve
from nasdepth.packs import model_kernels
from nasdepth.report.plots import plot_pareto
from nasdepth.report.validation import plot_validation
from nasdepth.searching import (
    RetrainEvents,
    Retraining,
    RetrainResult,
    Run,
    Search,
    SearchEvents,
    SearchOptions,
    SearchResult,
    latest_run_folder,
    open_run,
    run_search,
)
from nasdepth.space import SearchSpace
from nasdepth.training import Recipe, load_model, load_recipe, recipe_for

__all__ = [
    "build_table",
    "export",
    "load_space",
    "load_table",
    "open_retraining",
    "predict_latency",
    "retrain",
    "search",
    "validate_table",
]


def search(
    data: str | None = None,
    *,
    budget: int = 200,
    training_minutes: float | None = None,
    epochs: int | None = None,
    workers: int = 1,
    out: str | Path | None = None,
    resume: bool = False,
    events: SearchEvents | None = None,
    on_open: Callable[[Run, Search], None] = lambda *_: None,
    on_interrupt: Callable[[Run], None] = lambda _: None,
    on_worker_died: Callable[[str], None] = lambda _: None,
    **options: Unpack[SearchOptions],
) -> SearchResult:
    """Search for the architecture of the highest challenge score, 2^(-20 si-RMSE) / (C * latency).

    The result lies in a run folder as well. Ctrl-C (KeyboardInterrupt) loses nothing: the same call with
    `resume=True` and the folder goes on.

    >>> result = nasdepth.search("my_data", budget=40, max_latency_ms=8)  # doctest: +SKIP
    >>> result.best.architecture, result.best.score                       # doctest: +SKIP

    Args:
        data: RGB and depth images, see `nasdepth.data.load_split`; the built-in scenes by default.
        budget: candidates to train, those of an earlier part of the run included.
        training_minutes: no further candidate begins once all together were trained for so long.
        epochs: of the proxy training; the proxy recipe's own by default.
        workers: processes on this machine, each with its share of the cores.
        out: run folder; the next `runs/search-N` by default, or the newest when resuming.
        resume: go on with a run. Options that are given replace those that it was begun with.
        events: what you want to hear while it runs.
        on_open: called with the run and the open search before the first candidate.
        on_interrupt: called with the run when Ctrl-C or a lost device has ended the search.
        on_worker_died: called with what happened when another process of this machine is gone.
        options: space, table, max_latency_ms, sampler and so on: the fields of `nasdepth.Settings`.

    Raises:
        StudyError: the study cannot be opened or written, or an option is not allowed.
        NasdepthError: space, data, table or device cannot be used.
    """
    if epochs is not None:
        options["proxy"] = load_recipe("proxy", {"epochs": epochs})
    run = open_run(out, resume, **options if data is None else {"data": data, **options})
    result = run_search(
        run,
        budget,
        training_minutes=training_minutes,
        workers=workers,
        events=events,
        on_open=on_open,
        on_interrupt=on_interrupt,
        on_worker_died=on_worker_died,
    )
    try:
        plot_pareto(result.records, result.folder / "pareto.png")
    except (NasdepthError, OSError) as error:
        warnings.warn(f"the picture was not drawn: {error}", NasdepthWarning, stacklevel=2)
    return result


def retrain(
    architecture: str | Architecture | Teacher | None = None,
    *,
    events: RetrainEvents | None = None,
    **options: Any,
) -> RetrainResult | None:
    """Train an architecture fully, export it, score the `.tflite` and measure it on the device.

    >>> nasdepth.retrain(run="runs/search-1", device="ssh://pi@raspberrypi").best.score  # doctest: +SKIP

    Args:
        architecture: see `open_retraining`.
        events: what you want to hear while it trains.
        options: of `open_retraining`.

    Returns:
        What came of it; None in the other processes of torchrun, which only train.

    Raises:
        NasdepthError: see `open_retraining`, and `nasdepth.searching.retraining.retrain`.
    """
    with open_retraining(architecture, **options) as retraining:
        return retraining.run(events)


def open_retraining(
    architecture: str | Architecture | Teacher | None = None,
    *,
    run: str | Path | None = None,
    baseline: str | None = None,
    data: str | None = None,
    mix: Mapping[str, float | str] | None = None,
    test_data: str | None = None,
    recipe: str | Recipe = "default",
    changes: Mapping[str, Any] | None = None,
    teacher: str | Path | None = None,
    no_teacher: bool = False,
    labels: str | Path | None = None,
    table: str | None = None,
    device: str = "local",
    threads: int | None = None,
    seed: int = 0,
    out: str | Path | None = None,
) -> Retraining:
    """All that a full training needs, checked before anything is trained; `run()` trains.

    Args:
        architecture: architecture, its string, a named design, or `teacher:ENCODER@HxW`; the best of `run` by
            default.
        run: folder of a search; the newest where no architecture is given. It also gives data and table.
        baseline: a named design that is trained alike, to compare with: litedepth by default (not beside a
            teacher), or `none`.
        data: see `nasdepth.data.open_split`.
        mix: further data with its share of the steps to `data`'s 1.
        test_data: data whose test split is scored on; `data` by default.
        recipe: a recipe, its name, or a YAML file.
        changes: fields of the recipe by dotted path, such as `{"loss.gradient.weight": 0.5}`.
        teacher: checkpoint to distil from, where the recipe has a term for it.
        no_teacher: leave out the loss terms that need a teacher.
        labels: folder of segmentation labels of `data`.
        table: latency table or device pack, for the estimates.
        device: URI of the device that measures.
        threads: of the runtime on the device.
        seed: random seed of the trainings.
        out: where checkpoints, models and results go; `retrain` in the run's folder by default.

    Raises:
        NasdepthError: run, recipe, data, labels, table or device cannot be used.
    """
    searched = None
    chosen = parse_any(architecture) if isinstance(architecture, str) else architecture
    if chosen is None or run is not None:
        searched = Run.open(run or latest_run_folder())
        chosen = chosen or searched.best_architecture()
    overrides = {f"mixture.{source}": weight for source, weight in (mix or {}).items()} | dict(changes or {})
    beside = baseline or ("none" if isinstance(chosen, Teacher) else "litedepth")
    compared = [chosen] if beside == "none" or resolve(beside) == chosen else [chosen, resolve(beside)]
    return Retraining(
        compared,
        recipe_for(recipe, overrides, Path(teacher) if teacher else None, no_teacher),
        Path(out) if out else (searched.folder if searched else Path("runs")) / "retrain",
        data=(searched.settings.data if searched else "scenes") if data is None else data,
        table=(searched.settings.table if searched else DEFAULT_TABLE) if table is None else table,
        test_data=test_data,
        device=device,
        threads=threads,
        labels=Path(labels) if labels else None,
        seed=seed,
    )


def predict_latency(
    network: str | Path | Architecture, table: str | Path = DEFAULT_TABLE, precision: str = "float32"
) -> LatencyEstimate:
    """Estimate the latency of a network on a table's device. Nothing is measured.

    Args:
        network: architecture, its string, a named or published design (`mobilenet-v2-0.5-160`), or a
            `.tflite` file.
        table: latency table or device pack, a file or the name of one that ships.
        precision: of published designs, float32 or int8; other networks say it themselves.

    Raises:
        TableError: the table cannot be read.
        UnknownKernelError: the table cannot answer for this network.
        NasdepthError: there is no such network.
    """
    predictor = load_predictor(table)
    kernels, _ = model_kernels(str(network), predictor.runtime, precision)
    return predictor.estimate(kernels)


def build_table(
    device: str = "local",
    *,
    threads: int | None = None,
    space: str | Path | SearchSpace = "depth",
    out: str | Path = "latency_tables",
    name: str | None = None,
    minutes: float | None = 45,
    calibration: int = 60,
    validation: int = 24,
    general: bool = True,
    progress: Callable[[int, int, str], None] = lambda *_: None,
) -> LatencyTable:
    """Measure the kernels that a space needs on a device, and write a table with its device card.

    Whatever ends it loses nothing: the same call goes on where it stopped. A finished table of the same
    device is extended.

    Args:
        device: URI: local, local-gpu, ssh://user@host or adb://serial.
        threads: of the runtime; 1 unless the URI says.
        space: whose kernels are measured.
        out: folder of the table.
        name: of the table; device-runtime-threads by default.
        minutes: end by then, with the kernels that matter most; None measures all.
        calibration: whole networks that the table is fitted to.
        validation: whole networks that it is checked against.
        general: also kernels of other makers' networks.
        progress: called with how many of how many are measured, and what is.

    Raises:
        DeviceError: the device cannot be reached or used.
        TableError: a table of another device or setting lies there already.
    """
    with open_device(device, threads) as opened:
        return measure_table(
            opened,
            load_space(space),
            Path(out),
            name,
            minutes=minutes,
            calibration=calibration,
            validate=validation,
            general=general,
            progress=progress,
        )


@dataclass(frozen=True)
class ValidatedTable:
    """A latency table whose predictions were compared with measurements.

    Attributes:
        name: of the table.
        report: every model with its estimate and its measurement, and the figures over all.
        plot: PNG of predicted against measured latencies; None where no model ran.
    """

    name: str
    report: Report
    plot: Path | None


def validate_table(
    table: str | Path,
    models: Sequence[str | Path] = (),
    *,
    device: str = "local",
    threads: int | None = None,
    space: str | Path | SearchSpace = "depth",
    sample: int = 24,
    seed: int = 1000,
    plot: str | Path | None = None,
    save: bool = True,
    progress: Callable[[int, int, str], None] = lambda *_: None,
) -> ValidatedTable:
    """Measure whole models that a table never saw, and compare them with its predictions.

    Whatever ends it loses nothing: the same call goes on where it stopped.

    Args:
        table: a measured table, its file or its name.
        models: `.tflite` files that are checked beside the drawn architectures.
        device: URI of the table's device: local, local-gpu, ssh://user@host or adb://serial.
        threads: of the runtime; on this machine those of the table by default.
        space: where architectures are drawn from.
        sample: how many are drawn.
        seed: random seed of the draw; another seed draws others.
        plot: PNG of predicted against measured latencies; beside the table by default.
        save: whether the figures over drawn architectures go into the table's device card.
        progress: called with how many of how many models are measured, and which is.

    Raises:
        TableError: a device pack, whose times nobody measured, or a table of another device.
        DeviceError: the device cannot be reached or used.
        ModelFileError: a file is missing or no `.tflite`.
    """
    loaded, path = load_table(table), find_table(table)
    if not isinstance(loaded, LatencyTable):
        raise TableError(
            f"{table} is a device pack: nothing in it was measured, and validate checks measured tables. To "
            "fit it to a device, give measured networks to nasdepth latency calibrate"
        )
    with open_device(device, threads or loaded.card.threads if device == "local" else threads) as opened:
        report = check_table(
            loaded,
            opened,
            cache_folder("validations"),
            space=load_space(space) if sample else None,
            sample=sample,
            models=models,
            seed=seed,
            progress=progress,
        )
    picture = None
    if report.checked:
        picture = Path(plot) if plot else path.with_name(f"{loaded.name}.png")
        plot_validation(report.checked, loaded.name, picture)
    if save and report.validation is not None and sample:
        loaded.with_card(validation=report.validation).save(path.parent)
    return ValidatedTable(loaded.name, report, picture)


@dataclass(frozen=True)
class Exported(Export):
    """A network as a `.tflite`.

    Attributes:
        architecture: its string.
        trained: whether its weights are of a checkpoint, and not random.
    """

    architecture: str
    trained: bool


def export(source: str | Path | Architecture, target: str | Path) -> Exported:
    """Convert a trained checkpoint, or an untrained architecture, to a float32 `.tflite`.

    Args:
        source: a checkpoint, an architecture, its string or a named design. An architecture gets random
            weights, which is good for measuring its latency only.
        target: the file to write.

    Raises:
        CheckpointError: the checkpoint is damaged.
        NasdepthError: there is no such architecture, or the file cannot be written.
    """
    trained = False
    if isinstance(source, Architecture):
        model = build_any(source)
    elif trained := str(source).endswith(".pt") or Path(source).is_file():
        model = load_model(source)
    else:
        model = build_any(str(source))
    written = export_tflite(model, Path(target))
    return Exported(**vars(written), architecture=str(model.architecture), trained=trained)


def load_space(space: str | Path | SearchSpace = "depth") -> SearchSpace:
    """A search space by name or YAML file.

    Raises:
        SpaceError: it cannot be read, or says what is impossible; the message names the field.
    """
    return space if isinstance(space, SearchSpace) else SearchSpace.load(space)
