"""Pictures to predict depth for: photographs, a folder of them, a video or a camera, one frame at a time."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import cv2
import numpy as np

from nasdepth.data.pictures import natural, read_picture
from nasdepth.errors import DataError

PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
VIDEO_SUFFIXES = (".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".gif")
_CAMERA = re.compile(r"camera(?::(\d+))?|/dev/video(\d+)")
_PHOTO_FOLDERS = ("rgb", "color", "colour", "images", "image")


@dataclass(frozen=True)
class Frame:
    """A picture to predict depth for.

    Attributes:
        name: of its files, without suffix.
        rgb: (H, W, 3) uint8, upright.
    """

    name: str
    rgb: np.ndarray


class Frames(ABC):
    """A source of pictures; iterate over it once, in a `with` statement.

    Attributes:
        kind: `photos` have nothing to do with one another; frames of a `video` or a `camera` do.
        total: how many frames there are; None where nobody knows.
        fps: frames per second of a video, None otherwise.
    """

    kind: Literal["photos", "video", "camera"]
    total: int | None = None
    fps: float | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:  # noqa: B027
        """Free what is open."""

    @abstractmethod
    def __iter__(self) -> Iterator[Frame | DataError]:
        """Every frame; the error of a photograph that cannot be read takes its place."""


class Photos(Frames):
    """Photograph files, upright as their EXIF orientation says."""

    kind = "photos"

    def __init__(self, paths: list[Path]) -> None:
        self.paths, self.total = paths, len(paths)

    def __iter__(self) -> Iterator[Frame | DataError]:
        stems = [path.stem for path in self.paths]
        for path in self.paths:
            # a.jpg and a.png must not overwrite each other's depth
            name = path.stem if stems.count(path.stem) == 1 else path.name.replace(".", "-")
            try:
                yield Frame(name, np.asarray(read_picture(path).convert("RGB")))
            except DataError as error:
                yield error


class Film(Frames):
    """A video file or a camera, read by OpenCV.

    Args:
        source: path of the video, or number of the camera.
        name: that names of frames begin with.

    Raises:
        DataError: it cannot be opened.
    """

    def __init__(self, source: str | int, name: str) -> None:
        self._name = name
        self.kind = "camera" if isinstance(source, int) else "video"
        # its backends write to standard error what the error below says
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
        self._capture = cv2.VideoCapture(source)
        if not self._capture.isOpened():
            raise DataError(
                f"camera {source}: cannot be opened; `ls /dev/video*` lists cameras and who may use them"
                if self.kind == "camera"
                else f"{source}: cannot be read as a video; convert it, as in: ffmpeg -i {source} frames.mp4"
            )
        if self.kind == "video":
            frames = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
            self.total = frames if frames > 0 else None
            fps = float(self._capture.get(cv2.CAP_PROP_FPS))
            self.fps = fps if 0 < fps < 1000 else None

    def __iter__(self) -> Iterator[Frame | DataError]:
        number = 0
        while True:
            there, bgr = self._capture.read()
            if not there:
                return
            yield Frame(f"{self._name}-{number:06d}", cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB))
            number += 1

    def close(self) -> None:
        """Free the file or the camera."""
        self._capture.release()


def open_frames(source: str | Path) -> Frames:
    """Open what a user named: a photograph, a folder of photographs, a video file, or a camera.

    Args:
        source: a path; `camera`, `camera:1` or `/dev/video1` for a camera. Of a folder without photographs,
            its sub-folder `rgb`, `color` or `images` is taken.

    Raises:
        DataError: there is no such file or camera, or no photograph in the folder.
    """
    if match := _CAMERA.fullmatch(str(source)):
        number = int(match[1] or match[2] or 0)
        return Film(number, f"camera{number}")
    path = Path(source).expanduser()
    if path.is_dir():
        return Photos(_photos_in(path))
    if not path.is_file():
        raise DataError(
            f"{source}: no such file or folder; give a photograph, a folder, a video, or camera:NUMBER"
        )
    suffix = path.suffix.lower()
    if suffix in VIDEO_SUFFIXES:
        return Film(str(path), path.stem)
    if suffix not in PHOTO_SUFFIXES:
        raise DataError(
            f"{path}: is no kind of picture that is read ({' '.join(PHOTO_SUFFIXES)}) and no video "
            f"({' '.join(VIDEO_SUFFIXES)}); convert it to .jpg or .png"
        )
    return Photos([path])


def _photos_in(folder: Path) -> list[Path]:
    for candidate in (folder, *(folder / name for name in _PHOTO_FOLDERS)):
        if candidate.is_dir():
            found = [one for one in candidate.iterdir() if one.suffix.lower() in PHOTO_SUFFIXES]
            found = [one for one in found if not one.name.startswith(".")]
            if found:
                return sorted(found, key=lambda one: natural(one.name))
    raise DataError(f"{folder}: holds no photographs ({' '.join(PHOTO_SUFFIXES)}); name the folder that does")
