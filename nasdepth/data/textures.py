"""Tileable grey textures with mip maps, sampled by surface coordinates."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy import ndimage

SIZE = 512
_LEVELS = SIZE.bit_length()
_LEVEL_SIZES = np.array([SIZE >> level for level in range(_LEVELS)], dtype=np.int32)
_LEVEL_STARTS = np.concatenate([[0], np.cumsum(_LEVEL_SIZES**2)]).astype(np.int32)
NAMES = (
    "plaster",
    "brick",
    "planks",
    "wood",
    "tiles",
    "checker",
    "stripes",
    "facade",
    "asphalt",
    "grass",
    "leaves",
    "weave",
    "poster",
)


def sample(texture: np.ndarray | int, u: np.ndarray, v: np.ndarray, lod: np.ndarray | float) -> np.ndarray:
    """Look textures up for each pixel.

    Args:
        texture: int32, index into NAMES. u, v: float32, one tile is [0, 1). lod: float32, log2 of texels
            a pixel covers.

    Returns:
        float32 in [0, 1], the shape of `u`.
    """
    level = np.asarray(np.clip(lod + 0.5, 0, _LEVELS - 1)).astype(np.int32)
    size = _LEVEL_SIZES[level]
    scale = size.astype(np.float32)
    column, row = (np.floor(coordinate * scale).astype(np.int32) & (size - 1) for coordinate in (u, v))
    start = texture * _LEVEL_STARTS[-1] + _LEVEL_STARTS[level]
    return _atlas().take(start + row * size + column) * np.float32(1 / 255)


@lru_cache(maxsize=1)
def _atlas() -> np.ndarray:
    rng = np.random.default_rng(20240)
    pyramids = [_pyramid(_BUILDERS[name](rng)) for name in NAMES]
    return np.concatenate(pyramids)


def _pyramid(image: np.ndarray) -> np.ndarray:
    levels = [image]
    while levels[-1].shape[0] > 1:
        half = levels[-1].shape[0] // 2
        levels.append(levels[-1].reshape(half, 2, half, 2).mean(axis=(1, 3)))
    return np.concatenate([np.rint(np.clip(level, 0, 1) * 255).astype(np.uint8).ravel() for level in levels])


def _noise(rng: np.random.Generator, coarsest: int, octaves: int, persistence: float = 0.6) -> np.ndarray:
    """Tileable fractal value noise, mean 0.5, most of it within [0, 1]."""
    total, weight = np.zeros((SIZE, SIZE)), 0.0
    for octave in range(octaves):
        cells = coarsest << octave
        grid = rng.uniform(-1, 1, (cells, cells))
        total += persistence**octave * ndimage.zoom(
            grid, SIZE / cells, order=1, mode="grid-wrap", grid_mode=True
        )
        weight += persistence ** (2 * octave)
    return 0.5 + 0.5 * total / np.sqrt(weight)


def _grid() -> tuple[np.ndarray, np.ndarray]:
    axis = (np.arange(SIZE) + 0.5) / SIZE
    across, down = np.meshgrid(axis, axis)
    return across, down


def _cells(
    rng: np.random.Generator, rows: int, columns: int, gap: float, stagger: float
) -> tuple[np.ndarray, np.ndarray]:
    """Brickwork: (1 inside a cell and 0 in the gap, a random tone for each cell)."""
    x, y = _grid()
    row = np.floor(y * rows).astype(int)
    across = (x * columns + stagger * row) % columns
    tone = rng.uniform(0, 1, (rows, columns))[row, np.floor(across).astype(int)]
    edge = np.minimum(np.abs(across % 1 - 0.5) / columns, 1.0)
    inside = (edge < 0.5 / columns - gap) & (np.abs(y * rows % 1 - 0.5) / rows < 0.5 / rows - gap)
    return inside.astype(float), tone


def _plaster(rng: np.random.Generator) -> np.ndarray:
    return 0.75 * _noise(rng, 2, 7, 0.55) + 0.25 * _noise(rng, 128, 2)


def _brick(rng: np.random.Generator) -> np.ndarray:
    inside, tone = _cells(rng, 16, 6, 0.006, 0.5)
    return inside * (0.45 + 0.35 * tone + 0.2 * _noise(rng, 16, 5))


def _planks(rng: np.random.Generator) -> np.ndarray:
    inside, tone = _cells(rng, 8, 2, 0.002, 0.37)
    return inside * (0.2 + 0.4 * tone + 0.4 * _wood(rng))


def _wood(rng: np.random.Generator) -> np.ndarray:
    _, y = _grid()
    streaks = np.roll(_noise(rng, 2, 4), 17, axis=0)
    grain = ndimage.uniform_filter1d(_noise(rng, 64, 3), 96, axis=1, mode="wrap")
    return 0.35 + 0.3 * np.sin(2 * np.pi * (6 * y + 1.2 * streaks)) * 0.5 + 1.6 * (grain - 0.5) + 0.15


def _tiles(rng: np.random.Generator) -> np.ndarray:
    inside, tone = _cells(rng, 4, 4, 0.004, 0.0)
    return inside * (0.6 + 0.2 * tone + 0.2 * _noise(rng, 4, 6))


def _checker(rng: np.random.Generator) -> np.ndarray:
    x, y = _grid()
    return 0.8 * ((np.floor(x * 4) + np.floor(y * 4)) % 2) + 0.2 * _noise(rng, 4, 6)


def _stripes(rng: np.random.Generator) -> np.ndarray:
    x, _ = _grid()
    return 0.75 * (np.sin(2 * np.pi * 6 * x) > 0.2) + 0.25 * _noise(rng, 8, 6)


def _facade(rng: np.random.Generator) -> np.ndarray:
    x, y = _grid()
    across, up = x * 2 % 1, y * 2 % 1
    lit = rng.uniform(0.55, 1.0, (2, 2))[np.floor(y * 2).astype(int), np.floor(x * 2).astype(int)]
    window = (np.abs(across - 0.5) < 0.24) & (np.abs(up - 0.52) < 0.28)
    glass = (np.abs(np.abs(across - 0.5) - 0.11) < 0.1) & (np.abs(np.abs(up - 0.52) - 0.13) < 0.12)
    return np.where(glass, lit, np.where(window, 0.0, 0.15 + 0.2 * _noise(rng, 4, 7)))


def _asphalt(rng: np.random.Generator) -> np.ndarray:
    return 0.5 * _noise(rng, 4, 5) + 0.5 * _noise(rng, 64, 4, 0.9)


def _grass(rng: np.random.Generator) -> np.ndarray:
    blades = ndimage.uniform_filter1d(_noise(rng, 128, 3, 0.9), 5, axis=0, mode="wrap")
    return 0.45 * _noise(rng, 4, 6, 0.8) + 0.55 * (0.5 + 1.6 * (blades - 0.5))


def _leaves(rng: np.random.Generator) -> np.ndarray:
    return np.clip(0.5 + 1.5 * (_noise(rng, 16, 5, 0.85) - 0.5), 0, 1)


def _weave(rng: np.random.Generator) -> np.ndarray:
    x, y = _grid()
    thread = np.sin(2 * np.pi * 64 * x) * np.sin(2 * np.pi * 64 * y)
    return 0.5 + 0.2 * thread + 0.5 * (_noise(rng, 4, 6) - 0.5)


def _poster(rng: np.random.Generator) -> np.ndarray:
    image = np.round(4 * _noise(rng, 3, 3)) / 4
    x, y = _grid()
    return np.where((np.abs(x - 0.5) < 0.46) & (np.abs(y - 0.5) < 0.46), image, 0.9)


_BUILDERS = {name: globals()[f"_{name}"] for name in NAMES}
