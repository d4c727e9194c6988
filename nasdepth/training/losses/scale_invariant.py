"""SigLoss, the scale-invariant loss of ln depth, in the three variants of the field."""

from __future__ import annotations

from typing import Literal

import torch

from nasdepth.training.losses._masks import (
    batch_mean,
    check_maps,
    filled,
    full_precision,
    image_any,
    image_means,
)

# LiteDepth puts the same epsilon inside both logarithms (metres); one millimetre
LOG_EPSILON_MM = 1.0
# keeps the square root's gradient finite where a prediction is perfect
_ROOT_EPSILON = 1e-6

SigForm = Literal["root", "square", "unbiased"]


def log_depth(depth_mm: torch.Tensor) -> torch.Tensor:
    """ln of depth in millimetres, clamped below as the challenge's metric clamps it."""
    return depth_mm.clamp_min(LOG_EPSILON_MM).log()


@full_precision
def sig_loss(
    pred_mm: torch.Tensor,
    target_mm: torch.Tensor,
    mask: torch.Tensor,
    variance: float = 0.85,
    form: SigForm = "root",
) -> torch.Tensor:
    """Scale-invariant loss of g = ln pred - ln target, per image, averaged over the images with known pixels.

    Args:
        pred_mm, target_mm: (B, 1, H, W) depth in millimetres, below 1 mm taken as 1 mm.
        mask: (B, 1, H, W) bool, True where the target is known.
        variance: how much of the scale is forgiven, in [0, 1]: 1 all of it, 0 nothing.
        form: "root", sqrt(mean g^2 - variance (mean g)^2): at `variance` 1 the challenge's si-RMSE itself, at
            0.85 and a weight of 10 BTS (Lee et al. 2019, arXiv:1907.10326, eq. 4). "square", the same without
            the root: at `variance` 1 and a weight of 10 SMART's. "unbiased", sqrt(var g + (1 - variance)
            (mean g)^2) with the variance over n - 1 and 1 mm added inside both logarithms instead of the
            clamp: LiteDepth's at 0.85. One known pixel has a variance of 0.

    Both roots have 1e-6 added under them.
    """
    check_maps(mask, pred_mm=pred_mm, target_mm=target_mm)
    pred_mm, target_mm = filled(mask, pred_mm, target_mm)
    if form == "unbiased":
        g = (pred_mm.clamp_min(0) + LOG_EPSILON_MM).log() - (target_mm.clamp_min(0) + LOG_EPSILON_MM).log()
    else:
        g = log_depth(pred_mm) - log_depth(target_mm)
    mean = image_means(g, mask)
    # mean g^2 - mean^2 g as it stands cancels in float32 where a prediction is far off in scale
    spread = image_means((g - mean[:, None, None, None]) ** 2, mask)
    if form == "unbiased":
        count = mask.sum((1, 2, 3))
        spread = spread * count / (count - 1).clamp_min(1)
    per_image = spread + (1 - variance) * mean**2
    if form != "square":
        per_image = (per_image + _ROOT_EPSILON).sqrt()
    return batch_mean(per_image, image_any(mask))
