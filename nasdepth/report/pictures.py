"""Pictures of depth: colours with a bar in metres, and panels with headings beside one another."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Self

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

_HEADING, _GAP, _BAR, _LABELS = 24, 6, 18, 52
_TICKS_M = tuple(digit * 10.0**power for power in range(-2, 4) for digit in (1, 1.5, 2, 3, 4, 5, 6, 8))
# an error of so much of the true depth is drawn in the last colour
_WORST_ERROR = 0.5


@dataclass(frozen=True)
class DepthScale:
    """Colours of depths between two ends, logarithmic: near is bright, unknown is black.

    Attributes:
        near_mm, far_mm: ends; what lies beyond has their colours.
    """

    near_mm: float
    far_mm: float

    @classmethod
    def of(cls, depths_mm: Iterable[np.ndarray]) -> Self:
        """The scale that shows 98 in a hundred of the known values of some depth maps."""
        known = [depth[depth > 0] for depth in depths_mm]
        values = np.concatenate([one for one in known if one.size] or [np.ones(1)])
        near, far = np.percentile(values, (1, 99))
        return cls(float(near), float(max(far, near * 1.05)))

    def towards(self, other: Self, share: float) -> Self:
        """A scale between this one and another, so that the colours of a video do not flicker."""
        near = math.exp((1 - share) * math.log(self.near_mm) + share * math.log(other.near_mm))
        far = math.exp((1 - share) * math.log(self.far_mm) + share * math.log(other.far_mm))
        return type(self)(near, far)

    def colors(self, depth_mm: np.ndarray) -> np.ndarray:
        """uint8 (H, W, 3) of depths (H, W) in mm."""
        ln_near, ln_far = math.log(self.near_mm), math.log(self.far_mm)
        nearness = (ln_far - np.log(np.maximum(depth_mm, 1))) / (ln_far - ln_near)
        picture = _palette("magma")[np.clip(25 + 230 * nearness, 25, 255).astype(np.uint8)]
        return np.where((depth_mm > 0)[..., None], picture, 0).astype(np.uint8)

    def bar(self, height: int) -> Image.Image:
        """A colour bar with depths in metres beside it."""
        steps = np.geomspace(self.far_mm, self.near_mm, height)
        bar = Image.new("RGB", (_BAR + _LABELS, height), "white")
        bar.paste(Image.fromarray(self.colors(np.tile(steps[:, None], (1, _BAR)))), (0, 0))
        draw = ImageDraw.Draw(bar)
        last = -100.0
        for depth_m in sorted({*self._ticks_m(), self.near_mm / 1000, self.far_mm / 1000}, reverse=True):
            share = math.log(self.far_mm / (1000 * depth_m)) / math.log(self.far_mm / self.near_mm)
            row = min(max(share * height, 7), height - 8)
            if row - last < 15:
                continue
            draw.line((_BAR, row, _BAR + 4, row), fill="black")
            draw.text((_BAR + 7, row), _metres(depth_m), fill="black", font=_font(12), anchor="lm")
            last = row
        return bar

    def _ticks_m(self) -> list[float]:
        return [one for one in _TICKS_M if self.near_mm * 1.08 < 1000 * one < self.far_mm / 1.08]


def error_colors(predicted_mm: np.ndarray, truth_mm: np.ndarray) -> np.ndarray:
    """Relative error of a depth map: white is none, red too far, blue too near; black is unknown.

    Args:
        predicted_mm, truth_mm: (H, W) depths in mm; 0 in the truth is unknown.

    Returns:
        uint8 (H, W, 3); an error of 50 % has the full colour.
    """
    known = truth_mm > 0
    error = (predicted_mm - truth_mm) / np.where(known, truth_mm, 1)
    shade = np.clip(127.5 + 127.5 * error / _WORST_ERROR, 0, 255).astype(np.uint8)
    return np.where(known[..., None], _palette("bwr")[shade], 0).astype(np.uint8)


def panels(
    parts: Sequence[tuple[str, np.ndarray]], scale: DepthScale | None = None, height: int = 360
) -> Image.Image:
    """Pictures beside one another, each under its heading, with the colour bar of their depths at the right.

    Args:
        parts: headings and uint8 (H, W, 3) pictures; all are scaled to one height.
        scale: of the depths among them; None for no bar.
        height: of every picture in pixels.
    """
    pictures = [(heading, _scaled(picture, height)) for heading, picture in parts]
    width = sum(one.width + _GAP for _, one in pictures) + (_BAR + _LABELS if scale else 0)
    sheet = Image.new("RGB", (width, height + _HEADING), "white")
    draw = ImageDraw.Draw(sheet)
    left = 0
    for heading, picture in pictures:
        draw.text((left + 2, _HEADING / 2), _cut(heading, picture.width), "black", _font(14), "lm")
        sheet.paste(picture, (left, _HEADING))
        left += picture.width + _GAP
    if scale:
        draw.text((left, _HEADING / 2), "metres", "black", _font(12), "lm")
        sheet.paste(scale.bar(height), (left, _HEADING))
    return sheet


def rows(sheets: Sequence[Image.Image]) -> Image.Image:
    """Sheets below one another."""
    whole = Image.new("RGB", (max(one.width for one in sheets), sum(one.height for one in sheets)), "white")
    top = 0
    for one in sheets:
        whole.paste(one, (0, top))
        top += one.height
    return whole


def _scaled(picture: np.ndarray, height: int) -> Image.Image:
    width = max(1, round(picture.shape[1] * height / picture.shape[0]))
    resampling = Image.Resampling.BILINEAR if height < picture.shape[0] else Image.Resampling.NEAREST
    return Image.fromarray(picture).resize((width, height), resampling)


def _cut(text: str, width: int) -> str:
    while text and _font(14).getlength(text) > width:
        text = text[:-2] + "…" if len(text) > 2 else ""
    return text


def _metres(depth_m: float) -> str:
    return f"{depth_m:.3g}" if depth_m < 1 else f"{depth_m:.2g}" if depth_m < 10 else f"{depth_m:.0f}"


@cache
def _palette(name: str) -> np.ndarray:
    return matplotlib.colormaps[name](np.arange(256), bytes=True)[:, :3]


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
