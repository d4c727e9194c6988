"""Splits whose supervision is not metric depth: ordinal pairs, relative depth, video."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from nasdepth.data.planes import Plane
from nasdepth.data.store import CANONICAL_HW, RGB_PLANE, ImageSplit

# The images of Depth in the Wild are half a million of about 500x333; its authors train at this size.
ORDINAL_HW = (240, 320)
ORDINAL_RGB_PLANE = Plane(RGB_PLANE.file, RGB_PLANE.dtype, (*ORDINAL_HW, 3))
RELATIVE_PLANE = Plane("relative.u16", "<u2", CANONICAL_HW)


class Pairs(NamedTuple):
    """Ordinal pairs of one image.

    Attributes:
        points: (P, 4) float32, y_A x_A y_B x_B as shares of height and width, at the centres of pixels.
        relation: (P,) int8, +1 where A is farther than B ('>'), -1 where it is nearer ('<'), 0 for '='.
    """

    points: np.ndarray
    relation: np.ndarray


class OrdinalSplit(ImageSplit):
    """Images (240x320) with pairs of points of which one is known to be farther."""

    kind = "ordinal"

    def __init__(self, folder: Path, rows: Sequence[int] | None = None, name: str | None = None) -> None:
        super().__init__(folder, rows, name)
        self._points, self._relation = self._extra("points"), self._extra("relation")
        self._first = self._extra("first")

    def pairs(self, index: int) -> Pairs:
        """The pairs of one image."""
        row = self._rows[index]
        own = slice(self._first[row], self._first[row + 1])
        return Pairs(np.asarray(self._points[own]), np.asarray(self._relation[own]))


class RelativeSplit(ImageSplit):
    """Images with depth or disparity known up to scale and shift.

    Attributes:
        space: "disparity" (larger is nearer) or "depth" (larger is farther). A shift is unknown, so
            one cannot be turned into the other.
    """

    kind = "relative"

    def __init__(self, folder: Path, rows: Sequence[int] | None = None, name: str | None = None) -> None:
        super().__init__(folder, rows, name)
        self.space: Literal["disparity", "depth"] = self.info["space"]

    def value_view(self, index: int) -> np.ndarray:
        """uint16 (480, 640), 0 = unknown; only differences and ratios of differences mean anything."""
        return self._array(RELATIVE_PLANE)[self._rows[index]]


class VideoSplit(ImageSplit):
    """Triplets of neighbouring frames of videos, with the camera's intrinsics."""

    kind = "video"

    def __init__(self, folder: Path, rows: Sequence[int] | None = None, name: str | None = None) -> None:
        super().__init__(folder, rows, name)
        self._frames = self._extra("frames")
        self._intrinsics = self._extra("intrinsics")

    def rgb_view(self, index: int) -> np.ndarray:
        """The triplet's middle frame, uint8 (480, 640, 3)."""
        return self.frame_views(index)[1]

    def frame_views(self, index: int) -> list[np.ndarray]:
        """[previous, middle, next], each uint8 (480, 640, 3), views of the memory map."""
        return [self._array(RGB_PLANE)[frame] for frame in self._frames[self._rows[index]]]

    def intrinsics(self, index: int) -> np.ndarray:
        """float32 (4,): fx/width, fy/height, cx/width, cy/height, in OpenCV's convention with the centre of
        the top left pixel at (0.5, 0.5), so that they hold at any size."""
        return np.asarray(self._intrinsics[self._rows[index]])
