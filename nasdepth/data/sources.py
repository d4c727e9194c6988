"""Opening a data set by what the user typed: a path, built-in scenes, or `format:path@option`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from nasdepth.data.depth_files import parse_options
from nasdepth.data.diw import is_diw, load_diw
from nasdepth.data.folder import SplitName, has_splits, load_folder
from nasdepth.data.h5_files import is_h5, load_h5
from nasdepth.data.kitti import is_kitti, load_kitti
from nasdepth.data.nyu import load_nyu
from nasdepth.data.relative import layout_of, load_relative
from nasdepth.data.scene_videos import load_scene_videos, parse_scene_videos
from nasdepth.data.scenes import load_scenes, parse_scenes
from nasdepth.data.store import DepthSplit, ImageSplit
from nasdepth.data.video import is_video, load_video
from nasdepth.errors import DataError
from nasdepth.files import at_home, whole_path

# a folder with options, without its format's name: PATH@scale=5000
_WITH_OPTIONS = re.compile(r"[^@]+@\w+=.*")
FORMATS = ("folder", "nyu", "h5", "kitti", "diw", "relative", "video")
_MATLAB_NAME = "nyu_depth_v2_labeled.mat"


class Source(NamedTuple):
    """A format with the path and the option that it is opened with."""

    format: str
    path: Path
    option: str


def parse_source(text: str | Path) -> Source:
    """Read `PATH`, whose format is recognised by what lies there, or `FORMAT:PATH@OPTION`.

    Options: `nyu:...@raw` (depth with holes), `kitti:...@eigen` (a split list) or `@selection`,
    `diw:...@20000` (that many images), `video:...@eigen_zhou` (a split list).

    Raises:
        DataError: an option that the format does not have.
    """
    _check_name(str(text))
    name, colon, rest = str(text).partition(":")
    if (not colon or name not in FORMATS) and _WITH_OPTIONS.fullmatch(str(text)):
        name, colon, rest = "folder", ":", str(text)
    if not colon or name not in FORMATS:
        return Source(_recognise(at_home(text)), at_home(text), "")
    path, _, option = rest.partition("@")
    if name == "folder":
        parse_options(option, str(text))
    if option and name in ("relative", "h5"):
        raise DataError(f"{text}: {name} has no option @{option}; leave it out")
    if name == "nyu" and option not in ("", "raw"):
        raise DataError(f"{text}: @{option} must be @raw (depth with its holes) or be left out")
    if name in ("kitti", "video") and option and not re.fullmatch(r"\w[\w.-]*", option):
        raise DataError(f"{text}: @{option} must be the name of a split list, such as @eigen")
    if name == "diw" and option and not (option.isdecimal() and int(option) > 0):
        raise DataError(f"{text}: @{option} must be a number of images")
    return Source(name, at_home(path), option)


def _check_name(text: str) -> None:
    if not text or "\0" in text:
        raise DataError(f"the data set is {text!r}: name a folder or a file, or leave it out for scenes")


def absolute_source(source: str) -> str:
    """Write a source so that it means the same in every folder.

    >>> absolute_source("kitti:/data/kitti@eigen"), absolute_source("scenes:24+6")
    ('kitti:/data/kitti@eigen', 'scenes:24+6')

    Raises:
        DataError: the source is misspelt.
    """
    if parse_scenes(source) or parse_scene_videos(source):
        return source
    _check_name(source)
    name, colon, rest = source.partition(":")
    if (not colon or name not in FORMATS) and _WITH_OPTIONS.fullmatch(source):
        name, colon, rest = "folder", ":", source
    if not colon or name not in FORMATS:
        return str(whole_path(source))
    path, at, option = rest.partition("@")
    return f"{name}:{whole_path(path)}{at}{option}"


def open_split(source: str | Path | None, split: SplitName, progress: bool = True) -> ImageSplit:
    """Open one split of a data set of any kind of supervision.

    Returns:
        DepthSplit, OrdinalSplit, RelativeSplit or VideoSplit; `kind` tells which.

    Raises:
        DataError: the source does not exist, is misspelt or holds files that cannot be used.
    """
    if split not in ("train", "test", "all"):
        raise DataError(f"split {split!r}: must be train, test or all")
    source = "scenes" if source is None else source
    spec = parse_scenes(str(source))
    if split == "all" and (spec or parse_source(source).format not in ("folder", "h5")):
        raise DataError(f"{source}: has the splits train and test; all images are read of a folder only")
    if spec is not None:
        return load_scenes(split, spec.train if split == "train" else spec.test, spec.seed, progress)
    clips = parse_scene_videos(str(source))
    if clips is not None:
        count = clips.train if split == "train" else clips.test
        return load_scene_videos(split, count, clips.seed, clips.truth, progress)
    found = parse_source(source)
    match found.format:
        case "nyu":
            path = found.path / _MATLAB_NAME if found.path.is_dir() else found.path
            return load_nyu(path, split, "rawDepths" if found.option else "depths", progress)
        case "h5":
            return load_h5(found.path, split, progress)
        case "kitti":
            return load_kitti(found.path, split, found.option, progress)
        case "diw":
            return load_diw(found.path, split, int(found.option) if found.option else None, progress)
        case "relative":
            return load_relative(found.path, split, progress)
        case "video":
            return load_video(found.path, split, found.option, progress)
        case _:
            return load_folder(found.path, split, progress, parse_options(found.option, str(source)))


def split_to_score(source: str | Path) -> SplitName:
    """What to score on where nobody says: `test`, or all images of a folder that has no splits of its own."""
    if parse_scenes(str(source)) or parse_scene_videos(str(source)):
        return "test"
    found = parse_source(source)
    if found.format != "folder":
        return "test"
    options = parse_options(found.option, str(source))
    return "test" if has_splits(found.path, options.rgb) else "all"


def load_split(source: str | Path | None, split: SplitName, progress: bool = True) -> DepthSplit:
    """Load one split of metric depth.

    Args:
        source: a folder in the challenge's layout, NYU Depth v2's .mat, KITTI's folder (`parse_source`), or
            built-in scenes: None or `scenes` for the default, `scenes:480+80` for other counts (train+test),
            `scenes:480+80@7` for another seed.

    Raises:
        DataError: the source does not exist, is misspelt, holds images that cannot be used, or supervises
            in another way.
    """
    opened = open_split(source, split, progress)
    if not isinstance(opened, DepthSplit):
        raise DataError(
            f"{source}: is {opened.kind} supervision, but metric depth is needed here; name a data set with "
            "depth in millimetres, and give this one to a mixture"
        )
    return opened


def _recognise(path: Path) -> str:
    if path.suffix.lower() == ".mat" or (path / _MATLAB_NAME).is_file():
        return "nyu"
    if path.suffix.lower() == ".csv":
        return "diw"
    if any((path / sub / "depth").is_dir() for sub in (".", "train", "test", "val", "valid")):
        return "folder"
    tests = (
        ("relative", lambda p: layout_of(p) is not None),
        ("h5", is_h5),
        ("diw", is_diw),
        ("kitti", is_kitti),
        ("video", is_video),
    )
    return next((name for name, test in tests if path.is_dir() and test(path)), "folder")
