"""Running a depth .tflite with LiteRT."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from nasdepth.errors import ModelFileError
from nasdepth.tflite.flatbuffer import read_model
from nasdepth.tflite.quiet import without_info_lines
from nasdepth.tflite.trial import try_model

_ENDS = {"float32", "uint8", "int8"}


class TFLiteDepth:
    """A depth .tflite, checked and ready: (N, H, W, 3) RGB on 0-255 -> (N, H, W) depth in millimetres.

    Args:
        path: of the file.
        threads: of the runtime.
        trusted: this process has written the file itself; others are tried in a process of their own first.

    Attributes:
        path: of the file.
        input_hw, output_hw: height and width in pixels of the images that it takes, and of its depth maps.
        precisions: of its input and of its output: float32, uint8 or int8. Quantised ends are converted by
            the scale and zero point that the file gives them.

    Raises:
        ModelFileError: no .tflite, or not one image in and one depth map out.
    """

    def __init__(self, path: str | Path, threads: int = 1, *, trusted: bool = False) -> None:
        self.path = Path(path)
        read_model(self.path)  # the interpreter's own message for a damaged file names nothing
        if not trusted and (refusal := try_model(self.path).refusal):
            raise ModelFileError(f"{self.path}: the runtime refuses it: {refusal}")
        try:
            with without_info_lines():
                self._interpreter = Interpreter(model_path=str(self.path), num_threads=threads)
                self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise ModelFileError(f"{self.path}: the runtime refuses it: {error}") from error
        inputs, outputs = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        shapes = [[int(size) for size in detail["shape"]] for detail in (*inputs, *outputs)]
        if len(inputs) != 1 or len(outputs) != 1 or len(shapes[0]) != 4 or shapes[0][3] != 3:
            raise ModelFileError(
                f"{self.path}: expected one (1, H, W, 3) input and one output, found {shapes}"
            )
        output = shapes[1][:-1] if len(shapes[1]) == 4 and shapes[1][3] == 1 else shapes[1]
        if len(output) != 3 or output[0] != 1:
            raise ModelFileError(f"{self.path}: expected a depth map of (1, H, W, 1) out, found {shapes[1]}")
        kinds = [detail["dtype"].__name__ for detail in (inputs[0], outputs[0])]
        if not _ENDS.issuperset(kinds):
            raise ModelFileError(
                f"{self.path}: expected {', '.join(sorted(_ENDS))} in and out, found {' and '.join(kinds)}"
            )
        self.input_hw = (shapes[0][1], shapes[0][2])
        self.output_hw = (output[1], output[2])
        self.precisions = (kinds[0], kinds[1])
        self._input, self._output = inputs[0]["index"], outputs[0]["index"]
        self._input_numbers, self._output_numbers = map(_numbers, (inputs[0], outputs[0]))

    def predict(self, rgb: np.ndarray) -> np.ndarray:
        """Predict one image at a time, as a device does.

        Args:
            rgb: (N, H, W, 3) uint8 or float32 on 0-255, of the model's input size.

        Returns:
            (N, H, W) float32 depth in millimetres, of the model's output size.
        """
        depth_mm = np.empty((len(rgb), *self.output_hw), np.float32)
        for index, image in enumerate(rgb):
            self._interpreter.set_tensor(self._input, self._entering(image[None]))
            self._interpreter.invoke()
            left = self._interpreter.get_tensor(self._output).reshape(self.output_hw)
            scale, zero = self._output_numbers
            depth_mm[index] = scale * (left.astype(np.float32) - zero)
        return depth_mm

    def _entering(self, rgb: np.ndarray) -> np.ndarray:
        """An image as the file takes it."""
        if self.precisions[0] == "float32":
            return rgb.astype(np.float32)
        scale, zero = self._input_numbers
        if (scale, zero) == (1.0, 0) and rgb.dtype == np.uint8 and self.precisions[0] == "uint8":
            return rgb
        limits = np.iinfo(self.precisions[0])
        integers = np.round(rgb.astype(np.float32) / scale) + zero
        return np.clip(integers, limits.min, limits.max).astype(self.precisions[0])


def _numbers(detail: dict) -> tuple[float, int]:
    """Scale and zero point of a tensor; (1, 0) where its values are themselves."""
    scale, zero = detail["quantization"]
    return (float(scale), int(zero)) if scale else (1.0, 0)
