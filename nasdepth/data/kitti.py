"""KITTI's sparse LiDAR depth, in the folders and split lists as published.

Sources: Uhrig et al., "Sparsity Invariant CNNs", 3DV 2017 (annotated depth: uint16 PNG, metres * 256,
0 = no measurement); Geiger et al., IJRR 2013 (raw drives); Eigen et al., NeurIPS 2014 (the split).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from pathlib import Path

import numpy as np

from nasdepth.data.folder import SplitName
from nasdepth.data.pictures import (
    check_inside,
    check_same_size,
    natural,
    read_picture,
    resize_rgb,
    resize_sparse,
    signature,
    slot_name,
    text_lines,
)
from nasdepth.data.store import CANONICAL_HW, DepthSplit, cached_split, cpu_workers, listing
from nasdepth.errors import DataError
from nasdepth.files import at_home

STEPS_PER_METRE = 256
_DRIVE = re.compile(r"\d{4}_\d{2}_\d{2}_drive_\d{4}_sync")
_ANNOTATED = ("data_depth_annotated", "gt_depth", ".")
_RAW = (".", "raw", "raw_data", "kitti_raw", "input")
_SUBSETS = {"train": "train", "test": "val"}
_SIDES = {"l": "image_02", "r": "image_03"}
_LAYOUT = (
    "KITTI is a folder with the raw drives (2011_09_26/2011_09_26_drive_0001_sync/image_02/data) and "
    "data_depth_annotated/train and /val"
)

_Found = tuple[str, Path, Path]


def load_kitti(root: str | Path, split: SplitName, which: str = "", progress: bool = True) -> DepthSplit:
    """One split, resized once to 480x640 point by point; `sparse` is set.

    Args:
        which: "" for the official split (drives below `train/` and `val/` of the annotated depth),
            "selection" for the official selected validation images (test only), or the name of a list,
            such as "eigen": `eigen_train_files_with_gt.txt`, `kitti_eigen_test.txt`, or
            `splits/eigen/train_files.txt`. A line is `IMAGE DEPTH [FOCAL]`, where a DEPTH of None skips
            the line, or `DRIVE FRAME l|r`, where frames that their drive has no annotation for are skipped.

    Raises:
        DataError: a folder, list or listed file is missing (with the line), or a depth is of another size.
    """
    root = at_home(root)
    if not root.is_dir():
        raise DataError(f"{root}: no such folder. {_LAYOUT}")
    skipped = 0
    also: tuple[Path, ...] = ()
    if which == "selection":
        found = _selection(root, split)
    elif which:
        path = _list_file(root, split, which)
        found, skipped = _listed(root, path)
        also = (path,)
    else:
        found = _official(root, split)
    found.sort(key=lambda one: natural(one[0]))
    return cached_split(
        slot_name(root, *([which] if which else []), split),
        signature([*also, *(path for _, rgb, depth in found for path in (rgb, depth))], which),
        split,
        [name for name, _, _ in found],
        partial(_load_one, found),
        partial(ThreadPoolExecutor, cpu_workers()),
        progress,
        info={
            "format": "kitti",
            "list": which or "official",
            "skipped": skipped,
            "sparse": True,
            "mm_per_step": 1000 / STEPS_PER_METRE,
        },
    )


def is_kitti(root: Path) -> bool:
    """Whether a folder looks like KITTI's."""
    return (
        (root / "data_depth_annotated").is_dir()
        or _selection_folder(root) is not None
        or any(_DRIVE.fullmatch(path.name) for path in root.glob("[0-9]*/*_sync"))
    )


def _selection_folder(root: Path) -> Path | None:
    candidates = (
        root / "depth_selection" / "val_selection_cropped",
        root / "data_depth_selection" / "depth_selection" / "val_selection_cropped",
        root / "val_selection_cropped",
        root,
    )
    return next((folder for folder in candidates if (folder / "groundtruth_depth").is_dir()), None)


def _selection(root: Path, split: SplitName) -> list[_Found]:
    folder = _selection_folder(root)
    if split != "test" or folder is None:
        raise DataError(
            f"{root}: the selection is a test split in depth_selection/val_selection_cropped; "
            + ("ask for test, or leave @selection out" if split != "test" else "unpack it there")
        )
    found = []
    for depth in sorted((folder / "groundtruth_depth").glob("*.png")):
        image = folder / "image" / depth.name.replace("_groundtruth_depth_", "_image_", 1)
        if not image.is_file():
            raise DataError(
                f"{image}: no such image, but {depth.name} is its depth; unpack the selection again"
            )
        found.append((image.stem, image, depth))
    if not found:
        raise DataError(f"{folder / 'groundtruth_depth'}: holds no .png; unpack the selection again")
    return found


def _official(root: Path, split: SplitName) -> list[_Found]:
    subset = _SUBSETS[split]
    folder = next((root / name / subset for name in _ANNOTATED if (root / name / subset).is_dir()), None)
    if folder is None:
        if _selection_folder(root) is not None and split == "test":
            return _selection(root, split)
        raise DataError(
            f"{root}: no {subset} folder of annotated depth. {_LAYOUT}; for a split list name it, "
            f"as kitti:{root}@eigen"
        )
    found, missing = [], []
    for depth in folder.glob("*_sync/proj_depth/groundtruth/image_0[23]/*.png"):
        drive, camera = depth.parents[3].name, depth.parent.name
        image = _image(root, f"{drive[:10]}/{drive}", camera, depth.stem)
        if image is None:
            missing.append(f"{drive}/{camera}/data/{depth.stem}.png")
        else:
            found.append((f"{drive}/{camera}/{depth.stem}", image, depth))
    if missing:
        raise DataError(
            listing(
                f"{folder}: {len(missing)} depth images have no photograph below {root}; unpack the raw "
                "drives there, or name a split list (@eigen) to use fewer",
                sorted(missing),
            )
        )
    if not found:
        raise DataError(f"{folder}: holds no *_sync/proj_depth/groundtruth/image_02/*.png. {_LAYOUT}")
    return found


def _image(root: Path, drive: str, camera: str, stem: str) -> Path | None:
    for name in _RAW:
        for suffix in (".png", ".jpg"):
            path = root / name / drive / camera / "data" / f"{stem}{suffix}"
            if path.is_file():
                return path
    return None


def _list_file(root: Path, split: SplitName, which: str) -> Path:
    subset = (split,) if split == "train" else ("test", "val")
    tried = [
        path
        for name in subset
        for path in (
            root / "splits" / which / f"{name}_files.txt",
            root / which / f"{name}_files.txt",
            *(
                root / f"{prefix}{which}_{name}{suffix}.txt"
                for prefix in ("", "kitti_")
                for suffix in ("", "_files", "_files_with_gt")
            ),
        )
    ]
    chosen = next((path for path in tried if path.is_file()), None)
    if chosen is None:
        raise DataError(
            f"{root}: no {split} list {which!r}; put it there as {tried[0].relative_to(root)} or "
            f"{which}_{split}_files_with_gt.txt"
        )
    return chosen


def _listed(root: Path, path: Path) -> tuple[list[_Found], int]:
    annotated_drive = cache(partial(_annotated_drive, root))
    found, problems, skipped = [], [], 0
    for number, line in text_lines(path):
        words = line.split()
        try:
            for word in words:
                check_inside(word)
            if len(words) == 3 and (words[2] in _SIDES or words[1].isdecimal()):
                one = _by_frame(root, words, annotated_drive)
            elif len(words) in (2, 3):
                one = _by_name(root, words)
            else:
                raise DataError(f"{line!r}: IMAGE DEPTH [FOCAL] or DRIVE FRAME l|r expected; mend the line")
        except DataError as error:
            problems.append(f"line {number}: {error}")
            continue
        if one is None:
            skipped += 1
        else:
            found.append(one)
    if problems:
        raise DataError(listing(f"{path}: {len(problems)} lines cannot be used", problems))
    if not found:
        raise DataError(f"{path}: none of its {skipped} frames has a depth; unpack data_depth_annotated")
    return found, skipped


def _by_frame(root: Path, words: list[str], annotated_drive: Callable[[str], Path | None]) -> _Found | None:
    drive, frame, side = words
    if side not in _SIDES:
        raise DataError(f"side {side!r}: must be l or r; mend the line")
    if not frame.isdecimal():
        raise DataError(f"frame {frame!r}: a number expected; mend the line")
    stem, camera = f"{int(frame):010d}", _SIDES[side]
    image = _image(root, drive, camera, stem)
    if image is None:
        raise DataError(
            f"{drive}/{camera}/data/{stem}.png (or .jpg) is missing; unpack it or remove the line"
        )
    name = drive.rsplit("/", 1)[-1]
    folder = annotated_drive(name)
    if folder is None:
        raise DataError(f"{name} is below none of data_depth_annotated/train and /val; unpack it there")
    depth = folder / "proj_depth" / "groundtruth" / camera / f"{stem}.png"
    # The annotated depth leaves out the first and the last frames of every drive.
    return (f"{name}/{camera}/{stem}", image, depth) if depth.is_file() else None


def _annotated_drive(root: Path, drive: str) -> Path | None:
    folders = (root / name / subset / drive for name in _ANNOTATED for subset in ("train", "val", "."))
    return next((folder for folder in folders if (folder / "proj_depth").is_dir()), None)


def _by_name(root: Path, words: list[str]) -> _Found | None:
    if words[1] == "None":
        return None
    paths = []
    for word, folders in (
        (words[0], _RAW),
        (words[1], [f"{a}/{s}" for a in _ANNOTATED for s in ("train", "val", ".")]),
    ):
        stems = [root / folder / word for folder in folders]
        path = next((p for s in stems for p in (s, s.with_suffix(".jpg")) if p.is_file()), None)
        if path is None:
            raise DataError(f"{word} is missing below {root}; unpack it or remove the line")
        paths.append(path)
    return words[0].removesuffix(".png").removesuffix(".jpg"), paths[0], paths[1]


def _load_one(found: list[_Found], index: int) -> tuple[np.ndarray, np.ndarray]:
    _, rgb_path, depth_path = found[index]
    rgb, depth = read_picture(rgb_path), read_picture(depth_path)
    if not depth.mode.startswith("I;16"):
        raise DataError(f"{depth_path}: is {depth.mode}, uint16 (metres * 256) expected; fetch it again")
    mend = "they are not of one frame, mend the list or unpack both again"
    check_same_size(rgb, rgb_path, depth, depth_path, mend)
    steps = np.asarray(depth).astype(np.uint16)
    if not steps.any():
        raise DataError(f"{depth_path}: has no measurement at all; remove it from the split")
    return resize_rgb(rgb, CANONICAL_HW), resize_sparse(steps, CANONICAL_HW)
