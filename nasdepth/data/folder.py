"""Data sets in the challenge's layout: `rgb/` photographs beside `depth/` 16-bit PNGs in millimetres."""

from __future__ import annotations

import filecmp
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from nasdepth.data.pictures import (
    check_same_size,
    digest,
    known_after_resize,
    natural,
    read_picture,
    resize_nearest,
    resize_rgb,
    signature,
    slot_name,
)
from nasdepth.data.store import CANONICAL_HW, DepthSplit, cached_split, cpu_workers, listing
from nasdepth.errors import DataError, NasdepthWarning
from nasdepth.files import at_home
from nasdepth.reading import read_text

RGB_SUFFIXES = (".jpg", ".jpeg", ".png")
_SPLIT_NAMES = {"train": ("train",), "test": ("test", "val", "valid")}
_LAYOUT = "A data set is a folder with rgb/NAME.jpg (or .png) and depth/NAME.png (uint16 millimetres)."

SplitName = Literal["train", "test"]
# nearer than any depth camera sees, and farther than a depth in metres reaches
_NEAREST_MM = 100
_Pair = tuple[Path, Path]


class _Layout(NamedTuple):
    rgb: str
    target: str
    suffixes: tuple[str, ...]


def load_folder(root: str | Path, split: SplitName, progress: bool = True) -> DepthSplit:
    """Load one split of a folder data set; sizes other than 480x640 are resized once.

    The splits are the sub-folders `train/` and `test/` (or `val/`, `valid/`), else the lists `train.txt`
    and `test.txt` (one image name a line), else a tenth of the images, chosen by a hash of the name so
    that it stays the same when images are added, is the test split.

    Raises:
        DataError: the folder, or any image in it, cannot be used; the first few bad files are named.
    """
    root = at_home(root)
    if not root.is_dir():
        raise DataError(f"{root}: no such folder. {_LAYOUT}")
    pairs = split_pairs(root, split)
    check_apart(root, split, [rgb for rgb, _ in pairs])
    return cached_split(
        slot_name(root, split),
        signature(path for pair in pairs for path in pair),
        split,
        [rgb.stem for rgb, _ in pairs],
        partial(_load_pair, pairs),
        partial(ThreadPoolExecutor, cpu_workers()),
        progress,
    )


def split_pairs(
    root: Path,
    split: SplitName,
    rgb: str = "rgb",
    target: str = "depth",
    target_suffixes: tuple[str, ...] = (".png",),
) -> list[_Pair]:
    """(photograph, target) of every image of a split; see `load_folder` for how splits are told.

    Args:
        rgb, target: names of the two folders; files of one stem belong together.

    Raises:
        DataError: a folder or file is missing, or a list names an image that does not exist.
    """
    layout = _Layout(rgb, target, target_suffixes)
    names = _SPLIT_NAMES[split]
    present = [name for names in _SPLIT_NAMES.values() for name in names]
    if any((root / name / rgb).is_dir() for name in present):
        chosen = next((root / name for name in names if (root / name / rgb).is_dir()), None)
        if chosen is None:
            raise DataError(
                f"{root}: no {split} split; add {root / names[0]}/{rgb} and {root / names[0]}/{target}"
            )
        return list(_all_pairs(chosen, layout).values())

    pairs = _all_pairs(root, layout)
    if any((root / f"{name}.txt").is_file() for name in present):
        chosen = next((root / f"{n}.txt" for n in names if (root / f"{n}.txt").is_file()), None)
        if chosen is None:
            raise DataError(f"{root}: no {split} split; add {root / names[0]}.txt, one image name a line")
        return _listed_pairs(chosen, pairs)

    picked = [pair for stem, pair in pairs.items() if is_test(stem) == (split == "test")]
    if not picked:
        raise DataError(
            f"{root}: {len(pairs)} images are too few to split by chance, none fell to {split}; "
            "name the images of each split in train.txt and test.txt"
        )
    return picked


def check_apart(root: Path, split: SplitName, photographs: Sequence[Path], rgb: str = "rgb") -> None:
    """Look for photographs of one split in the other: scores on them would be recalled, not predicted.

    Lists that share names are refused. Equal files in two folders may be meant, and are warned of.

    Args:
        photographs: of this split.
        rgb: name of the folder of photographs.

    Raises:
        DataError: a list names images of the other list.
    """
    others = [name for name, names in _SPLIT_NAMES.items() if name != split for name in names]
    mend = f"an image that is trained on says nothing of others; leave it out of {split} or of the other"
    for name in others:
        if (root / f"{name}.txt").is_file() and not any((root / one / rgb).is_dir() for one in others):
            twice = sorted({path.stem for path in photographs} & set(_names(root / f"{name}.txt")))
            if twice:
                raise DataError(listing(f"{root}: {len(twice)} images are in {name}.txt too; {mend}", twice))
    sizes: dict[int, list[Path]] = {}
    for folder in (root / name / rgb for name in others):
        for path in folder.iterdir() if folder.is_dir() else ():
            if path.suffix.lower() in RGB_SUFFIXES and path.is_file():
                sizes.setdefault(path.stat().st_size, []).append(path)
    same = [
        f"{path} is {other}"
        for path in photographs
        if sizes and path.is_file()
        for other in sizes.get(path.stat().st_size, ())
        if _ends(path) == _ends(other) and filecmp.cmp(path, other, shallow=False)
    ]
    if same:
        words = listing(f"{root}: {len(same)} photographs are in two splits; {mend}", same)
        warnings.warn(words, NasdepthWarning, stacklevel=2)


def _ends(path: Path) -> bytes:
    # of a hundred thousand files many are equally long, and few begin and end alike
    with path.open("rb") as file:
        first = file.read(4096)
        file.seek(max(0, path.stat().st_size - 4096))
        return first + file.read(4096)


def is_test(stem: str) -> bool:
    """Whether a name falls to the test split by chance: one in ten, whatever else is there."""
    return int(digest(stem)[:8], 16) % 10 == 0


def _all_pairs(folder: Path, layout: _Layout) -> dict[str, _Pair]:
    """RGB and depth files by stem, in natural order ("2" before "10")."""
    rgb = _by_stem(folder / layout.rgb, RGB_SUFFIXES)
    depth = _by_stem(folder / layout.target, layout.suffixes)
    target = layout.target
    lonely = {
        f"RGB images have no {target}; add the {target} files or remove the images": [
            str(path) for stem, path in rgb.items() if stem not in depth
        ],
        f"{target} images have no RGB; add the photographs or remove the {target}": [
            str(path) for stem, path in depth.items() if stem not in rgb
        ],
    }
    found = [listing(f"{folder}: {len(paths)} {what}", paths) for what, paths in lonely.items() if paths]
    if found:
        raise DataError("\n".join(found))
    return {stem: (rgb[stem], depth[stem]) for stem in sorted(rgb, key=natural)}


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
    stems = _names(list_file)
    missing = [stem for stem in stems if stem not in pairs]
    if missing:
        head = f"{list_file}: {len(missing)} names have no image in {list_file.parent}; mend the list"
        raise DataError(listing(f"{head} (names without a suffix, one a line)", missing))
    if not stems:
        raise DataError(f"{list_file}: is empty; write one image name a line")
    listed = set(stems)
    # In natural order, whatever the list's: hold_out relies on neighbours standing side by side.
    return [pair for stem, pair in pairs.items() if stem in listed]


def _names(list_file: Path) -> list[str]:
    lines = read_text(list_file, error=DataError).splitlines()
    return [line.strip() for line in lines if line.strip()]


def _load_pair(pairs: list[_Pair], index: int) -> tuple[np.ndarray, np.ndarray]:
    rgb_path, depth_path = pairs[index]
    rgb, depth = read_picture(rgb_path), read_picture(depth_path)
    if not depth.mode.startswith("I;16"):
        raise DataError(
            f"{depth_path}: is {depth.mode}, uint16 millimetres expected; save it as a 16-bit grey PNG"
        )
    mend = "scale the depth to its photograph with nearest-neighbour sampling"
    check_same_size(rgb, rgb_path, depth, depth_path, mend)
    depth_mm = np.asarray(depth).astype(np.uint16)
    if not depth_mm.any():
        raise DataError(f"{depth_path}: every pixel is 0 (unknown); remove the image from the data set")
    if depth_mm.max() < _NEAREST_MM:
        raise DataError(
            f"{depth_path}: nothing is farther than {depth_mm.max()} mm, as if these were metres; write "
            "millimetres (metres times 1000)"
        )
    return resize_rgb(rgb, CANONICAL_HW), known_after_resize(
        depth_path, resize_nearest(depth_mm, CANONICAL_HW)
    )
