"""Arrays on disk, one file each, that are written image by image and read through memory maps."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nasdepth.errors import DataError


@dataclass(frozen=True)
class Plane:
    """A raw array on disk that holds one part for each image.

    Attributes:
        file: the name of the file in the folder.
        dtype: numpy's name of the values' type, little-endian.
        shape: the shape of a single image's part.
    """

    file: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def bytes_each(self) -> int:
        """The number of bytes that one image takes."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


def begin(folder: Path, planes: Sequence[Plane]) -> None:
    """Make a new folder with every plane in it, empty; what was there before is gone."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for plane in planes:
        (folder / plane.file).touch()


def write(folder: Path, planes: Sequence[Plane], first: int, arrays: Sequence[np.ndarray]) -> list[bytes]:
    """Write consecutive images into every plane. Several processes may write different images at once.

    Args:
        folder: the folder that `begin` made.
        planes: all of its planes.
        first: the number of the first image.
        arrays: one for each plane, (images, *shape), or *shape for a single image.

    Returns:
        What was written, by plane.
    """
    contents = [array.astype(plane.dtype).tobytes() for plane, array in zip(planes, arrays, strict=True)]
    # plain writes, not a writable map: on a full disk a map kills the process with SIGBUS
    for plane, content in zip(planes, contents, strict=True):
        with (folder / plane.file).open("r+b") as handle:
            handle.seek(first * plane.bytes_each)
            handle.write(content)
    return contents


def finish(part: Path, folder: Path) -> None:
    """Put a folder that is complete in the place where it is looked for; an older one there is replaced."""
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(part, folder)


def are_whole(folder: Path, planes: Sequence[Plane], images: int) -> bool:
    """Whether every plane has the size of so many images.

    Raises:
        OSError: a plane is missing.
    """
    return all((folder / plane.file).stat().st_size == images * plane.bytes_each for plane in planes)


def mapped(folder: Path, plane: Plane, images: int) -> np.memmap:
    """A plane as a read-only memory map (images, *shape). Slicing a view of it as `np.ndarray` is ten times
    as fast as slicing itself."""
    return np.memmap(folder / plane.file, plane.dtype, "r", shape=(images, *plane.shape))


def check_space(root: Path, needed: int, what: str, mend: str) -> None:
    """Refuse to begin what the disk cannot hold.

    Args:
        root: a folder on that disk.
        needed: how many bytes will be written.
        what: names what will be written, for the message.
        mend: says what the user can do, for the message.

    Raises:
        DataError: fewer bytes are free.
    """
    free = shutil.disk_usage(root).free
    if free < needed:
        raise DataError(
            f"{root}: the disk is too full for {what}: {needed:,} bytes needed, {free:,} free. {mend}"
        )
