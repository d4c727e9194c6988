"""Depth maps as people have them: 16-bit pictures in any unit, floats in metres, SUN RGB-D's rotated bits."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np

from nasdepth.data.pictures import read_picture
from nasdepth.errors import DataError, nearest

# OpenCV reads the format only where it is asked for, before its first picture
os.environ.setdefault("OPENCV_IO_ENABLE_OPENEXR", "1")

DEPTH_SUFFIXES = (".png", ".tif", ".tiff", ".npy", ".exr")
Fit = Literal["crop", "letterbox", "stretch"]

_MOST_MM = 65535
_HINT = "say what it is by an option: @scale=STEPS_PER_METRE, @unknown=VALUE, @far=METRES or @bits=rotated"
_OPTIONS = {
    "scale": "steps of the depth files per metre: 1000 (millimetres) for whole numbers, 1 for floats",
    "unknown": "a value that says that nobody knows, beside 0, nan and inf; several as 65535+65534",
    "far": "metres from which depth is left out as unknown",
    "bits": "rotated: SUN RGB-D's, whose bits are turned by three",
    "rgb": "name of the folder of photographs",
    "depth": "name of the folder of depth files",
    "fit": "crop, letterbox or stretch: what is done with pictures that are not 4:3",
}


@dataclass(frozen=True)
class FolderOptions:
    """How a folder of photographs and depth files is read.

    Attributes:
        rgb, depth: names of the two folders.
        steps_per_m: of the depth files; None for the usual, 1000 of whole numbers and 1 of floats.
        unknown: values beside 0, nan and inf that stand for unknown.
        far_m: from there on depth is unknown.
        rotated: depths are 16-bit values turned by three bits to the left (SUN RGB-D).
        fit: what is done with pictures of another shape than the store's.
    """

    rgb: str = "rgb"
    depth: str = "depth"
    steps_per_m: float | None = None
    unknown: tuple[float, ...] = ()
    far_m: float | None = None
    rotated: bool = False
    fit: Fit = "crop"


def parse_options(text: str, source: str) -> FolderOptions:
    """Read `scale=5000@unknown=65535`, what follows the first @ of a source.

    Args:
        source: the whole of what the user typed, for messages.

    Raises:
        DataError: an option that there is not, twice one, or a value that makes no sense.
    """
    given: dict[str, str] = {}
    for pair in filter(None, text.replace("@", ",").split(",")):
        name, equals, value = pair.partition("=")
        if name not in _OPTIONS or not equals or not value:
            raise DataError(
                f"{source}: @{pair} is no option of a folder{nearest(name, _OPTIONS)}; there are "
                + "; ".join(f"@{one}= ({words})" for one, words in _OPTIONS.items())
            )
        if name in given:
            raise DataError(f"{source}: @{name}= is given twice")
        given[name] = value
    fields: dict[str, Any] = {name: given[name] for name in ("rgb", "depth") if name in given}
    for name, field in (("scale", "steps_per_m"), ("far", "far_m")):
        if name in given:
            fields[field] = _number(given[name], name, source)
            if not fields[field] > 0:
                raise DataError(f"{source}: @{name}={given[name]} must be above 0")
    if "unknown" in given:
        fields["unknown"] = tuple(_number(one, "unknown", source) for one in given["unknown"].split("+"))
    if "bits" in given:
        if given["bits"] != "rotated":
            raise DataError(f"{source}: @bits={given['bits']} must be @bits=rotated")
        fields["rotated"] = True
    if "fit" in given:
        if given["fit"] not in ("crop", "letterbox", "stretch"):
            raise DataError(f"{source}: @fit={given['fit']} must be crop, letterbox or stretch")
        fields["fit"] = given["fit"]
    return FolderOptions(**fields)


def _number(text: str, name: str, source: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise DataError(f"{source}: @{name}={text} is no number") from None
    if not np.isfinite(value):
        raise DataError(f"{source}: @{name}={text} must be finite; nan and inf are unknown anyway")
    return value


def read_depth_mm(path: Path, options: FolderOptions) -> np.ndarray:
    """One depth map in millimetres.

    Returns:
        uint16 (H, W), 0 = unknown.

    Raises:
        DataError: the file is damaged, has several channels, or depths that do not fit.
    """
    values = _read(path)
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[..., 0]
    if values.ndim != 2:
        shape = "x".join(map(str, values.shape))
        raise DataError(f"{path}: has the shape {shape}; a depth map has one channel, save it as that")
    if values.dtype == np.uint8 and options.steps_per_m is None:
        raise DataError(
            f"{path}: has 8 bits, uint16 millimetres expected; save it as a 16-bit grey PNG, or {_HINT}"
        )
    known = np.isfinite(values) & (values != 0)
    for value in options.unknown:
        known &= values != value
    if options.rotated:
        if values.dtype != np.uint16:
            raise DataError(f"{path}: @bits=rotated is of 16-bit files, this one is {values.dtype}")
        values = (values >> 3) | (values << 13)
    steps_per_m = options.steps_per_m or (1.0 if values.dtype.kind == "f" else 1000.0)
    depth_mm = np.where(known, values, 0) * (1000.0 / steps_per_m)
    if options.far_m is not None:
        depth_mm[depth_mm >= 1000 * options.far_m] = 0
    if depth_mm.min() < 0 or depth_mm.max() > _MOST_MM:
        raise DataError(
            f"{path}: reaches {depth_mm.min() / 1000:g} to {depth_mm.max() / 1000:g} m, 0 to 65.5 m can be "
            f"kept; {_HINT}"
        )
    depth_mm = np.rint(depth_mm).astype(np.uint16)
    if not depth_mm.any():
        raise DataError(f"{path}: every pixel is 0 (unknown); remove the image from the data set, or {_HINT}")
    return depth_mm


def _read(path: Path) -> np.ndarray:
    match path.suffix.lower():
        case ".npy":
            try:
                return np.load(path, allow_pickle=False)
            except (OSError, ValueError, EOFError) as error:
                raise DataError(f"{path}: cannot be read ({error}); replace the damaged file") from error
        case ".exr":
            return _read_exr(path)
    picture = read_picture(path)
    values = np.asarray(picture)
    if picture.mode.startswith("I;16"):
        return values.astype(np.uint16)
    if picture.mode == "I" and values.min() >= 0 and values.max() <= _MOST_MM:
        return values.astype(np.uint16)
    if picture.mode in ("RGB", "RGBA", "P", "1"):
        raise DataError(
            f"{path}: is {picture.mode}, uint16 millimetres expected; save it as a 16-bit grey PNG"
        )
    return values


def _read_exr(path: Path) -> np.ndarray:
    values = None
    if path.is_file():
        try:
            values = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        except cv2.error as error:
            raise DataError(f"{path}: cannot be read ({error.err or error}); replace it") from error
    if values is None:
        raise DataError(f"{path}: cannot be read as OpenEXR; replace the damaged file, or save it as .npy")
    # depth is often written into all three channels
    if values.ndim == 3 and (values == values[..., :1]).all():
        return values[..., 0]
    return values


def unit_hints(depths_mm: Iterator[np.ndarray]) -> list[str]:
    """What looks wrong with depths: a unit, or a value that is no depth; empty where nothing does.

    Args:
        depths_mm: some depth maps (H, W) in mm, 0 = unknown.
    """
    values = np.concatenate([one[one > 0].ravel() for one in depths_mm])
    if not values.size:
        return []
    hints = []
    median_m = float(np.median(values)) / 1000
    if not 0.2 <= median_m <= 40:
        hints.append(
            f"half of all depths are below {median_m:.3g} m: if that cannot be, set @scale=STEPS_PER_METRE"
        )
    most = float(values.max())
    saturated = float((values == most).mean())
    if saturated > 0.002 and most > 1.2 * np.percentile(values, 95):
        hints.append(
            f"{saturated:.1%} of all depths are exactly {most / 1000:g} m: if that marks unknown, set "
            f"@unknown={most:.0f} (in the files' own steps)"
        )
    elif most == _MOST_MM:
        hints.append("some depths are 65.535 m, the highest value of 16 bits: if unknown, set @unknown=65535")
    return hints
