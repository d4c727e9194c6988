"""Running a depth .tflite with LiteRT."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from nasdepth.errors import ModelFileError
from nasdepth.tflite.flatbuffer import read_model
from nasdepth.tflite.trial import try_model


class TFLiteDepth:
    """A depth .tflite, checked and ready: (N, H, W, 3) RGB on 0-255 -> (N, H, W) depth in millimetres.

    Args:
        path: of the file.
        threads: of the runtime.
        trusted: this process has written the file itself; others are tried in a process of their own first.

    Raises:
        ModelFileError: no .tflite, or not one image in and one depth map out.
    """

    def __init__(self, path: str | Path, threads: int = 1, *, trusted: bool = False) -> None:
        self.path = Path(path)
        read_model(self.path)  # the interpreter's own message for a damaged file names nothing
        if not trusted and (refusal := try_model(self.path).refusal):
            raise ModelFileError(f"{self.path}: the runtime refuses it: {refusal}")
        try:
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
        if shapes[1] not in ([1, *shapes[0][1:3], 1], [1, *shapes[0][1:3]]):
            raise ModelFileError(
                f"{self.path}: expected a depth map of {shapes[0][1]}x{shapes[0][2]} out, found {shapes[1]}"
            )
        if inputs[0]["dtype"] is not np.float32 or outputs[0]["dtype"] is not np.float32:
            raise ModelFileError(
                f"{self.path}: expected float32 in and out, found {inputs[0]['dtype'].__name__}"
            )
        self.input_hw = (shapes[0][1], shapes[0][2])
        self._input, self._output = inputs[0]["index"], outputs[0]["index"]

    def predict(self, rgb: np.ndarray) -> np.ndarray:
        """Predict one image at a time, as a device does.

        Args:
            rgb: (N, H, W, 3) uint8 or float32 on 0-255, of the model's input size.

        Returns:
            (N, H, W) float32 depth in millimetres.
        """
        depth_mm = np.empty(rgb.shape[:3], np.float32)
        for index, image in enumerate(rgb):
            self._interpreter.set_tensor(self._input, image[None].astype(np.float32))
            self._interpreter.invoke()
            depth_mm[index] = self._interpreter.get_tensor(self._output).reshape(self.input_hw)
        return depth_mm
