"""Segmentation labels for the batches of a data set, seen in the same views as its images (X-Distill)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from nasdepth.data.labels import LabelFolder
from nasdepth.data.pictures import resize_nearest
from nasdepth.data.store import ImageSplit
from nasdepth.training.geometry import View, sample_nearest


class Labels:
    """An `Extra` that gives batches of one split their `labels`.

    Args:
        folder: the folder of PNGs that `LabelFolder` reads.
        split: the data set that the labels are of; batches of others get none.
        classes: the segmentation term's.

    Raises:
        DataError: for the reasons of `LabelFolder` when it is made, and for what a file holds when a batch is
            made.
    """

    def __init__(self, folder: str | Path, split: ImageSplit, classes: int) -> None:
        self._labels = LabelFolder(folder, split, classes)
        self._of = split.fingerprint
        self.fingerprint = self._labels.fingerprint

    def __call__(
        self, split: ImageSplit, indices: np.ndarray, views: list[View], loss_hw: tuple[int, int]
    ) -> dict[str, torch.Tensor]:
        """`labels`, (B, 1, *loss_hw) int64, nearest samples, -1 where unknown or outside of the image."""
        if split.fingerprint != self._of:
            return {}
        sampled = np.empty((len(indices), 1, *loss_hw), np.int64)
        for place, (index, view) in enumerate(zip(indices, views, strict=True)):
            # samples outside of an image are 0
            stored = resize_nearest(self._labels.read(index) + 1, view.stored_hw)
            sampled[place, 0] = sample_nearest(stored, view, loss_hw)
        return {"labels": torch.from_numpy(sampled - 1)}
