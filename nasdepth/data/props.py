"""What all props share: colours, materials and the place where a thing stands."""

from __future__ import annotations

import colorsys
import math
from dataclasses import dataclass

import numpy as np

from nasdepth.data.solids import Box, Color, Cone, Material

Rng = np.random.Generator

WOODS: tuple[Color, ...] = ((0.30, 0.16, 0.07), (0.45, 0.28, 0.13), (0.16, 0.08, 0.04), (0.60, 0.45, 0.28))


def color(rng: Rng, saturation: float = 0.5, low: float = 0.1, high: float = 0.8) -> Color:
    """A random colour of at most that saturation, of a brightness between `low` and `high`."""
    return colorsys.hsv_to_rgb(rng.uniform(), rng.uniform(0, saturation), rng.uniform(low, high))


def shade(base: Color, factor: float) -> Color:
    """`base` made darker or lighter."""
    return (base[0] * factor, base[1] * factor, base[2] * factor)


def paint(
    rng: Rng, base: Color, texture: str = "plaster", period_m: float = 2.0, depth: float = 0.6
) -> Material:
    """A material of one colour; `depth` is how much darker the dark parts of the texture are."""
    offset = (rng.uniform(), rng.uniform())
    return Material(texture, shade(base, 1 - depth), shade(base, 1.15), period_m, offset=offset)


def wood(rng: Rng) -> Material:
    """Sawn wood of a random kind."""
    return paint(rng, WOODS[rng.integers(len(WOODS))], "wood", rng.uniform(0.8, 1.4), 0.55)


@dataclass(frozen=True)
class Place:
    """Where a thing stands and which way it is turned; its own +y is its back."""

    x: float
    y: float
    yaw: float = 0.0
    z: float = 0.0

    def point(self, right: float, back: float) -> tuple[float, float]:
        """World x, y of a point in the thing's own axes."""
        cos, sin = math.cos(self.yaw), math.sin(self.yaw)
        return self.x + cos * right - sin * back, self.y + sin * right + cos * back

    def box(
        self,
        right: float,
        back: float,
        bottom: float,
        size: tuple[float, float, float],
        material: Material,
        shadow: bool = True,
    ) -> Box:
        """A box of `size` (width, depth, height) standing at `bottom` above the place."""
        width, deep, height = size
        center = (*self.point(right, back), self.z + bottom + height / 2)
        return Box(
            center, (width / 2, deep / 2, height / 2), self.yaw, material=material, casts_shadow=shadow
        )

    def cone(
        self,
        right: float,
        back: float,
        bottom: float,
        height: float,
        radii: tuple[float, float],
        material: Material,
    ) -> Cone:
        """A cylinder or cone with `radii` (below, above)."""
        return Cone((*self.point(right, back), self.z + bottom), height, *radii, material=material)


def clear(place: Place, eye: tuple[float, ...], distance: float) -> bool:
    """Whether the place is more than `distance` metres from the camera."""
    return math.hypot(place.x - eye[0], place.y - eye[1]) > distance
