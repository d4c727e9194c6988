"""Solids that a ray can hit: ground, room, boxes, ellipsoids and upright cones, in metres with z up.

Each answers three questions: `corners` (8, 3) of its bounding box, `hit` for rays of a screen rectangle, and
`surface` for the points that turned out visible. Ray parameters are depths along the optical axis.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import numpy as np

from nasdepth.data import textures

NEAR_M = 0.2
_INF = np.float32(np.inf)
_SIGNS = np.array([[x, y, z] for z in (-1, 1) for y in (-1, 1) for x in (-1, 1)], dtype=np.float64)

Color = tuple[float, float, float]


@dataclass(frozen=True)
class Material:
    """A texture that blends from `dark` to `light` (linear RGB), one tile every `period_m` metres."""

    texture: str
    dark: Color
    light: Color
    period_m: float = 2.0
    glow: float = 0.0
    offset: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True, kw_only=True)
class Solid(ABC):
    """What the renderer asks of every solid. One that casts no shadow shows the shadows of the others."""

    material: Material
    casts_shadow: bool = True

    @abstractmethod
    def corners(self) -> np.ndarray | None:
        """Float (8, 3), or None for a solid that may fill the whole screen."""

    @abstractmethod
    def hit(self, origin: np.ndarray, rays: np.ndarray) -> np.ndarray:
        """Depth float32 (h, w) of the nearest hit, inf where missed; `rays` is float32 (3, h, w)."""

    @abstractmethod
    def surface(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Unit normals (3, n) and texture coordinates u, v (n,) in metres for `points` float32 (3, n)."""


@dataclass(frozen=True)
class Ground(Solid):
    """The plane z = slope_x * x + slope_y * y."""

    slope_x: float = 0.0
    slope_y: float = 0.0
    casts_shadow: bool = field(default=False, kw_only=True)

    def corners(self) -> None:
        return None

    def hit(self, origin: np.ndarray, rays: np.ndarray) -> np.ndarray:
        height = float(origin[2] - self.slope_x * origin[0] - self.slope_y * origin[1])
        fall = self.slope_x * rays[0] + self.slope_y * rays[1] - rays[2]
        return np.where(fall > 1e-4, height / np.maximum(fall, 1e-4), _INF)

    def surface(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        normal = np.array([-self.slope_x, -self.slope_y, 1.0], dtype=np.float32)
        normal /= np.linalg.norm(normal)
        return np.broadcast_to(normal[:, None], points.shape), points[0], points[1]


@dataclass(frozen=True)
class Box(Solid):
    """A box turned about the vertical: centre, half sizes and yaw in radians."""

    center: tuple[float, float, float]
    half: tuple[float, float, float]
    yaw: float = 0.0

    def _local(self, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        if self.yaw == 0.0:
            return vectors[0], vectors[1], vectors[2]
        cos, sin = math.cos(self.yaw), math.sin(self.yaw)
        return cos * vectors[0] + sin * vectors[1], cos * vectors[1] - sin * vectors[0], vectors[2]

    def corners(self) -> np.ndarray:
        x, y, z = (_SIGNS * self.half).T
        cos, sin = math.cos(self.yaw), math.sin(self.yaw)
        return np.stack([cos * x - sin * y, sin * x + cos * y, z], axis=1) + self.center

    def _spans(self, origin: np.ndarray, rays: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        """For each axis, where a ray passes the middle of the slab and half the way it spends inside."""
        spans = []
        local = self._local(np.asarray(origin) - np.array(self.center))
        for start, ray, half in zip(local, self._local(rays), self.half, strict=True):
            inverse = 1 / ray
            spans.append((inverse * -float(start), np.abs(inverse) * float(half)))
        return spans

    def hit(self, origin: np.ndarray, rays: np.ndarray) -> np.ndarray:
        (mx, hx), (my, hy), (mz, hz) = self._spans(origin, rays)
        enter = np.maximum(np.maximum(mx - hx, my - hy), mz - hz)
        leave = np.minimum(np.minimum(mx + hx, my + hy), mz + hz)
        return np.where((enter <= leave) & (enter > NEAR_M), enter, _INF)

    def surface(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        x, y, z = self._local(points - np.array(self.center, dtype=np.float32)[:, None])
        gap_x, gap_y, gap_z = (
            np.abs(np.abs(c) - np.float32(h)) for c, h in zip((x, y, z), self.half, strict=True)
        )
        on_z = (gap_z <= gap_x) & (gap_z <= gap_y)
        on_x = ~on_z & (gap_x <= gap_y)
        on_y = ~on_z & ~on_x
        side_x, side_y, side_z = np.sign(x) * on_x, np.sign(y) * on_y, np.sign(z) * on_z
        cos, sin = np.float32(math.cos(self.yaw)), np.float32(math.sin(self.yaw))
        normal = np.stack([cos * side_x - sin * side_y, sin * side_x + cos * side_y, side_z])
        return normal, np.where(on_x, y, x), np.where(on_z, y, z)


@dataclass(frozen=True)
class Room(Box):
    """A box seen from within: its far faces are floor, ceiling and walls."""

    casts_shadow: bool = field(default=False, kw_only=True)

    def corners(self) -> None:  # type: ignore[override]
        return None

    def hit(self, origin: np.ndarray, rays: np.ndarray) -> np.ndarray:
        (mx, hx), (my, hy), (mz, hz) = self._spans(origin, rays)
        return np.minimum(np.minimum(mx + hx, my + hy), mz + hz)

    def surface(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        normal, u, v = super().surface(points)
        return -normal, u, v


@dataclass(frozen=True)
class Ellipsoid(Solid):
    """An axis-aligned ellipsoid; a ragged one (foliage) has holes towards its rim."""

    center: tuple[float, float, float]
    radii: tuple[float, float, float]
    ragged: bool = False

    def corners(self) -> np.ndarray:
        return Box(self.center, self.radii, material=self.material).corners()

    def hit(self, origin: np.ndarray, rays: np.ndarray) -> np.ndarray:
        start = (np.asarray(origin) - np.array(self.center)) / np.array(self.radii)
        x, y, z = (ray * float(1 / radius) for ray, radius in zip(rays, self.radii, strict=True))
        a = x * x + y * y + z * z
        b = x * float(start[0]) + y * float(start[1]) + z * float(start[2])
        inside = b * b - a * (float(start @ start) - 1)
        depth = (-b - np.sqrt(np.maximum(inside, 0))) / a
        visible = (inside > 0) & (depth > NEAR_M)
        if self.ragged:
            across = float(start[0] + start[1]) + depth * (x + y)
            up = float(start[2]) + depth * z
            leaf = np.full(depth.shape, textures.NAMES.index("leaves"), dtype=np.int32)
            holes = textures.sample(leaf, across * 0.23, up * 0.23, np.zeros_like(depth))
            rim = inside / np.maximum(a, 1e-6)
            visible &= holes < 0.35 + 0.9 * rim
        return np.where(visible, depth, _INF)

    def surface(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        offset = points - np.array(self.center, dtype=np.float32)[:, None]
        normal = offset / np.array(self.radii, dtype=np.float32)[:, None] ** 2
        normal /= np.sqrt((normal * normal).sum(axis=0))
        return normal, offset[0] + 0.7 * offset[1], offset[2] + 0.2 * offset[1]


@dataclass(frozen=True)
class Cone(Solid):
    """An upright cylinder or cone from `base` (x, y, z), of radius `bottom` below and `top` above."""

    base: tuple[float, float, float]
    height: float
    bottom: float
    top: float

    def corners(self) -> np.ndarray:
        x, y, z = self.base
        radius = max(self.bottom, self.top)
        middle = (x, y, z + self.height / 2)
        return Box(middle, (radius, radius, self.height / 2), material=self.material).corners()

    def hit(self, origin: np.ndarray, rays: np.ndarray) -> np.ndarray:
        ox, oy, oz = (float(o - b) for o, b in zip(origin, self.base, strict=True))
        x, y, z = rays
        slope = (self.top - self.bottom) / self.height
        radius = self.bottom + slope * oz
        a = x * x + y * y - z * z * slope**2
        b = x * ox + y * oy - z * (slope * radius)
        c = ox * ox + oy * oy - radius * radius
        inside = b * b - a * c
        side = (-b - np.sqrt(np.maximum(inside, 0))) / np.where(a > 1e-9, a, 1e-9)
        height = oz + side * z
        on_side = (inside > 0) & (a > 1e-9) & (side > NEAR_M) & (height > 0) & (height < self.height)
        depth = np.where(on_side, side, _INF)
        if oz > self.height and self.top > 0:
            lid = (self.height - oz) / np.minimum(z, -1e-6)
            on_lid = (z < 0) & ((ox + lid * x) ** 2 + (oy + lid * y) ** 2 < self.top**2)
            depth = np.where(on_lid & (lid < depth), lid, depth)
        return depth

    def surface(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        x, y, z = points - np.array(self.base, dtype=np.float32)[:, None]
        length = np.sqrt(x * x + y * y) + 1e-6
        slope = (self.bottom - self.top) / self.height
        on_lid = z > self.height - 1e-3
        normal = np.stack([x / length * ~on_lid, y / length * ~on_lid, np.where(on_lid, 1, slope)])
        normal /= np.sqrt((normal * normal).sum(axis=0))
        return normal, np.arctan2(y, x) * max(self.bottom, self.top), z
