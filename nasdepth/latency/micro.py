"""Micro models: .tflite files that hold exactly one operation, written in about a millisecond."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import flatbuffers
import numpy as np

from nasdepth.files import whole_file
from nasdepth.latency._schema import ACTIVATION_CODES, BUILTIN_OF_OP, PADDING_CODES, schema
from nasdepth.latency.kernels import Kernel

# Operator versions that the runtime wants for what we use; all others are version 1
_VERSIONS = {"RESIZE_BILINEAR": 3, "RESIZE_NEAREST_NEIGHBOR": 3, "TRANSPOSE_CONV": 3}


def write_micro_model(kernel: Kernel, path: str | Path, copies: int = 1) -> None:
    """Write `kernel` as a .tflite whose inputs and outputs are the kernel's own.

    Weights are random with a fixed seed, float32. Inputs are (1, H, W, C).

    Args:
        kernel: what the file runs.
        path: of the .tflite.
        copies: how often. The copies stand side by side: all read the same inputs, each has weights and an
            output of its own, so that no copy finds in the cache what a network would not.

    Raises:
        NasdepthError: the file cannot be written.
    """
    with whole_file(path) as temporary:
        temporary.write_bytes(_micro_model(kernel, copies))


def _micro_model(kernel: Kernel, copies: int) -> bytes:
    writer = _Writer()
    inputs = _data(kernel, writer)
    name = BUILTIN_OF_OP[kernel.op]
    code = getattr(schema.BuiltinOperator, name)
    options_name, options = _options(kernel)
    operators = [
        schema.OperatorT(
            inputs=_inputs(kernel, inputs, writer),
            outputs=[writer.tensor((1, kernel.out_height, kernel.out_width, kernel.out_channels), "output")],
            builtinOptionsType=getattr(schema.BuiltinOptions, options_name) if options else 0,
            builtinOptions=options,
        )
        for _ in range(copies)
    ]
    model = schema.ModelT(
        version=3,
        operatorCodes=[
            schema.OperatorCodeT(
                deprecatedBuiltinCode=min(code, 127), builtinCode=code, version=_VERSIONS.get(name, 1)
            )
        ],
        subgraphs=[
            schema.SubGraphT(
                tensors=writer.tensors,
                inputs=inputs,
                outputs=[operator.outputs[0] for operator in operators],
                operators=operators,
            )
        ],
        description=str(kernel).encode(),
        buffers=writer.buffers,
    )
    builder = flatbuffers.Builder(4096)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


class _Writer:
    def __init__(self) -> None:
        self.tensors: list[schema.TensorT] = []
        self.buffers = [schema.BufferT()]
        self._random = np.random.default_rng(0)
        self._integers: dict[bytes, int] = {}

    def tensor(self, shape: Sequence[int], name: str) -> int:
        self.tensors.append(schema.TensorT(shape=list(shape), type=0, buffer=0, name=name.encode()))
        return len(self.tensors) - 1

    def constant(self, values: np.ndarray, name: str) -> int:
        index = self.tensor(values.shape, name)
        kind = schema.TensorType.INT32 if values.dtype == np.int32 else schema.TensorType.FLOAT32
        self.tensors[index].type = kind
        self.tensors[index].buffer = len(self.buffers)
        self.buffers.append(schema.BufferT(data=np.frombuffer(values.tobytes(), np.uint8)))
        return index

    def weights(self, *shape: int) -> int:
        # Small values: no activation overflows, none is denormal
        return self.constant(self._random.uniform(0.01, 0.1, shape).astype(np.float32), "weights")

    def integers(self, *values: int | Sequence[int]) -> int:
        array = np.array(values, np.int32)
        key = array.tobytes()
        if key not in self._integers:
            self._integers[key] = self.constant(array, "shape")
        return self._integers[key]


def _data(kernel: Kernel, writer: _Writer) -> list[int]:
    """Tensor indices of what the operator reads from outside."""
    pixels = (1, kernel.in_height, kernel.in_width)
    inputs = [writer.tensor((*pixels, kernel.in_channels), "input")]
    second = {
        "tensor": (*pixels, kernel.in_channels),
        "gate": (1, 1, 1, kernel.in_channels),
        "plane": (*pixels, 1),
    }
    if kernel.operand in second:
        inputs.append(writer.tensor(second[kernel.operand], "operand"))
    return inputs + [writer.tensor((*pixels, other), "input") for other in kernel.other_channels]


def _inputs(kernel: Kernel, data: list[int], writer: _Writer) -> list[int]:
    """Tensor indices of all inputs of one operator in TFLite's order, with constants of its own."""
    channels, window = kernel.in_channels, (kernel.kernel_height, kernel.kernel_width)
    out = (kernel.out_height, kernel.out_width)
    match kernel.op:
        case "conv2d":
            filters = writer.weights(kernel.out_channels, *window, channels // kernel.groups)
            return [*data, filters, writer.weights(kernel.out_channels)]
        case "depthwise_conv2d":
            filters = writer.weights(1, *window, kernel.out_channels)
            return [*data, filters, writer.weights(kernel.out_channels)]
        case "transpose_conv2d":
            shape = writer.integers(1, *out, kernel.out_channels)
            filters = writer.weights(kernel.out_channels, *window, channels)
            return [shape, filters, *data, writer.weights(kernel.out_channels)]
        case "fully_connected":
            filters = writer.weights(kernel.out_channels, channels)
            return [*data, filters, writer.weights(kernel.out_channels)]
        case "add" | "mul" if kernel.operand in ("vector", "scalar"):
            return [*data, writer.weights(channels if kernel.operand == "vector" else 1)]
        case "resize_bilinear" | "resize_nearest":
            return [*data, writer.integers(*out)]
        case "mean":
            return [*data, writer.integers(1, 2)]
        case "pad":
            rows, columns = kernel.out_height - kernel.in_height, kernel.out_width - kernel.in_width
            sides = (rows // 2, rows - rows // 2), (columns // 2, columns - columns // 2)
            return [*data, writer.integers((0, 0), *sides, (0, 0))]
        case "reshape":
            return [*data, writer.integers(1, *out, kernel.out_channels)]
    return list(data)


def _options(kernel: Kernel) -> tuple[str, object | None]:
    """Name and value of the operator's entry in TFLite's union of options."""
    activation = ACTIVATION_CODES[kernel.activation]
    window = {
        "padding": PADDING_CODES.get(kernel.padding, 0),
        "strideH": kernel.stride_height,
        "strideW": kernel.stride_width,
        "fusedActivationFunction": activation,
    }
    dilation = {"dilationHFactor": kernel.dilation_height, "dilationWFactor": kernel.dilation_width}
    sampling = {
        "alignCorners": kernel.sampling == "align_corners",
        "halfPixelCenters": kernel.sampling == "half_pixel",
    }
    match kernel.op:
        case "conv2d":
            return "Conv2DOptions", schema.Conv2DOptionsT(**window, **dilation)
        case "depthwise_conv2d":
            multiplier = kernel.out_channels // kernel.in_channels
            options = schema.DepthwiseConv2DOptionsT(**window, **dilation, depthMultiplier=multiplier)
            return "DepthwiseConv2DOptions", options
        case "transpose_conv2d":
            return "TransposeConvOptions", schema.TransposeConvOptionsT(**window)
        case "fully_connected":
            options = schema.FullyConnectedOptionsT(fusedActivationFunction=activation, keepNumDims=True)
            return "FullyConnectedOptions", options
        case "add":
            return "AddOptions", schema.AddOptionsT(fusedActivationFunction=activation, potScaleInt16=False)
        case "mul":
            return "MulOptions", schema.MulOptionsT(fusedActivationFunction=activation)
        case "concat":
            return "ConcatenationOptions", schema.ConcatenationOptionsT(axis=3)
        case "resize_bilinear":
            return "ResizeBilinearOptions", schema.ResizeBilinearOptionsT(**sampling)
        case "resize_nearest":
            return "ResizeNearestNeighborOptions", schema.ResizeNearestNeighborOptionsT(**sampling)
        case "average_pool2d" | "max_pool2d":
            sizes = {"filterHeight": kernel.kernel_height, "filterWidth": kernel.kernel_width}
            return "Pool2DOptions", schema.Pool2DOptionsT(**window, **sizes)
        case "mean":
            return "ReducerOptions", schema.ReducerOptionsT(keepDims=True)
        case "leaky_relu":
            return "LeakyReluOptions", schema.LeakyReluOptionsT(alpha=0.1)
        case "softmax":
            return "SoftmaxOptions", schema.SoftmaxOptionsT(beta=1.0)
        case "hard_swish":
            return "HardSwishOptions", schema.HardSwishOptionsT()
        case "pad":
            return "PadOptions", schema.PadOptionsT()
    return "NONE", None
