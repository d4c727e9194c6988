"""Ranges of activations: the lowest and highest value of a tensor while the float file sees photographs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from PIL import Image

from nasdepth.data import ImageSplit
from nasdepth.data.pictures import resize_rgb
from nasdepth.errors import DataError
from nasdepth.tflite.quiet import without_info_lines

LEAST_IMAGES = 5
"""With fewer the ranges are a matter of luck (docs/deploy.md)."""

_HELD_BACK = 20

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Calibration:
    """Photographs to calibrate on, and others to compare the files on.

    Attributes:
        name: what they are of, as the user named it.
        seen: images to calibrate on, each (480, 640, 3) uint8.
        held_back: images to compare on.
    """

    name: str
    seen: tuple[np.ndarray, ...]
    held_back: tuple[np.ndarray, ...]

    @classmethod
    def of(
        cls, split: ImageSplit, name: str, images: int = 100, hw: tuple[int, int] = (480, 640)
    ) -> Calibration:
        """Choose images evenly from a split; every sixth at most is held back to compare on.

        Args:
            split: of training images; photographs like those that the camera will see.
            name: of the data, for messages.
            images: how many to calibrate on, where there are so many.
            hw: height and width in pixels that the network takes.

        Raises:
            DataError: fewer than 5 images, or fewer than 5 asked for.
        """
        if images < LEAST_IMAGES:
            raise DataError(
                f"`calibration_images` is {images}; at least {LEAST_IMAGES} are needed, and 100 are usual"
            )
        if len(split) < LEAST_IMAGES:
            raise DataError(
                f"{name}: has {len(split)} training images; int8 needs at least {LEAST_IMAGES} to calibrate "
                "on, and 100 are usual. Give data with more photographs as `calibration`"
            )
        held = min(_HELD_BACK, max(1, min(len(split), images + _HELD_BACK) // 6))
        total = min(len(split), images + held)
        chosen = np.unique(np.linspace(0, len(split) - 1, total).round().astype(int))
        back = set(np.linspace(0, len(chosen) - 1, held + 2).round().astype(int)[1:-1].tolist())
        pictures = [_fitted(split.rgb_view(int(index)), hw) for index in chosen]
        return cls(
            name,
            tuple(picture for place, picture in enumerate(pictures) if place not in back),
            tuple(picture for place, picture in enumerate(pictures) if place in back),
        )


def _fitted(rgb: np.ndarray, hw: tuple[int, int]) -> np.ndarray:
    return rgb if rgb.shape[:2] == hw else resize_rgb(Image.fromarray(rgb), hw)


class AllTensors:
    """Runs a file and keeps what every tensor held, which no delegate does.

    Args:
        path: of the .tflite.
        threads: of the runtime.
    """

    def __init__(self, path: str | Path, threads: int = 1) -> None:
        with without_info_lines():
            self._interpreter = Interpreter(
                model_path=str(path),
                num_threads=threads,
                experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
                experimental_preserve_all_tensors=True,
            )
            self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]

    def run(self, rgb: np.ndarray) -> None:
        """Run one image, (H, W, 3) uint8."""
        self._interpreter.set_tensor(self._input["index"], rgb[None].astype(self._input["dtype"]))
        self._interpreter.invoke()

    def values(self, tensor: int) -> np.ndarray:
        """What a tensor held in the last run; the array is the runtime's own until the next."""
        return self._interpreter.get_tensor(tensor)


def measure_ranges(
    path: str | Path,
    tensors: Iterable[int],
    images: Iterable[np.ndarray],
    threads: int = 1,
    progress: Callable[[int], None] = lambda _: None,
) -> dict[int, tuple[float, float]]:
    """The lowest and highest value of tensors of a float file over images.

    Args:
        path: of the float .tflite.
        tensors: their numbers.
        images: (H, W, 3) uint8 of the file's input size.
        threads: of the runtime.
        progress: hears how many images are done.
    """
    runner = AllTensors(path, threads)
    wanted = list(tensors)
    low = np.full(len(wanted), np.inf)
    high = np.full(len(wanted), -np.inf)
    for done, rgb in enumerate(images, 1):
        runner.run(rgb)
        for place, tensor in enumerate(wanted):
            values = runner.values(tensor)
            low[place] = min(low[place], float(values.min()))
            high[place] = max(high[place], float(values.max()))
        progress(done)
    return dict(zip(wanted, zip(low.tolist(), high.tolist(), strict=True), strict=True))
