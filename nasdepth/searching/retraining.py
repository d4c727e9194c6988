"""From architectures to the scores they really have: train, export, evaluate the files, measure them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch

from nasdepth.architecture import OUTPUT_HW, Architecture
from nasdepth.data import DepthSplit, ImageSplit, Mixture, Portion, open_split
from nasdepth.deploy import Calibration, Converted, evaluate, evaluate_tflite, export_tflite
from nasdepth.deploy.quantise import convert_precision
from nasdepth.devices import Device, DeviceInfo, Measurement
from nasdepth.errors import DeviceError, NasdepthError, check_seed
from nasdepth.families import families
from nasdepth.files import write_json, write_text
from nasdepth.kernels.precision import Precision
from nasdepth.latency import LatencyEstimate, Predictor, architecture_kernels
from nasdepth.models import AnyNetwork, Teacher, build_any, name_of, start_from_imagenet
from nasdepth.models.pretrained import Start
from nasdepth.packs import Table, load_predictor
from nasdepth.score import score
from nasdepth.searching.measure import differences, open_beside
from nasdepth.searching.objective import hold_out_validation
from nasdepth.searching.run import describe_table
from nasdepth.training import Epoch, Recipe, StepReport, train
from nasdepth.training.batches import Extra
from nasdepth.training.distill import TeacherCache, load_start
from nasdepth.training.distributed import is_first_process
from nasdepth.training.labels import Labels
from nasdepth.training.losses.terms import Segmentation

RECIPE_FILE = "recipe.yaml"
METRICS = ("si_rmse", "rmse_m", "log10", "rel", "whdr", "pairs", "aligned_rmse")


@dataclass(frozen=True)
class Retrained:
    """A network as it stands on the device.

    Attributes:
        model: the .tflite; the checkpoint of a teacher whose encoder does not convert.
        metrics: on the test split, of `model`, by the split's supervision (see `nasdepth.deploy.evaluate`);
            empty without a test split.
        median_scaled: depths were scaled to the true median, because no training data had metric depth.
        estimate: what the latency table said of it.
        measured: the .tflite on the device that measured, None where there is none.
        score: from the .tflite's si-RMSE and the measured latency; None without either, and where the device
            that measured is not the one of the latency table: its time says nothing of the table's device.
        converted: how `model` became one of lower precision, and how far it is from the float32 file beside
            it; None for float32.
        float_si_rmse: on the test split, of that float32 file.
    """

    architecture: Architecture | Teacher
    model: Path
    start: str
    metrics: dict[str, float]
    median_scaled: bool
    estimate: LatencyEstimate | None
    measured: Measurement | None
    score: float | None
    converted: Converted | None = None
    float_si_rmse: float | None = None

    @property
    def precision(self) -> Precision:
        """Of `model`."""
        return self.converted.precision if self.converted else "float32"

    @property
    def estimated_score(self) -> float | None:
        """From the .tflite's si-RMSE and the estimated latency; None without either."""
        if self.estimate is None or "si_rmse" not in self.metrics:
            return None
        return score(self.metrics["si_rmse"], self.estimate.latency_ms)

    def to_row(self) -> dict:
        """Flat, for CSV and JSON."""
        low_ms, high_ms = self.estimate.interval_90 if self.estimate else (None, None)
        return {
            "name": _design_name(self.architecture),
            "architecture": str(self.architecture),
            "model": str(self.model),
            "model_bytes": self.model.stat().st_size,
            "precision": self.precision,
            "float_si_rmse": self.float_si_rmse,
            "si_rmse_against_float": self.converted.verification.si_rmse if self.converted else None,
            "start": self.start,
            **{name: self.metrics.get(name) for name in METRICS},
            "median_scaled": self.median_scaled,
            "estimated_latency_ms": self.estimate.latency_ms if self.estimate else None,
            "estimated_latency_sd_ms": self.estimate.sd_ms if self.estimate else None,
            "estimated_latency_low_ms": low_ms,
            "estimated_latency_high_ms": high_ms,
            "measured_latency_ms": self.measured.latency_ms if self.measured else None,
            "measured_median_ms": self.measured.median_ms if self.measured else None,
            "score": self.score,
            "estimated_score": self.estimated_score,
        }


def open_training(source: str, recipe: Recipe, seed: int = 0) -> tuple[Mixture, DepthSplit | None]:
    """The mixture that a recipe trains on, with `source` first, and the validation images.

    Only a recipe that stops early holds images out, of a first data set with metric depth.

    Raises:
        DataError: a data set that does not exist or cannot be used.
    """
    first, validation = open_split(source, "train"), None
    if recipe.early_stop_epochs is not None and isinstance(first, DepthSplit):
        first, validation = hold_out_validation(first)
    portions = [Portion(first, 1.0, source)]
    portions += [Portion(open_split(name, "train"), weight, name) for name, weight in recipe.mixture.items()]
    return (
        Mixture(portions, recipe.batch_size, seed=seed, steps_per_epoch=recipe.steps_per_epoch),
        validation,
    )


def open_labels(folder: Path | None, recipe: Recipe, data: Mixture) -> list[Extra]:
    """The segmentation labels of a mixture's first data set, where the recipe has a term for them.

    Args:
        folder: `ID.png` for each image, see `nasdepth.data.labels`; None for no labels.

    Raises:
        NasdepthError: labels without a term that learns from them, or a term without labels.
        DataError: labels are missing.
    """
    term = recipe.loss.get("segmentation")
    if term is not None and not term.weight > 0:
        term = None
    if folder is None and term is not None:
        raise NasdepthError("loss.segmentation: needs `labels`; give their folder, or set its weight to 0")
    if folder is None:
        return []
    if not isinstance(term, Segmentation):
        raise NasdepthError(
            f"`labels` {folder}: no loss term learns from labels; set loss.segmentation.classes=N"
        )
    return [Labels(folder, data.portions[0].split, term.classes)]


@dataclass
class RetrainEvents:
    """What a front end may want to hear of trainings; every callback is optional.

    Attributes:
        begun: a network's training begins; its name, and where its first weights came from.
        epoch: an epoch of the network of that name has ended.
        step: a step has ended.
    """

    begun: Callable[[str, Start], None] = lambda *_: None
    epoch: Callable[[str, Epoch], None] = lambda *_: None
    step: Callable[[StepReport], None] = lambda _: None


class Retraining:
    """Networks to be trained alike and measured on one device, with all that this takes.

    Use it in a `with` statement, which closes the device.

    Args:
        architectures: networks, the one of interest first.
        recipe: how they are trained.
        data: RGB and depth images, see `nasdepth.data.open_split`.
        test_data: data whose test split is scored on; `data` by default. Video has no depth to score on.
        table: latency table or device pack, for the estimates.
        device: URI of the device that measures, see `nasdepth.devices.open_device`.
        threads: of the runtime on the device; the table's on the table's own device, otherwise 1.
        labels: folder of segmentation labels of `data`, where the recipe has a term for them.
        folder: gets a folder for each network, and `results.json`.
        seed: random seed of the trainings.
        precision: of the file that is scored and measured; int8 is calibrated on the training split.
        calibration_images: how many of its images.

    Raises:
        NasdepthError: data, labels, table or device cannot be used, or cannot run the precision.
    """

    def __init__(
        self,
        architectures: Sequence[Architecture | Teacher],
        recipe: Recipe,
        folder: Path,
        *,
        data: str,
        table: str,
        test_data: str | None = None,
        device: str = "local",
        threads: int | None = None,
        labels: Path | None = None,
        seed: int = 0,
        precision: Precision = "float32",
        calibration_images: int = 100,
    ) -> None:
        check_seed(seed)
        self.architectures, self.recipe, self.folder, self.seed = architectures, recipe, folder, seed
        self.data, self.device_uri = data, device
        self.precision, self.calibration_images = precision, calibration_images
        self.predictor = load_predictor(table)
        with ExitStack() as closing:
            self.device = closing.enter_context(open_beside(device, threads, self.table.card))
            self.device_info = self.device.describe()
            self._require_precision()
            self.mixture, self.validation = open_training(data, recipe, seed)
            if precision == "int8":
                _calibration(self.mixture.portions, calibration_images)  # too few images should not wait
            self._extras = open_labels(labels, recipe, self.mixture)
            is_video = self.mixture.portions[0].split.kind == "video"
            self.test_data = test_data or (None if is_video else data)
            self.test_split = open_split(self.test_data, "test") if self.test_data else None
            self._closing = closing.pop_all()

    def _require_precision(self) -> None:
        """Refuse what would only fail after the training."""
        for one in self.architectures:
            if self.precision == "float32":
                continue
            if isinstance(one, Architecture):
                self.predictor.estimate(architecture_kernels(one, self.predictor.runtime, self.precision))
            elif one.encoder not in families():
                raise NasdepthError(
                    f"`precision` is {self.precision!r}, but a teacher of {one.encoder} does not convert to "
                    ".tflite: retrain it in float32"
                )
        if self.precision == "int8" and self.device_info.delegate in ("webgpu", "gpu"):
            raise DeviceError(
                f"`precision` is 'int8', but device {self.device_uri} is a GPU, which runs int8 no faster "
                "and refuses its bytes: use fp16"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.close()

    @property
    def table(self) -> Table:
        """The latency table or pack of the estimates."""
        return self.predictor.table

    @property
    def different_device(self) -> str:
        """How the device that measures differs from the table's; empty where it does not."""
        return differences(self.device_info, self.table.card)

    def run(self, events: RetrainEvents | None = None) -> RetrainResult | None:
        """Train, export, score and measure every network; write `results.json`.

        An interrupted run goes on from its checkpoints when it is called again in the same folder.

        Returns:
            What came of it; None in the other processes of torchrun, which only train.

        Raises:
            NasdepthError: see `retrain`.
        """
        events = events or RetrainEvents()
        results = []
        for one in self.architectures:
            name = _design_name(one) or str(one.encoder)
            results.append(
                retrain(
                    one,
                    self.mixture,
                    self.test_split,
                    self.recipe,
                    self.folder / one.key,
                    self.device,
                    self.predictor,
                    seed=self.seed,
                    precision=self.precision,
                    calibration_images=self.calibration_images,
                    validation=self.validation,
                    extras=self._extras,
                    on_start=partial(events.begun, name),
                    on_epoch=partial(events.epoch, name),
                    on_step=events.step,
                )
            )
        if not is_first_process():
            return None
        result = RetrainResult(
            folder=self.folder,
            networks=tuple(one for one in results if one is not None),
            data=self.data,
            test_data=self.test_data,
            device=self.device_uri,
            device_info=self.device_info,
            different_device=self.different_device,
            recipe=self.recipe,
            table=self.table,
        )
        write_json(self.folder / "results.json", {"schema": "nasdepth-retrain-1", **result.to_json()})
        return result


@dataclass(frozen=True)
class RetrainResult:
    """Networks that were trained alike, scored on the test split and measured on one device.

    Attributes:
        networks: in the order in which they were asked for.
        data, test_data: what was trained on, and what was scored on; None where nothing was.
        device: URI of the device that measured.
        device_info: what that device says of itself.
        different_device: how it differs from the latency table's; empty where it is that device.
        table: of the estimates.
    """

    folder: Path
    networks: tuple[Retrained, ...]
    data: str
    test_data: str | None
    device: str
    device_info: DeviceInfo
    different_device: str
    recipe: Recipe
    table: Table

    @property
    def best(self) -> Retrained:
        """The network of the highest score, or of the highest estimated score where none was measured on the
        table's device."""
        return max(self.networks, key=lambda one: (one.score or 0.0, one.estimated_score or 0.0))

    def to_json(self) -> dict[str, Any]:
        """As `results.json` has it."""
        return {
            "data": self.data,
            "test_data": self.test_data,
            "device": self.device,
            "threads": self.device_info.threads,
            "different_device": self.different_device,
            "recipe": self.recipe.model_dump(mode="json"),
            "table": describe_table(self.table),
            "results": [one.to_row() for one in self.networks],
        }


def retrain(
    architecture: Architecture | Teacher,
    data: ImageSplit | Mixture,
    test_split: ImageSplit | None,
    recipe: Recipe,
    folder: Path,
    device: Device | None,
    predictor: Predictor | None,
    *,
    seed: int = 0,
    precision: Precision = "float32",
    calibration_images: int = 100,
    validation: DepthSplit | None = None,
    extras: Sequence[Extra] = (),
    on_start: Callable[[Start], None] = lambda _: None,
    on_epoch: Callable[[Epoch], None] = lambda _: None,
    on_step: Callable[[StepReport], None] = lambda _: None,
) -> Retrained | None:
    """Train, export, score the .tflite on the test split, measure it.

    The folder gets `recipe.yaml`, `checkpoint.pt` (after every epoch; an interrupted run continues from it),
    `log.csv`, `samples/`, `model.tflite` and `result.json`; in another precision than float32 also
    `model-int8.tflite` or `model-fp16.tflite`, which is what is scored and measured then.

    Args:
        test_split: None, or one without depth (video), where there is nothing to compare with.
        device: where the .tflite is measured; None for nowhere.
        precision: of that file; int8 is calibrated on the training images.
        calibration_images: on how many of them.
        validation: images held out of the training data, for early stopping.
        extras: what batches get besides the outputs of the recipe's teacher, which are cached: labels.

    Returns:
        What came of it; None in the other processes of torchrun, which only train.

    Raises:
        DeviceError: the device cannot run the model; the message has the runtime's own words.
        CheckpointError: the folder's checkpoint, or the one to start from, belongs to another run.
    """
    torch.manual_seed(seed)
    model = build_any(architecture)
    start = _start(model, recipe)
    on_start(start)
    checkpoint = folder / "checkpoint.pt"
    if is_first_process() and not checkpoint.exists():
        write_text(folder / RECIPE_FILE, recipe.to_yaml())
    portions = data.portions if isinstance(data, Mixture) else [Portion(data)]
    if recipe.distils and recipe.teacher is not None:
        splits = [portion.split for portion in portions]
        extras = [*extras, TeacherCache.of(recipe.teacher.model, splits, recipe.teacher_layers)]
    train(
        model,
        data,
        recipe,
        seed=seed,
        validation=validation,
        pretrained=start.pretrained,
        extras=extras,
        checkpoint=checkpoint,
        folder=folder,
        on_epoch=on_epoch,
        on_step=on_step,
    )
    if not is_first_process():
        return None
    scaled = not any(isinstance(portion.split, DepthSplit) for portion in portions)
    scored_on = None if test_split is None or test_split.kind == "video" else test_split
    measured, metrics, path = None, {}, checkpoint
    converted, float_si_rmse = None, None
    if isinstance(architecture, Architecture) or architecture.encoder in families():
        path = export_tflite(model, folder / "model.tflite").path
        if precision != "float32":
            if scored_on is not None:
                plain = evaluate_tflite(path, scored_on, median_scaled=scaled).compute()
                float_si_rmse = plain.get("si_rmse")
            images = _calibration(portions, calibration_images)
            converted = convert_precision(path, folder / f"model-{precision}.tflite", precision, images)
            path = converted.path
        if scored_on is not None:
            metrics = evaluate_tflite(path, scored_on, median_scaled=scaled).compute()
        if device is not None:
            measured = next(iter(device.measure([path])))
            if measured.error:
                raise DeviceError(f"{device.uri} cannot run {path}: {measured.error}")
    elif scored_on is not None:
        metrics = evaluate(_predictor_of(model), OUTPUT_HW, scored_on, median_scaled=scaled).compute()
    # a time of one device beside an estimate for another is no result of either
    comparable = (
        device is None or predictor is None or not differences(device.describe(), predictor.table.card)
    )
    result = Retrained(
        architecture,
        path,
        start.source,
        metrics,
        scaled,
        predictor.estimate(architecture_kernels(architecture, predictor.runtime, precision))
        if predictor and isinstance(architecture, Architecture)
        else None,
        measured,
        score(metrics["si_rmse"], measured.latency_ms)
        if measured is not None and "si_rmse" in metrics and comparable
        else None,
        converted,
        float_si_rmse,
    )
    write_json(
        folder / "result.json",
        {
            "schema": "nasdepth-retrained-1",
            "data": test_split.fingerprint if test_split is not None else None,
            **result.to_row(),
        },
    )
    return result


def _calibration(portions: Sequence[Portion], images: int) -> Calibration:
    """Of the first data set that a network learns from.

    Raises:
        DataError: it has too few images.
    """
    return Calibration.of(portions[0].split, portions[0].name or "the training data", images)


def _design_name(network: Architecture | Teacher) -> str | None:
    return name_of(network) if isinstance(network, Architecture) else None


def _start(model: AnyNetwork, recipe: Recipe) -> Start:
    """Give a network the first weights that its recipe asks for."""
    if recipe.teacher is not None and (path := recipe.teacher.start_from):
        load_start(model, path)
        return Start(f"{path}, the second stage", pretrained=True)
    if not recipe.pretrained:
        return Start("random (the recipe's pretrained is false)", pretrained=False)
    return start_from_imagenet(model)


def _predictor_of(model: AnyNetwork) -> Callable[[np.ndarray], np.ndarray]:
    """What `evaluate` asks of a network in torch."""
    device = next(model.parameters()).device
    model.eval()

    @torch.no_grad()
    def predict(rgb: np.ndarray) -> np.ndarray:
        pixels = torch.from_numpy(rgb).to(device).permute(0, 3, 1, 2).float()
        return model(pixels)[:, 0].float().cpu().numpy()

    return predict
