"""Structural similarity over windows that see known pixels only."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from nasdepth.training.losses._masks import (
    batch_mean,
    check_maps,
    filled,
    full_precision,
    image_any,
    image_means,
)

WINDOW = 11
SIGMA = 1.5


@full_precision
def ssim_loss(
    pred_mm: torch.Tensor, target_mm: torch.Tensor, mask: torch.Tensor, range_mm: float = 10_000.0
) -> torch.Tensor:
    """(1 - SSIM) / 2 of depth, averaged over an image's known pixels, then over the images that have any.

    Wang et al. 2004 (doi:10.1109/TIP.2003.819861), Gaussian windows of 11 x 11 and sigma 1.5; at borders and
    holes a window's weights are shared among the known pixels it sees.

    Args:
        pred_mm, target_mm: (B, 1, H, W) depth in millimetres.
        mask: (B, 1, H, W) bool, True where the target is known.
        range_mm: the dynamic range L of the constants (0.01 L)^2 and (0.03 L)^2.
    """
    check_maps(mask, pred_mm=pred_mm, target_mm=target_mm)
    pred_mm, target_mm = filled(mask, pred_mm, target_mm)
    offsets = torch.arange(WINDOW, dtype=pred_mm.dtype, device=pred_mm.device) - WINDOW // 2
    window = (-(offsets**2) / (2 * SIGMA**2)).exp()
    similarity = ssim_map(pred_mm / range_mm, target_mm / range_mm, mask, window)
    return batch_mean(image_means((1 - similarity) / 2, mask), image_any(mask))


def ssim_map(x: torch.Tensor, y: torch.Tensor, mask: torch.Tensor, window: torch.Tensor) -> torch.Tensor:
    """SSIM of two (B, C, H, W) images on the scale of 0 to 1, of the same shape.

    `window` (K,), K odd, is one factor of the separable window, in any scale. Windows use pixels where `mask`
    (B, 1, H, W) is True; what stands at the others is of no use.
    """
    x, y = torch.where(mask, x, 0.0), torch.where(mask, y, 0.0)
    weight = _windowed(mask.to(x.dtype), window)
    # a window without a known pixel has no value; its centre is unknown too
    share = 1 / torch.where(weight > 0, weight, 1.0)
    mean_x, mean_y, square_x, square_y, product = (
        _windowed(one, window) * share for one in (x, y, x * x, y * y, x * y)
    )
    variance_x, variance_y = square_x - mean_x**2, square_y - mean_y**2
    covariance = product - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    return ((2 * mean_x * mean_y + c1) * (2 * covariance + c2)) / (
        (mean_x**2 + mean_y**2 + c1) * (variance_x.clamp_min(0) + variance_y.clamp_min(0) + c2)
    )


def _windowed(image: torch.Tensor, window: torch.Tensor) -> torch.Tensor:
    # planes as the channels of one image: many times faster on a CPU than as images of one channel
    planes = image.flatten(0, 1)[None]
    count, half = planes.shape[1], len(window) // 2
    kernels = window.expand(count, 1, -1)
    planes = F.conv2d(planes, kernels[..., None], padding=(half, 0), groups=count)
    planes = F.conv2d(planes, kernels[..., None, :], padding=(0, half), groups=count)
    return planes[0].unflatten(0, image.shape[:2])
