"""NYU Depth v2's labelled set, read from the MATLAB file as published.

Source: Silberman et al., "Indoor Segmentation and Support Inference from RGBD Images", ECCV 2012.
`nyu_depth_v2_labeled.mat` is an HDF5 (MATLAB v7.3) file; HDF5 lists MATLAB's axes backwards, so `images`
is (1449, 3, 640, 480) uint8 and `depths` and `rawDepths` are (1449, 640, 480) float32 metres.
`splits.mat` (MATLAB v5) holds `trainNdxs` (795) and `testNdxs` (654), counted from 1.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.io import loadmat

from nasdepth.data.folder import SplitName
from nasdepth.data.pictures import known_after_resize, resize_nearest, resize_rgb, signature, slot_name
from nasdepth.data.store import CANONICAL_HW, DepthSplit, cached_split
from nasdepth.errors import DataError
from nasdepth.files import at_home

# Outside of these rows and columns the photograph or the depth has a blank frame: the mask that the
# authors' toolbox evaluates in (rows 45-471, columns 41-601, counted from 1).
_INSIDE = (slice(45, 471), slice(41, 601))
_INDICES = {"train": "trainNdxs", "test": "testNdxs"}


def load_nyu(path: str | Path, split: SplitName, depth: str = "depths", progress: bool = True) -> DepthSplit:
    """One official split of the labelled set, without the blank frame, resized to 480x640 once.

    Args:
        path: the .mat file; `splits.mat` stands beside it.
        depth: "depths" (holes filled by the authors' colourisation) or "rawDepths" (0 in the holes).

    Raises:
        DataError: h5py is not installed, a file is missing or damaged, or an array is not as published.
    """
    path = at_home(path)
    if not path.is_file():
        raise DataError(f"{path}: no such file; name nyu_depth_v2_labeled.mat or the folder that holds it")
    count = _check(path, depth)
    numbers, splits = _split_numbers(path, split, count)
    return cached_split(
        slot_name(path, depth, split),
        signature((path, splits), depth, str(_INSIDE)),
        split,
        [f"{number:04d}" for number in numbers],
        partial(_load_one, path, depth, numbers),
        # HDF5 takes one reader at a time.
        partial(ThreadPoolExecutor, 1),
        progress,
        info={"format": "nyu", "depth": depth},
    )


def _open(path: Path) -> Any:
    try:
        import h5py
    except ImportError as error:
        raise DataError(
            f"{path}: reading MATLAB v7.3 files needs h5py; install it with `pip install nasdepth[nyu]`"
        ) from error
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise DataError(
            f"{path}: is no HDF5 file or is damaged ({error}); fetch nyu_depth_v2_labeled.mat again"
        ) from error


def _check(path: Path, depth: str) -> int:
    with _open(path) as file:
        for name in ("images", depth):
            if name not in file:
                held = ", ".join(sorted(file)) or "nothing"
                raise DataError(
                    f"{path}: has no array {name!r} (it holds {held}); use nyu_depth_v2_labeled.mat"
                )
        images, depths = file["images"], file[depth]
        if images.ndim != 4 or images.shape[1] != 3 or images.dtype != np.uint8:
            raise DataError(
                f"{path}: images is {images.dtype} {images.shape}, uint8 (N, 3, 640, 480) expected; "
                "use the file as published"
            )
        if depths.shape != (images.shape[0], *images.shape[2:]) or depths.dtype.kind != "f":
            raise DataError(
                f"{path}: {depth} is {depths.dtype} {depths.shape} but images is {images.shape}; "
                "a depth in metres for every pixel is expected; use the file as published"
            )
        if images.shape[2:] != (640, 480):
            raise DataError(
                f"{path}: images are {images.shape[2]}x{images.shape[3]}, 640x480 expected; use the file "
                "as published"
            )
        return images.shape[0]


def _split_numbers(path: Path, split: SplitName, count: int) -> tuple[list[int], Path]:
    splits = path.with_name("splits.mat")
    name = _INDICES[split]
    if not splits.is_file():
        raise DataError(
            f"{splits}: no such file; put the authors' splits.mat (official split) beside {path.name}"
        )
    try:
        content = loadmat(splits)
    except (ValueError, NotImplementedError, OSError) as error:
        raise DataError(f"{splits}: is no MATLAB v5 file ({error}); fetch splits.mat again") from error
    if name not in content:
        raise DataError(f"{splits}: has no {name}; fetch splits.mat again")
    numbers = [int(number) for number in np.ravel(content[name])]
    wrong = [number for number in numbers if not 1 <= number <= count]
    if wrong or not numbers:
        raise DataError(
            f"{splits}: {name} names image {wrong[0] if wrong else 'none'}, but {path.name} holds 1 to "
            f"{count}; the two files do not belong together"
        )
    # in the order of the film: hold_out relies on neighbours standing side by side
    return sorted(numbers), splits


def _load_one(path: Path, depth: str, numbers: list[int], index: int) -> tuple[np.ndarray, np.ndarray]:
    number = numbers[index]
    with _open(path) as file:
        rgb = file["images"][number - 1].transpose(2, 1, 0)[_INSIDE]
        depth_m = file[depth][number - 1].transpose(1, 0)[_INSIDE]
    depth_mm = np.rint(np.nan_to_num(depth_m, nan=0.0, posinf=0.0, neginf=0.0) * 1000)
    if depth_mm.max() > 65535 or depth_mm.min() < 0:
        raise DataError(
            f"{path}: {depth} of image {number} reaches {depth_m.min():g} to {depth_m.max():g}; metres "
            "within 0 to 65 expected; use the file as published"
        )
    if not depth_mm.any():
        raise DataError(
            f"{path}: {depth} of image {number} is 0 (unknown) everywhere; use the file as published"
        )
    return (
        resize_rgb(Image.fromarray(np.ascontiguousarray(rgb)), CANONICAL_HW),
        known_after_resize(
            Path(f"{path}, image {number}"), resize_nearest(depth_mm.astype(np.uint16), CANONICAL_HW)
        ),
    )
