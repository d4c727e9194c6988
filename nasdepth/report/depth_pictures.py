"""Depth of one's own pictures, drawn beside them and written as 16-bit PNGs."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from nasdepth.deploy.frames import Frame, Frames
from nasdepth.deploy.predicting import Fit, predict_picture, same_shape
from nasdepth.errors import DataError, NasdepthError
from nasdepth.files import whole_file
from nasdepth.report.pictures import DepthScale, panels
from nasdepth.tflite.depth_model import TFLiteDepth

_WINDOW = "nasdepth"
_QUALITY = 90
# of the way to the newest frame's own scale, which is a second or so at video rate
_FOLLOWING = 0.1
_MOST_MM = 65535


@dataclass
class PredictEvents:
    """What a front end may want to hear; every callback is optional.

    Attributes:
        frame: a picture is done: its name, how many are, and of how many (None where nobody knows).
        said: something that a user must know, in words.
    """

    frame: Callable[[str, int, int | None], None] = lambda *_: None
    said: Callable[[str], None] = lambda _: None


@dataclass
class PicturedDepth:
    """What became of one's pictures.

    Attributes:
        folder: with `NAME.jpg` for each picture, and `depth/NAME.png`.
        pictures: the files, in order; not of a video or camera, which has many.
        film: the video beside them, None where the source was photographs.
        frames: how many pictures were predicted.
        network_s, whole_s: seconds in the network alone, and altogether.
        threads: of the runtime.
        unreadable: what is wrong with each picture that could not be read.
    """

    folder: Path
    threads: int
    pictures: list[Path] = field(default_factory=list)
    film: Path | None = None
    frames: int = 0
    network_s: float = 0.0
    whole_s: float = 0.0
    unreadable: list[str] = field(default_factory=list)

    @property
    def network_fps(self) -> float:
        """Frames per second of the network alone."""
        return self.frames / self.network_s if self.network_s else 0.0

    @property
    def whole_fps(self) -> float:
        """Frames per second with reading, drawing and writing."""
        return self.frames / self.whole_s if self.whole_s else 0.0

    def to_json(self) -> dict[str, Any]:
        """Flat, as `--json` prints it."""
        return {
            "folder": str(self.folder),
            "pictures": [str(one) for one in self.pictures],
            "film": self.film and str(self.film),
            "frames": self.frames,
            "network_fps": self.network_fps,
            "whole_fps": self.whole_fps,
            "threads": self.threads,
            "unreadable": self.unreadable,
        }


def picture_depth(
    model: TFLiteDepth,
    frames: Frames,
    folder: Path,
    *,
    fit: Fit = "letterbox",
    near_m: float | None = None,
    far_m: float | None = None,
    threads: int = 1,
    most: int | None = None,
    show: bool = False,
    events: PredictEvents | None = None,
) -> PicturedDepth:
    """Predict the depth of pictures and write them, see `nasdepth.predict_depth`.

    Raises:
        NasdepthError: the folder cannot be written, a scale is impossible, or there is no window to show in.
    """
    if near_m is not None and far_m is not None and near_m >= far_m:
        raise NasdepthError(f"`near_m` is {near_m:g} and `far_m` {far_m:g}: near must be less than far")
    if show:
        _check_display()
    events = events or PredictEvents()
    result = PicturedDepth(folder, threads)
    sheets = _Sheets(frames, near_m, far_m)
    told: set[tuple[int, int]] = set()
    started = time.perf_counter()
    with ExitStack() as closing:
        if show:
            closing.callback(cv2.destroyAllWindows)
        film = _Film(folder, frames)
        closing.callback(film.close)
        # a camera has no other end
        if frames.kind == "camera":
            closing.enter_context(suppress(KeyboardInterrupt))
        for frame in frames:
            if isinstance(frame, DataError):
                result.unreadable.append(str(frame))
                events.said(str(frame))
                continue
            _say_shape(frame, model, fit, told, events)
            predicted = predict_picture(model, frame.rgb, fit)
            sheet = sheets.draw(frame, predicted.depth_mm)
            path = _write(folder, frame.name, predicted.depth_mm, sheet)
            film.add(sheet)
            if frames.kind == "photos":
                result.pictures.append(path)
            result.frames += 1
            result.network_s += predicted.network_s
            result.whole_s = time.perf_counter() - started
            events.frame(frame.name, result.frames, frames.total)
            if (show and _shown(sheet, waits=frames.kind == "photos")) or result.frames == most:
                break
    result.film = film.path if film.begun else None
    return result


class _Sheets:
    """Photograph and depth beside one another, on a scale that fits."""

    def __init__(self, frames: Frames, near_m: float | None, far_m: float | None) -> None:
        self._follows = frames.kind != "photos"
        self._near_m, self._far_m = near_m, far_m
        self._scale: DepthScale | None = None

    def draw(self, frame: Frame, depth_mm: np.ndarray) -> Image.Image:
        """The sheet of a picture."""
        own = DepthScale.of([depth_mm])
        if self._follows and self._scale is not None:
            own = self._scale.towards(own, _FOLLOWING)
        near_mm = own.near_mm if self._near_m is None else 1000 * self._near_m
        far_mm = own.far_mm if self._far_m is None else 1000 * self._far_m
        self._scale = DepthScale(near_mm, max(far_mm, near_mm * 1.01))
        height = min(480, frame.rgb.shape[0])
        parts = [(frame.name, frame.rgb), ("predicted depth", self._scale.colors(depth_mm))]
        return panels(parts, self._scale, height)


class _Film:
    """A video of all sheets, if they come from one."""

    def __init__(self, folder: Path, frames: Frames) -> None:
        self.path = folder / "depth.mp4"
        self._fps = frames.fps or 10.0
        self._wanted = frames.kind != "photos"
        self._writer: cv2.VideoWriter | None = None

    @property
    def begun(self) -> bool:
        return self._writer is not None

    def add(self, sheet: Image.Image) -> None:
        if not self._wanted:
            return
        # the codec takes even sizes only
        width, height = sheet.width // 2 * 2, sheet.height // 2 * 2
        if self._writer is None:
            codec = cv2.VideoWriter.fourcc(*"mp4v")
            self._writer = cv2.VideoWriter(str(self.path), codec, self._fps, (width, height))
        self._writer.write(cv2.cvtColor(np.asarray(sheet)[:height, :width], cv2.COLOR_RGB2BGR))

    def close(self) -> None:
        if self._writer is not None:
            self._writer.release()


def _say_shape(
    frame: Frame, model: TFLiteDepth, fit: Fit, told: set[tuple[int, int]], events: PredictEvents
) -> None:
    """Say once for each size that pictures are not of the network's shape, and what becomes of them."""
    hw = (frame.rgb.shape[0], frame.rgb.shape[1])
    if hw in told or same_shape(hw, model.input_hw):
        return
    told.add(hw)
    height, width = model.input_hw
    done = (
        "it is filled up at the border, nothing is stretched; `fit` crop cuts it instead"
        if fit == "letterbox"
        else "its edges are cut off, nothing is stretched; `fit` letterbox shows all of it"
    )
    events.said(f"{frame.name}: is {hw[1]}x{hw[0]}, not of the network's shape {width}x{height}: {done}")


def _write(folder: Path, name: str, depth_mm: np.ndarray, sheet: Image.Image) -> Path:
    steps = np.clip(np.rint(depth_mm), 0, _MOST_MM).astype(np.uint16)
    with whole_file(folder / "depth" / f"{name}.png") as temporary:
        Image.fromarray(steps).save(temporary, format="PNG", compress_level=1)
    path = folder / f"{name}.jpg"
    with whole_file(path) as temporary:
        sheet.save(temporary, format="JPEG", quality=_QUALITY)
    return path


def _check_display() -> None:
    # OpenCV's window library ends the whole process where it finds no display
    if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise NasdepthError("`show`: there is no display here (DISPLAY is not set); see the written pictures")


def _shown(sheet: Image.Image, waits: bool) -> bool:
    """Show a sheet in the window; whether the user wants the end."""
    try:
        cv2.imshow(_WINDOW, cv2.cvtColor(np.asarray(sheet), cv2.COLOR_RGB2BGR))
        key = cv2.waitKey(0 if waits else 1)
    except cv2.error as error:
        raise NasdepthError(
            f"`show`: this OpenCV opens no windows ({error.err or error}); install opencv-python"
        ) from error
    return key in (27, ord("q"))
