"""Pictures of what a network predicts while it trains: image | target | prediction."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from nasdepth.data.inspect import depth_colors
from nasdepth.data.store import DepthSplit, ImageSplit
from nasdepth.files import whole_file
from nasdepth.models import AnyNetwork
from nasdepth.training.geometry import View, sample_nearest, sample_rgb, sample_sparse

SHOWN = 4
_HW = (240, 320)


class Samples:
    """A few fixed images of a split, drawn with a network's predictions.

    Args:
        split: images of any kind; only metric depth has a target beside them.
        count: how many, spread over the split.
    """

    def __init__(self, split: ImageSplit, count: int = SHOWN) -> None:
        rows = []
        for index in np.unique(np.linspace(0, len(split) - 1, min(count, len(split))).astype(int)):
            image = split.rgb_view(index)
            view = View.whole(image.shape[:2])
            columns = [sample_rgb(image, view, _HW)]
            if isinstance(split, DepthSplit):
                sample = sample_sparse if split.sparse else sample_nearest
                columns.append(depth_colors(sample(split.depth_view(index), view, _HW)))
            rows.append((image, columns))
        self._images = [image for image, _ in rows]
        self._columns = [columns for _, columns in rows]

    @torch.no_grad()
    def picture(self, model: AnyNetwork) -> np.ndarray:
        """uint8 (images x 240, 640 or 960, 3): near is bright, every map on its own scale.

        Args:
            model: left in evaluation mode.
        """
        model.eval()
        device = next(model.parameters()).device
        rows = []
        for image, columns in zip(self._images, self._columns, strict=True):
            rgb = torch.from_numpy(np.ascontiguousarray(image)).to(device).permute(2, 0, 1)[None].float()
            pred_mm = model.predict(model.decode(model.resize(rgb)), _HW)[0, 0].float().cpu().numpy()
            rows.append(np.concatenate([*columns, depth_colors(np.maximum(pred_mm, 1))], axis=1))
        return np.concatenate(rows)


def write_picture(path: Path, picture: np.ndarray) -> None:
    """Write uint8 (H, W, 3) as JPEG, whole or not at all."""
    with whole_file(path) as temporary:
        Image.fromarray(picture).save(temporary, format="JPEG", quality=90)
