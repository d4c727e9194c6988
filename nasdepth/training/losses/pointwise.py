"""Losses of each pixel's own residual: L1, mean square and its root, berHu and Barron's robust loss."""

from __future__ import annotations

import math
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
from nasdepth.training.losses.scale_invariant import log_depth

_MM_PER_M = 1000.0
# nearer than this to 0 or 2 the general form rounds worse than its limit is off
_SPECIAL = 1e-6
# keeps the root's gradient finite where a prediction is perfect: a millimetre, squared
_ROOT_EPSILON = 1e-6

ResidualSpace = Literal["metres", "log"]


def residual(
    pred_mm: torch.Tensor, target_mm: torch.Tensor, mask: torch.Tensor, space: ResidualSpace
) -> torch.Tensor:
    """pred - target in metres or of ln depth, 0 in holes."""
    check_maps(mask, pred_mm=pred_mm, target_mm=target_mm)
    pred_mm, target_mm = filled(mask, pred_mm, target_mm)
    if space == "log":
        return log_depth(pred_mm) - log_depth(target_mm)
    return (pred_mm - target_mm) / _MM_PER_M


@full_precision
def l1_loss(
    pred_mm: torch.Tensor, target_mm: torch.Tensor, mask: torch.Tensor, space: ResidualSpace = "metres"
) -> torch.Tensor:
    """Mean absolute residual per image, averaged over the images with known pixels.

    Args:
        pred_mm, target_mm: (B, 1, H, W) depth in millimetres.
        mask: (B, 1, H, W) bool, True where the target is known.
        space: residual in metres, or of ln depth.
    """
    x = residual(pred_mm, target_mm, mask, space)
    return batch_mean(image_means(x.abs(), mask), image_any(mask))


@full_precision
def mse_loss(
    pred_mm: torch.Tensor, target_mm: torch.Tensor, mask: torch.Tensor, space: ResidualSpace = "metres"
) -> torch.Tensor:
    """Mean squared residual per image, in square metres or of ln depth.

    Arguments and means are as in `l1_loss`.
    """
    x = residual(pred_mm, target_mm, mask, space)
    return batch_mean(image_means(x.square(), mask), image_any(mask))


@full_precision
def rmse_loss(
    pred_mm: torch.Tensor, target_mm: torch.Tensor, mask: torch.Tensor, space: ResidualSpace = "metres"
) -> torch.Tensor:
    """Root of each image's mean squared residual, in metres or of ln depth.

    Arguments and means are as in `l1_loss`; 1e-6 is added under the root.
    """
    x = residual(pred_mm, target_mm, mask, space)
    return batch_mean((image_means(x.square(), mask) + _ROOT_EPSILON).sqrt(), image_any(mask))


@full_precision
def berhu_loss(
    pred_mm: torch.Tensor,
    target_mm: torch.Tensor,
    mask: torch.Tensor,
    space: ResidualSpace = "metres",
    share: float = 0.2,
) -> torch.Tensor:
    """Reverse Huber loss (Laina et al. 2016, arXiv:1606.00373), means as in `l1_loss`.

    |x| up to c and (x^2 + c^2) / 2c beyond, c being `share` of the batch's largest known residual; c is a
    threshold and passes no gradient.
    """
    x = residual(pred_mm, target_mm, mask, space).abs()
    return batch_mean(image_means(berhu(x, share * x.detach().max()), mask), image_any(mask))


def berhu(x: torch.Tensor, threshold: torch.Tensor) -> torch.Tensor:
    """berHu of residuals for a given threshold, a scalar tensor."""
    x = x.abs()
    threshold = threshold.clamp_min(torch.finfo(x.dtype).tiny)
    beyond = x > threshold
    # the branch not taken is kept small: its gradient is multiplied by 0, and 0 * infinity is NaN
    far = torch.where(beyond, x, threshold)
    return torch.where(beyond, far * (far / threshold) / 2 + threshold / 2, x)


@full_precision
def robust_loss(
    pred_mm: torch.Tensor,
    target_mm: torch.Tensor,
    mask: torch.Tensor,
    alpha: float = 1.0,
    scale_m: float = 2.0,
) -> torch.Tensor:
    """Barron's general robust loss of the residual in metres, means as in `l1_loss`.

    Args:
        alpha: the shape, from -inf to inf; see `barron`. LiteDepth: 1.
        scale_m: residual in metres below which the loss is a parabola. LiteDepth: 2.
    """
    x = residual(pred_mm, target_mm, mask, "metres")
    return batch_mean(image_means(barron(x, alpha, scale_m), mask), image_any(mask))


def barron(x: torch.Tensor, alpha: float, scale: float) -> torch.Tensor:
    """rho(x, alpha, c) = |a-2|/a (((x/c)^2/|a-2| + 1)^(a/2) - 1) (Barron 2019, arXiv:1701.03077, eq. 1).

    Its limits stand in for it where it is not defined, z being (x/c)^2: alpha 2, z/2; 0, ln(1 + z/2),
    Cauchy's; -inf, 1 - exp(-z/2), Welsch's; +inf, exp(z/2) - 1, which in float32 is infinite from x = 13.4 c
    on. 1 is Charbonnier's, -2 Geman and McClure's.
    """
    z = (x / scale) ** 2
    if alpha == -math.inf:
        return -torch.expm1(-z / 2)
    if alpha == math.inf:
        return torch.expm1(z / 2)
    if abs(alpha) < _SPECIAL:
        return torch.log1p(z / 2)
    if abs(alpha - 2) < _SPECIAL:
        return z / 2
    bend = abs(alpha - 2)
    return bend / alpha * torch.expm1(alpha / 2 * torch.log1p(z / bend))
