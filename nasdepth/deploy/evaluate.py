"""Scoring the file that is deployed; the network itself only where no file can be made of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from nasdepth.data import DepthSplit
from nasdepth.deploy.runtime import TFLiteDepth
from nasdepth.errors import ModelFileError
from nasdepth.metrics import DepthMetrics

_BATCH = 16


def evaluate_tflite(
    path: str | Path, split: DepthSplit, on_image: Callable[[int, int], None] = lambda *_: None
) -> DepthMetrics:
    """The challenge's metrics of a .tflite on a split, at 480x640; `on_image` hears (done, total).

    Raises:
        ModelFileError: not a depth .tflite of 480x640.
    """
    model = TFLiteDepth(path, threads=os.cpu_count() or 1)
    metrics = DepthMetrics()
    for start in range(0, len(split), _BATCH):
        rgb, depth_mm = split.batch(np.arange(start, min(start + _BATCH, len(split))))
        if rgb.shape[1:3] != model.input_hw:
            raise ModelFileError(
                f"{path}: takes {model.input_hw[0]}x{model.input_hw[1]} images, the data set is kept at "
                f"{rgb.shape[1]}x{rgb.shape[2]}"
            )
        metrics.update(model.predict(rgb), depth_mm)
        on_image(start + len(rgb), len(split))
    return metrics


@torch.inference_mode()
def evaluate_network(
    model: nn.Module,
    split: DepthSplit,
    on_image: Callable[[int, int], None] = lambda *_: None,
    *,
    device: torch.device | str = "cpu",
) -> DepthMetrics:
    """The same metrics of a network in torch: for a teacher that does not convert or is not meant to.

    Args:
        model: (B, 3, 480, 640) float RGB on 0-255 -> (B, 1, 480, 640) depth in millimetres; it is moved to
            `device` and left in evaluation mode.
    """
    model.to(device).eval()
    metrics = DepthMetrics()
    for start in range(0, len(split), _BATCH):
        rgb, depth_mm = split.batch(np.arange(start, min(start + _BATCH, len(split))))
        pixels = torch.from_numpy(rgb).to(device).permute(0, 3, 1, 2).float()
        metrics.update(model(pixels)[:, 0].float().cpu().numpy(), depth_mm)
        on_image(start + len(rgb), len(split))
    return metrics
