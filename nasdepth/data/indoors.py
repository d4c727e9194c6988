"""Scenes within walls: furnished rooms, corridors and warehouses."""

from __future__ import annotations

import math

from nasdepth.data import furniture, outdoor_props
from nasdepth.data.props import WOODS, Place, Rng, clear, color, paint, wood
from nasdepth.data.scene import Camera, Light, Scene
from nasdepth.data.solids import Material, Room, Solid


def room(rng: Rng) -> Scene:
    """A furnished living room, bedroom or office, seen from near one of its walls."""
    half_x, half_y, height = rng.uniform(1.5, 3.4), rng.uniform(1.7, 4.4), rng.uniform(2.3, 3.2)
    room = _shell(rng, half_x, half_y, height)
    eye = (rng.uniform(-0.6, 0.6) * half_x, -half_y * rng.uniform(0.55, 0.93), rng.uniform(0.9, 1.8))
    # Look towards the middle of the room, so that a wall is not all there is to see.
    yaw = math.atan2(-eye[0], half_y * 0.6 - eye[1]) + rng.uniform(-0.45, 0.45)
    camera = Camera(eye, yaw, rng.uniform(-0.35, 0.08), rng.normal(0, 0.025), rng.uniform(480, 640))
    solids = [room, *_floor_and_walls(rng, half_x, half_y, height)]
    for _ in range(rng.integers(3, 7)):
        solids += _against_wall(rng, half_x, half_y, height, eye)
    for _ in range(rng.integers(1, 4)):
        place = _free_place(rng, half_x * 0.6, half_y * 0.7, eye)
        solids += furniture.table(rng, place)
        for _ in range(rng.integers(0, 4)):
            angle = rng.uniform(0, 2 * math.pi)
            spot = Place(place.x + 0.9 * math.sin(angle), place.y - 0.9 * math.cos(angle), angle + math.pi)
            if clear(spot, eye, 0.8):
                solids += furniture.chair(rng, spot)
    lamp = (rng.uniform(-0.4, 0.4) * half_x, rng.uniform(-0.4, 0.6) * half_y, height - 0.35)
    warm = rng.uniform(0.6, 1.0)
    light = Light(lamp, True, (1.0, 0.75 + 0.25 * warm, 0.5 + 0.5 * warm), (0.34, 0.34, 0.36))
    return Scene(camera, solids, light, haze_m=400)


def hall(rng: Rng) -> Scene:
    """A corridor or a warehouse aisle, with shelves, crates, pillars and doors along it."""
    warehouse = rng.uniform() < 0.6
    half_x = rng.uniform(3.0, 6.5) if warehouse else rng.uniform(0.9, 1.9)
    half_y, height = rng.uniform(6, 19), rng.uniform(3.6, 7.0) if warehouse else rng.uniform(2.3, 3.2)
    eye = (rng.uniform(-0.5, 0.5) * (half_x - 0.6), -half_y * rng.uniform(0.4, 0.92), rng.uniform(1.0, 2.1))
    camera = Camera(
        eye, rng.normal(0, 0.16), rng.normal(-0.06, 0.1), rng.normal(0, 0.02), rng.uniform(450, 620)
    )
    solids: list[Solid] = [
        _shell(rng, half_x, half_y, height),
        *_floor_and_walls(rng, half_x, half_y, height),
    ]
    for wall in _walls(half_x, half_y)[1:]:
        for _ in range(int(half_y / 3)):
            solids += _hangings(rng, wall, height)
    strip = Material("plaster", (0.9, 0.9, 0.85), (1.0, 1.0, 1.0), 3.0, glow=1.6)
    y = -half_y + 1.5
    while y < half_y:
        solids.append(Place(0, y).box(0, 0, height - 0.08, (min(0.5, half_x * 0.4), 1.4, 0.06), strip, False))
        y += rng.uniform(2.8, 4.5)
    for side in (-1, 1):
        y = -half_y + 1
        while y < half_y - 1 and warehouse:
            place = Place(side * (half_x - rng.uniform(0.5, 1.2)), y, -side * math.pi / 2)
            if clear(place, eye, 2.0):
                solids += _stock(rng, place, height)
            y += rng.uniform(1.8, 3.6)
    for _ in range(rng.integers(2, 9) if warehouse else rng.integers(0, 4)):
        spread = half_x * (0.6 if warehouse else 0.85)
        place = Place(rng.uniform(-spread, spread), rng.uniform(eye[1] + 2, half_y - 0.5), rng.uniform(0, 3))
        match rng.integers(4):
            case 0:
                solids += furniture.barrel(rng, place)
            case 1:
                solids += outdoor_props.person(rng, place)
            case _:
                solids += furniture.crate_stack(rng, place, int(rng.integers(1, 4)) if warehouse else 1)
    lamp = (0.0, eye[1] + rng.uniform(1.5, 6), height - 0.4)
    light = Light(lamp, True, (1.1, 1.08, 1.0), (0.42, 0.43, 0.45))
    return Scene(camera, solids, light, ((0.3, 0.3, 0.3), (0.3, 0.3, 0.3)), 200)


def _shell(rng: Rng, half_x: float, half_y: float, height: float) -> Room:
    wall = color(rng, 0.35, 0.45, 0.95)
    texture = str(rng.choice(["plaster", "plaster", "stripes", "brick", "weave"]))
    period = {"brick": 1.5, "stripes": 1.6}.get(texture, 2.5)
    material = paint(rng, wall, texture, period, rng.uniform(0.15, 0.5))
    # It reaches below the floor slab and above the ceiling: two surfaces in one plane would flicker.
    return Room((0.0, 0.0, height / 2), (half_x, half_y, height / 2 + 0.05), material=material)


def _floor_and_walls(rng: Rng, half_x: float, half_y: float, height: float) -> list[Solid]:
    floors = {
        "planks": (WOODS[rng.integers(4)], 2.4),
        "tiles": (color(rng, 0.3, 0.3, 0.8), rng.uniform(1.2, 2.4)),
        "weave": (color(rng, 0.6, 0.15, 0.6), 1.0),
        "checker": (color(rng, 0.4, 0.3, 0.8), rng.uniform(1.2, 2.4)),
    }
    texture = str(rng.choice(list(floors)))
    base, period = floors[texture]
    middle = Place(0.0, 0.0)
    white = paint(rng, (0.8, 0.8, 0.78), depth=0.15)
    solids: list[Solid] = [
        middle.box(0, 0, height - 0.01, (2 * half_x, 2 * half_y, 0.02), white, False),
        *(middle.box(s * half_x, 0, 0, (0.03, 2 * half_y, 0.1), white, False) for s in (-1, 1)),
        middle.box(0, half_y, 0, (2 * half_x, 0.03, 0.1), white, False),
    ]
    floor = paint(rng, base, texture, period, 0.6)
    solids.append(middle.box(0, 0, -0.02, (2 * half_x, 2 * half_y, 0.02), floor, False))
    if rng.uniform() < 0.5:
        rug = paint(rng, color(rng, 0.9), str(rng.choice(["stripes", "checker", "poster"])), 1.5)
        size = (rng.uniform(0.8, 1.2) * half_x, rng.uniform(0.6, 1.0) * half_y, 0.012)
        solids.append(
            Place(0, 0, rng.normal(0, 0.1)).box(0, rng.uniform(-0.2, 0.3) * half_y, 0, size, rug, False)
        )
    for wall in _walls(half_x, half_y):
        solids += _hangings(rng, wall, height)
    return solids


def _walls(half_x: float, half_y: float) -> list[tuple[Place, float]]:
    """The middle of each wall but the camera's, its back to the wall, and the wall's half length."""
    return [
        (Place(0, half_y, 0), half_x),
        (Place(half_x, 0, -math.pi / 2), half_y),
        (Place(-half_x, 0, math.pi / 2), half_y),
    ]


def _hangings(rng: Rng, wall: tuple[Place, float], height: float) -> list[Solid]:
    place, half = wall
    along = rng.uniform(-0.6, 0.6) * half
    frame = paint(rng, (0.75, 0.75, 0.72), depth=0.2)
    match rng.integers(4):
        case 0:
            day = Material("plaster", (0.6, 0.75, 1.0), (1.0, 1.0, 1.0), 4.0, glow=rng.uniform(0.8, 2.0))
            width, tall = rng.uniform(0.8, 1.6), rng.uniform(0.9, 1.3)
            bars = [
                place.box(along + x, 0, 0.85, (0.06, 0.1, tall), frame, False)
                for x in (-width / 2, 0, width / 2)
            ]
            sills = [
                place.box(along, 0, z, (width + 0.1, 0.14, 0.06), frame, False) for z in (0.82, 0.85 + tall)
            ]
            return [place.box(along, 0, 0.85, (width, 0.04, tall), day, False), *bars, *sills]
        case 1:
            door = wood(rng)
            knob = place.box(along + 0.32, 0, 1.0, (0.12, 0.16, 0.03), frame, False)
            tall = min(2.05, height - 0.1)
            rim = place.box(along, 0, 0, (1.0, 0.05, tall + 0.06), frame, False)
            return [rim, place.box(along, 0, 0, (0.86, 0.08, tall), door, False), knob]
        case 2:
            size = (rng.uniform(0.4, 1.2), 0.05, rng.uniform(0.4, 0.9))
            picture = Material(
                "poster", color(rng, 0.9, 0.0, 0.3), color(rng, 0.9, 0.5, 1.0), rng.uniform(0.8, 1.4)
            )
            return [place.box(along, 0, rng.uniform(1.1, 1.4), size, picture, False)]
        case _:
            return []


def _against_wall(
    rng: Rng, half_x: float, half_y: float, height: float, eye: tuple[float, ...]
) -> list[Solid]:
    walls = _walls(half_x, half_y)
    wall, half = walls[rng.integers(len(walls))]
    kind = rng.integers(6)
    along = rng.uniform(-0.75, 0.75) * half
    place = Place(*wall.point(along, -(1.05 if kind == 1 else 0.5 if kind == 0 else 0.32)), wall.yaw)
    if not clear(place, eye, 1.3):
        return []
    match kind:
        case 0:
            return furniture.sofa(rng, place)
        case 1:
            return furniture.bed(rng, place)
        case 2 | 3:
            return furniture.cupboard(rng, place)
        case 4:
            return furniture.bookshelf(
                rng, place, rng.uniform(0.7, 1.6), min(rng.uniform(0.9, 2.2), height - 0.2)
            )
        case _:
            make = furniture.standing_lamp if rng.uniform() < 0.5 else furniture.pot_plant
            return make(rng, place)


def _free_place(rng: Rng, half_x: float, half_y: float, eye: tuple[float, ...]) -> Place:
    while True:
        place = Place(
            rng.uniform(-half_x, half_x), rng.uniform(-half_y, half_y), rng.choice([0, math.pi / 2])
        )
        if clear(place, eye, 1.4):
            return Place(place.x, place.y, float(place.yaw) + rng.normal(0, 0.15))


def _stock(rng: Rng, place: Place, height: float) -> list[Solid]:
    match rng.integers(3):
        case 0:
            return furniture.bookshelf(
                rng, place, rng.uniform(1.2, 2.2), min(rng.uniform(1.8, 3.2), height), "planks"
            )
        case 1:
            return furniture.crate_stack(rng, place, int(rng.integers(1, 5)))
        case _:
            width = 0.35
            return [
                place.box(0, 0, 0, (width, width, height), paint(rng, color(rng, 0.5), "plaster", 2.0, 0.4))
            ]
