"""Self-supervision: photometric reprojection with auto-masking, and edge-aware smoothness (Monodepth2)."""

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
from nasdepth.training.losses.geometry import inverse_warp
from nasdepth.training.losses.structure import ssim_map

_WHITE = 255.0

Outside = Literal["leave_out", "border"]


@full_precision
def reprojection_loss(
    depth: torch.Tensor,
    rgb: torch.Tensor,
    sources: torch.Tensor,
    poses: torch.Tensor,
    intrinsics: torch.Tensor,
    mask: torch.Tensor,
    *,
    ssim_weight: float = 0.85,
    automask: bool = True,
    outside: Outside = "leave_out",
) -> torch.Tensor:
    """Photometric reprojection (Monodepth2, Godard et al. 2019, arXiv:1806.01260, eq. 1-5).

    Each source view is warped into the target view; per pixel the smallest photometric error over the sources
    that see it counts. Auto-masking: a pixel whose error is not below that of the unwarped sources (what
    stands still relative to the camera, and what has no texture) counts as 0. Per image the mean over the
    pixels that some source sees, auto-masked ones included; then over the images that have any.

    Args:
        depth: (B, 1, H, W) predicted depth, in the unit of the poses' translation.
        rgb: (B, 3, H, W) the target view on 0-255.
        sources: (B, S, 3, H, W) other views on 0-255.
        poses: (B, S, 4, 4) motion from the target camera's frame to each source's.
        intrinsics: (B, 3, 3) in pixels of this resolution, of all views.
        mask: (B, 1, H, W) bool, False for pixels that must not count (borders of a rotation, say).
        ssim_weight: alpha of alpha (1 - SSIM) / 2 + (1 - alpha) L1.
        outside: "leave_out" does not count a source where the pixel is outside of its frame; "border" repeats
            the frame's border there, as Monodepth2 does.
    """
    check_maps(mask, depth=depth)
    (depth,) = filled(mask, depth)
    (rgb,) = filled(mask, rgb.to(depth), value=0.0)
    warped_errors, still_errors = [], []
    for source, pose in zip(sources.to(depth).unbind(1), poses.unbind(1), strict=True):
        warped, seen = inverse_warp(source, depth, intrinsics, pose)
        counted = mask & seen if outside == "leave_out" else mask
        error = photometric_error(warped, rgb, counted, ssim_weight)
        warped_errors.append(torch.where(counted, error, torch.inf))
        if automask:
            still_errors.append(photometric_error(source, rgb, mask, ssim_weight))
    error = torch.stack(warped_errors).amin(0)
    counted = error.isfinite()
    error = torch.where(counted, error, 0.0)
    if automask:
        error = torch.where(error < torch.stack(still_errors).amin(0), error, 0.0)
    return batch_mean(image_means(error, counted), image_any(counted))


def photometric_error(
    first: torch.Tensor, second: torch.Tensor, mask: torch.Tensor, ssim_weight: float
) -> torch.Tensor:
    """(B, 1, H, W) alpha (1 - SSIM) / 2 + (1 - alpha) L1 of two (B, 3, H, W) images on 0-255.

    SSIM over 3 x 3 means of the pixels in `mask`; what is outside of it has no influence on what is inside.
    """
    first, second = filled(mask, first / _WHITE, second / _WHITE, value=0.0)
    similarity = ssim_map(first, second, mask, first.new_ones(3))
    unlike = ((1 - similarity) / 2).clamp(0, 1)
    return (ssim_weight * unlike + (1 - ssim_weight) * (first - second).abs()).mean(1, keepdim=True)


@full_precision
def smoothness_loss(
    disparity: torch.Tensor, rgb: torch.Tensor, mask: torch.Tensor, scales: int = 1
) -> torch.Tensor:
    """Edge-aware smoothness of mean-normalised disparity (Monodepth2, eq. 3).

    |dx d| exp(-|dx I|) averaged over the neighbours across, plus the same down, d being disparity over its
    mean and |dx I| the mean over the channels on 0-1. Differences count where both pixels are in the mask.
    Averaged over the images that have any.

    Args:
        disparity: (B, 1, H, W) inverse depth in any unit.
        rgb: (B, 3, H, W) on 0-255.
        mask: (B, 1, H, W) bool, where disparity is to be smooth.
        scales: at scale k every 2^k-th pixel of disparity and picture is kept, and the value counts 2^-k
            (Monodepth2's weights); the scales are summed.
    """
    check_maps(mask, disparity=disparity)
    values = []
    for step in (2**scale for scale in range(scales)):
        small = (one[..., ::step, ::step] for one in (disparity, rgb, mask))
        values.append(_roughness(*small) / step)
    return torch.stack(values).sum()


def _roughness(disparity: torch.Tensor, rgb: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """`smoothness_loss` at one scale."""
    (disparity,) = filled(mask, disparity, value=0.0)
    (rgb,) = filled(mask, rgb.to(disparity) / _WHITE, value=0.0)
    mean = image_means(disparity, mask).clamp_min(torch.finfo(disparity.dtype).eps)
    normal = disparity / mean[:, None, None, None]
    per_image, counted = normal.new_zeros(len(mask)), mask.new_zeros(len(mask))
    for axis in (2, 3):
        size = mask.shape[axis] - 1
        both = mask.narrow(axis, 1, size) & mask.narrow(axis, 0, size)
        step = (normal.narrow(axis, 1, size) - normal.narrow(axis, 0, size)).abs()
        edge = (rgb.narrow(axis, 1, size) - rgb.narrow(axis, 0, size)).abs().mean(1, keepdim=True)
        per_image = per_image + image_means(step * (-edge).exp(), both)
        counted = counted | image_any(both)
    return batch_mean(per_image, counted)
