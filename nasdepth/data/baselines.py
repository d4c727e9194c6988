"""What depth scores that needs no network: what any result has to be held against."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nasdepth.data.store import DepthSplit

# every fourth pixel of every fourth line says as much in a sixteenth of the time
_STRIDE = 4


@dataclass(frozen=True)
class TrivialDepth:
    """si-RMSE (of log depth) of predictions that do not look at the image, mean over images.

    Attributes:
        constant: what one depth for all pixels scores.
        mean_map: what the geometric mean depth of each pixel over the training images scores.
    """

    constant: float
    mean_map: float


def trivial_depth(fit: DepthSplit, held_out: DepthSplit) -> TrivialDepth:
    """Score predictions that need no network.

    Args:
        fit: images that the mean map is of.
        held_out: images that are predicted; those without a known pixel do not count.

    Returns:
        NaN where no image has a known pixel.
    """
    ln_sum, known = np.zeros(()), np.zeros((), dtype=np.int64)
    for ln_depth in map(_ln_depth, [fit] * len(fit), range(len(fit))):
        there = np.isfinite(ln_depth)
        ln_sum = ln_sum + np.where(there, ln_depth, 0.0)
        known = known + there
    overall = float(np.sum(ln_sum)) / max(int(np.sum(known)), 1)
    mean_map = np.where(known > 0, ln_sum / np.maximum(known, 1), overall)
    constants, maps = [], []
    for index in range(len(held_out)):
        ln_depth = _ln_depth(held_out, index)
        there = np.isfinite(ln_depth)
        if there.any():
            constants.append(float(ln_depth[there].std()))
            maps.append(float((ln_depth - mean_map)[there].std()))
    if not constants:
        return TrivialDepth(float("nan"), float("nan"))
    return TrivialDepth(float(np.mean(constants)), float(np.mean(maps)))


def _ln_depth(split: DepthSplit, index: int) -> np.ndarray:
    """Natural logarithm of the depth in mm on a coarse grid, NaN where it is unknown."""
    depth_mm = split.depth_view(index)[::_STRIDE, ::_STRIDE].astype(np.float64)
    # the challenge counts 1 mm as unknown
    return np.log(np.where(depth_mm > 1, depth_mm, np.nan))
