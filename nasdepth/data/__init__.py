"""Depth data sets: folders in the challenge's layout, and procedural scenes that need no download."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from nasdepth.data.folder import load_folder
from nasdepth.data.scenes import load_scenes, parse_scenes
from nasdepth.data.store import CANONICAL_HW, DepthSplit
from nasdepth.errors import DataError

__all__ = ["CANONICAL_HW", "DepthSplit", "hold_out", "load_folder", "load_scenes", "load_split"]

_RUN = 5


def load_split(
    source: str | Path | None, split: Literal["train", "test"], progress: bool = True
) -> DepthSplit:
    """Load one split of a data set.

    Args:
        source: a folder in the challenge's layout, or built-in scenes: None or `scenes` for the default,
            `scenes:480+80` for other counts (train+test), `scenes:480+80@7` for another seed.

    Raises:
        DataError: the source does not exist, is misspelt or holds images that cannot be used.
    """
    if split not in ("train", "test"):
        raise DataError(f"split {split!r}: must be train or test")
    spec = parse_scenes("scenes" if source is None else str(source))
    if spec is None:
        return load_folder(Path(source), split, progress)
    return load_scenes(split, spec.train if split == "train" else spec.test, spec.seed, progress)


def hold_out(
    split: DepthSplit, share: float = 0.1, at_most: int | None = None, seed: int = 0
) -> tuple[DepthSplit, DepthSplit]:
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
