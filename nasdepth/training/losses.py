"""Training losses: pure functions with exact masks, differentiable in the prediction.

All take (B, 1, H, W) depth in one unit, and a boolean mask of the same shape that says where the target
is known. What the mask leaves out has no influence on the value or the gradient.
"""

from __future__ import annotations

import torch

# LiteDepth puts the same epsilon inside both logarithms (metres); one millimetre
LOG_EPSILON_MM = 1.0


def log_depth(depth_mm: torch.Tensor) -> torch.Tensor:
    """ln of depth in millimetres, clamped below as the challenge's metric clamps it."""
    return depth_mm.clamp_min(LOG_EPSILON_MM).log()


def sig_loss(
    pred_mm: torch.Tensor, target_mm: torch.Tensor, mask: torch.Tensor, variance: float
) -> torch.Tensor:
    """Scale-invariant loss per image: sqrt(mean g^2 - variance (mean g)^2), averaged over the batch.

    `variance` 1 is the challenge's si-RMSE itself; 0.85 (BTS, Lee et al. 2019, arXiv:1907.10326) also
    pulls the scale towards the target's. Images without a known pixel count for nothing.
    """
    count = mask.sum((1, 2, 3)).clamp_min(1)
    g = torch.where(mask, log_depth(pred_mm) - log_depth(target_mm), 0.0)
    mean = g.sum((1, 2, 3)) / count
    square = (g**2).sum((1, 2, 3)) / count
    # the epsilon keeps the square root's gradient finite where a prediction is perfect
    per_image = (square - variance * mean**2).clamp_min(0).add(1e-6).sqrt()
    known = mask.any(3).any(2).any(1)
    return (per_image * known).sum() / known.sum().clamp_min(1)


def gradient_matching_loss(
    pred_mm: torch.Tensor, target_mm: torch.Tensor, mask: torch.Tensor, scales: int
) -> torch.Tensor:
    """Multi-scale gradient matching of ln depth (MegaDepth, Li & Snavely 2018, arXiv:1804.00607, eq. 5).

    At scale k every 2^k-th pixel is kept (no pooling, which would mix known and unknown); a difference
    counts only where both its pixels are known.
    """
    g = torch.where(mask, log_depth(pred_mm) - log_depth(target_mm), 0.0)
    total = g.new_zeros(())
    for scale in range(scales):
        step = 2**scale
        d, m = g[..., ::step, ::step], mask[..., ::step, ::step]
        across = (d[..., 1:] - d[..., :-1]).abs() * (m[..., 1:] & m[..., :-1])
        down = (d[..., 1:, :] - d[..., :-1, :]).abs() * (m[..., 1:, :] & m[..., :-1, :])
        total = total + (across.sum() + down.sum()) / m.sum().clamp_min(1)
    return total / scales
