"""Depth of a photograph on a Raspberry Pi, with nothing but numpy, Pillow and a TFLite runtime.

    pip install ai-edge-litert numpy pillow
    python pi_depth.py depth-int8.tflite photo.jpg depth.png

The PNG has 16 bits: depth in millimetres. The file may be float32, fp16 or int8.
"""

import sys

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from PIL import Image

THREADS = 4


def main(model: str, photo: str, target: str) -> None:
    interpreter = Interpreter(model_path=model, num_threads=THREADS)
    interpreter.allocate_tensors()
    taken, given = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    height, width = taken["shape"][1:3]
    rgb = np.asarray(Image.open(photo).convert("RGB").resize((width, height), Image.Resampling.BILINEAR))
    # an int8 file of nasdepth takes the camera's bytes as they are, the others take them as floats
    interpreter.set_tensor(taken["index"], rgb[None].astype(taken["dtype"]))
    interpreter.invoke()
    depth_mm = interpreter.get_tensor(given["index"]).reshape(height, width)
    Image.fromarray(np.clip(depth_mm, 0, 65535).astype(np.uint16)).save(target)
    print(f"{target}: {np.median(depth_mm) / 1000:.2f} m in the median")


if __name__ == "__main__":
    main(*sys.argv[1:])
