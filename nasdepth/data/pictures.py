"""What the readers of all formats share: reading pictures, resizing them, telling a changed source."""

from __future__ import annotations

import hashlib
import re
import struct
import warnings
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from nasdepth.errors import DataError
from nasdepth.files import whole_path
from nasdepth.reading import open_regular, read_text

LEAST_KNOWN = 0.001
"""Below this share of known pixels, most of a batch's small loss maps hold none."""

_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "PPM")
# the largest sensors of phones; decoded, three bytes each
_MOST_PIXELS = 64_000_000
_DAMAGED = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, zlib.error, MemoryError)

_ORIENTATION = 0x0112
# of EXIF: those that swap height and width
_LYING = (5, 6, 7, 8)


def read_picture(path: Path) -> Image.Image:
    """Open and decode a picture file, turned upright as its EXIF orientation says.

    Raises:
        DataError: it is missing, damaged or no picture.
    """
    with _opened(path) as image:
        image.load()
        # what is turned is a new image, without a format
        ImageOps.exif_transpose(image, in_place=True)
        return image


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """A picture whose header has been read, and whose size is bearable."""
    with open_regular(path, error=DataError) as file, warnings.catch_warnings():
        # a compressed picture of a megabyte can hold a gigabyte: it is refused here, with its name
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            # by other formats' readers a file could start programs, as PostScript's does
            image = Image.open(file, formats=_FORMATS)
            pixels = image.width * image.height
            if pixels > _MOST_PIXELS:
                raise DataError(
                    f"{path}: is {image.width}x{image.height}, {pixels / 1e6:.0f} megapixels; at most "
                    f"{_MOST_PIXELS / 1e6:.0f} are read; scale it down (nearest-neighbour where it is depth)"
                )
            yield image
        # Pillow reports damaged files as any of these, by format.
        except (*_DAMAGED, Image.DecompressionBombError) as error:
            words = "no picture" if isinstance(error, UnidentifiedImageError) else error
            raise DataError(f"{path}: cannot be read ({words}); replace the damaged file") from error


def check_same_size(
    rgb: Image.Image, rgb_path: Path, depth: Image.Image, depth_path: Path, mend: str
) -> None:
    """Raise DataError where a depth map is not of its photograph's size; `mend` says what to do."""
    if rgb.size != depth.size:
        raise DataError(
            f"{depth_path}: is {depth.width}x{depth.height} but {rgb_path.name} is {rgb.width}x{rgb.height}; "
            f"{mend}"
        )


def picture_hw(path: Path) -> tuple[int, int]:
    """Height and width in pixels of the upright picture, from the file's header alone.

    Raises:
        DataError: it is missing, damaged or no picture.
    """
    with _opened(path) as image:
        lies = image.getexif().get(_ORIENTATION, 1) in _LYING
        return (image.width, image.height) if lies else (image.height, image.width)


def resize_rgb(image: Image.Image, hw: tuple[int, int]) -> np.ndarray:
    """uint8 (*hw, 3), bilinear; grey and palette pictures become RGB."""
    return np.asarray(image.convert("RGB").resize((hw[1], hw[0]), Image.Resampling.BILINEAR))


def resize_nearest(dense: np.ndarray, hw: tuple[int, int]) -> np.ndarray:
    """Resize (H, W) without ever blending unknown zeros into depths."""
    rows, columns = (
        ((np.arange(new) + 0.5) * old / new).astype(np.intp) for new, old in zip(hw, dense.shape, strict=True)
    )
    return dense[rows[:, None], columns]


def known_after_resize(path: Path, depth: np.ndarray, least: float = LEAST_KNOWN) -> np.ndarray:
    """The resized depth map of a file, if enough of it is known to learn from.

    Raises:
        DataError: a share below `least` of its pixels is known.
    """
    share = np.count_nonzero(depth) / depth.size
    if share < least:
        raise DataError(
            f"{path}: only {share:.3%} of its pixels are known (not 0) at {depth.shape[1]}x{depth.shape[0]}; "
            f"{least:.1%} at least are needed. Fill the holes, or remove the image from the data set"
        )
    return depth


def resize_sparse(sparse: np.ndarray, hw: tuple[int, int]) -> np.ndarray:
    """Move every known point of (H, W) to the pixel it falls on; where points meet, the nearest stays.

    Sampling a grid would lose most of a LiDAR's points, and would repeat others where it enlarges.
    """
    rows, columns = np.nonzero(sparse)
    target = (2 * rows + 1) * hw[0] // (2 * sparse.shape[0]) * hw[1]
    target += (2 * columns + 1) * hw[1] // (2 * sparse.shape[1])
    return scatter_nearest(target, sparse[rows, columns], hw)


def scatter_nearest(target: np.ndarray, depth: np.ndarray, hw: tuple[int, int]) -> np.ndarray:
    """(*hw) of depth's type with `depth` at the flat indices `target`, 0 elsewhere; of several the least."""
    out = np.zeros(hw, depth.dtype)
    # The last of several writes to one place stays: far first, so that near hides far as in a picture.
    order = np.argsort(depth, kind="stable")[::-1]
    out.ravel()[target[order]] = depth[order]
    return out


def signature(files: Iterable[Path], *also: str) -> str:
    """Describe a source as it is now: names, sizes and times of its files, and whatever else decides."""
    found = []
    for path in files:
        try:
            stat = path.stat()
        except OSError as error:  # a link that leads nowhere, or in a circle
            raise DataError(f"{path}: cannot be read ({error.strerror}); mend or remove it") from error
        found.append(f"{path.name} {stat.st_size} {stat.st_mtime_ns}")
    return digest("\n".join([*found, *also]))


def slot_name(source: Path, *parts: str) -> str:
    """Folder in the cache for a source: its name, a hash of its whole path, and `parts`."""
    source = whole_path(source)
    return "-".join([source.name, digest(str(source))[:8], *parts])


def check_inside(name: str) -> None:
    """Refuse a name in a list that leads out of the data set's folder.

    Raises:
        DataError: it is absolute, or goes up.
    """
    if Path(name).is_absolute() or ".." in Path(name).parts or "\0" in name:
        raise DataError(f"{name!r}: leads out of the data set's folder; name what lies in it")


def natural(text: str) -> list[tuple[int, int | str]]:
    """Sort key that puts "2" before "10"."""
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in re.split(r"(\d+)", text) if part]


def digest(text: str) -> str:
    """SHA-256 as hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()


def text_lines(path: Path) -> list[tuple[int, str]]:
    """The lines of a list with their numbers from 1, stripped, without empty ones and # comments.

    Raises:
        DataError: it cannot be read, is not UTF-8, or has no line.
    """
    text = read_text(path, error=DataError)
    numbered = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1)]
    lines = [(number, line) for number, line in numbered if line and not line.startswith("#")]
    if not lines:
        raise DataError(f"{path}: is empty; a list needs at least one line")
    return lines
