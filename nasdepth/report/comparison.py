"""Photographs beside their true depth and what networks predict, on one scale, with maps of the errors."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from nasdepth.data import DepthSplit
from nasdepth.deploy import TFLiteDepth
from nasdepth.deploy.predicting import predict_picture
from nasdepth.metrics import si_rmse
from nasdepth.report.pictures import DepthScale, error_colors, panels

_HEIGHT = 180


@dataclass(frozen=True)
class Network:
    """A retrained network, as its folder tells of it.

    Attributes:
        name: of a named design, otherwise the folder's name.
        model: the .tflite.
        row: of its `result.json`.
    """

    name: str
    model: Path
    row: dict[str, Any]


def retrained_in(folder: Path) -> list[Network]:
    """The networks that a retraining left in a folder, best first; none where there was no retraining."""
    found = []
    for path in sorted(folder.glob("*/result.json")):
        try:
            row = json.loads(path.read_text(encoding="utf-8"))
            name = row.get("name") or path.parent.name
        except (OSError, ValueError, AttributeError):
            continue
        if (model := path.parent / "model.tflite").is_file():
            found.append(Network(name, model, row))
    return sorted(found, key=lambda one: one.row.get("si_rmse") or float("inf"))


def compare(networks: Sequence[Network], split: DepthSplit, images: int) -> list[tuple[str, Image.Image]]:
    """Sheets of photograph, truth, and each network's depth with its error map, and the name of each image.

    Args:
        networks: which to show.
        images: how many photographs, spread over the split.

    Raises:
        NasdepthError: a network cannot be run.
    """
    models = [(one.name, TFLiteDepth(one.model)) for one in networks]
    chosen = np.unique(np.linspace(0, len(split) - 1, min(images, len(split))).astype(int))
    sheets = []
    for index in chosen:
        rgb, truth = np.asarray(split.rgb_view(index)), np.asarray(split.depth_view(index), np.float64)
        predicted = {name: predict_picture(model, rgb).depth_mm for name, model in models}
        scale = DepthScale.of([truth, *predicted.values()])
        parts = [("photograph", rgb), ("true depth", scale.colors(truth))]
        for name, depth_mm in predicted.items():
            error = float(si_rmse(depth_mm[None].astype(np.float64), truth[None])[0])
            parts.append((f"{name}: si-RMSE {error:.3f}", scale.colors(depth_mm)))
            parts.append(("error: red too far, blue too near", error_colors(depth_mm, truth)))
        sheets.append((split.image_ids[index], panels(parts, scale, _HEIGHT)))
    return sheets
