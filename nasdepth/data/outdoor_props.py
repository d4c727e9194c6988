"""Plants, rocks, cars and people, put together from solids. Sizes in metres."""

from __future__ import annotations

import math

import numpy as np

from nasdepth.data.props import Place, Rng, color, paint, shade, wood
from nasdepth.data.solids import Ellipsoid, Solid


def tree(rng: Rng, place: Place, height: float) -> list[Solid]:
    """A broadleaf tree."""
    trunk, radius = height * rng.uniform(0.25, 0.4), height * rng.uniform(0.2, 0.3)
    bark = paint(rng, (0.16, 0.11, 0.07), "wood", 0.9)
    hue = (rng.uniform(0.06, 0.22), rng.uniform(0.14, 0.26), rng.uniform(0.02, 0.06))
    things: list[Solid] = [
        place.cone(0, 0, -1, trunk + 1 + radius * 0.7, (height * 0.035, height * 0.02), bark)
    ]
    for _ in range(rng.integers(4, 7)):
        x, y, z = rng.uniform(-0.6, 0.6, 3) * radius
        part = radius * rng.uniform(0.55, 0.85)
        center = (place.x + x, place.y + y, place.z + trunk + radius * 0.8 + z * 1.2)
        foliage = paint(rng, shade(hue, rng.uniform(0.75, 1.2)), "leaves", height * 0.35, 0.85)
        things.append(Ellipsoid(center, (part, part, part * rng.uniform(0.7, 1.0)), True, material=foliage))
    return things


def conifer(rng: Rng, place: Place, height: float) -> list[Solid]:
    green = paint(rng, (0.05, rng.uniform(0.1, 0.2), 0.06), "leaves", height * 0.25, 0.8)
    radius = height * rng.uniform(0.16, 0.26)
    tiers = [
        place.cone(0, 0, height * (0.12 + 0.25 * i), height * 0.38, (radius * (1 - 0.27 * i), 0.02), green)
        for i in range(3)
    ]
    return [place.cone(0, 0, -1, height * 0.2 + 1, (height * 0.03, height * 0.025), wood(rng)), *tiers]


def bush(rng: Rng, place: Place, size: float) -> list[Solid]:
    green = paint(rng, (rng.uniform(0.05, 0.2), rng.uniform(0.12, 0.25), 0.04), "leaves", 1.4, 0.85)
    spots = rng.uniform(-0.5, 0.5, (3, 2)) * size
    radii = (size * 0.6, size * 0.6, size * 0.5)
    return [
        Ellipsoid((place.x + float(x), place.y + float(y), place.z + size * 0.3), radii, True, material=green)
        for x, y in spots
    ]


def rock(rng: Rng, place: Place, size: float) -> list[Solid]:
    grey = rng.uniform(0.2, 0.45)
    material = paint(rng, (grey, grey * 0.95, grey * 0.88), "asphalt", size * 1.5, 0.6)
    things: list[Solid] = []
    for _ in range(rng.integers(1, 4)):
        x, y = rng.uniform(-0.5, 0.5, 2) * size
        a, b, c = (float(r) for r in rng.uniform(0.35, 0.7, 3) * size)
        things.append(
            Ellipsoid((place.x + float(x), place.y + float(y), place.z), (a, b, c), material=material)
        )
    return things


def car(rng: Rng, place: Place) -> list[Solid]:
    """A car along the place's y axis."""
    width, long, van = rng.uniform(1.65, 1.85), rng.uniform(3.7, 4.7), rng.uniform() < 0.3
    body = paint(rng, color(rng, 0.95, 0.05, 0.8), "plaster", 3.0, 0.15)
    glass, tyre = paint(rng, (0.05, 0.06, 0.08), depth=0.3), paint(rng, (0.02, 0.02, 0.02))
    roof = 1.9 if van else rng.uniform(1.4, 1.6)
    cabin, back = (long * 0.7, long * 0.12) if van else (long * 0.48, long * 0.05)
    wheels = [
        Ellipsoid(
            (*place.point(sx * (width / 2 - 0.08), sy * long * 0.31), 0.3), (0.3, 0.3, 0.3), material=tyre
        )
        for sx in (-1, 1)
        for sy in (-1, 1)
    ]
    lights = [
        place.box(sx * width * 0.36, sy * long / 2, 0.55, (0.3, 0.06, 0.14), paint(rng, hue), False)
        for sx in (-1, 1)
        for sy, hue in ((-1, (0.5, 0.03, 0.03)), (1, (0.8, 0.8, 0.7)))
    ]
    return [
        place.box(0, 0, 0.22, (width, long, 0.68), body),
        place.box(0, -back, 0.9, (width * 0.9, cabin, roof - 0.97), glass),
        place.box(0, -back, roof - 0.09, (width * 0.88, cabin * 0.9, 0.09), body, False),
        *wheels,
        *lights,
    ]


def person(rng: Rng, place: Place) -> list[Solid]:
    tall = rng.uniform(1.5, 1.9)
    top, legs = (
        paint(rng, color(rng, 0.9), "weave", 0.7),
        paint(rng, color(rng, 0.5, 0.05, 0.4), "weave", 0.7),
    )
    skin = paint(rng, shade((0.6, 0.4, 0.3), rng.uniform(0.4, 1.2)), depth=0.2)
    limbs = [place.cone(s * 0.09, 0, 0, tall * 0.5, (0.07, 0.09), legs) for s in (-1, 1)]
    arms = [place.cone(s * 0.24, 0, tall * 0.45, tall * 0.36, (0.045, 0.06), top) for s in (-1, 1)]
    head = Ellipsoid((place.x, place.y, place.z + tall * 0.93), (0.09, 0.1, 0.12), material=skin)
    return [*limbs, *arms, place.cone(0, 0, tall * 0.47, tall * 0.37, (0.16, 0.19), top), head]


def street_pole(rng: Rng, place: Place, arm: float) -> list[Solid]:
    """A street light whose arm reaches `arm` metres along the place's x axis."""
    height, grey = rng.uniform(4.5, 8), paint(rng, (0.25, 0.26, 0.27))
    return [
        place.cone(0, 0, 0, height, (0.1, 0.06), grey),
        place.box(arm / 2, 0, height - 0.1, (abs(arm), 0.08, 0.08), grey),
        place.box(arm, 0, height - 0.16, (0.5, 0.2, 0.1), grey),
    ]


def fence(rng: Rng, start: tuple[float, float], end: tuple[float, float], posts: int) -> list[Solid]:
    """Wooden posts joined by two rails."""
    material, height = wood(rng), rng.uniform(0.8, 1.4)
    (x0, y0), (x1, y1) = start, end
    yaw, long = math.atan2(y1 - y0, x1 - x0), math.hypot(x1 - x0, y1 - y0)
    middle = Place((x0 + x1) / 2, (y0 + y1) / 2, yaw)
    rails: list[Solid] = [middle.box(0, 0, height * f, (long, 0.05, 0.1), material) for f in (0.45, 0.85)]
    spots = np.linspace(-long / 2, long / 2, posts)
    return rails + [middle.box(float(s), 0, -0.5, (0.11, 0.11, height + 0.5), material) for s in spots]
