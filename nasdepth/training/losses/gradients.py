"""Losses of depth differences between neighbours: gradient matching and LiteDepth's gradient loss."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F

from nasdepth.training.losses._masks import batch_mean, check_maps, filled, full_precision
from nasdepth.training.losses.pointwise import ResidualSpace
from nasdepth.training.losses.pointwise import residual as pixel_residual

_MM_PER_M = 1000.0


@full_precision
def gradient_matching_loss(
    pred_mm: torch.Tensor,
    target_mm: torch.Tensor,
    mask: torch.Tensor,
    scales: int,
    *,
    space: ResidualSpace = "log",
    reduce: Literal["mean", "sum"] = "mean",
) -> torch.Tensor:
    """Multi-scale gradient matching of ln depth (MegaDepth, Li & Snavely 2018, arXiv:1804.00607, eq. 5).

    At scale k every 2^k-th pixel is kept (no pooling, which would mix known and unknown); a difference
    counts only where both its pixels are known. Per scale the sum of both directions is divided by the known
    pixels of the whole batch, as MegaDepth does.

    Args:
        pred_mm, target_mm: (B, 1, H, W) depth in millimetres.
        mask: (B, 1, H, W) bool, True where the target is known.
        space: gradients of ln depth, or of depth in metres (SMART, 2021, eq. 1, whose R is d - d*).
        reduce: whether the scales are averaged or summed (SMART, MegaDepth).
    """
    mean = matched_gradients(pixel_residual(pred_mm, target_mm, mask, space), mask, scales)
    return mean * scales if reduce == "sum" else mean


def matched_gradients(residual: torch.Tensor, mask: torch.Tensor, scales: int) -> torch.Tensor:
    """The multi-scale gradient term of any (B, 1, H, W) residual that is finite in holes."""
    total = residual.new_zeros(())
    for scale in range(scales):
        step = 2**scale
        d, m = residual[..., ::step, ::step], mask[..., ::step, ::step]
        across = (d[..., 1:] - d[..., :-1]).abs() * (m[..., 1:] & m[..., :-1])
        down = (d[..., 1:, :] - d[..., :-1, :]).abs() * (m[..., 1:, :] & m[..., :-1, :])
        total = total + (across.sum() + down.sum()) / m.sum().clamp_min(1)
    return total / scales


@full_precision
def masked_gradient_loss(
    pred_mm: torch.Tensor, target_mm: torch.Tensor, mask: torch.Tensor, scales: int
) -> torch.Tensor:
    """L1 between the depth gradients of prediction and target in metres (LiteDepth, Li et al. 2022).

    What LiteDepth intends: differences to an unknown pixel are left out. (Its code fills the unknown with 0
    before it asks what is known, and so pulls predictions in holes to 0.) At scale k both maps are averaged
    over the known pixels of 2^k x 2^k cells. Per image and scale the mean over all differences, across and
    down alike, whose two ends are known; then the mean over the scales, then over the images that have such
    a difference at any scale.

    Args:
        pred_mm, target_mm: (B, 1, H, W) depth in millimetres.
        mask: (B, 1, H, W) bool, True where the target is known.
    """
    check_maps(mask, pred_mm=pred_mm, target_mm=target_mm)
    pred_mm, target_mm = filled(mask, pred_mm, target_mm)
    residual = (pred_mm - target_mm) / _MM_PER_M
    weight = mask.to(residual.dtype)
    per_image, counted = residual.new_zeros(len(mask)), mask.new_zeros(len(mask))
    for scale in range(scales):
        if scale:
            # sums, not means of means: every known pixel of a cell weighs the same
            total = _cell_sums(residual * weight)
            weight = _cell_sums(weight)
            residual = total / weight.clamp_min(1)
        known = weight > 0
        sums, counts = residual.new_zeros(len(mask)), mask.new_zeros(len(mask), dtype=torch.int64)
        for axis in (2, 3):
            size = residual.shape[axis] - 1
            both = known.narrow(axis, 1, size) & known.narrow(axis, 0, size)
            step = (residual.narrow(axis, 1, size) - residual.narrow(axis, 0, size)).abs()
            sums = sums + torch.where(both, step, 0.0).sum((1, 2, 3))
            counts = counts + both.sum((1, 2, 3))
        per_image = per_image + sums / counts.clamp_min(1) / scales
        counted = counted | (counts > 0)
    return batch_mean(per_image, counted)


def _cell_sums(values: torch.Tensor) -> torch.Tensor:
    return F.avg_pool2d(values, 2, ceil_mode=True, divisor_override=1)
