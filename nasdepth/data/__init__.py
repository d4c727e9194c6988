"""Depth data sets of every supervision in the field, and procedural scenes that need no download."""

from __future__ import annotations

import numpy as np

from nasdepth.data.folder import load_folder
from nasdepth.data.mixture import Mixture, Portion, Step
from nasdepth.data.scenes import load_scenes
from nasdepth.data.sources import absolute_source, load_split, open_split, split_to_score
from nasdepth.data.splits import OrdinalSplit, RelativeSplit, VideoSplit
from nasdepth.data.store import CANONICAL_HW, DepthSplit, ImageSplit
from nasdepth.errors import DataError

__all__ = [
    "CANONICAL_HW",
    "DepthSplit",
    "ImageSplit",
    "Mixture",
    "OrdinalSplit",
    "Portion",
    "RelativeSplit",
    "Step",
    "VideoSplit",
    "absolute_source",
    "hold_out",
    "load_folder",
    "load_scenes",
    "load_split",
    "open_split",
    "split_to_score",
]

_RUN = 5


def hold_out[SplitType: ImageSplit](
    split: SplitType, share: float = 0.1, at_most: int | None = None, seed: int = 0
) -> tuple[SplitType, SplitType]:
    """Divide a split reproducibly into (fit, validation).

    Whole runs of neighbouring images are held out, because neighbours in a video show the same place.

    Raises:
        DataError: `share` is not within (0, 1), `at_most` is below 1, or the split has fewer than two images.
    """
    if not 0 < share < 1:
        raise DataError(f"share {share}: must be between 0 and 1")
    if len(split) < 2:
        raise DataError(f"{split.name}: {len(split)} images cannot be divided; at least two are needed")
    if at_most is not None and at_most < 1:
        raise DataError(f"at_most {at_most}: must be at least 1")
    wanted = min(max(1, round(share * len(split))), at_most or len(split), len(split) - 1)
    run = min(_RUN, wanted)
    starts = np.random.default_rng(seed).permutation(len(split) // run)[: wanted // run] * run
    held = np.zeros(len(split), dtype=bool)
    held[(starts[:, None] + np.arange(run)).ravel()] = True
    return (
        split.subset(np.flatnonzero(~held), f"{split.name}-fit"),
        split.subset(np.flatnonzero(held), f"{split.name}-validation"),
    )
