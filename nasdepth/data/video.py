"""Self-supervised video: triplets of frames with intrinsics, from folders of frames.

Layouts: a folder a scene with its frames and a `cam.txt` (3x3, as Bian et al. 2019 prepare KITTI), or
KITTI's raw drives with `calib_cam_to_cam.txt` and a split list (Zhou et al. 2017).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from itertools import pairwise
from pathlib import Path

import numpy as np

from nasdepth.data.folder import RGB_SUFFIXES, SplitName, is_test
from nasdepth.data.pictures import (
    check_inside,
    natural,
    picture_hw,
    read_picture,
    resize_rgb,
    signature,
    slot_name,
    text_lines,
)
from nasdepth.data.splits import VideoSplit
from nasdepth.data.store import CANONICAL_HW, RGB_PLANE, cached_split, cpu_workers, listing
from nasdepth.errors import DataError
from nasdepth.files import at_home

_CAMERA_FILES = ("cam.txt", "intrinsics.txt")
_LISTS = {"train": ("train",), "test": ("test", "val")}
_SIDES = {"l": "02", "r": "03"}
_LAYOUT = (
    "A video data set is a folder with a folder a scene, each with numbered frames (.jpg or .png) and "
    "cam.txt (the 3x3 intrinsics in pixels)"
)


@dataclass(frozen=True)
class _Scene:
    name: str
    frames: dict[int, Path]
    camera: Path
    hw: tuple[int, int]
    intrinsics: tuple[float, float, float, float]


def load_video(root: str | Path, split: SplitName, which: str = "", progress: bool = True) -> VideoSplit:
    """One split of triplets; frames are resized to 480x640 once, and each is stored once.

    The split is `train.txt` or `test.txt` (`val.txt`), or with `which` the list
    `splits/WHICH/train_files.txt`: a line is `SCENE` (all its triplets), or `SCENE FRAME [l|r]` (the triplet
    around that frame). Without any list a tenth of the scenes, chosen by a hash of the name, is the test
    split.

    Frames are neighbours when their numbers are one step apart, the step being the scene's most common one.
    Of whole scenes, frames beside a gap are no triplet's middle; `info["gaps"]` counts the gaps.

    Raises:
        DataError: naming file, line and value: no such scene or frame, a listed frame without a neighbour,
            intrinsics that are missing or impossible, frames of different sizes.
    """
    root = at_home(root)
    if not root.is_dir():
        raise DataError(f"{root}: no such folder. {_LAYOUT}")
    open_scene = cache(partial(_scene, root))
    triplets, gaps, listed = _triplets(root, split, which, open_scene)
    files: dict[Path, int] = {}
    for scene, numbers in triplets:
        for number in numbers:
            files.setdefault(scene.frames[number], len(files))
    scenes = {scene.name: scene for scene, _ in triplets}
    sizes = {path: scene.hw for scene in scenes.values() for path in scene.frames.values()}
    frames = [[files[scene.frames[number]] for number in numbers] for scene, numbers in triplets]
    return cached_split(
        slot_name(root, "video", *([which] if which else []), split),
        signature([*files, *(scene.camera for scene in scenes.values()), *listed]),
        split,
        [f"{scene.name}/{numbers[1]}" for scene, numbers in triplets],
        partial(_load_one, list(files), sizes),
        partial(ThreadPoolExecutor, cpu_workers()),
        progress,
        opener=VideoSplit,
        planes=(RGB_PLANE,),
        extras={
            "frames": np.array(frames, dtype=np.int64),
            "intrinsics": np.array([scene.intrinsics for scene, _ in triplets], dtype=np.float32),
        },
        info={"format": "video", "scenes": len(scenes), "frames": len(files), "gaps": gaps},
        stored=len(files),
    )


def is_video(root: Path) -> bool:
    """Whether a folder holds scenes with `cam.txt`."""
    return any(path.is_file() for name in _CAMERA_FILES for path in root.glob(f"*/{name}"))


_Triplet = tuple["_Scene", tuple[int, int, int]]


def _triplets(
    root: Path, split: SplitName, which: str, open_scene: Callable[[str, str], _Scene]
) -> tuple[list[_Triplet], int, list[Path]]:
    listed = _list_file(root, split, which)
    if listed is None:
        names = sorted({path.parent.name for n in _CAMERA_FILES for path in root.glob(f"*/{n}")}, key=natural)
        if not names:
            raise DataError(f"{root}: no folder in it has a cam.txt. {_LAYOUT}")
        chosen = [name for name in names if is_test(name) == (split == "test")]
        if not chosen:
            raise DataError(
                f"{root}: {len(names)} scenes are too few to split by chance, none fell to {split}; "
                "name the scenes of each split in train.txt and test.txt"
            )
        lines = [(0, name) for name in chosen]
    else:
        lines = text_lines(listed)
    problems: list[str] = []
    triplets, gaps = [], 0
    for number, line in lines:
        words = line.split()
        try:
            for word in words:
                check_inside(word)
            if len(words) > 3 or (len(words) == 3 and words[2] not in _SIDES):
                raise DataError(f"{line!r}: SCENE or SCENE FRAME [l|r] expected; mend the line")
            scene = open_scene(words[0], words[2] if len(words) == 3 else "")
            if len(words) == 1:
                found, holes = _all_triplets(scene)
                triplets += found
                gaps += holes
            else:
                triplets.append((scene, _one_triplet(scene, words[1])))
        except DataError as error:
            if listed is None:
                raise
            problems.append(f"line {number}: {error}")
    if problems:
        raise DataError(listing(f"{listed}: {len(problems)} lines cannot be used", problems))
    if not triplets:
        raise DataError(
            f"{root}: no three neighbouring frames in any scene of {split}; add the missing frames"
        )
    return triplets, gaps, [] if listed is None else [listed]


def _list_file(root: Path, split: SplitName, which: str) -> Path | None:
    names = _LISTS[split]
    if which:
        tried = [
            p
            for n in names
            for p in (root / "splits" / which / f"{n}_files.txt", root / which / f"{n}_files.txt")
        ]
    else:
        tried = [root / f"{name}.txt" for name in names]
    chosen = next((path for path in tried if path.is_file()), None)
    if chosen is None and (which or any((root / f"{n}.txt").is_file() for s in _LISTS.values() for n in s)):
        raise DataError(f"{root}: no {split} list; add {tried[0]}, a line a scene")
    return chosen


def _scene(root: Path, name: str, side: str) -> _Scene:
    folder = root / name
    if side and (folder / f"image_{_SIDES[side]}" / "data").is_dir():
        folder = folder / f"image_{_SIDES[side]}" / "data"
    if not folder.is_dir():
        raise DataError(f"{folder}: no such scene; unpack it there or mend the list")
    frames: dict[int, Path] = {}
    for path in sorted(p for p in folder.iterdir() if p.suffix.lower() in RGB_SUFFIXES):
        number = re.search(r"(\d+)$", path.stem)
        if number is None:
            raise DataError(
                f"{path}: has no number at the end of its name, so its place is unknown; number it"
            )
        if int(number[1]) in frames:
            raise DataError(f"{path}: {frames[int(number[1])].name} has the same number; keep one of the two")
        frames[int(number[1])] = path
    if not frames:
        raise DataError(f"{folder}: holds no frames (.jpg or .png); unpack them there")
    hw = picture_hw(next(iter(frames.values())))
    camera, matrix = _camera(root, folder, name, side)
    return _Scene(name + (f" {side}" if side else ""), frames, camera, hw, _normalised(camera, matrix, hw))


def _camera(root: Path, folder: Path, name: str, side: str) -> tuple[Path, np.ndarray]:
    for path in (folder / file for file in _CAMERA_FILES):
        if path.is_file():
            text = " ".join(line for _, line in text_lines(path))
            return path, _numbers(path, text.replace(",", " "), (9, 3, 3))
    calibration = (root / name).parent / "calib_cam_to_cam.txt"
    if side and calibration.is_file():
        key = f"P_rect_{_SIDES[side]}:"
        row = next((line for _, line in text_lines(calibration) if line.startswith(key)), None)
        if row is None:
            raise DataError(f"{calibration}: has no {key}; unpack KITTI's calibration again")
        return calibration, _numbers(calibration, row.removeprefix(key), (12, 3, 4))[:, :3]
    raise DataError(f"{folder}: has no cam.txt; write the 3x3 intrinsics in pixels into one")


def _numbers(path: Path, text: str, count_and_shape: tuple[int, int, int]) -> np.ndarray:
    count, *shape = count_and_shape
    try:
        values = np.array([float(word) for word in text.split()])
    except ValueError as error:
        raise DataError(f"{path}: {error}; {count} numbers expected") from error
    if values.size != count:
        raise DataError(f"{path}: holds {values.size} numbers, {count} expected ({shape[0]}x{shape[1]})")
    return values.reshape(shape)


def _normalised(camera: Path, matrix: np.ndarray, hw: tuple[int, int]) -> tuple[float, float, float, float]:
    (fx, skew, cx), (_, fy, cy) = matrix[:2]
    height, width = hw
    if not (fx > 0 and fy > 0 and 0 < cx < width and 0 < cy < height and abs(skew) < 1e-6 * fx):
        raise DataError(
            f"{camera}: fx {fx:g}, fy {fy:g}, cx {cx:g}, cy {cy:g}, skew {skew:g} cannot be of "
            f"{width}x{height} frames; give the intrinsics in pixels of these frames, without skew"
        )
    # a stored pixel's centre is at half, where the files put it at a whole number
    return fx / width, fy / height, (cx + 0.5) / width, (cy + 0.5) / height


def _step(scene: _Scene) -> int:
    differences = Counter(b - a for a, b in pairwise(sorted(scene.frames)))
    return differences.most_common(1)[0][0] if differences else 1


def _all_triplets(scene: _Scene) -> tuple[list[_Triplet], int]:
    step, numbers = _step(scene), sorted(scene.frames)
    found = [
        (scene, (number - step, number, number + step))
        for number in numbers
        if number - step in scene.frames and number + step in scene.frames
    ]
    return found, sum(b - a != step for a, b in pairwise(numbers))


def _one_triplet(scene: _Scene, frame: str) -> tuple[int, int, int]:
    if not frame.isdecimal():
        raise DataError(f"frame {frame!r}: a number expected; mend the line")
    step, number = _step(scene), int(frame)
    folder = next(iter(scene.frames.values())).parent
    missing = [n for n in (number, number - step, number + step) if n not in scene.frames]
    if missing:
        raise DataError(
            f"frame {missing[0]} of {scene.name} is missing in {folder} (frame {number} needs "
            f"{number - step} and {number + step}); add it or remove the line"
        )
    return number - step, number, number + step


def _load_one(files: list[Path], sizes: dict[Path, tuple[int, int]], index: int) -> tuple[np.ndarray]:
    path = files[index]
    picture = read_picture(path)
    if (picture.height, picture.width) != sizes[path]:
        raise DataError(
            f"{path}: is {picture.width}x{picture.height}, but the scene's first frame is "
            f"{sizes[path][1]}x{sizes[path][0]}; the intrinsics hold for one size, scale the frame"
        )
    return (resize_rgb(picture, CANONICAL_HW),)
