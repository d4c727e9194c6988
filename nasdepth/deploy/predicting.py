"""Depth of pictures of any size and shape by a network of one size."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Literal, NamedTuple

import cv2
import numpy as np

from nasdepth.tflite.depth_model import TFLiteDepth

Fit = Literal["letterbox", "crop"]
# a picture whose shape is that near to the network's is stretched by less than two in a hundred
_SAME_SHAPE = 0.02


class Placement(NamedTuple):
    """How a picture meets the network's input.

    Attributes:
        picture: rows and columns of the picture that the network sees.
        inside: rows and columns of the network's input where they lie; the rest repeats the border.
    """

    picture: tuple[slice, slice]
    inside: tuple[slice, slice]


@dataclass(frozen=True)
class Prediction:
    """The depth of a picture.

    Attributes:
        depth_mm: (H, W) float32 of the picture's size; 0 where the network did not look (cropped).
        network_s: seconds in the network, without reading and resizing.
    """

    depth_mm: np.ndarray
    network_s: float


def place(picture_hw: tuple[int, int], network_hw: tuple[int, int], fit: Fit = "letterbox") -> Placement:
    """Where a picture goes in a network's input without being stretched.

    Args:
        picture_hw, network_hw: heights and widths in pixels.
        fit: `letterbox` shows the whole picture and fills up, `crop` fills the input and cuts edges off.

    >>> place((480, 480), (480, 640)).inside
    (slice(0, 480, None), slice(80, 560, None))
    >>> place((480, 480), (480, 640), "crop").picture
    (slice(60, 420, None), slice(0, 480, None))
    """
    (height, width), (rows, columns) = picture_hw, network_hw
    whole, full = (slice(0, height), slice(0, width)), (slice(0, rows), slice(0, columns))
    if same_shape(picture_hw, network_hw):
        return Placement(whole, full)
    wide = width * rows > columns * height
    if fit == "crop":
        kept = (height, round(height * columns / rows)) if wide else (round(width * rows / columns), width)
        return Placement(_centred(kept, picture_hw), full)
    shown = (round(columns * height / width), columns) if wide else (rows, round(rows * width / height))
    return Placement(whole, _centred((max(shown[0], 1), max(shown[1], 1)), network_hw))


def same_shape(picture_hw: tuple[int, int], network_hw: tuple[int, int]) -> bool:
    """Whether a picture is of a network's shape, to two in a hundred."""
    ratio = picture_hw[0] * network_hw[1] / (picture_hw[1] * network_hw[0])
    return abs(ratio - 1) <= _SAME_SHAPE


def predict_picture(model: TFLiteDepth, rgb: np.ndarray, fit: Fit = "letterbox") -> Prediction:
    """Predict the depth of one picture.

    Args:
        rgb: (H, W, 3) uint8 of any size.
        fit: see `place`.
    """
    hw = (rgb.shape[0], rgb.shape[1])
    placement = place(hw, model.input_hw, fit)
    seen = _resized(rgb[placement.picture], _size(placement.inside))
    top, left = placement.inside[0].start, placement.inside[1].start
    bottom, right = model.input_hw[0] - placement.inside[0].stop, model.input_hw[1] - placement.inside[1].stop
    # the border goes on: a black frame would be an edge that is not there
    filled = cv2.copyMakeBorder(seen, top, bottom, left, right, cv2.BORDER_REPLICATE)
    started = time.perf_counter()
    predicted_mm = model.predict(filled[None])[0]
    network_s = time.perf_counter() - started
    depth_mm = np.zeros(hw, np.float32)
    size = _size(placement.picture)
    # a network may give a few pixels below zero, which no depth is
    depth_mm[placement.picture] = np.maximum(_resized(predicted_mm[placement.inside], size), 1.0)
    return Prediction(depth_mm, network_s)


def _centred(size: tuple[int, int], inside: tuple[int, int]) -> tuple[slice, slice]:
    first = [(outer - inner) // 2 for inner, outer in zip(size, inside, strict=True)]
    return slice(first[0], first[0] + size[0]), slice(first[1], first[1] + size[1])


def _size(part: tuple[slice, slice]) -> tuple[int, int]:
    return part[0].stop - part[0].start, part[1].stop - part[1].start


def _resized(picture: np.ndarray, hw: tuple[int, int]) -> np.ndarray:
    if picture.shape[:2] == hw:
        return picture
    smaller = hw[0] < picture.shape[0]
    return cv2.resize(picture, hw[::-1], interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)
