"""Soft shadows on floors and ground, from a blurred map drawn as seen from above."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from nasdepth.data.scene import FAR_M, Light, Scene
from nasdepth.data.solids import Box, Cone, Ellipsoid, Room, Solid

_CELLS = 384
_CIRCLE = np.stack([np.cos(angles := np.linspace(0, 2 * np.pi, 12, endpoint=False)), np.sin(angles)], axis=1)
_DARK = 70


@dataclass(frozen=True)
class ShadowMap:
    """Light that arrives on the ground: uint8 (cells, cells), `scale` cells a metre around `center`."""

    light: np.ndarray
    center: np.ndarray
    scale: float
    room: Room | None

    def on(self, points: np.ndarray, up: np.ndarray) -> np.ndarray:
        """Share of light float32 (n,) at points (3, n) whose normals have the upward part `up` (n,)."""
        cells = ((points[:2] - self.center[:, None]) * self.scale + _CELLS / 2).astype(np.int32)
        column, row = np.clip(cells, 0, _CELLS - 1)
        share = np.where(up > 0.5, self.light[row, column] * np.float32(1 / 255), np.float32(1))
        if self.room is not None:
            # Corners are dark. Every point lies on one wall, whose own term the last factor takes back.
            for value, middle, half in zip(points, self.room.center, self.room.half, strict=True):
                share *= 1 - 0.35 * np.exp((np.abs(value - np.float32(middle)) - np.float32(half)) * 3.0)
            share *= 1 / 0.65
        return share


def shadow_map(scene: Scene) -> ShadowMap:
    """Draw where the solids keep the light from the ground, or from the floor of the room."""
    room = scene.solids[0] if isinstance(scene.solids[0], Room) else None
    extent = max(room.half[:2]) if room else FAR_M * 0.75
    center = np.array(room.center[:2] if room else scene.camera.position[:2], dtype=np.float32)
    scale = float(_CELLS / (2 * extent))
    image = Image.new("L", (_CELLS, _CELLS), 255)
    draw = ImageDraw.Draw(image)
    for solid in scene.solids[1:]:
        if solid.casts_shadow:
            for polygon in _polygons(scene.light, solid):
                draw.polygon(((polygon - center) * scale + _CELLS / 2).ravel().tolist(), fill=_DARK)
    blurred = image.filter(ImageFilter.GaussianBlur(0.06 * scale + 0.7))
    return ShadowMap(np.asarray(blurred), center, scale, room)


def _polygons(light: Light, solid: Solid) -> list[np.ndarray]:
    """Outlines (k, 2) that together cover the shadow: foot, thrown top and what is between."""
    corners = solid.corners()
    assert corners is not None  # the room casts no shadow
    (*_, low), (*_, high) = corners.min(axis=0), corners.max(axis=0)
    if isinstance(solid, Ellipsoid | Cone):
        radii = np.ptp(corners[:, :2], axis=0) / 2
        slender = isinstance(solid, Cone) and solid.top < solid.bottom / 2
        outline = corners[:, :2].mean(axis=0) + _CIRCLE * radii * (0.7 if slender else 1.0)
    elif isinstance(solid, Box):
        outline = corners[[0, 1, 3, 2], :2]
    else:
        return []

    def thrown(height: float) -> np.ndarray:
        if light.lamp:
            above = max(light.position[2] - height, 0.3)
            return outline + (outline - np.array(light.position[:2])) * min(height / above, 1.5)
        return outline - np.array(light.position[:2]) / max(light.position[2], 0.15) * height

    near, far = thrown(max(low, 0.0)), thrown(high)
    sides = [np.stack([near[i - 1], near[i], far[i], far[i - 1]]) for i in range(len(near))]
    return [near, far, *sides]
