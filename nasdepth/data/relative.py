"""Depth up to scale and shift: `rgb/` beside `disparity/` or `relative_depth/`, and an optional `mask/`.

ReDWeb's folders (`Imgs/` and `RDs/`; Xian et al., CVPR 2018) are read as they are.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from nasdepth.data.folder import SplitName, split_pairs
from nasdepth.data.pictures import read_picture, resize_nearest, resize_rgb, signature, slot_name
from nasdepth.data.splits import RELATIVE_PLANE, RelativeSplit
from nasdepth.data.store import CANONICAL_HW, RGB_PLANE, cached_split, cpu_workers
from nasdepth.errors import DataError
from nasdepth.files import at_home
from nasdepth.reading import open_regular

_LAYOUTS = (
    ("rgb", "disparity", "disparity"),
    ("rgb", "relative_depth", "depth"),
    ("Imgs", "RDs", "disparity"),
)
_SUFFIXES = (".png", ".npy")
_HELP = (
    "Relative depth is a folder with rgb/NAME.jpg beside disparity/NAME.png (larger is nearer) or "
    "relative_depth/NAME.png (larger is farther); 8 or 16 bit, or .npy"
)


def load_relative(root: str | Path, split: SplitName, progress: bool = True) -> RelativeSplit:
    """One split, resized to 480x640 once and stretched to 1-65535 (which scale and shift leave free).

    Unknown are: pixels that are 0 in `mask/NAME.png` where there is a mask folder, else values of 0 in a
    PNG; NaN and infinity in a .npy. Splits are told as in `load_folder`.

    Raises:
        DataError: a folder or file is missing, damaged, of another size or type, or has one value only.
    """
    root = at_home(root)
    found = layout_of(root)
    if found is None:
        raise DataError(f"{root}: {'is no relative depth' if root.is_dir() else 'no such folder'}. {_HELP}")
    rgb, target, space = found
    pairs = split_pairs(root, split, rgb, target, _SUFFIXES)
    masks = [_mask_of(path) for _, path in pairs]
    return cached_split(
        slot_name(root, split),
        signature([*(p for pair in pairs for p in pair), *(m for m in masks if m is not None)]),
        split,
        [path.stem for path, _ in pairs],
        partial(_load_one, pairs, masks),
        partial(ThreadPoolExecutor, cpu_workers()),
        progress,
        opener=RelativeSplit,
        planes=(RGB_PLANE, RELATIVE_PLANE),
        info={"format": "relative", "space": space, "masks": sum(m is not None for m in masks)},
    )


def layout_of(root: Path) -> tuple[str, str, str] | None:
    """(photographs' folder, values' folder, "disparity" or "depth"), None if it is no such data set."""
    for rgb, target, space in _LAYOUTS:
        if any((root / sub / target).is_dir() for sub in (".", "train", "test", "val", "valid")):
            return rgb, target, space
    return None


def _mask_of(target: Path) -> Path | None:
    folder = target.parent.parent / "mask"
    if not folder.is_dir():
        return None
    mask = folder / f"{target.stem}.png"
    if not mask.is_file():
        raise DataError(f"{mask}: no such mask, but the folder has masks; add it or remove {folder}")
    return mask


def _load_one(pairs: list[tuple[Path, Path]], masks: list[Path | None], index: int) -> tuple[np.ndarray, ...]:
    rgb_path, path = pairs[index]
    rgb, values = read_picture(rgb_path), _values(path)
    if values.shape != (rgb.height, rgb.width):
        raise DataError(
            f"{path}: is {values.shape[1]}x{values.shape[0]} but {rgb_path.name} is {rgb.width}x"
            f"{rgb.height}; scale it to its photograph with nearest-neighbour sampling"
        )
    known = np.isfinite(values)
    mask_path = masks[index]
    if mask_path is not None:
        mask = np.asarray(read_picture(mask_path).convert("L"))
        if mask.shape != values.shape:
            raise DataError(
                f"{mask_path}: is {mask.shape[1]}x{mask.shape[0]} but {path.name} is "
                f"{values.shape[1]}x{values.shape[0]}; scale it with nearest-neighbour sampling"
            )
        known &= mask > 0
    elif path.suffix.lower() == ".png":
        known &= values > 0
    if not known.any():
        raise DataError(f"{path}: every pixel is unknown; remove the image from the data set")
    low, high = values[known].min(), values[known].max()
    if low == high:
        raise DataError(f"{path}: every known pixel is {low:g}; remove the image from the data set")
    stretched = np.zeros(values.shape, np.uint16)
    stretched[known] = 1 + np.rint((values[known] - low) * (65534 / (high - low)))
    return resize_rgb(rgb, CANONICAL_HW), resize_nearest(stretched, CANONICAL_HW)


def _values(path: Path) -> np.ndarray:
    if path.suffix.lower() == ".npy":
        try:
            with open_regular(path, error=DataError) as file:
                values = np.lib.format.read_array(file, allow_pickle=False)
        # numpy reports damaged files as any of these
        except (EOFError, ValueError, TypeError, SyntaxError, MemoryError, OverflowError) as error:
            raise DataError(f"{path}: cannot be read ({error}); replace the damaged file") from error
        if values.ndim != 2 or values.dtype.kind not in "fiu":
            raise DataError(f"{path}: is {values.dtype} {values.shape}, numbers (height, width) expected")
        return values.astype(np.float64)
    image = read_picture(path)
    if image.mode != "L" and not image.mode.startswith("I;16"):
        raise DataError(f"{path}: is {image.mode}, an 8 or 16-bit grey PNG expected; save it as one")
    return np.asarray(image).astype(np.float64)
