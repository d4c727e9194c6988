"""What XNNPACK merges into one operation, told by time: the interpreter does not show it.

python benchmarks/xnnpack_fusion.py

For every operation: its time alone, with a ReLU after it, and a ReLU's alone; then the same for a PAD before
a depthwise convolution. Behind nasdepth/kernels/rules/xnnpack.yaml. Wants a quiet machine.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from ai_edge_litert.interpreter import Interpreter

from nasdepth.kernels.rules import load_rules
from nasdepth.latency import Kernel, write_micro_model
from nasdepth.tflite.flatbuffer import read_model, write_model
from nasdepth.tflite.schema_codes import schema

SHAPE = (192, 192, 32)
K3 = {"kernel_height": 3, "kernel_width": 3}
DEPTHWISE = {**K3, "groups": 32}
RUNS = 200
OPERATIONS = (
    Kernel("conv2d", *SHAPE, *SHAPE, padding="same"),
    Kernel("depthwise_conv2d", *SHAPE, *SHAPE, **DEPTHWISE, padding="same"),
    Kernel("average_pool2d", *SHAPE, *SHAPE, **K3, padding="same"),
    Kernel("max_pool2d", *SHAPE, *SHAPE, **K3, padding="same"),
    *(Kernel(op, *SHAPE, *SHAPE, operand="tensor") for op in ("add", "mul", "sub", "div", "maximum")),
    Kernel("resize_bilinear", 96, 96, 32, *SHAPE, sampling="half_pixel"),
)


def main() -> None:
    into = load_rules("xnnpack").activations.into
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.tflite"
        relu = interpreter(Kernel("relu", *SHAPE, *SHAPE), path)
        print("ms                 alone  + relu  relu alone  rules say")
        for kernel in OPERATIONS:
            alone, followed = interpreter(kernel, path), interpreter(kernel, path, relu=True)
            times_ms = fastest_ms(alone, followed, relu)
            verdict = "fused" if kernel.op in into else "apart"
            print(f"{kernel.op:18s} {times_ms[0]:5.3f}  {times_ms[1]:6.3f}  {times_ms[2]:10.3f}  {verdict}")
        same = Kernel("depthwise_conv2d", *SHAPE, *SHAPE, **DEPTHWISE, padding="same")
        padded = Kernel("depthwise_conv2d", *SHAPE, *SHAPE, **DEPTHWISE, padding="valid", pads=(2, 0, 0, 2))
        pad = Kernel("pad", *SHAPE, 194, 194, 32)
        times_ms = fastest_ms(*(interpreter(kernel, path) for kernel in (same, padded, pad)))
        print(f"depthwise SAME {times_ms[0]:.3f}, after a PAD {times_ms[1]:.3f}, PAD alone {times_ms[2]:.3f}")


def interpreter(kernel: Kernel, path: Path, *, relu: bool = False) -> Interpreter:
    """A micro model, with `relu` as a second operator after it."""
    write_micro_model(kernel, path)
    if relu:
        append_relu(path)
    ready = Interpreter(model_path=str(path))
    ready.allocate_tensors()
    ready.invoke()
    return ready


def append_relu(path: Path) -> None:
    model = read_model(path)
    graph = model.subgraphs[0]
    last = int(graph.outputs[0])
    graph.tensors.append(schema.TensorT(shape=graph.tensors[last].shape, type=0, buffer=0, name=b"relu"))
    code = schema.BuiltinOperator.RELU
    model.operatorCodes.append(schema.OperatorCodeT(deprecatedBuiltinCode=code, builtinCode=code, version=1))
    index, output = len(model.operatorCodes) - 1, len(graph.tensors) - 1
    graph.operators.append(schema.OperatorT(opcodeIndex=index, inputs=[last], outputs=[output]))
    graph.outputs = [output]
    write_model(model, path)


def fastest_ms(*interpreters: Interpreter) -> list[float]:
    """The fastest of all runs, interleaved."""
    best = [float("inf")] * len(interpreters)
    for _ in range(RUNS):
        for index, one in enumerate(interpreters):
            started = time.perf_counter()
            one.invoke()
            best[index] = min(best[index], 1e3 * (time.perf_counter() - started))
    return best


if __name__ == "__main__":
    main()
