"""The front door: what a notebook or another program calls, and what the command line calls."""

from __future__ import annotations

import datetime
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack, get_args

from nasdepth.architecture import Architecture
from nasdepth.data import ImageSplit, Mixture, Portion, open_split
from nasdepth.data.scenes import parse_scenes
from nasdepth.defaults import DEFAULT_TABLE
from nasdepth.deploy import Calibration, Export, TFLiteDepth, deploy
from nasdepth.deploy.frames import open_frames
from nasdepth.deploy.predicting import Fit
from nasdepth.deploy.quantise import require_calibration
from nasdepth.devices import open_device
from nasdepth.errors import NasdepthError, NasdepthWarning, TableError
from nasdepth.files import cache_folder, write_json
from nasdepth.kernels.precision import Ends, Precision
from nasdepth.latency import LatencyEstimate, LatencyTable, load_predictor, load_table
from nasdepth.latency.measure import BuildPlan, Report
from nasdepth.latency.measure import build_table as measure_table
from nasdepth.latency.measure import validate_table as check_table
from nasdepth.latency.measure.sources import sources_for
from nasdepth.latency.measure.validate import worse_than
from nasdepth.latency.predict.files import find_table, is_kept
from nasdepth.models import AnyNetwork, Teacher, build_any, parse_any, resolve
from nasdepth.packs import model_kernels
from nasdepth.report.depth_pictures import PicturedDepth, PredictEvents, picture_depth
from nasdepth.report.page import write_page
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
from nasdepth.searching.finished import read_run
from nasdepth.space import SearchSpace
from nasdepth.training import Recipe, load_model, load_recipe, recipe_for
from nasdepth.training.checkpoint import read_checkpoint

__all__ = [
    "build_table",
    "export",
    "load_space",
    "load_table",
    "open_retraining",
    "predict_depth",
    "predict_latency",
    "retrain",
    "search",
    "validate_table",
    "write_report",
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
        plot_pareto(result.records, result.folder / "pareto.png", result.settings.goal, _title(result))
    except (NasdepthError, OSError) as error:
        warnings.warn(f"the picture was not drawn: {error}", NasdepthWarning, stacklevel=2)
    return result


def _title(result: SearchResult) -> str:
    settings, card = result.settings, result.table.card
    return (
        f"{settings.data}, {card.device} ({settings.table}), objective {settings.objective}, {result.spent} "
        f"candidates, {datetime.date.today()}"
    )


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
    trial: int | None = None,
    under_ms: float | None = None,
    top: int = 1,
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
    device: str | None = None,
    threads: int | None = None,
    seed: int = 0,
    precision: Precision = "float32",
    calibration_images: int = 100,
    out: str | Path | None = None,
) -> Retraining:
    """All that a full training needs, checked before anything is trained; `run()` trains.

    Args:
        architecture: architecture, its string, a named design, or `teacher:ENCODER@HxW`; the best of `run` by
            default.
        run: folder of a search; the newest where no architecture is given. It also gives data, table and
            device.
        trial: this one of the run, by its number, instead of its best.
        under_ms: the network of the lowest si-RMSE in the run that takes at most so long.
        top: so many of the run's best.
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
        device: URI of the device that measures; the run's by default, this machine where it names none.
            A time of another device than the table's gives no score.
        threads: of the runtime on the device; the table's on the table's own device, otherwise 1.
        seed: random seed of the trainings.
        precision: of the file that is scored and measured: float32, fp16, or int8, which is calibrated on the
            training split and kept beside the float32 file.
        calibration_images: how many of its images; at least 5.
        out: where checkpoints, models and results go; `retrain` in the run's folder by default.

    Raises:
        NasdepthError: run, recipe, data, labels, table or device cannot be used.
    """
    searched = None
    chosen = parse_any(architecture) if isinstance(architecture, str) else architecture
    if chosen is None or run is not None:
        searched = Run.open(run or latest_run_folder())
    wanted = [chosen] if chosen is not None else []
    if searched is not None and chosen is None:
        picked = trial is not None or under_ms is not None or top > 1
        wanted = (
            list(read_run(searched.folder).choose(trial, under_ms, top))
            if picked
            else [searched.best_architecture()]
        )
    overrides = {f"mixture.{source}": weight for source, weight in (mix or {}).items()} | dict(changes or {})
    beside = baseline or ("none" if isinstance(chosen, Teacher) else "litedepth")
    compared = wanted if beside == "none" or resolve(beside) in wanted else [*wanted, resolve(beside)]
    return Retraining(
        compared,
        recipe_for(recipe, overrides, Path(teacher) if teacher else None, no_teacher),
        Path(out) if out else (searched.folder if searched else Path("runs")) / "retrain",
        data=(searched.settings.data if searched else "scenes") if data is None else data,
        table=(searched.settings.table if searched else DEFAULT_TABLE) if table is None else table,
        test_data=test_data,
        device=device or (searched and searched.settings.device) or "local",
        threads=threads,
        labels=Path(labels) if labels else None,
        seed=seed,
        precision=_known(precision),
        calibration_images=calibration_images,
    )


def predict_latency(
    network: str | Path | Architecture, table: str | Path = DEFAULT_TABLE, precision: str = "float32"
) -> LatencyEstimate:
    """Estimate the latency of a network on a table's device. Nothing is measured.

    Args:
        network: architecture, its string, a named or published design (`mobilenet-v2-0.5-160`), or a
            `.tflite` file.
        table: latency table or device pack, a file or the name of one that ships.
        precision: that it is deployed in, float32 or int8; a quantised `.tflite` says it itself.

    Raises:
        TableError: the table cannot be read.
        UnknownKernelError: the table cannot answer for this network.
        NasdepthError: there is no such network.
    """
    predictor = load_predictor(table)
    kernels, _ = model_kernels(str(network), predictor.runtime, precision)
    return predictor.estimate(kernels)


def predict_depth(
    model: str | Path,
    source: str | Path,
    out: str | Path = "pictures",
    *,
    fit: Fit = "letterbox",
    near_m: float | None = None,
    far_m: float | None = None,
    threads: int = 1,
    frames: int | None = None,
    show: bool = False,
    events: PredictEvents | None = None,
) -> PicturedDepth:
    """Predict the depth of your own pictures, and write it in colours beside them and as 16-bit PNGs.

    Pictures of any size are taken, upright as their EXIF orientation says. None is stretched: one of another
    shape than the network's is filled up at the border or cut, and `events` hears which.

    >>> nasdepth.predict_depth("depth.tflite", "photo.jpg").pictures  # doctest: +SKIP

    Args:
        model: a depth `.tflite`.
        source: a photograph, a folder of them, a video file, or `camera:0`.
        out: folder of `NAME.jpg` (photograph, depth in colours, a bar in metres) and `depth/NAME.png` (uint16
            millimetres of the photograph's size, 0 where a cropped one was not looked at); of a video also
            `depth.mp4`.
        fit: `letterbox` shows the network the whole picture, `crop` fills its input.
        near_m, far_m: depths of the brightest and the darkest colour; by the picture where not given.
        threads: of the runtime.
        frames: end after so many.
        show: also show them in a window.
        events: what you want to hear.

    Raises:
        ModelFileError: no depth `.tflite`.
        DataError: there is no such picture, video or camera.
        NasdepthError: the folder cannot be written.
    """
    network = TFLiteDepth(model, threads)
    with open_frames(source) as opened:
        return picture_depth(
            network,
            opened,
            Path(out),
            fit=fit,
            near_m=near_m,
            far_m=far_m,
            threads=threads,
            most=frames,
            show=show,
            events=events,
        )


@dataclass(frozen=True)
class WrittenReport:
    """A page about runs.

    Attributes:
        path: the HTML file.
        runs: names of the runs on it.
        missing: what could not be shown, and why.
    """

    path: Path
    runs: tuple[str, ...]
    missing: list[str]


def write_report(
    runs: str | Path | Sequence[str | Path],
    out: str | Path = "report.html",
    *,
    retrained: Sequence[str | Path] = (),
    images: int = 4,
) -> WrittenReport:
    """Write one self-contained HTML page about one or several runs.

    Args:
        runs: run folders, of searches that are done or still going on.
        out: the page.
        retrained: folder of retrained networks for each run, in order; `retrain` in the run's folder by
            default.
        images: test photographs to compare networks on; 0 for none.

    Raises:
        StudyError: a folder holds no run, or its study cannot be read.
        NasdepthError: the page cannot be written.
    """
    folders = [Path(one) for one in ([runs] if isinstance(runs, (str, Path)) else runs)]
    if len(retrained) > len(folders):
        raise NasdepthError(
            f"`retrained` names {len(retrained)} folders for {len(folders)} runs; one for each"
        )
    names = [one.resolve().name for one in folders]
    if len(set(names)) < len(names):
        names = [str(one) for one in folders]
    found = dict(zip(names, map(read_run, folders), strict=True))
    trained = {name: Path(one) for name, one in zip(names, retrained, strict=False)}
    missing = write_page(found, out, retrained=trained, images=images)
    return WrittenReport(Path(out), tuple(found), missing)


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
    sources: Sequence[str] = (),
    stop_when_percent: float | None = None,
    progress: Callable[[int, int, str], None] = lambda *_: None,
    announce: Callable[[BuildPlan], None] | None = None,
) -> LatencyTable:
    """Measure the kernels that a space needs on a device, and write a table with its device card.

    Whatever ends it loses nothing: the same call goes on where it stopped. Ctrl-C saves a table of what is
    measured so far first. A finished table of the same device is extended.

    Args:
        device: URI: local, local-gpu, ssh://user@host or adb://serial.
        threads: of the runtime; 1 unless the URI says.
        space: whose kernels are measured.
        out: folder of the table.
        name: of the table; device-runtime-threads by default.
        minutes: end by then, with the kernels that matter most; None measures all.
        calibration: whole networks, at most, that the table is fitted to.
        validation: whole networks, at most, that it is checked against.
        general: also kernels of other makers' networks.
        sources: tables and packs of other devices that the table starts from; `none` alone for measurements
            alone, empty for those that ship and suit the device.
        stop_when_percent: end as soon as the mean absolute error on checked networks is below.
        progress: called with how many of how many are measured, and what is.
        announce: called with the plan before the measurements that it is about, and whenever it changes.

    Raises:
        NasdepthError: so few minutes are not enough for any table of this device.
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
            sources=sources_for(opened.describe(), sources),
            stop_when_percent=stop_when_percent,
            progress=progress,
            announce=announce,
        )


@dataclass(frozen=True)
class ValidatedTable:
    """A latency table whose predictions were compared with measurements.

    Attributes:
        name: of the table.
        report: every model with its estimate and its measurement, and the figures over all.
        plot: PNG of predicted against measured latencies, where one was asked for and a model ran.
        saved: whether the figures went into the table's device card.
        unsaved_because: why they did not, in words.
    """

    name: str
    report: Report
    plot: Path | None
    saved: bool = False
    unsaved_because: str = ""


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
    save: bool | None = None,
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
        plot: PNG of predicted against measured latencies to write; none by default.
        save: whether the figures over drawn architectures go into the table's device card; by default they do
            unless the table ships with nasdepth or git tracks it. Never over a better validation, where fewer
            models ran now or the machine's drift is outside of 0.9 to 1.1.
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
    unsaved = _why_not_saved(loaded, path, report, sample, save)
    if not unsaved:
        loaded.with_card(validation=report.validation).save(path.parent)
    picture = Path(plot) if plot and report.checked else None
    if picture is not None:
        plot_validation(report.checked, loaded.name, picture)
    return ValidatedTable(loaded.name, report, picture, not unsaved, unsaved)


def _why_not_saved(table: LatencyTable, path: Path, report: Report, sample: int, save: bool | None) -> str:
    """Why a validation does not go into a table's card; empty where it does."""
    if report.validation is None:
        return "fewer than 3 models ran"
    if not sample:
        return "no architectures were drawn, and other models alone are no validation"
    if save is False:
        return "nobody wants it saved"
    if save is None and is_kept(path):
        return "the table ships with nasdepth or is tracked by git; ask for it with `save`"
    return worse_than(report.validation, table.card.validation)


@dataclass(frozen=True)
class Exported(Export):
    """A network as a `.tflite`.

    Attributes:
        architecture: its string; None where the source is a `.tflite`.
        trained: whether its weights are of a checkpoint or a `.tflite`, and not random.
        warnings: what somebody who deploys the file should know.
    """

    architecture: str | None = None
    trained: bool = True
    warnings: tuple[str, ...] = ()


def export(
    source: str | Path | Architecture,
    target: str | Path,
    *,
    precision: Precision = "float32",
    calibration: str | Path | None = None,
    calibration_images: int = 100,
    ends: Ends = "uint8",
    report: str | Path | None = None,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> Exported:
    """Convert a trained checkpoint, an untrained architecture or a float `.tflite` to a verified `.tflite`.

    >>> nasdepth.export("a.pt", "a.tflite", precision="int8", calibration="my_data")  # doctest: +SKIP

    Args:
        source: a checkpoint, a float32 depth `.tflite`, an architecture, its string or a named design. An
            architecture gets random weights, which is good for measuring its latency only.
        target: the file to write.
        precision: `float32`; `fp16`, weights of half precision; or `int8`, which needs `calibration`.
        calibration: data whose training images say how large activations become, see
            `nasdepth.data.open_split`; usually what the network was trained on.
        calibration_images: how many of them; at least 5.
        ends: what an int8 file takes: `uint8`, the camera's bytes, or `float32`. Depth comes out in float32
            millimetres either way.
        report: JSON file that gets the comparison with the float32 file, layer by layer.
        progress: called with how many calibration images of how many have been run.

    Raises:
        CheckpointError: the checkpoint is damaged.
        ModelFileError: the `.tflite` is damaged or quantised already, or the result would differ too much
            from the float32 file; nothing is written then.
        DataError: the calibration data cannot be read, or has fewer than 5 images.
        NasdepthError: there is no such architecture, or the file cannot be written.
    """
    require_calibration(_known(precision), calibration)
    network, trained = _network(source)
    images, split = None, None
    if calibration is not None and precision != "float32":
        split = open_split(calibration, "train")
        images = Calibration.of(split, str(calibration), calibration_images)
    written = deploy(network, Path(target), precision, images, ends, progress)
    warnings = written.converted.warnings() if written.converted else []
    if precision == "int8" and split is not None and _rendered_for_photographs(source, calibration, split):
        warnings.append(
            f"calibrated on rendered scenes ({calibration}): a network for photographs should be calibrated "
            "on photographs, like those that its camera takes"
        )
    if report is not None:
        write_json(Path(report), _export_report(written))
    architecture = None if isinstance(network, Path) else str(network.architecture)
    return Exported(**vars(written), architecture=architecture, trained=trained, warnings=tuple(warnings))


def _known(precision: Precision) -> Precision:
    """A precision, of which type checkers say nothing in a notebook."""
    if precision not in get_args(Precision):
        raise NasdepthError(
            f"`precision` is {precision!r}; it must be one of {', '.join(get_args(Precision))}"
        )
    return precision


def _network(source: str | Path | Architecture) -> tuple[AnyNetwork | Path, bool]:
    """What `export` converts, and whether it was trained."""
    if isinstance(source, Architecture):
        return build_any(source), False
    if str(source).endswith(".tflite"):
        return Path(source), True
    if str(source).endswith(".pt") or Path(source).is_file():
        return load_model(source), True
    return build_any(str(source)), False


def _rendered_for_photographs(source: object, calibration: object, split: ImageSplit) -> bool:
    """Whether a trained network that did not learn from these rendered scenes is calibrated on them."""
    if parse_scenes(str(calibration)) is None or isinstance(source, Architecture):
        return False
    if not str(source).endswith(".pt"):
        return str(source).endswith(".tflite")
    learnt_from = str(read_checkpoint(str(source)).get("identity", {}).get("data", ""))
    return not learnt_from.startswith(Mixture([Portion(split)], 1).fingerprint)


def _export_report(written: Export) -> dict[str, Any]:
    """As `--report` writes it."""
    converted = written.converted
    return {
        "schema": "nasdepth-export-report-1",
        "model": str(written.path),
        "precision": written.precision,
        "operators": list(written.operators),
        "kept_float": converted.kept_float if converted else {},
        "calibration_images": converted.calibrated_on if converted else 0,
        "verification": converted.verification.to_json() if converted else None,
    }


def load_space(space: str | Path | SearchSpace = "depth") -> SearchSpace:
    """A search space by name or YAML file.

    Raises:
        SpaceError: it cannot be read, or says what is impossible; the message names the field.
    """
    return space if isinstance(space, SearchSpace) else SearchSpace.load(space)
