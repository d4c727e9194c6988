"""Scenes under the sky: streets and open country."""

from __future__ import annotations

import math
from collections.abc import Callable

from nasdepth.data import outdoor_props
from nasdepth.data.props import Place, Rng, clear, color, paint
from nasdepth.data.scene import Camera, Light, Scene
from nasdepth.data.solids import Color, Ellipsoid, Ground, Material, Solid


def street(rng: Rng) -> Scene:
    """A street between buildings, with parked cars, trees, lights and passers-by."""
    road, pavement = rng.uniform(2.8, 5.5), rng.uniform(1.5, 3.5)
    eye = (rng.uniform(-0.8, 1.0) * (road + pavement * 0.5), 0.0, rng.uniform(1.2, 2.6))
    camera = Camera(
        eye, rng.normal(0, 0.22), rng.normal(-0.03, 0.08), rng.normal(0, 0.02), rng.uniform(450, 640)
    )
    light, sky = _sunlight(rng)
    solids: list[Solid] = [Ground(material=paint(rng, (0.24, 0.24, 0.25), "asphalt", 1.8, 0.5))]
    kerb = paint(rng, color(rng, 0.15, 0.35, 0.6), "tiles", rng.uniform(1.0, 2.4), 0.4)
    line = paint(rng, (0.75, 0.75, 0.72), "asphalt", 1.0, 0.3)
    solids += [Place(0, y).box(0, 0, 0, (0.14, 1.6, 0.006), line, False) for y in range(3, 40, 4)]
    for side in (-1, 1):
        middle = Place(side * (road + pavement / 2 + 10), 30)
        solids.append(middle.box(0, 0, 0, (pavement + 20, 90, 0.14), kerb, False))
        solids += _house_row(rng, side, road + pavement)
        y = rng.uniform(4, 9)
        while y < 42:
            place = Place(side * (road - 1.1), y, rng.normal(0, 0.03) + math.pi * (side < 0))
            if rng.uniform() < 0.55 and clear(place, eye, 4.5):
                solids += outdoor_props.car(rng, place)
            y += rng.uniform(5.2, 9)
        y = rng.uniform(3, 9)
        has_trees = rng.uniform() < 0.6
        while y < 42:
            spot = Place(side * (road + 0.5), y)
            if clear(spot, eye, 2.5):
                tall = rng.uniform(4, 8)
                if has_trees and rng.uniform() < 0.6:
                    solids += outdoor_props.tree(rng, spot, tall)
                else:
                    solids += outdoor_props.street_pole(rng, spot, -side * 1.5)
            y += rng.uniform(6, 13)
        for _ in range(rng.integers(0, 4)):
            spot = Place(
                side * (road + rng.uniform(0.6, pavement)), rng.uniform(3, 22), rng.uniform(0, 6), 0.14
            )
            if clear(spot, eye, 2.5):
                solids += outdoor_props.person(rng, spot)
    if rng.uniform() < 0.5:
        place = Place(rng.uniform(-0.3, 0.3) * road, rng.uniform(7, 25), math.pi * rng.integers(2))
        solids += outdoor_props.car(rng, place)
    if rng.uniform() < 0.35:
        solids.append(_house(rng, Place(0, rng.uniform(26, 40)), 30, 6, rng.uniform(6, 14)))
    return Scene(camera, solids, light, sky, rng.uniform(80, 400))


def field(rng: Rng) -> Scene:
    """Open country: grass or sand, trees, rocks, bushes, perhaps a fence, a path and hills."""
    light, sky = _sunlight(rng)
    sandy = rng.uniform() < 0.25
    base = (
        (0.5, 0.4, 0.26)
        if sandy
        else (rng.uniform(0.12, 0.3), rng.uniform(0.2, 0.3), rng.uniform(0.04, 0.09))
    )
    ground = Ground(rng.normal(0, 0.05), rng.normal(0.0, 0.04), material=paint(rng, base, "grass", 1.6, 0.75))

    def at(x: float, y: float) -> Place:
        return Place(x, y, rng.uniform(0, 6), ground.slope_x * x + ground.slope_y * y)

    eye = (0.0, 0.0, rng.uniform(0.8, 2.4))
    camera = Camera(eye, 0.0, rng.normal(-0.06, 0.1), rng.normal(0, 0.025), rng.uniform(450, 640))
    solids: list[Solid] = [ground]
    for _ in range(rng.integers(0, 4)):
        hill = at(rng.uniform(-30, 30), rng.uniform(24, 45))
        radii = (rng.uniform(8, 22), rng.uniform(6, 14), rng.uniform(1.5, 6))
        solids.append(
            Ellipsoid((hill.x, hill.y, hill.z), radii, material=ground.material, casts_shadow=False)
        )
    wooded = rng.uniform(0.2, 1.0)
    makers: list[tuple[Callable[..., list[Solid]], tuple[float, float], float]] = [
        (outdoor_props.tree, (3.5, 9.0), 9 * wooded),
        (outdoor_props.conifer, (3.0, 11.0), 9 * wooded * rng.uniform()),
        (outdoor_props.bush, (0.4, 1.3), 8),
        (outdoor_props.rock, (0.2, 1.6), 9),
    ]
    for make, (smallest, largest), how_many in makers:
        for _ in range(rng.poisson(how_many)):
            # Uniform in log distance: near things are what a depth map is made of.
            far = math.exp(rng.uniform(math.log(2.5 + smallest), math.log(45)))
            bearing = rng.uniform(-0.7, 0.7)
            spot = at(far * math.sin(bearing), far * math.cos(bearing))
            solids += make(rng, spot, min(rng.uniform(smallest, largest), 0.3 + far * 0.9))
    if rng.uniform() < 0.5:
        near, turn = rng.uniform(3, 14), rng.normal(0, 0.35)
        start, end = ((x, near + x * turn) for x in (-14.0, 14.0))
        solids += outdoor_props.fence(rng, start, end, posts=int(rng.integers(9, 16)))
    if rng.uniform() < 0.3:
        solids += outdoor_props.person(rng, at(rng.uniform(-3, 3), rng.uniform(3.5, 14)))
    return Scene(camera, solids, light, sky, rng.uniform(60, 300))


def _house_row(rng: Rng, side: int, inner: float) -> list[Solid]:
    solids: list[Solid] = []
    y = rng.uniform(-12, -4)
    while y < 60:
        long, deep = rng.uniform(6, 16), rng.uniform(6, 10)
        setback = rng.choice([0.0, 0.0, rng.uniform(0, 4)])
        place = Place(side * (inner + float(setback) + deep / 2), y + long / 2)
        solids.append(_house(rng, place, deep, long, rng.uniform(3.5, 16)))
        y += long + float(rng.choice([0.0, 0.0, rng.uniform(1, 7)]))
    return solids


def _house(rng: Rng, place: Place, wide: float, long: float, height: float) -> Solid:
    wall = color(rng, 0.5, 0.25, 0.85)
    period = rng.uniform(4.5, 7)
    pane = (0.04, 0.06, 0.09) if rng.uniform() < 0.7 else (0.25, 0.33, 0.42)
    offset = (rng.uniform(), rng.uniform())
    material = Material("facade", wall, pane, period, offset=offset)
    if rng.uniform() < 0.2:
        material = paint(rng, (0.4, 0.17, 0.11), "brick", rng.uniform(1.2, 2.0), 0.5)
    return place.box(0, 0, -0.5, (wide, long, height + 0.5), material)


def _sunlight(rng: Rng) -> tuple[Light, tuple[Color, Color]]:
    """The sun, and the sky's colours overhead and at the horizon; now and then a dull day."""
    dull = rng.uniform() < 0.3
    angle, height = rng.uniform(0, 2 * math.pi), rng.uniform(0.35, 1.2)
    towards = (math.cos(angle) * math.cos(height), math.sin(angle) * math.cos(height), math.sin(height))
    if dull:
        return Light(towards, False, (0.25, 0.25, 0.25), (0.75, 0.77, 0.8)), (
            (0.55, 0.58, 0.62),
            (0.75, 0.77, 0.8),
        )
    low = 1 - height / 1.2
    sun = (1.15, 1.05 - 0.2 * low, 0.95 - 0.4 * low)
    blue = rng.uniform(0.6, 0.95)
    return Light(towards, False, sun, (0.34, 0.4, 0.5)), ((0.14, 0.3, blue), (0.65, 0.75, 0.88))
