"""Crop, flip and rotation from the stored image straight to the size that is needed.

No picture is copied or converted at its stored size: that alone would cost more than all the rest.
Coordinates are of pixel centres, the first at 0; shares of height and width run from edge to edge.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from nasdepth.data.pictures import scatter_nearest

with warnings.catch_warnings():
    # That a tensor of a read-only memory map must not be written to is told once a program; here, unheard.
    warnings.simplefilter("ignore")
    torch.from_numpy(np.frombuffer(b"\0", np.uint8))


@dataclass(frozen=True)
class View:
    """The part of a stored image that is shown: a window, turned about its centre, and then mirrored.

    Attributes:
        stored_hw: size of the stored image in pixels.
        top, left, height, width: the window in stored pixels, before it is turned.
        angle_rad: how far the window is turned, clockwise in the picture.
        flip: left and right are exchanged.
        flip_vertical: top and bottom are exchanged.
    """

    stored_hw: tuple[int, int]
    top: int
    left: int
    height: int
    width: int
    angle_rad: float = 0.0
    flip: bool = False
    flip_vertical: bool = False

    @classmethod
    def whole(cls, stored_hw: tuple[int, int]) -> View:
        """The view that shows all of the image as it is."""
        return cls(stored_hw, 0, 0, *stored_hw)

    @property
    def upright(self) -> bool:
        return self.angle_rad == 0

    def axes(self, hw: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """Find where an upright view's output rows and columns lie: float64 (h,), (w,) in stored pixels."""
        rows = self.top + (np.arange(hw[0]) + 0.5) * self.height / hw[0] - 0.5
        columns = self.left + (np.arange(hw[1]) + 0.5) * self.width / hw[1] - 0.5
        return rows[::-1] if self.flip_vertical else rows, columns[::-1] if self.flip else columns

    def grid(self, hw: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """Find where every output pixel's centre lies: rows and columns, float32 (h, w), in stored pixels."""
        of_rows, of_columns = self._turned_axes(hw)
        return np.add.outer(*of_rows, dtype=np.float32), np.add.outer(*of_columns, dtype=np.float32)

    def summands(self, hw: tuple[int, int]) -> np.ndarray:
        """The grid as four vectors, for whoever adds them up elsewhere: float64 (2 h + 2 w,).

        Output pixel (i, j) lies in row a[i] + b[j] and column c[i] + d[j] of the stored image, where a (h,),
        b (w,), c (h,) and d (w,) follow one another. Of an upright view b and c are 0.
        """
        if self.upright:
            rows, columns = self.axes(hw)
            return np.concatenate([rows, np.zeros(hw[1] + hw[0]), columns])
        of_rows, of_columns = self._turned_axes(hw)
        return np.concatenate([*of_rows, *of_columns])

    def resized_window(self, hw: tuple[int, int]) -> tuple[tuple[int, int, int, int], tuple[int, int]]:
        """Compute which part of the stored image is resized before it is turned, and to what size.

        Of an upright view that is the window itself, and `hw`. A turned view takes what its corners need, as
        far as there is an image, at the same pixels a degree as an upright view has.

        Returns:
            (top, left, height, width) in stored pixels, and the (height, width) that it is resized to.
        """
        if self.upright:
            return (self.top, self.left, self.height, self.width), hw
        (top, height), (left, width) = (
            _extent(of_rows.astype(np.float32), of_columns.astype(np.float32), size)
            for (of_rows, of_columns), size in zip(self._turned_axes(hw), self.stored_hw, strict=True)
        )
        resized_hw = math.ceil(height * hw[0] / self.height), math.ceil(width * hw[1] / self.width)
        return (top, left, height, width), resized_hw

    def _turned_axes(self, hw: tuple[int, int]) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
        """For the rows, and for the columns, of the output's pixels: what each output row and column adds."""
        rows, columns = self.axes(hw)
        cos, sin = math.cos(self.angle_rad), math.sin(self.angle_rad)
        middle_y, middle_x = self._middle
        down, right = rows - middle_y, columns - middle_x
        return (cos * down + middle_y, sin * right), (-sin * down, cos * right + middle_x)

    def place(self, rows: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Compute where points of the stored image (centres, in pixels) come to lie in the view.

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
        return 1 - y if self.flip_vertical else y, 1 - x if self.flip else x

    @property
    def _middle(self) -> tuple[float, float]:
        return self.top + self.height / 2 - 0.5, self.left + self.width / 2 - 0.5


def sample_rgb(image: np.ndarray, view: View, hw: tuple[int, int]) -> np.ndarray:
    """Bilinear samples without low-pass filter, as the deployed network resizes, rounded to whole levels.

    Resizing bytes is several times faster, and LiteDepth trains on such images. A turned view is first
    resized upright with what its corners need, then turned at this size; the stored image's edge continues
    outwards.

    Args:
        image: uint8 (H, W, 3).

    Returns:
        uint8 (*hw, 3).
    """
    if view.upright:
        upright = _resized(image, view.top, view.left, view.height, view.width, hw).permute(1, 2, 0).numpy()
        if view.flip:
            mirrored = np.empty_like(upright)
            # pixel by pixel, not byte by byte
            mirrored.view("V3")[:] = upright.view("V3")[:, ::-1]
            upright = mirrored
        return np.ascontiguousarray(upright[::-1]) if view.flip_vertical else upright
    rows, columns = view.grid(hw)
    (top, left, height, width), resized_hw = view.resized_window(hw)
    window = _resized(image, top, left, height, width, resized_hw).float()
    # grid_sample takes (x, y) from -1 at the one edge to 1 at the other
    grid = np.empty((*hw, 2), np.float32)
    np.multiply(columns - np.float32(left - 0.5), np.float32(2 / width), out=grid[..., 0])
    np.multiply(rows - np.float32(top - 0.5), np.float32(2 / height), out=grid[..., 1])
    grid -= 1
    turned = F.grid_sample(
        window[None], torch.from_numpy(grid)[None], padding_mode="border", align_corners=False
    )[0]
    return turned.round_().to(torch.uint8).permute(1, 2, 0).numpy()


def sample_smooth(image: np.ndarray, view: View, hw: tuple[int, int]) -> np.ndarray:
    """As `sample_rgb` of an upright view, but low-passed: matching frames of a video must not meet aliasing,
    which moves in its own way."""
    if not view.upright:
        raise ValueError(f"the view is turned by {view.angle_rad} rad; it must be upright")
    resized = _resized(image, view.top, view.left, view.height, view.width, hw, antialias=True)
    window = resized.permute(1, 2, 0).numpy()
    window = window[:, ::-1] if view.flip else window
    return window[::-1] if view.flip_vertical else window


def sample_nearest(values: np.ndarray, view: View, hw: tuple[int, int]) -> np.ndarray:
    """The stored value nearest to every output pixel's centre, 0 where that lies outside of the image.

    Args:
        values: (H, W) of any type, 0 = unknown.

    Returns:
        (*hw) of the same type; never a blend. For an upright view equal to `nearest-exact`.
    """
    if view.upright:
        places = [np.floor(axis + 0.5).astype(np.intp) for axis in view.axes(hw)]
        return values.take(places[0], axis=0).take(places[1], axis=1)
    rows, columns = (np.floor(axis + np.float32(0.5)).astype(np.int32) for axis in view.grid(hw))
    height, width = values.shape
    found = values.ravel().take(rows * width + columns, mode="clip")
    # below 0 is above everything without a sign
    found[(rows.view(np.uint32) >= height) | (columns.view(np.uint32) >= width)] = 0
    return found


def sample_maps(maps: torch.Tensor, views: Sequence[View], hw: tuple[int, int]) -> torch.Tensor:
    """Bilinear samples of maps that cover the stored images at any resolution, one view each.

    As in `sample_rgb` the edge continues outwards: what lies outside is what the picture shows there.

    Args:
        maps: float32 (N, C, h, w).

    Returns:
        float32 (N, C, *hw).
    """
    # grid_sample takes (x, y) from -1 at the one edge to 1 at the other
    grid = np.empty((len(views), *hw, 2), np.float32)
    for place, view in enumerate(views):
        rows, columns = view.grid(hw)
        height, width = view.stored_hw
        np.multiply(columns + np.float32(0.5), np.float32(2 / width), out=grid[place, ..., 0])
        np.multiply(rows + np.float32(0.5), np.float32(2 / height), out=grid[place, ..., 1])
    grid -= 1
    return F.grid_sample(maps, torch.from_numpy(grid), padding_mode="border", align_corners=False)


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
    if view.flip_vertical:
        cy = 1 - cy
    return np.array(
        [[fx * hw[1], 0, cx * hw[1] - 0.5], [0, fy * hw[0], cy * hw[0] - 0.5], [0, 0, 1]], dtype=np.float32
    )


def _resized(
    image: np.ndarray,
    top: int,
    left: int,
    height: int,
    width: int,
    hw: tuple[int, int],
    antialias: bool = False,
) -> torch.Tensor:
    window = torch.from_numpy(image[top : top + height, left : left + width])
    # a batch axis in front of the others lets torch see that colours come last, which is twice as fast
    channels_last = window[None].permute(0, 3, 1, 2)
    return F.interpolate(channels_last, size=hw, mode="bilinear", align_corners=False, antialias=antialias)[0]


def _extent(first: np.ndarray, second: np.ndarray, size: int) -> tuple[int, int]:
    """Start and length of what the sums of two vectors reach, with a margin, within `size`."""
    low = min(max(math.floor(first.min() + second.min()) - 1, 0), size - 1)
    return low, max(min(math.ceil(first.max() + second.max()) + 2, size), low + 1) - low
