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
from PIL import Image

from nasdepth.data.depth_files import DEPTH_SUFFIXES, Fit, FolderOptions, read_depth_mm
from nasdepth.data.pictures import (
    digest,
    known_after_resize,
    natural,
    picture_hw,
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
_LAYOUT = (
    "A data set is a folder with rgb/NAME.jpg (or .png) and depth/NAME.png (uint16 millimetres; floats in "
    "metres as .npy, .tiff or .exr); other folder names are told by @rgb=NAME@depth=NAME."
)

# of what is kept in the cache: photographs are upright since 2
_READER = "reader 2"
_SAME_SHAPE = 0.02
# nearer than any depth camera sees, and farther than a depth in metres reaches
_NEAREST_MM = 100

SplitName = Literal["train", "test", "all"]
_Pair = tuple[Path, Path]


class _Layout(NamedTuple):
    rgb: str
    target: str
    suffixes: tuple[str, ...]


def load_folder(
    root: str | Path, split: SplitName, progress: bool = True, options: FolderOptions | None = None
) -> DepthSplit:
    """Load one split of a folder data set; sizes other than 480x640 are resized once, and what is not 4:3 is
    cropped unless the options say otherwise.

    The splits are the sub-folders `train/` and `test/` (or `val/`, `valid/`), else the lists `train.txt`
    and `test.txt` (one image name a line), else a tenth of the images, chosen by a hash of the name so
    that it stays the same when images are added, is the test split. The split "all" is every image.

    Raises:
        DataError: the folder, or any image in it, cannot be used; the first few bad files are named.
    """
    root = at_home(root)
    if not root.is_dir():
        raise DataError(f"{root}: no such folder. {_LAYOUT}")
    options = options or FolderOptions()
    pairs = split_pairs(root, split, options.rgb, options.depth, DEPTH_SUFFIXES)
    check_apart(root, split, [rgb for rgb, _ in pairs], options.rgb)
    # options of one source must not push each other's images out of the cache
    which = [] if options == FolderOptions() else [digest(repr(options))[:8]]
    return cached_split(
        slot_name(root, split, *which),
        signature((path for pair in pairs for path in pair), _READER, repr(options)),
        split,
        [rgb.stem for rgb, _ in pairs],
        partial(_load_pair, pairs, options),
        partial(ThreadPoolExecutor, cpu_workers()),
        progress,
        info=_shape_info(pairs[0][0], options),
    )


def has_splits(root: Path, rgb: str = "rgb") -> bool:
    """Whether a folder says which images are for training and which for testing."""
    names = [name for names in _SPLIT_NAMES.values() for name in names]
    return any((root / name / rgb).is_dir() or (root / f"{name}.txt").is_file() for name in names)


def _shape_info(first: Path, options: FolderOptions) -> dict[str, str]:
    """What is done with pictures of the first one's shape, where it is another than the store's."""
    try:
        hw = picture_hw(first)
    except DataError:
        return {}  # it is named with all other bad files
    if placed(hw, options.fit) is None:
        return {}
    done = {"crop": "cropped to", "letterbox": "filled up to", "stretch": "stretched to"}[options.fit]
    return {"shape": f"{hw[1]}x{hw[0]}, {done} 4:3"}


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
    if split == "all":
        return _every_pair(root, layout)
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


def _every_pair(root: Path, layout: _Layout) -> list[_Pair]:
    if (root / layout.rgb).is_dir():
        return list(_all_pairs(root, layout).values())
    folders = [root / name for names in _SPLIT_NAMES.values() for name in names]
    there = [folder for folder in folders if (folder / layout.rgb).is_dir()]
    if not there:
        return list(_all_pairs(root, layout).values())  # its error says what is missing
    return [pair for folder in there for pair in _all_pairs(folder, layout).values()]


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


def _load_pair(pairs: list[_Pair], options: FolderOptions, index: int) -> tuple[np.ndarray, np.ndarray]:
    rgb_path, depth_path = pairs[index]
    rgb, depth_mm = read_picture(rgb_path), read_depth_mm(depth_path, options)
    if rgb.size != depth_mm.shape[::-1]:
        turned = " once it is turned as its EXIF says" if rgb.size[::-1] == depth_mm.shape[::-1] else ""
        raise DataError(
            f"{depth_path}: is {depth_mm.shape[1]}x{depth_mm.shape[0]} but {rgb_path.name} is "
            f"{rgb.width}x{rgb.height}{turned}; scale the depth to its photograph with nearest-neighbour "
            "sampling"
        )
    if depth_mm.max() < _NEAREST_MM:
        raise DataError(
            f"{depth_path}: nothing is farther than {depth_mm.max()} mm, as if these were metres; write "
            "millimetres (metres times 1000), or set @scale=STEPS_PER_METRE"
        )
    colors, stored_mm = fitted(rgb, depth_mm, options.fit)
    return colors, known_after_resize(depth_path, stored_mm)


def placed(hw: tuple[int, int], fit: Fit) -> tuple[int, int, int, int] | None:
    """Which part of a picture of another shape is stored: left, top, right, bottom in its pixels.

    A letterbox reaches beyond the picture. None where the shape is the store's, to two in a hundred.
    """
    (height, width), (rows, columns) = hw, CANONICAL_HW
    if abs(height * columns / (width * rows) - 1) <= _SAME_SHAPE:
        return None
    if fit == "stretch":
        return 0, 0, width, height
    wide = width * rows > height * columns
    if wide == (fit == "crop"):
        shown = round(height * columns / rows)
        left = (width - shown) // 2
        return left, 0, left + shown, height
    shown = round(width * rows / columns)
    top = (height - shown) // 2
    return 0, top, width, top + shown


def fitted(rgb: Image.Image, depth_mm: np.ndarray, fit: Fit) -> tuple[np.ndarray, np.ndarray]:
    """Photograph and depth as they are stored, uint8 (480, 640, 3) and uint16 (480, 640)."""
    box = placed(depth_mm.shape, fit)
    if box is not None and fit != "stretch":
        left, top, right, bottom = box
        pad = ((max(-top, 0), max(bottom - rgb.height, 0)), (max(-left, 0), max(right - rgb.width, 0)))
        colors = np.pad(np.asarray(rgb.convert("RGB")), (*pad, (0, 0)), mode="edge")
        known = np.pad(depth_mm, pad)
        part = np.s_[max(top, 0) : max(top, 0) + bottom - top, max(left, 0) : max(left, 0) + right - left]
        rgb, depth_mm = Image.fromarray(np.ascontiguousarray(colors[part])), known[part]
    return resize_rgb(rgb, CANONICAL_HW), resize_nearest(depth_mm, CANONICAL_HW)
