"""Pinhole cameras: intrinsics through crop and resize, pixels to points and back, warping.

A pixel's centre has whole coordinates: the first pixel's is (0, 0), and an image of width W spans
[-0.5, W - 0.5]. Intrinsics are (B, 3, 3): [[fx, 0, cx], [0, fy, cy], [0, 0, 1]] in pixels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

# points nearer to a camera's plane than this share of the unit of depth have no image
_NEAR = 1e-4


def rescale_intrinsics(
    intrinsics: torch.Tensor, from_hw: tuple[int, int], to_hw: tuple[int, int]
) -> torch.Tensor:
    """Intrinsics (B, 3, 3) of the same view resized from (height, width) to another."""
    height, width = to_hw[0] / from_hw[0], to_hw[1] / from_hw[1]
    # the border between pixels stays where it is, not the pixels' centres
    scale = intrinsics.new_tensor([[width, 0, width / 2 - 0.5], [0, height, height / 2 - 0.5], [0, 0, 1]])
    return scale @ intrinsics


def crop_intrinsics(intrinsics: torch.Tensor, top: int, left: int) -> torch.Tensor:
    """Intrinsics (B, 3, 3) after `top` rows and `left` columns are cut off."""
    return intrinsics - intrinsics.new_tensor([[0, 0, left], [0, 0, top], [0, 0, 0]])


def flip_intrinsics(intrinsics: torch.Tensor, width: int) -> torch.Tensor:
    """Intrinsics (B, 3, 3) after the columns of an image of `width` are mirrored."""
    flipped = intrinsics.clone()
    flipped[..., 0, 2] = width - 1 - flipped[..., 0, 2]
    return flipped


def field_of_view_intrinsics(hw: tuple[int, int], horizontal_deg: float, batch: int) -> torch.Tensor:
    """Intrinsics (batch, 3, 3) float32 of square pixels that see `horizontal_deg` across."""
    height, width = hw
    focal = width / 2 / torch.tensor(horizontal_deg).div(2).deg2rad().tan().item()
    one = torch.tensor([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])
    return one.expand(batch, 3, 3)


def backproject(depth: torch.Tensor, intrinsics: torch.Tensor) -> torch.Tensor:
    """Points (B, 3, H, W) in the camera's frame, in the unit of `depth` (B, 1, H, W)."""
    height, width = depth.shape[-2:]
    intrinsics = intrinsics.to(depth)[:, :, :, None, None]
    u = torch.arange(width, device=depth.device, dtype=depth.dtype)
    v = torch.arange(height, device=depth.device, dtype=depth.dtype)[:, None]
    x = (u - intrinsics[:, 0, 2]) / intrinsics[:, 0, 0]
    y = (v - intrinsics[:, 1, 2]) / intrinsics[:, 1, 1]
    rays = torch.stack([x.expand(-1, height, width), y.expand(-1, height, width)], 1)
    return torch.cat([rays * depth, depth], 1)


def project(points: torch.Tensor, intrinsics: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Pixels (B, 2, H, W), (u, v), of points (B, 3, H, W), and (B, 1, H, W) bool: in front of the camera."""
    intrinsics = intrinsics.to(points)[:, :, :, None, None]
    front = points[:, 2:] > _NEAR
    z = torch.where(front, points[:, 2:], 1.0)
    u = points[:, :1] / z * intrinsics[:, 0, 0, None] + intrinsics[:, 0, 2, None]
    v = points[:, 1:2] / z * intrinsics[:, 1, 1, None] + intrinsics[:, 1, 2, None]
    return torch.cat([u, v], 1), front


def inverse_warp(
    source: torch.Tensor, depth: torch.Tensor, intrinsics: torch.Tensor, pose: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """A source view sampled, bilinearly, where the target's pixels are in it.

    Args:
        source: (B, C, H, W) the other view.
        depth: (B, 1, H, W) depth of the target view, in the unit of the pose's translation.
        intrinsics: (B, 3, 3) of both views.
        pose: (B, 4, 4) rigid motion that takes points from the target camera's frame to the source's.

    Returns:
        (B, C, H, W) the target view as the source sees it, its border repeated beyond it, and (B, 1, H, W)
        bool: within the source's frame and in front of it.
    """
    height, width = source.shape[-2:]
    points = backproject(depth, intrinsics).flatten(2)
    moved = pose[:, :3, :3].to(depth) @ points + pose[:, :3, 3:].to(depth)
    pixels, front = project(moved.unflatten(2, depth.shape[-2:]), intrinsics)
    size = pixels.new_tensor([width, height])[:, None, None]
    inside = ((pixels >= -0.5) & (pixels <= size - 0.5)).all(1, keepdim=True)
    grid = ((pixels + 0.5) / size * 2 - 1).movedim(1, -1)
    seen = F.grid_sample(source, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return seen, inside & front
