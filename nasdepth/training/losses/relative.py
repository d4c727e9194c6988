"""Losses for inverse depth of unknown scale and shift (MiDaS)."""

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
from nasdepth.training.losses.gradients import matched_gradients

# keeps a constant prediction's gradient finite: shares of the unit that inverse depth comes in
_SCALE_EPSILON = 1e-4

RelativeForm = Literal["trimmed", "least_squares"]


@full_precision
def relative_loss(
    pred: torch.Tensor,
    target: torch.Tensor,
    mask: torch.Tensor,
    *,
    form: RelativeForm = "trimmed",
    trim: float = 0.2,
    gradient: float = 0.5,
    scales: int = 4,
) -> torch.Tensor:
    """Scale- and shift-invariant loss (MiDaS, Ranftl et al. 2020, arXiv:1907.01341).

    "trimmed": both maps less their median and divided by their mean absolute deviation from it; 1/2M of the
    sum of absolute residuals without the largest `trim` of them, M being all known pixels. "least_squares":
    the prediction fitted to the target, 1/2M of the squared residuals; here the target's scale counts. To
    either `gradient` times the multi-scale gradients of the same residuals is added (per image over its known
    pixels, summed over the scales). Averaged over the images with known pixels.

    Args:
        pred: (B, 1, H, W) inverse depth, in 1/m or another unit in which it is of the order of 1.
        target: (B, 1, H, W) inverse depth of any scale (also of the order of 1) and shift.
        mask: (B, 1, H, W) bool, True where the target is known.
    """
    check_maps(mask, pred=pred, target=target)
    pred, target = filled(mask, pred, target)
    known = image_any(mask)
    if form == "trimmed":
        residual = _standardised(pred, mask) - _standardised(target, mask)
        size = torch.where(mask, residual.abs(), torch.inf).flatten(1).sort(1).values
        count = mask.sum((1, 2, 3))
        kept = (
            torch.arange(size.shape[1], device=size.device) < (count - (trim * count).floor().long())[:, None]
        )
        per_image = torch.where(kept, size, 0.0).sum(1) / count.clamp_min(1) / 2
    else:
        residual = fitted(pred, target, mask) - target
        per_image = image_means(residual**2, mask) / 2
    if gradient:
        residual = torch.where(mask, residual, 0.0)
        steep = [
            matched_gradients(r, m, scales) for r, m in zip(residual.split(1), mask.split(1), strict=True)
        ]
        per_image = per_image + gradient * scales * torch.stack(steep)
    return batch_mean(per_image, known)


def fitted(pred: torch.Tensor, target: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """`pred` with the scale and shift that fit it best, in squares, to each image's target.

    All (B, 1, H, W); finite in holes. A constant prediction becomes the target's mean.
    """
    mean_p, mean_t = (image_means(one, mask)[:, None, None, None] for one in (pred, target))
    covariance = image_means((pred - mean_p) * (target - mean_t), mask)
    variance = image_means((pred - mean_p) ** 2, mask)
    scale = covariance / variance.clamp_min(_SCALE_EPSILON**2)
    return (pred - mean_p) * scale[:, None, None, None] + mean_t


def _standardised(x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    median = masked_median(x, mask)[:, None, None, None]
    deviation = image_means((x - median).abs(), mask)[:, None, None, None]
    return (x - median) / deviation.clamp_min(_SCALE_EPSILON)


def masked_median(x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """(B,) median of each image's known pixels, the mean of the two middle ones for an even number.

    0 for an image without a known pixel.
    """
    ordered = torch.where(mask, x, torch.inf).flatten(1).sort(1).values
    count = mask.sum((1, 2, 3))[:, None]
    middle = torch.cat([(count - 1).clamp_min(0) // 2, count // 2], 1)
    picked = ordered.gather(1, middle.clamp_max(ordered.shape[1] - 1)).mean(1)
    return torch.where(count[:, 0] > 0, picked, 0.0)
