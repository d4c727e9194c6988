"""Furniture and goods, put together from solids. Sizes in metres."""

from __future__ import annotations

from nasdepth.data.props import Place, Rng, color, paint, shade, wood
from nasdepth.data.solids import Ellipsoid, Material, Solid


def table(rng: Rng, place: Place) -> list[Solid]:
    width, deep, height = rng.uniform(0.8, 1.8), rng.uniform(0.6, 1.0), rng.uniform(0.45, 0.78)
    material = wood(rng)
    legs = [
        place.box(sx * (width / 2 - 0.06), sy * (deep / 2 - 0.06), 0, (0.06, 0.06, height), material, False)
        for sx in (-1, 1)
        for sy in (-1, 1)
    ]
    things: list[Solid] = [place.box(0, 0, height, (width, deep, 0.04), material), *legs]
    for _ in range(rng.integers(0, 4)):
        spot = Place(
            *place.point(rng.uniform(-0.4, 0.4) * width, rng.uniform(-0.35, 0.35) * deep), rng.uniform(0, 3)
        )
        things += trinket(rng, Place(spot.x, spot.y, spot.yaw, place.z + height + 0.04))
    return things


def trinket(rng: Rng, place: Place) -> list[Solid]:
    """A book, a vase or a ball."""
    material = paint(rng, color(rng, 0.9), "weave", 0.5)
    match rng.integers(3):
        case 0:
            return [place.box(0, 0, 0, (0.16, 0.24, rng.uniform(0.03, 0.2)), material)]
        case 1:
            radius = rng.uniform(0.04, 0.09)
            return [
                place.cone(
                    0, 0, 0, rng.uniform(0.1, 0.35), (radius, radius * rng.uniform(0.6, 1.3)), material
                )
            ]
        case _:
            radius = rng.uniform(0.06, 0.13)
            return [Ellipsoid((place.x, place.y, place.z + radius), (radius,) * 3, material=material)]


def chair(rng: Rng, place: Place) -> list[Solid]:
    material = wood(rng) if rng.uniform() < 0.6 else paint(rng, color(rng, 0.8), "weave", 0.6)
    seat, width = rng.uniform(0.42, 0.5), rng.uniform(0.4, 0.5)
    legs = [
        place.box(sx * (width / 2 - 0.03), sy * (width / 2 - 0.03), 0, (0.04, 0.04, seat), material, False)
        for sx in (-1, 1)
        for sy in (-1, 1)
    ]
    back = place.box(0, width / 2 - 0.02, seat, (width, 0.04, rng.uniform(0.35, 0.55)), material)
    return [place.box(0, 0, seat, (width, width, 0.05), material), back, *legs]


def sofa(rng: Rng, place: Place) -> list[Solid]:
    width, deep = rng.uniform(1.4, 2.4), rng.uniform(0.8, 1.0)
    material = paint(rng, color(rng, 0.7), "weave", rng.uniform(0.5, 1.0), 0.45)
    cushion = paint(rng, color(rng, 0.9), "stripes" if rng.uniform() < 0.5 else "weave", 0.6)
    arms = [place.box(s * (width / 2 - 0.1), 0, 0, (0.2, deep, 0.6), material) for s in (-1, 1)]
    pillow = place.box(rng.uniform(-0.3, 0.3) * width, 0.1, 0.43, (0.4, 0.18, 0.35), cushion)
    seat = place.box(0, 0, 0.05, (width, deep, 0.38), material)
    return [seat, place.box(0, deep / 2 - 0.12, 0, (width, 0.24, 0.82), material), *arms, pillow]


def bed(rng: Rng, place: Place) -> list[Solid]:
    width = rng.uniform(0.9, 1.8)
    cover = paint(rng, color(rng, 0.8, 0.2, 0.9), str(rng.choice(["weave", "stripes", "checker"])), 1.6, 0.4)
    frame, linen = wood(rng), paint(rng, (0.8, 0.8, 0.78), "weave", 0.7, 0.2)
    return [
        place.box(0, 0, 0.1, (width, 2.0, 0.2), frame),
        place.box(0, -0.1, 0.3, (width - 0.04, 1.8, 0.25), cover),
        place.box(0, 0.72, 0.5, (width * 0.8, 0.4, 0.16), linen),
        place.box(0, 1.0, 0, (width, 0.06, rng.uniform(0.8, 1.2)), frame),
    ]


def cupboard(rng: Rng, place: Place) -> list[Solid]:
    width, deep, height = rng.uniform(0.5, 1.6), rng.uniform(0.35, 0.6), rng.uniform(0.7, 2.2)
    body = wood(rng) if rng.uniform() < 0.6 else paint(rng, color(rng, 0.3, 0.4, 0.9), depth=0.3)
    knob = paint(rng, (0.5, 0.5, 0.5))
    things: list[Solid] = [place.box(0, 0, 0, (width, deep, height), body)]
    seam = paint(rng, (0.05, 0.04, 0.03))
    things.append(place.box(0, -deep / 2, 0.04, (0.012, 0.01, height - 0.08), seam, False))
    things += [
        place.box(s * 0.06, -deep / 2 - 0.02, height * 0.5, (0.02, 0.04, 0.12), knob, False) for s in (-1, 1)
    ]
    if height < 1.3:
        things += trinket(rng, Place(*place.point(rng.uniform(-0.3, 0.3) * width, 0), 0.3, place.z + height))
    return things


def bookshelf(rng: Rng, place: Place, width: float, height: float, goods: str = "weave") -> list[Solid]:
    """Shelves with things on them."""
    deep, frame = 0.35, wood(rng)
    things: list[Solid] = [place.box(s * width / 2, 0, 0, (0.04, deep, height), frame) for s in (-1, 1)]
    things.append(place.box(0, deep / 2, 0, (width, 0.02, height), frame))
    levels = max(2, round(height / 0.42))
    for level in range(levels + 1):
        bottom = level * height / levels
        things.append(place.box(0, 0, bottom, (width, deep, 0.03), frame, False))
        x = -width / 2 + 0.05
        while level < levels and x < width / 2 - 0.3:
            long = rng.uniform(0.08, 0.3)
            if rng.uniform() < 0.75:
                size = (long, rng.uniform(0.15, 0.28), rng.uniform(0.12, 0.8 * height / levels))
                material = paint(rng, color(rng, 0.9), goods, 0.4)
                things.append(place.box(x + long / 2, 0, bottom + 0.03, size, material, False))
            x += long + 0.02
    return things


def standing_lamp(rng: Rng, place: Place) -> list[Solid]:
    height = rng.uniform(1.2, 1.7)
    pole, shell = paint(rng, (0.2, 0.2, 0.2)), color(rng, 0.3, 0.6, 0.9)
    lampshade = Material("weave", shade(shell, 0.8), shell, 0.4, glow=rng.uniform(0.2, 1.2))
    return [
        place.cone(0, 0, 0, 0.03, (0.16, 0.16), pole),
        place.cone(0, 0, 0, height, (0.015, 0.015), pole),
        place.cone(0, 0, height, 0.3, (0.22, 0.14), lampshade),
    ]


def pot_plant(rng: Rng, place: Place) -> list[Solid]:
    height = rng.uniform(0.5, 1.4)
    green = paint(rng, (0.05, rng.uniform(0.15, 0.35), 0.05), "leaves", 0.6, 0.8)
    pot = place.cone(0, 0, 0, 0.32, (0.12, 0.17), paint(rng, color(rng, 0.6)))
    crown = [
        Ellipsoid(
            (place.x + rng.uniform(-0.15, 0.15), place.y + rng.uniform(-0.15, 0.15), height * f),
            (0.24, 0.24, 0.22),
            True,
            material=green,
        )
        for f in (0.6, 0.85, 1.05)
    ]
    return [pot, place.cone(0, 0, 0.3, height - 0.3, (0.02, 0.02), wood(rng)), *crown]


def crate_stack(rng: Rng, place: Place, levels: int) -> list[Solid]:
    """Cardboard boxes or wooden crates, each turned a little."""
    things: list[Solid] = []
    bottom = 0.0
    for _ in range(levels):
        wide, deep, high = (float(s) for s in rng.uniform((0.5, 0.5, 0.35), (1.0, 0.9, 0.9)))
        card = (0.45, 0.3, 0.16) if rng.uniform() < 0.6 else color(rng, 0.7)
        turned = Place(place.x, place.y, place.yaw + rng.uniform(-0.15, 0.15), place.z)
        material = paint(rng, card, str(rng.choice(["planks", "plaster", "weave"])), 0.8, 0.4)
        things.append(turned.box(0, 0, bottom, (wide, deep, high), material))
        bottom += high
    return things


def barrel(rng: Rng, place: Place) -> list[Solid]:
    height, radius = rng.uniform(0.7, 1.1), rng.uniform(0.25, 0.36)
    return [place.cone(0, 0, 0, height, (radius, radius), paint(rng, color(rng, 0.95), "plaster", 0.8))]
