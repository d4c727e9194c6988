"""From an architecture to the score it really has: train, export, evaluate the file, measure it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from nasdepth.architecture import Architecture
from nasdepth.data import DepthSplit
from nasdepth.deploy import evaluate_tflite, export_tflite
from nasdepth.devices import Device, Measurement
from nasdepth.errors import DeviceError
from nasdepth.files import write_json
from nasdepth.latency import LatencyEstimate, Predictor, architecture_kernels
from nasdepth.models import build, name_of
from nasdepth.models.pretrained import Start, load_pretrained
from nasdepth.score import score
from nasdepth.training import Epoch, Recipe, StepReport, train


@dataclass(frozen=True)
class Retrained:
    """A network as it stands on the device.

    Attributes:
        metrics: si_rmse, rmse_m, log10 and rel of the .tflite on the test split.
        estimate: what the latency table said of it.
        measured: the .tflite on the device.
        score: from the .tflite's si-RMSE and the measured latency.
    """

    architecture: Architecture
    model: Path
    start: str
    metrics: dict[str, float]
    estimate: LatencyEstimate | None
    measured: Measurement
    score: float

    def to_row(self) -> dict:
        """Flat, for CSV and JSON."""
        low_ms, high_ms = self.estimate.interval_90 if self.estimate else (None, None)
        return {
            "name": name_of(self.architecture),
            "architecture": str(self.architecture),
            "model": str(self.model),
            "model_bytes": self.model.stat().st_size,
            "start": self.start,
            **self.metrics,
            "estimated_latency_ms": self.estimate.latency_ms if self.estimate else None,
            "estimated_latency_sd_ms": self.estimate.sd_ms if self.estimate else None,
            "estimated_latency_low_ms": low_ms,
            "estimated_latency_high_ms": high_ms,
            "measured_latency_ms": self.measured.latency_ms,
            "measured_median_ms": self.measured.median_ms,
            "score": self.score,
        }


def retrain(
    architecture: Architecture,
    train_split: DepthSplit,
    test_split: DepthSplit,
    recipe: Recipe,
    folder: Path,
    device: Device,
    predictor: Predictor | None,
    *,
    seed: int = 0,
    on_start: Callable[[Start], None] = lambda _: None,
    on_epoch: Callable[[Epoch], None] = lambda _: None,
    on_step: Callable[[StepReport], None] = lambda _: None,
) -> Retrained:
    """Train on the whole training split, export, score the .tflite on the test split, measure it.

    The folder gets `checkpoint.pt` (after every epoch; an interrupted run continues from it),
    `model.tflite` and `result.json`.

    Raises:
        DeviceError: the device cannot run the model; the message has the runtime's own words.
        CheckpointError: the folder's checkpoint belongs to another run.
    """
    torch.manual_seed(seed)
    model = build(architecture)
    start = load_pretrained(model.encoder, architecture.encoder)
    on_start(start)
    train(
        model,
        train_split,
        recipe,
        seed=seed,
        pretrained=start.pretrained,
        checkpoint=folder / "checkpoint.pt",
        on_epoch=on_epoch,
        on_step=on_step,
    )
    path = export_tflite(model, folder / "model.tflite").path
    metrics = evaluate_tflite(path, test_split).compute()
    measured = next(iter(device.measure([path])))
    if measured.error:
        raise DeviceError(f"{device.uri} cannot run {path}: {measured.error}")
    result = Retrained(
        architecture,
        path,
        start.source,
        metrics,
        predictor.estimate(architecture_kernels(architecture, predictor.runtime)) if predictor else None,
        measured,
        score(metrics["si_rmse"], measured.latency_ms),
    )
    write_json(
        folder / "result.json",
        {"schema": "nasdepth-retrained-1", "data": test_split.fingerprint} | result.to_row(),
    )
    return result
