"""A small ray caster: scenes of solids to RGB photographs and exact depth, vectorised over pixels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Self

import numpy as np

from nasdepth.data import textures
from nasdepth.data.scene import FAR_M, Scene
from nasdepth.data.shadows import shadow_map
from nasdepth.data.store import CANONICAL_HW

_HEIGHT, _WIDTH = CANONICAL_HW
_GRAINS = 2_000_003
# Pixels shaded at once, few enough for their intermediate results to stay in the processor's cache.
_CHUNK = 16_384
_PLASTER = textures.NAMES.index("plaster")


@dataclass(frozen=True)
class Look:
    """The random properties of a photograph: clouds, exposure, vignette, white balance, sensor noise.

    Photographs with one look but another `grain`, where the noise begins, are frames of one video.
    """

    clouds: tuple[float, ...]
    exposure: float
    vignette: float
    noise: float
    grain: int
    balance: tuple[float, ...]

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Self:
        """Draw a random look."""
        return cls(
            clouds=tuple(map(float, rng.uniform(0, 1, 3))),
            exposure=float(rng.uniform(0.2, 0.34)),
            vignette=float(rng.uniform(0.0, 0.18)),
            noise=float(rng.uniform(0.004, 0.02)),
            grain=draw_grain(rng),
            balance=tuple(float(rng.uniform(0.9, 1.1)) for _ in range(3)),
        )


def draw_grain(rng: np.random.Generator) -> int:
    """Where a photograph's noise begins."""
    return int(rng.integers(0, _GRAINS - 3 * _HEIGHT * _WIDTH))


def render(scene: Scene, look: Look) -> tuple[np.ndarray, np.ndarray]:
    """Render to rgb uint8 (480, 640, 3) and depth_mm uint16 (480, 640), 0 = sky or beyond 40 m."""
    rays = scene.camera.rays()
    origin = np.array(scene.camera.position)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        depth_m, owner = _trace(scene, origin, rays)
        color = _shade(scene, origin, rays, depth_m, owner, look)
    known = depth_m <= FAR_M
    depth_mm = np.rint(np.where(known, depth_m, 0) * 1000).astype(np.uint16)
    return _photograph(color, look), depth_mm


def _trace(scene: Scene, origin: np.ndarray, rays: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Depth in metres, inf in the sky, and the index of the solid seen; both (480, 640)."""
    depth_m = np.full(CANONICAL_HW, np.inf, dtype=np.float32)
    owner = np.full(CANONICAL_HW, len(scene.solids), dtype=np.uint16)
    corners = [solid.corners() for solid in scene.solids]
    bounded = [index for index, box in enumerate(corners) if box is not None]
    windows = dict(zip(bounded, scene.camera.windows(np.array([corners[i] for i in bounded])), strict=True))
    for index, solid in enumerate(scene.solids):
        window = windows.get(index, (slice(None), slice(None)))
        if window is None:
            continue
        hit = solid.hit(origin, rays[:, *window])
        closer = hit < depth_m[window]
        np.copyto(depth_m[window], hit, where=closer)
        np.copyto(owner[window], index, where=closer)
    return depth_m, owner


def _shade(
    scene: Scene,
    origin: np.ndarray,
    rays: np.ndarray,
    depth_m: np.ndarray,
    owner: np.ndarray,
    look: Look,
) -> np.ndarray:
    """Linear RGB float32 (3, 480, 640)."""
    # Sorted by owner, each solid's pixels are one contiguous slice.
    order = np.argsort(owner.ravel(), kind="stable")
    counts = np.bincount(owner.ravel(), minlength=len(scene.solids) + 1)
    ends = np.cumsum(counts)
    on_solid, on_sky = order[: ends[-2]], order[ends[-2] :]
    depth = depth_m.ravel()[on_solid]
    sight = rays.reshape(3, -1)[:, on_solid]
    points = origin.astype(np.float32)[:, None] + sight * depth
    normals, u, v = np.empty_like(points), np.empty_like(depth), np.empty_like(depth)
    shadow = np.ones_like(depth)
    shadows = shadow_map(scene)
    for index, solid in enumerate(scene.solids):
        material = solid.material
        for part in _chunks(int(ends[index] - counts[index]), int(ends[index])):
            normals[:, part], part_u, part_v = solid.surface(points[:, part])
            u[part] = part_u * (1 / material.period_m) + material.offset[0]
            v[part] = part_v * (1 / material.period_m) + material.offset[1]
            if not solid.casts_shadow:
                shadow[part] = shadows.on(points[:, part], normals[2, part])
    color = np.empty_like(points)
    solid_of = owner.ravel()[on_solid].astype(np.intp)
    for part in _chunks(0, len(depth)):
        color[:, part] = _reflect(
            *(scene, solid_of[part], points[:, part], sight[:, part], depth[part], normals[:, part]),
            *((u[part], v[part]), shadow[part]),
        )
    sky = _sky(scene, rays.reshape(3, -1)[:, on_sky], look)
    flat = np.empty((3, depth_m.size), dtype=np.float32)
    for channel in range(3):
        flat[channel, on_solid] = color[channel]
        flat[channel, on_sky] = sky[channel]
    return flat.reshape(3, *CANONICAL_HW)


def _chunks(start: int, end: int) -> list[slice]:
    return [slice(at, min(at + _CHUNK, end)) for at in range(start, end, _CHUNK)]


def _reflect(
    scene: Scene,
    solid_of: np.ndarray,
    points: np.ndarray,
    sight: np.ndarray,
    depth: np.ndarray,
    normals: np.ndarray,
    uv: tuple[np.ndarray, np.ndarray],
    shadow: np.ndarray,
) -> list[np.ndarray]:
    """Lambert's law with haze: the linear R, G and B (n,) of pixels sorted by solid."""
    materials = [solid.material for solid in scene.solids]

    def spread(values: list[float]) -> np.ndarray:
        return np.array(values, dtype=np.float32)[solid_of]

    facing = np.abs(_dot(normals, sight)) / np.sqrt(_dot(sight, sight))
    texels = spread([textures.SIZE / (m.period_m * scene.camera.focal_px) for m in materials])
    lod = np.log2(texels * depth / np.maximum(facing, 0.02) ** 0.7)
    names = np.array([textures.NAMES.index(m.texture) for m in materials], dtype=np.int32)[solid_of]
    tone = textures.sample(names, *uv, lod)
    # A second, far larger look-up keeps tiles from repeating visibly.
    wide_u, wide_v = points[0] * 0.11 + points[2] * 0.07, points[1] * 0.11
    stain = 0.75 + 0.5 * textures.sample(_PLASTER, wide_u, wide_v, 1.0)

    towards = np.array(scene.light.position, dtype=np.float32)[:, None]
    if scene.light.lamp:
        towards = towards - points
        squared = _dot(towards, towards)
        strength = _dot(normals, towards) / (np.sqrt(squared) * (0.4 + 0.12 * squared))
    else:
        strength = _dot(normals, towards)
    strength = np.maximum(strength, 0) * shadow * stain
    around = (0.7 + 0.3 * normals[2]) * (0.45 + 0.55 * shadow) * stain
    glow = spread([m.glow for m in materials]) * stain
    air = np.exp(depth * (-1 / scene.haze_m))
    channels = []
    for c in range(3):
        dark = spread([m.dark[c] for m in materials])
        albedo = dark + spread([m.light[c] - m.dark[c] for m in materials]) * tone
        lit = albedo * (strength * scene.light.direct[c] + around * scene.light.ambient[c] + glow)
        channels.append(lit * air + (1 - air) * scene.sky[1][c])
    return channels


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _sky(scene: Scene, sight: np.ndarray, look: Look) -> list[np.ndarray]:
    height = np.clip(sight[2] / np.sqrt(_dot(sight, sight)), 0.02, 1)
    shift_u, shift_v, cover = look.clouds
    u, v = sight[0] / height * 0.02 + shift_u, sight[1] / height * 0.02 + shift_v
    rise = np.sqrt(height)
    cloud = textures.sample(_PLASTER, u, v, 1 - 2 * np.log2(height))
    cloud = np.clip((cloud - 0.75 + 0.5 * cover) * 3, 0, 1) * rise
    blue = [low + (high - low) * rise for high, low in zip(*scene.sky, strict=True)]
    return [channel + (0.95 - channel) * cloud for channel in blue]


@lru_cache(maxsize=1)
def _grain() -> np.ndarray:
    # Fresh Gaussian numbers for every image would cost more than casting its rays.
    return np.random.default_rng(77).standard_normal(_GRAINS, dtype=np.float32)


def _photograph(color: np.ndarray, look: Look) -> np.ndarray:
    """Linear light (3, 480, 640) to an 8-bit photograph (480, 640, 3).

    Lens blur, vignette, exposure, white balance, gamma and sensor noise.
    """
    exposure = look.exposure / float(np.minimum(color[:, ::4, ::4], 1.5).mean())
    x = np.linspace(-1, 1, _WIDTH, dtype=np.float32)
    y = np.linspace(-0.75, 0.75, _HEIGHT, dtype=np.float32)
    vignette = 1 - look.vignette * (x**2 + y[:, None] ** 2)
    grain = _grain()[look.grain : look.grain + color.size].reshape(color.shape)
    photograph = np.empty((*CANONICAL_HW, 3), dtype=np.uint8)
    for channel in range(3):
        light = _soften(_soften(color[channel]).T).T * (vignette * (exposure * look.balance[channel]))
        value = np.sqrt(light / (1 + 0.25 * light)) + grain[channel] * look.noise
        photograph[..., channel] = np.clip(value * 255 + 0.5, 0, 255)
    return photograph


def _soften(plane: np.ndarray) -> np.ndarray:
    """Blur lightly along the rows: edges of solids are otherwise sharper than any lens draws them."""
    blurred = plane * np.float32(0.64)
    side = plane * np.float32(0.18)
    blurred[1:] += side[:-1]
    blurred[:-1] += side[1:]
    blurred[0] += side[0]
    blurred[-1] += side[-1]
    return blurred
