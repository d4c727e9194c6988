"""One HDF5 file an image, as NYU Depth v2 is published for FastDepth and Sparse-to-Dense.

Source: Ma and Karaman, "Sparse-to-Dense", ICRA 2018, and Wofk et al., "FastDepth", ICRA 2019.
`train/SCENE/00001.h5` and `val/official/00001.h5` hold `rgb`, (3, H, W) uint8, and `depth`, (H, W) float32
metres.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from nasdepth.data.folder import SplitName, fitted, is_test
from nasdepth.data.pictures import natural, signature, slot_name
from nasdepth.data.store import DepthSplit, cached_split
from nasdepth.errors import DataError

try:
    import h5py
except ImportError:
    h5py = None

_SPLITS = {"train": ("train",), "test": ("test", "val", "valid")}
_MOST_M = 65.535


def is_h5(path: Path) -> bool:
    """Whether a folder holds such files, in itself or in its splits."""
    # an answer must not walk through a data set of a hundred thousand files
    patterns = ("*.h5", "*/*.h5", "train/*/*.h5", "val/*/*.h5")
    return any(next(path.glob(pattern), None) is not None for pattern in patterns)


def load_h5(root: Path, split: SplitName, progress: bool = True) -> DepthSplit:
    """Load one split of a folder of HDF5 files; a tenth by chance is the test split where there is no `val/`.

    Raises:
        DataError: h5py is not installed, or a file is damaged or not as published; the message names it.
    """
    if h5py is None:
        raise DataError(f"{root}: reading HDF5 files needs h5py; install it with `pip install nasdepth[nyu]`")
    paths = _paths(root, split)
    if not paths:
        raise DataError(f"{root}: holds no .h5 files of the split {split}; name the folder that holds train/")
    return cached_split(
        slot_name(root, "h5", split),
        signature(paths),
        split,
        [str(path.relative_to(root).with_suffix("")) for path in paths],
        partial(_load, paths),
        # HDF5 takes one reader at a time
        partial(ThreadPoolExecutor, 1),
        progress,
        info={"format": "h5"},
    )


def _paths(root: Path, split: SplitName) -> list[Path]:
    named = {name: [root / one for one in names if (root / one).is_dir()] for name, names in _SPLITS.items()}
    whole = split == "all" or not any(named.values())
    folders = [root] if whole else named[split]
    found = [path for folder in folders for path in folder.rglob("*") if path.suffix.lower() == ".h5"]
    found.sort(key=lambda path: natural(str(path)))
    if whole and split != "all":
        found = [path for path in found if is_test(path.stem) == (split == "test")]
    return found


def _load(paths: list[Path], index: int) -> tuple[np.ndarray, np.ndarray]:
    path = paths[index]
    try:
        with h5py.File(path, "r") as file:
            rgb, depth_m = np.asarray(file["rgb"]), np.asarray(file["depth"], np.float64)
    except (OSError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: has no readable rgb and depth ({error}); fetch the file again") from error
    if rgb.ndim != 3 or rgb.shape[0] != 3 or rgb.dtype != np.uint8 or depth_m.shape != rgb.shape[1:]:
        raise DataError(
            f"{path}: rgb is {rgb.dtype} {rgb.shape}, depth {depth_m.shape}; uint8 (3, H, W) and metres "
            "(H, W) expected"
        )
    depth_m = np.where(np.isfinite(depth_m), depth_m, 0)
    if depth_m.min() < 0 or depth_m.max() > _MOST_M:
        raise DataError(f"{path}: depth reaches {depth_m.min():g} to {depth_m.max():g} m; 0 to 65.5 expected")
    depth_mm = np.rint(1000 * depth_m).astype(np.uint16)
    if not depth_mm.any():
        raise DataError(f"{path}: depth is 0 (unknown) everywhere; remove the file")
    return fitted(Image.fromarray(np.ascontiguousarray(rgb.transpose(1, 2, 0))), depth_mm, "crop")
