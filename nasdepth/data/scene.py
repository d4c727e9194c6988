"""What a scene is made of besides its solids: the camera that looks at it and the light upon it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from nasdepth.data.solids import NEAR_M, Color, Solid
from nasdepth.data.store import CANONICAL_HW

FAR_M = 40.0
"""Depths beyond this are unknown (0), as is the sky."""

_HEIGHT, _WIDTH = CANONICAL_HW
_EDGES = np.array([(a, b) for a in range(8) for b in range(a + 1, 8) if (a ^ b).bit_count() == 1]).T


@dataclass(frozen=True)
class Camera:
    """A pinhole camera: position in metres, angles in radians, focal length in pixels.

    Yaw 0 looks along +y, positive yaw turns towards +x, positive pitch looks up.
    """

    position: tuple[float, float, float]
    yaw: float
    pitch: float
    roll: float
    focal_px: float

    def axes(self) -> np.ndarray:
        """Float (3, 3): rows are right, down and forward in the world."""
        sy, cy, sp, cp = math.sin(self.yaw), math.cos(self.yaw), math.sin(self.pitch), math.cos(self.pitch)
        right = np.array([cy, -sy, 0.0])
        forward = np.array([sy * cp, cy * cp, sp])
        down = np.cross(forward, right)
        sr, cr = math.sin(self.roll), math.cos(self.roll)
        return np.stack([cr * right + sr * down, cr * down - sr * right, forward])

    def rays(self) -> np.ndarray:
        """Float32 (3, 480, 640): world directions that advance one metre along the optical axis."""
        axes = self.axes().astype(np.float32)
        right, down, forward = axes[0], axes[1], axes[2]
        x = ((np.arange(_WIDTH) + 0.5 - _WIDTH / 2) / self.focal_px).astype(np.float32)
        y = ((np.arange(_HEIGHT) + 0.5 - _HEIGHT / 2) / self.focal_px).astype(np.float32)
        rows = forward[:, None] + down[:, None] * y
        return rows[:, :, None] + (right[:, None] * x)[:, None, :]

    def windows(self, corners: np.ndarray) -> list[tuple[slice, slice] | None]:
        """Rows and columns of the screen that each bounding box of `corners` (n, 8, 3) can cover.

        None stands for a box that is out of sight.
        """
        points = (corners - np.array(self.position)) @ self.axes().T
        seen = points[..., 2] >= NEAR_M
        # Where an edge passes the near plane it adds a point; elsewhere its own end stands in.
        start, end = points[:, _EDGES[0]], points[:, _EDGES[1]]
        crossing = seen[:, _EDGES[0]] != seen[:, _EDGES[1]]
        along = (NEAR_M - start[..., 2]) / np.where(crossing, end[..., 2] - start[..., 2], 1)
        clipped = start + (end - start) * along[..., None]
        points, seen = np.concatenate([points, clipped], axis=1), np.concatenate([seen, crossing], axis=1)
        x, y = (points[..., :2] / np.where(seen, points[..., 2], 1)[..., None] * self.focal_px).transpose(
            2, 0, 1
        )
        bounds = []
        for value, size in ((y, _HEIGHT), (x, _WIDTH)):
            low = np.floor(np.where(seen, value, np.inf).min(axis=1) + size / 2)
            high = np.ceil(np.where(seen, value, -np.inf).max(axis=1) + size / 2) + 1
            bounds += [np.clip(low, 0, size).astype(int), np.clip(high, 0, size).astype(int)]
        return [
            (slice(top, bottom), slice(left, right)) if top < bottom and left < right else None
            for top, bottom, left, right in zip(*bounds, strict=True)
        ]


@dataclass(frozen=True)
class Light:
    """The sun (`position` is a direction towards it) or, in a room, a lamp at `position` in metres."""

    position: tuple[float, float, float]
    lamp: bool
    direct: Color
    ambient: Color


@dataclass(frozen=True)
class Scene:
    """A scene to render; `solids[0]` is the ground or the room."""

    camera: Camera
    solids: list[Solid]
    light: Light
    sky: tuple[Color, Color] = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    haze_m: float = 1e4
