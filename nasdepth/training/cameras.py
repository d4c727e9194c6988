"""Cameras of metric depth whose data set does not say them: a field of view for the whole stored image."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from nasdepth.data.store import ImageSplit
from nasdepth.training.geometry import View


@dataclass(frozen=True)
class FieldOfView:
    """An `Extra` that gives metric batches the intrinsics of their views.

    A crop sees less than the whole image: one field of view for every view would bend all planes.

    Attributes:
        horizontal_deg: the angle in degrees that the whole stored image sees across; its pixels are square.
    """

    horizontal_deg: float

    def __call__(
        self, split: ImageSplit, indices: np.ndarray, views: list[View], loss_hw: tuple[int, int]
    ) -> dict[str, torch.Tensor]:
        if split.kind != "metric":
            return {}
        return {"intrinsics": torch.from_numpy(np.stack([self._camera(view, loss_hw) for view in views]))}

    def _camera(self, view: View, hw: tuple[int, int]) -> np.ndarray:
        height, width = view.stored_hw
        focal = width / 2 / math.tan(math.radians(self.horizontal_deg) / 2)
        # the optical axis goes through the middle of the stored image, wherever the view has it
        y, x = view.place(np.array((height - 1) / 2), np.array((width - 1) / 2))
        return np.array(
            [
                [focal * hw[1] / view.width, 0, x * hw[1] - 0.5],
                [0, focal * hw[0] / view.height, y * hw[0] - 0.5],
                [0, 0, 1],
            ],
            dtype=np.float32,
        )
