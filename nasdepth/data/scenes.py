"""The built-in data set: procedural scenes rendered with exact depth, reproducible from a seed."""

from __future__ import annotations

import hashlib
import re
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from nasdepth.data import indoors, outdoors
from nasdepth.data.folder import SplitName
from nasdepth.data.render import Look, render
from nasdepth.data.store import DepthSplit, cached_split, cpu_workers
from nasdepth.errors import DataError

LAYOUTS = {"room": indoors.room, "street": outdoors.street, "field": outdoors.field, "hall": indoors.hall}
KINDS = tuple(LAYOUTS)
"""Kinds of scenes; image i of a split is of kind i modulo their number."""

_MODULES = [
    "scenes",
    "indoors",
    "outdoors",
    "props",
    "furniture",
    "outdoor_props",
    "scene",
    "solids",
    "textures",
    "shadows",
    "render",
]


MOST_IMAGES = 1_000_000
"""Rendered images, or clips, of a split: more would fit on few disks."""
_SEED_DIGITS = 20


@dataclass(frozen=True)
class ScenesSpec:
    """How many images of each split to render, and the seed they are drawn from."""

    train: int = 480
    test: int = 80
    seed: int = 0


def parse_scenes(source: str) -> ScenesSpec | None:
    """Read `scenes`, `scenes:480+80` (train+test) or `scenes:480+80@7` (seed); None if it is a folder.

    Raises:
        DataError: it starts like built-in scenes but is misspelt.
    """
    if not re.match(r"scenes($|[:@])", source):
        return None
    match = re.fullmatch(r"scenes(?::([1-9]\d*)\+([1-9]\d*))?(?:@(\d+))?", source)
    if match is None:
        raise DataError(
            f"{source}: write scenes, scenes:TRAIN+TEST or scenes:TRAIN+TEST@SEED (scenes:480+80@7)"
        )
    default = ScenesSpec()
    train, test, seed = match.groups()
    check_numbers(source, train, test, seed)
    return ScenesSpec(int(train or default.train), int(test or default.test), int(seed or default.seed))


def check_numbers(source: str, train: str | None, test: str | None, seed: str | None) -> None:
    """Refuse counts and a seed that nobody can mean.

    Raises:
        DataError: the message names the source and the limit.
    """
    for count in (train, test):
        if count and (len(count) > len(str(MOST_IMAGES)) or int(count) > MOST_IMAGES):
            raise DataError(f"{source}: asks for more than {MOST_IMAGES:,} of a split; ask for fewer")
    if seed and len(seed) > _SEED_DIGITS:
        raise DataError(f"{source}: the seed has more than {_SEED_DIGITS} digits; take a smaller one")


def load_scenes(
    split: SplitName, count: int | None = None, seed: int = 0, progress: bool = True
) -> DepthSplit:
    """Render (once) and load `count` scenes; by default 480 to train on and 80 to test on.

    Image i does not depend on `count`, and no scene of one split is in the other. Many images are rendered
    in processes, so a script that calls this needs `if __name__ == "__main__":`.

    Raises:
        DataError: the cache folder is full or read-only.
    """
    default = ScenesSpec()
    count = count or (default.train if split == "train" else default.test)
    return cached_split(
        f"scenes-{split}-{count}@{seed}",
        renderer_version(),
        split,
        [f"{KINDS[index % len(KINDS)]}-{index:04d}" for index in range(count)],
        partial(render_scene, split, seed),
        partial(render_pool, count),
        progress,
    )


def render_scene(split: SplitName, seed: int, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Render one scene: rgb uint8 (480, 640, 3) and depth_mm uint16 (480, 640), 0 = sky or beyond 40 m."""
    rng = np.random.default_rng([seed, split == "test", index])
    scene = LAYOUTS[KINDS[index % len(KINDS)]](rng)
    return render(scene, Look.draw(rng))


def render_pool(count: int) -> Executor:
    """Workers to render so many images in."""
    # A few images are rendered before a process has even started. Processes are spawned because a fork of
    # a program that runs torch's threads can hang.
    if count < 32:
        return ThreadPoolExecutor(1)
    return ProcessPoolExecutor(cpu_workers(), mp_context=get_context("spawn"))


def renderer_version() -> str:
    """Changes whenever the pictures may: part of the signature of what is rendered."""
    # The source itself is the version: an edited scene can never be served from an old cache.
    here = Path(__file__).parent
    return hashlib.sha256(b"".join((here / f"{name}.py").read_bytes() for name in _MODULES)).hexdigest()
