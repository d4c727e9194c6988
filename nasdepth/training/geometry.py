"""Crop, flip and rotation in one resampling from the stored image, straight to the size that is needed.

Nothing is resampled twice and no pixel is computed that nobody looks at: a step reads a sixth of each image.
Coordinates are of pixel centres, the first at 0; shares of height and width run from edge to edge.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from nasdepth.data.pictures import scatter_nearest


@dataclass(frozen=True)
class View:
    """The part of a stored image that is shown: a window, turned about its centre, and then mirrored.

    Attributes:
        stored_hw: size of the stored image in pixels.
        top, left, height, width: the window in stored pixels, before it is turned.
        angle_rad: how far the window is turned, clockwise in the picture.
        flip: left and right are exchanged.
    """

    stored_hw: tuple[int, int]
    top: float
    left: float
    height: float
    width: float
    angle_rad: float = 0.0
    flip: bool = False

    @classmethod
    def whole(cls, stored_hw: tuple[int, int]) -> View:
        """All of the image as it is."""
        return cls(stored_hw, 0, 0, *stored_hw)

    @property
    def upright(self) -> bool:
        return self.angle_rad == 0

    def axes(self, hw: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """Where an upright view's output rows and columns lie: float64 (h,), (w,) in stored pixels."""
        rows = self.top + (np.arange(hw[0]) + 0.5) * self.height / hw[0] - 0.5
        columns = self.left + (np.arange(hw[1]) + 0.5) * self.width / hw[1] - 0.5
        return rows, columns[::-1] if self.flip else columns

    def grid(self, hw: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """Where every output pixel's centre lies: rows and columns, float64 (h, w), in stored pixels."""
        rows, columns = np.meshgrid(*self.axes(hw), indexing="ij")
        if self.upright:
            return rows, columns
        cos, sin = math.cos(self.angle_rad), math.sin(self.angle_rad)
        middle_y, middle_x = self._middle
        down, right = rows - middle_y, columns - middle_x
        return middle_y + cos * down + sin * right, middle_x - sin * down + cos * right

    def place(self, rows: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where points of the stored image (centres, in pixels) come to lie.

        Returns:
            Shares of the view's height and width; within [0, 1) is inside.
        """
        if not self.upright:
            cos, sin = math.cos(self.angle_rad), math.sin(self.angle_rad)
            middle_y, middle_x = self._middle
            down, right = rows - middle_y, columns - middle_x
            rows, columns = middle_y + cos * down - sin * right, middle_x + sin * down + cos * right
        y = (rows + 0.5 - self.top) / self.height
        x = (columns + 0.5 - self.left) / self.width
        return y, 1 - x if self.flip else x

    @property
    def _middle(self) -> tuple[float, float]:
        return self.top + self.height / 2 - 0.5, self.left + self.width / 2 - 0.5


def sample_rgb(image: np.ndarray, view: View, hw: tuple[int, int]) -> np.ndarray:
    """Bilinear samples without low-pass filter, as the deployed network resizes; the edge continues outwards.

    Args:
        image: uint8 (H, W, 3).

    Returns:
        float32 (*hw, 3) on 0-255. For an upright view equal to `F.interpolate(..., align_corners=False)`.
    """
    bottom, right = image.shape[0] - 1, image.shape[1] - 1
    if view.upright:
        rows, columns = view.axes(hw)
        # an upright window's own edge continues, so that a crop is resized as a smaller image would be
        low_y, high_y = math.ceil(view.top), min(math.ceil(view.top + view.height) - 1, bottom)
        low_x, high_x = math.ceil(view.left), min(math.ceil(view.left + view.width) - 1, right)
        y0, y1, fy = _taps(rows, low_y, high_y)
        x0, x1, fx = _taps(columns, low_x, high_x)
        upper, lower = image[y0].astype(np.float32), image[y1].astype(np.float32)
        lower -= upper
        lower *= fy[:, None, None]
        upper += lower
        first, second = upper.take(x0, axis=1), upper.take(x1, axis=1)
        second -= first
        second *= fx[:, None]
        first += second
        return first
    rows, columns = view.grid(hw)
    y0, y1, fy = _taps(rows, 0, bottom)
    x0, x1, fx = _taps(columns, 0, right)
    flat, y0, y1 = image.reshape(-1, 3), y0 * image.shape[1], y1 * image.shape[1]
    fy, fx = fy[..., None], fx[..., None]
    upper, lower = (_between(flat.take(y + x0, axis=0), flat.take(y + x1, axis=0), fx) for y in (y0, y1))
    return _between(upper, lower, fy)


def sample_nearest(values: np.ndarray, view: View, hw: tuple[int, int]) -> np.ndarray:
    """The stored value nearest to every output pixel's centre, 0 where that lies outside of the image.

    Args:
        values: (H, W) of any type, 0 = unknown.

    Returns:
        (*hw) of the same type; never a blend. For an upright view equal to `nearest-exact`.
    """
    if view.upright:
        rows, columns = (np.floor(axis + 0.5).astype(np.intp) for axis in view.axes(hw))
        return values[rows[:, None], columns]
    rows, columns = (np.floor(axis + 0.5).astype(np.intp) for axis in view.grid(hw))
    height, width = values.shape
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    found = values[rows.clip(0, height - 1), columns.clip(0, width - 1)]
    return np.where(inside, found, values.dtype.type(0))


def sample_sparse(values: np.ndarray, view: View, hw: tuple[int, int]) -> np.ndarray:
    """Every known point where it falls in the view; the nearest of those that meet, 0 where none is.

    Sampling a grid of 120x160 would keep a sixteenth of a LiDAR's points.
    """
    rows, columns = np.nonzero(values)
    y, x = view.place(rows, columns)
    inside = (y >= 0) & (y < 1) & (x >= 0) & (x < 1)
    target = (y[inside] * hw[0]).astype(np.intp) * hw[1] + (x[inside] * hw[1]).astype(np.intp)
    return scatter_nearest(target, values[rows[inside], columns[inside]], hw)


def move_pairs(points: np.ndarray, view: View) -> tuple[np.ndarray, np.ndarray]:
    """Points of ordinal pairs in the view.

    Args:
        points: float32 (P, 4), y_A x_A y_B x_B as shares of the stored image.

    Returns:
        The same as shares of the view, and bool (P,): both points are inside.
    """
    height, width = view.stored_hw
    moved = np.empty_like(points)
    inside = np.ones(len(points), dtype=bool)
    for first in (0, 2):
        y, x = view.place(points[:, first] * height - 0.5, points[:, first + 1] * width - 0.5)
        moved[:, first], moved[:, first + 1] = y, x
        inside &= (y >= 0) & (y < 1) & (x >= 0) & (x < 1)
    return moved, inside


def view_intrinsics(shares: np.ndarray, view: View, hw: tuple[int, int]) -> np.ndarray:
    """The camera of an upright view as 3x3 in pixels of an output of size hw, first centre at (0, 0).

    Args:
        shares: (4,) fx/width, fy/height, cx/width, cy/height of the stored image, from edge to edge.

    Returns:
        float32 (3, 3).
    """
    stored_h, stored_w = view.stored_hw
    fx = shares[0] * stored_w / view.width
    fy = shares[1] * stored_h / view.height
    cx = (shares[2] * stored_w - view.left) / view.width
    cy = (shares[3] * stored_h - view.top) / view.height
    if view.flip:
        cx = 1 - cx
    return np.array(
        [[fx * hw[1], 0, cx * hw[1] - 0.5], [0, fy * hw[0], cy * hw[0] - 0.5], [0, 0, 1]], dtype=np.float32
    )


def _taps(places: np.ndarray, low: int, high: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    places = places.clip(low, high)
    first = places.astype(np.intp)
    return first, np.minimum(first + 1, high), (places - first).astype(np.float32)


def _between(first: np.ndarray, second: np.ndarray, share: np.ndarray) -> np.ndarray:
    first = first.astype(np.float32)
    return first + (second.astype(np.float32) - first) * share
