"""Scoring the file that is deployed, not the network it came from, on data of any supervision."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from nasdepth.data import DepthSplit, ImageSplit, OrdinalSplit, RelativeSplit
from nasdepth.errors import DataError, ModelFileError
from nasdepth.metrics import ALL_KNOWN, DepthMetrics, OrdinalMetrics, Protocol, RelativeMetrics
from nasdepth.tflite.depth_model import TFLiteDepth

_BATCH = 16

Metrics = DepthMetrics | OrdinalMetrics | RelativeMetrics
Predict = Callable[[np.ndarray], np.ndarray]
"""(N, H, W, 3) uint8 RGB of the network's input size -> (N, H, W) depth in millimetres."""


def evaluate_tflite(
    path: str | Path,
    split: ImageSplit,
    on_image: Callable[[int, int], None] = lambda *_: None,
    *,
    median_scaled: bool = False,
    protocol: Protocol = ALL_KNOWN,
    eigen: bool = False,
) -> Metrics:
    """The metrics of a .tflite of 480x640 on a split; `on_image` hears (done, total). See `evaluate`.

    Raises:
        ModelFileError: not a depth .tflite of 480x640.
    """
    model = TFLiteDepth(path, threads=os.cpu_count() or 1)
    try:
        return evaluate(
            model.predict,
            model.input_hw,
            split,
            on_image,
            median_scaled=median_scaled,
            protocol=protocol,
            eigen=eigen,
        )
    except ModelFileError as error:
        raise ModelFileError(f"{path}: {error}") from None


def evaluate(
    predict: Predict,
    input_hw: tuple[int, int],
    split: ImageSplit,
    on_image: Callable[[int, int], None] = lambda *_: None,
    *,
    median_scaled: bool = False,
    protocol: Protocol = ALL_KNOWN,
    eigen: bool = False,
) -> Metrics:
    """The metrics of the split's supervision.

    Metric depth: the challenge's, at 480x640. Ordinal pairs: WHDR, the stored image being enlarged to
    the network's input. Relative depth: the error after alignment.

    Args:
        input_hw: size of the images that `predict` takes.
        on_image: hears (done, total).
        median_scaled: scale each prediction to the image's true median depth first, for networks that never
            saw a metric depth.
        protocol: the pixels of metric depth that are judged.
        eigen: of metric depth, compute Eigen's metrics beside the challenge's; see `DepthMetrics`.

    Raises:
        DataError: a split without anything to compare with (video), or a protocol for what is no metric
            depth.
        ModelFileError: the network takes images of another size.
    """
    if not isinstance(split, (DepthSplit, OrdinalSplit, RelativeSplit)):
        raise DataError(
            f"{split.name}: is {split.kind}, without depth to compare with; test on data that has it"
        )
    if protocol != ALL_KNOWN and not isinstance(split, DepthSplit):
        raise DataError(
            f"{split.name}: is {split.kind}, which has no metres to cap and no crop of its own; leave "
            f"{' and '.join(name for name in ('cap_m', 'crop') if getattr(protocol, name))} out"
        )
    if not isinstance(split, OrdinalSplit) and split.hw != input_hw:
        raise ModelFileError(
            f"takes {input_hw[0]}x{input_hw[1]} images, the data set is kept at {split.hw[0]}x{split.hw[1]}"
        )
    match split:
        case DepthSplit():
            metrics = DepthMetrics(median_scaled, protocol, eigen)
        case OrdinalSplit():
            metrics = OrdinalMetrics()
        case _:
            metrics = RelativeMetrics(split.space)
    for start in range(0, len(split), _BATCH):
        indices = range(start, min(start + _BATCH, len(split)))
        pred_mm = predict(np.stack([_fitted(split.rgb_view(index), input_hw) for index in indices]))
        for index, pred in zip(indices, pred_mm, strict=True):
            if isinstance(split, DepthSplit):
                metrics.update(pred[None], split.depth_view(index)[None])
            elif isinstance(split, OrdinalSplit):
                metrics.update(pred, *split.pairs(index))
            else:
                metrics.update(pred[None], split.value_view(index)[None])
        on_image(indices.stop, len(split))
    return metrics


def _fitted(rgb: np.ndarray, hw: tuple[int, int]) -> np.ndarray:
    if rgb.shape[:2] == hw:
        return rgb
    return np.asarray(Image.fromarray(rgb).resize(hw[::-1], Image.Resampling.BILINEAR))
