"""Augmentation: windows drawn on the stored image, colours and disturbances on the network's input size.

Every random number comes from the NumPy generator that is given, so a batch is a function of its seed.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Annotated, Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field
from torchvision.transforms.v2 import functional as transforms

from nasdepth.config import later
from nasdepth.data.store import CANONICAL_HW
from nasdepth.training.geometry import View

Size = tuple[Annotated[int, Field(ge=32)], Annotated[int, Field(ge=32)]]
Share = Annotated[float, Field(ge=0, le=1)]


class Augmentation(BaseModel):
    """The random changes of training images. By default they are crops, flips and colours.

    Attributes:
        crops: window sizes in pixels of 480x640; each batch draws one (LiteDepth's R2 crop). Images stored
            at another size use the same share of theirs.
        crop_place: where in the image a window lies, drawn for each image or always in the middle.
        flip: left and right are exchanged for half of the images.
        flip_vertical: top and bottom are exchanged for half of the images.
        rotation_degrees: largest angle; rotation_share: how many images are turned at all.
        brightness, contrast, colour: half-widths of the factors on an image's mean, on the deviation from it,
            and on each channel.
        gamma: half-width of the exponent's range around 1.
        cut_depth: how many images get a rectangle of their depth pasted (CutDepth, arXiv:2107.07684);
            cut_depth_size: the paper's p, the largest side as a share of what is left of the image.
        blur: how many images are blurred; blur_sigma: largest deviation in pixels of the network's input.
        noise: how many images get noise; noise_sigma: largest deviation on 0-255.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    crops: Annotated[tuple[Size, ...], Field(min_length=1)] = ((480, 640), (384, 512), (240, 384))
    crop_place: Literal["random", "centre"] = later("random")
    flip: bool = True
    flip_vertical: bool = later(False)
    rotation_degrees: float = Field(0.0, ge=0, le=45)
    rotation_share: Share = 0.5
    brightness: float = Field(0.2, ge=0, lt=1)
    contrast: float = Field(0.2, ge=0, lt=1)
    colour: float = Field(0.1, ge=0, lt=1)
    gamma: float = Field(0.0, ge=0, lt=1)
    cut_depth: Share = 0.0
    cut_depth_size: float = Field(0.75, gt=0, le=1)
    blur: Share = 0.0
    blur_sigma: float = Field(1.0, gt=0.1, le=10)
    noise: Share = 0.0
    noise_sigma: float = Field(8.0, gt=0, le=128)


NO_AUGMENTATION = Augmentation(crops=(CANONICAL_HW,), flip=False, brightness=0, contrast=0, colour=0)


def draw_views(
    stored_hw: tuple[int, int], count: int, augmentation: Augmentation, rng: np.random.Generator
) -> list[View]:
    """Windows for `count` images of one size: one crop size for the batch, the rest drawn for each."""
    crop = augmentation.crops[rng.integers(len(augmentation.crops))]
    height, width = (
        min(round(size * stored / canonical), stored)
        for size, stored, canonical in zip(crop, stored_hw, CANONICAL_HW, strict=True)
    )
    views = []
    for _ in range(count):
        top = int(rng.integers(stored_hw[0] - height + 1))
        left = int(rng.integers(stored_hw[1] - width + 1))
        flip = bool(rng.random() < 0.5) and augmentation.flip
        turned = rng.random() < augmentation.rotation_share
        angle = rng.uniform(-1, 1) * math.radians(augmentation.rotation_degrees)
        if augmentation.crop_place == "centre":
            top, left = (stored_hw[0] - height) // 2, (stored_hw[1] - width) // 2
        # drawn last, so that trainings without it have the random numbers that they always had
        flip_vertical = augmentation.flip_vertical and bool(rng.random() < 0.5)
        views.append(View(stored_hw, top, left, height, width, angle if turned else 0.0, flip, flip_vertical))
    return views


def change_colours(
    rgb: torch.Tensor, augmentation: Augmentation, rng: np.random.Generator, frames: int = 1
) -> torch.Tensor:
    """Random brightness, contrast, colour and gamma.

    Looked up level by level: of a picture of bytes every channel has 256 of them, however many pixels.

    Args:
        rgb: (N, 3, H, W) uint8, channels last.
        frames: so many neighbouring images are of one video and change in the same way.

    Returns:
        (N, 3, H, W) float32 on 0-255, channels last.
    """
    pixels = rgb.permute(0, 2, 3, 1).flatten(1)
    changed = torch.empty(pixels.shape)
    levels = _changed_levels(pixels, augmentation, rng, frames)
    table_of_channel = torch.arange(3, dtype=torch.int32).mul(256).repeat(pixels.shape[1] // 3)
    for image, table, out in zip(pixels, levels, changed, strict=True):
        torch.index_select(table, 0, image.int().add_(table_of_channel), out=out)
    return changed.view(len(rgb), *rgb.shape[2:], 3).permute(0, 3, 1, 2)


def change_colours_on_device(
    rgb: torch.Tensor, augmentation: Augmentation, rng: np.random.Generator
) -> torch.Tensor:
    """Do what `change_colours` does, with the same random numbers, but pixel by pixel on the images' device.

    Nothing is read back, so that a GPU is never waited for.

    Args:
        rgb: (N, 3, H, W) float32 in whole levels of 0-255.

    Returns:
        (N, 3, H, W) float32 on 0-255, as `change_colours` gives it but for the rounding of float32.
    """
    colours, gamma = _draw_colours(len(rgb), augmentation, rng, 1)
    if colours is not None:
        contrast, brightness, colour = (to_device(one[..., None], rgb.device).float() for one in colours)
        mean = rgb.mean((1, 2, 3), keepdim=True)
        rgb = ((rgb - mean) * contrast + mean * brightness) * colour
    if gamma is not None:
        rgb = 255 * (rgb / 255).clamp(0, 1) ** to_device(gamma[..., None], rgb.device).float()
    return rgb.clamp(0, 255)


def to_device(array: np.ndarray, device: torch.device) -> torch.Tensor:
    """A small array on a device; a GPU's copy goes through pinned memory, and nothing waits for it."""
    tensor = torch.from_numpy(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def _draw_colours(
    count: int, augmentation: Augmentation, rng: np.random.Generator, frames: int
) -> tuple[tuple[np.ndarray, np.ndarray, np.ndarray] | None, np.ndarray | None]:
    """(contrast, brightness, colour) and gamma of images, (count, 1 or 3, 1); None where all is off."""

    def drawn(half_width: float, channels: int) -> np.ndarray:
        factors = rng.uniform(1 - half_width, 1 + half_width, (count // frames, channels, 1))
        return factors.repeat(frames, axis=0)

    colours = gamma = None
    if augmentation.brightness or augmentation.contrast or augmentation.colour:
        contrast, brightness = (drawn(half, 1) for half in (augmentation.contrast, augmentation.brightness))
        colours = contrast, brightness, drawn(augmentation.colour, 3)
    if augmentation.gamma:
        gamma = drawn(augmentation.gamma, 1)
    return colours, gamma


def _changed_levels(
    pixels: torch.Tensor, augmentation: Augmentation, rng: np.random.Generator, frames: int
) -> torch.Tensor:
    """(N, 3 x 256) float32: what becomes of every level of each channel of images (N, pixels) uint8."""
    colours, gamma = _draw_colours(len(pixels), augmentation, rng, frames)
    levels = np.arange(256.0)
    if colours is not None:
        contrast, brightness, colour = colours
        mean = pixels.numpy().mean(1, dtype=np.float64)[:, None, None]
        levels = ((levels - mean) * contrast + mean * brightness) * colour
    if gamma is not None:
        levels = 255 * (levels / 255).clip(0, 1) ** gamma
    levels = np.broadcast_to(levels.clip(0, 255), (len(pixels), 3, 256))
    return torch.from_numpy(levels.astype(np.float32)).flatten(1)


def disturb(rgb: torch.Tensor, augmentation: Augmentation, rng: np.random.Generator) -> torch.Tensor:
    """Gaussian blur and noise on some images, in place; (N, 3, H, W) float32 on 0-255 in and out."""
    blurred = np.flatnonzero(rng.random(len(rgb)) < augmentation.blur)
    for index, sigma in zip(blurred, rng.uniform(0.1, augmentation.blur_sigma, len(blurred)), strict=True):
        rgb[index] = gaussian_blur(rgb[index], float(sigma))
    noisy = np.flatnonzero(rng.random(len(rgb)) < augmentation.noise)
    for index, sigma in zip(noisy, rng.uniform(0, augmentation.noise_sigma, len(noisy)), strict=True):
        rgb[index].add_(_noise(rgb.shape[1:], rng, rgb.device), alpha=float(sigma)).clamp_(0, 255)
    return rgb


def gaussian_blur(rgb: torch.Tensor, sigma: float) -> torch.Tensor:
    """Blur (C, H, W) with a deviation of `sigma` pixels, cut at 3 sigma; mirrored at the border.

    A pass along each axis: torchvision's one pass with a two-dimensional kernel takes several times longer.
    """
    radius = min(max(1, math.ceil(3 * sigma)), min(rgb.shape[1:]) - 1)
    density = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / sigma) ** 2)
    weights = (density / density.sum()).tolist()
    padded = transforms.pad(rgb, [radius] * 4, padding_mode="reflect")
    for axis in (1, 2):
        size = padded.shape[axis] - 2 * radius
        out = padded.narrow(axis, 0, size) * weights[0]
        for shift, weight in enumerate(weights[1:], 1):
            out.add_(padded.narrow(axis, shift, size), alpha=weight)
        padded = out
    return padded


@cache
def _noise_bank(device: torch.device) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).standard_normal(2**20, dtype=np.float32)).to(device)


def _noise(shape: torch.Size, rng: np.random.Generator, device: torch.device) -> torch.Tensor:
    """Normal noise from a random place of a fixed bank: drawing it anew costs as much as all other steps."""
    count = shape.numel()
    bank = _noise_bank(device)
    if count > len(bank) // 2:
        return to_device(rng.standard_normal(tuple(shape), dtype=np.float32), device)
    start = int(rng.integers(len(bank) - count))
    # channels last in memory, as the pictures are
    return bank[start : start + count].view(shape[1], shape[2], shape[0]).permute(2, 0, 1)


def cut_depth(
    rgb: torch.Tensor, target: torch.Tensor, augmentation: Augmentation, rng: np.random.Generator
) -> torch.Tensor:
    """Paste a rectangle of the true depth into some images, in place (CutDepth, Ishii & Yamashita 2021,
    arXiv:2107.07684, eqs. 1-3: corner (aW, bH), sides ((1 - a) W c p, (1 - b) H d p), a to d uniform).

    The depth becomes grey, its largest known value in the image white. Unknown pixels keep their colours.

    Args:
        rgb: (N, 3, H, W) float32 on 0-255.
        target: (N, 1, h, w) depth or disparity, 0 = unknown.
    """
    height, width = rgb.shape[2:]
    for index in np.flatnonzero(rng.random(len(rgb)) < augmentation.cut_depth):
        a, b, c, d = rng.random(4)
        left, top = int(a * width), int(b * height)
        right = left + max(1, int((width - left) * c * augmentation.cut_depth_size))
        bottom = top + max(1, int((height - top) * d * augmentation.cut_depth_size))
        values = F.interpolate(target[index : index + 1], size=(height, width), mode="nearest-exact")[0, 0]
        grey = values * (255 / values.max().clamp_min(1))
        window = (slice(top, bottom), slice(left, right))
        known = values[window] > 0
        rgb[index, :, *window] = torch.where(known, grey[window], rgb[index, :, *window])
    return rgb
