"""Batches from a split: random-size crops and flips on raw pixels, colour on the resized image."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from nasdepth.data.store import DepthSplit
from nasdepth.training.recipe import Recipe


def training_batch(
    split: DepthSplit, indices: np.ndarray, recipe: Recipe, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """One augmented batch.

    Returns:
        rgb: (B, 3, h, w) float32 on 0-255, h x w being the crop size drawn for this batch.
        depth_mm: (B, 1, *recipe.loss_hw) float32, 0 where unknown; nearest samples, never blends.
    """
    rgb, depth_mm = split.batch(indices)
    height, width = recipe.crops[rng.integers(len(recipe.crops))]
    height, width = min(height, rgb.shape[1]), min(width, rgb.shape[2])
    images, depths = [], []
    for image, depth in zip(rgb, depth_mm, strict=True):
        top = rng.integers(rgb.shape[1] - height + 1)
        left = rng.integers(rgb.shape[2] - width + 1)
        window = (slice(top, top + height), slice(left, left + width))
        image, depth = image[window], depth[window]
        if recipe.flip and rng.random() < 0.5:
            image, depth = image[:, ::-1], depth[:, ::-1]
        images.append(image)
        depths.append(depth)
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float()
    target = torch.from_numpy(np.stack(depths).astype(np.float32))[:, None]
    return pixels, F.interpolate(target, size=recipe.loss_hw, mode="nearest-exact")


def photometric(rgb: torch.Tensor, strength: float, rng: np.random.Generator) -> torch.Tensor:
    """Random brightness, contrast and colour per image; (B, 3, H, W) on 0-255 in and out."""
    if strength == 0:
        return rgb
    factors = torch.from_numpy(rng.uniform(1 - strength, 1 + strength, (2, len(rgb), 1, 1, 1))).to(rgb)
    colour = torch.from_numpy(rng.uniform(1 - strength / 2, 1 + strength / 2, (len(rgb), 3, 1, 1))).to(rgb)
    mean = rgb.mean((1, 2, 3), keepdim=True)
    return ((rgb - mean) * factors[0] + mean * factors[1]).mul(colour).clamp(0, 255)
