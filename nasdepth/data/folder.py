"""Data sets in the challenge's layout: `rgb/` photographs beside `depth/` 16-bit PNGs in millimetres."""

from __future__ import annotations

import hashlib
import re
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from nasdepth.data.store import CANONICAL_HW, DepthSplit, cached_split, cpu_workers, listing
from nasdepth.errors import DataError

_RGB_SUFFIXES = (".jpg", ".jpeg", ".png")
_SPLIT_NAMES = {"train": ("train",), "test": ("test", "val", "valid")}
_LAYOUT = "A data set is a folder with rgb/NAME.jpg (or .png) and depth/NAME.png (uint16 millimetres)."

SplitName = Literal["train", "test"]
_Pair = tuple[Path, Path]


def load_folder(root: str | Path, split: SplitName, progress: bool = True) -> DepthSplit:
    """Load one split of a folder data set; sizes other than 480x640 are resized once.

    The splits are the sub-folders `train/` and `test/` (or `val/`, `valid/`), else the lists `train.txt`
    and `test.txt` (one image name a line), else a tenth of the images, chosen by a hash of the name so
    that it stays the same when images are added, is the test split.

    Raises:
        DataError: the folder, or any image in it, cannot be used; the first few bad files are named.
    """
    root = Path(root).expanduser()
    if not root.is_dir():
        raise DataError(f"{root}: no such folder. {_LAYOUT}")
    pairs = _split_pairs(root, split)
    slot = f"{root.resolve().name}-{_digest(str(root.resolve()))[:8]}-{split}"
    return cached_split(
        slot,
        _signature(pairs),
        split,
        [rgb.stem for rgb, _ in pairs],
        partial(_load_pair, pairs),
        partial(ThreadPoolExecutor, cpu_workers()),
        progress,
    )


def _split_pairs(root: Path, split: SplitName) -> list[_Pair]:
    names = _SPLIT_NAMES[split]
    present = [name for names in _SPLIT_NAMES.values() for name in names]
    if any((root / name / "rgb").is_dir() for name in present):
        chosen = next((root / name for name in names if (root / name / "rgb").is_dir()), None)
        if chosen is None:
            raise DataError(
                f"{root}: no {split} split; add {root / names[0]}/rgb and {root / names[0]}/depth"
            )
        return list(_all_pairs(chosen).values())

    pairs = _all_pairs(root)
    if any((root / f"{name}.txt").is_file() for name in present):
        chosen = next((root / f"{n}.txt" for n in names if (root / f"{n}.txt").is_file()), None)
        if chosen is None:
            raise DataError(f"{root}: no {split} split; add {root / names[0]}.txt, one image name a line")
        return _listed_pairs(chosen, pairs)

    picked = [pair for stem, pair in pairs.items() if _is_test(stem) == (split == "test")]
    if not picked:
        raise DataError(
            f"{root}: {len(pairs)} images are too few to split by chance, none fell to {split}; "
            "name the images of each split in train.txt and test.txt"
        )
    return picked


def _is_test(stem: str) -> bool:
    return int(_digest(stem)[:8], 16) % 10 == 0


def _all_pairs(folder: Path) -> dict[str, _Pair]:
    """RGB and depth files by stem, in natural order ("2" before "10")."""
    rgb = _by_stem(folder / "rgb", _RGB_SUFFIXES)
    depth = _by_stem(folder / "depth", (".png",))
    lonely = {
        "RGB images have no depth; add the depth PNGs or remove the images": [
            str(path) for stem, path in rgb.items() if stem not in depth
        ],
        "depth images have no RGB; add the photographs or remove the depth": [
            str(path) for stem, path in depth.items() if stem not in rgb
        ],
    }
    found = [listing(f"{folder}: {len(paths)} {what}", paths) for what, paths in lonely.items() if paths]
    if found:
        raise DataError("\n".join(found))
    return {stem: (rgb[stem], depth[stem]) for stem in sorted(rgb, key=_natural)}


def _by_stem(folder: Path, suffixes: tuple[str, ...]) -> dict[str, Path]:
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder. {_LAYOUT}")
    files = sorted(p for p in folder.iterdir() if p.suffix.lower() in suffixes and not p.name.startswith("."))
    if not files:
        raise DataError(f"{folder}: holds no {' or '.join(suffixes)} images. {_LAYOUT}")
    by_stem: dict[str, Path] = {}
    for path in files:
        if path.stem in by_stem:
            raise DataError(f"{path}: {by_stem[path.stem].name} has the same name; keep one of the two")
        by_stem[path.stem] = path
    return by_stem


def _listed_pairs(list_file: Path, pairs: dict[str, _Pair]) -> list[_Pair]:
    try:
        stems = [line.strip() for line in list_file.read_text(encoding="utf-8").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise DataError(f"{list_file}: is not UTF-8 text; write one image name a line") from error
    missing = [stem for stem in stems if stem not in pairs]
    if missing:
        head = f"{list_file}: {len(missing)} names have no image in {list_file.parent / 'rgb'}; mend the list"
        raise DataError(listing(f"{head} (names without a suffix, one a line)", missing))
    if not stems:
        raise DataError(f"{list_file}: is empty; write one image name a line")
    listed = set(stems)
    # In natural order, whatever the list's: hold_out relies on neighbours standing side by side.
    return [pair for stem, pair in pairs.items() if stem in listed]


def _load_pair(pairs: list[_Pair], index: int) -> tuple[np.ndarray, np.ndarray]:
    rgb_path, depth_path = pairs[index]
    rgb, depth = _read(rgb_path), _read(depth_path)
    if not depth.mode.startswith("I;16"):
        raise DataError(
            f"{depth_path}: is {depth.mode}, uint16 millimetres expected; save it as a 16-bit grey PNG"
        )
    if rgb.size != depth.size:
        raise DataError(
            f"{depth_path}: is {depth.width}x{depth.height} but {rgb_path.name} is {rgb.width}x{rgb.height}; "
            "scale the depth to its photograph with nearest-neighbour sampling"
        )
    depth_mm = np.asarray(depth).astype(np.uint16)
    if not depth_mm.any():
        raise DataError(f"{depth_path}: every pixel is 0 (unknown); remove the image from the data set")
    height, width = CANONICAL_HW
    return np.asarray(rgb.convert("RGB").resize((width, height), Image.Resampling.BILINEAR)), _nearest(
        depth_mm
    )


def _read(path: Path) -> Image.Image:
    try:
        image = Image.open(path)
        image.load()
        return image
    # Pillow reports damaged files as any of these, by format.
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: cannot be read ({error}); replace the damaged file") from error


def _nearest(depth_mm: np.ndarray) -> np.ndarray:
    """Resize (H, W) to the canonical size without ever blending unknown zeros into depths."""
    rows, columns = (
        ((np.arange(new) + 0.5) * old / new).astype(np.intp)
        for new, old in zip(CANONICAL_HW, depth_mm.shape, strict=True)
    )
    return depth_mm[rows[:, None], columns]


def _signature(pairs: list[_Pair]) -> str:
    files = [(path.name, path.stat()) for pair in pairs for path in pair]
    return _digest("\n".join(f"{name} {stat.st_size} {stat.st_mtime_ns}" for name, stat in files))


def _natural(stem: str) -> list[tuple[int, int | str]]:
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in re.split(r"(\d+)", stem) if part]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
