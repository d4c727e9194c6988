"""Micro models: .tflite files that hold exactly one kernel, written in about a millisecond."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import flatbuffers
import numpy as np

from nasdepth.files import whole_file
from nasdepth.kernels.graph import Node, outputs_of
from nasdepth.kernels.kernel import CONSTANTS, CONVOLUTIONS, STRETCHED, Kernel
from nasdepth.tflite.operator_options import operator_options, operator_version
from nasdepth.tflite.schema_codes import BUILTIN_OF_OP, PRECISION_CODES, schema

# What quantised activations and weights stand for: any scales do, as long as they differ as they usually do
_ACTIVATION_SCALE, _WEIGHT_SCALE = 0.05, 0.01
_ZERO_POINTS = {"int8": -128, "uint8": 0}
# Operations whose output range TFLite prescribes: (scale, offset of the zero point from the lowest integer)
_FIXED_RANGES = {"logistic": (1 / 256, 0), "softmax": (1 / 256, 0), "tanh": (1 / 128, 128)}


def write_micro_model(kernel: Kernel, path: str | Path, copies: int = 1) -> None:
    """Write `kernel` as a .tflite whose inputs and outputs are the kernel's own.

    Weights are random with a fixed seed, of the kernel's precision. A convolution that pads or adds by itself
    is written as the two operations that the runtime fuses.

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


def write_network(nodes: Sequence[Node], path: str | Path) -> None:
    """Write float kernels that read each other's outputs as one .tflite with random weights.

    Args:
        nodes: in order; value 1 is the model's input, what nothing reads are its outputs.
        path: of the .tflite.

    Raises:
        NasdepthError: the file cannot be written.
    """
    writer = _Writer("float32", deep=True)
    values = {1: writer.tensor(nodes[0].kernel.input_shape, "input")}
    for node in nodes:
        (values[node.output],) = _write(node.kernel, [values[one] for one in node.inputs], writer)
    outputs = [values[value] for value in outputs_of(nodes)]
    with whole_file(path) as temporary:
        temporary.write_bytes(writer.model([values[1]], outputs, "drawn at random"))


def _micro_model(kernel: Kernel, copies: int) -> bytes:
    writer = _Writer(kernel.precision)
    data = _data(kernel, writer)
    outputs = [output for _ in range(copies) for output in _write(kernel, data, writer)]
    return writer.model(data, outputs, str(kernel))


class _Writer:
    """Collects tensors and operators.

    Args:
        precision: of activations and weights.
        deep: weights keep values at one size through many layers, not to end as denormals, which are slow.
    """

    def __init__(self, precision: str, deep: bool = False) -> None:
        self.precision, self.deep = precision, deep
        self.tensors: list[schema.TensorT] = []
        self.buffers = [schema.BufferT()]
        self.codes: list[schema.OperatorCodeT] = []
        self.operators: list[schema.OperatorT] = []
        self._random = np.random.default_rng(0)
        self._integers: dict[bytes, int] = {}

    def model(self, inputs: list[int], outputs: list[int], description: str) -> bytes:
        """The flatbuffer of all that was written."""
        graph = schema.SubGraphT(
            tensors=self.tensors, inputs=inputs, outputs=outputs, operators=self.operators
        )
        model = schema.ModelT(
            version=3,
            operatorCodes=self.codes,
            subgraphs=[graph],
            description=description.encode(),
            buffers=self.buffers,
        )
        builder = flatbuffers.Builder(4096)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    def tensor(
        self,
        shape: Sequence[int],
        name: str,
        precision: str | None = None,
        scale=_ACTIVATION_SCALE,
        offset=128,
    ) -> int:
        """Index of a tensor without values; quantised, zero is `offset` above the lowest integer."""
        precision = precision or self.precision
        tensor = schema.TensorT(
            shape=list(shape), type=PRECISION_CODES[precision], buffer=0, name=name.encode()
        )
        if precision != "float32":
            tensor.quantization = _quantization([scale], [_ZERO_POINTS[precision] + offset])
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def constant(self, values: np.ndarray, name: str, kind: int, quantization=None) -> int:
        tensor = schema.TensorT(
            shape=list(values.shape), type=kind, buffer=len(self.buffers), name=name.encode()
        )
        tensor.quantization = quantization
        self.buffers.append(schema.BufferT(data=np.frombuffer(values.tobytes(), np.uint8)))
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def weights(self, *shape: int, channel_axis: int | None = None, scale=_WEIGHT_SCALE) -> int:
        """Random weights; int8 filters have a scale for each output channel, the `channel_axis`."""
        if self.precision == "float32":
            # Small values: no activation overflows, none is denormal
            low, high = 0.01, 0.1
            if self.deep and len(shape) in (2, 4):
                high = (6 / math.prod(shape[1:-1] if shape[0] == 1 else shape[1:])) ** 0.5
                low = -high
            values = self._random.uniform(low, high, shape).astype(np.float32)
            return self.constant(values, "weights", schema.TensorType.FLOAT32)
        if self.precision == "uint8":
            values = self._random.integers(1, 256, shape).astype(np.uint8)
            quantization = _quantization([scale], [128])
        else:
            values = self._random.integers(-127, 128, shape).astype(np.int8)
            channels = 1 if channel_axis is None else shape[channel_axis]
            quantization = _quantization([scale] * channels, [0] * channels, channel_axis or 0)
        return self.constant(values, "weights", PRECISION_CODES[self.precision], quantization)

    def bias(self, channels: int, *, scales: int | None = None) -> int:
        """Random biases; int8 ones have a scale for each channel, or `scales` in all."""
        if self.precision == "float32":
            return self.weights(channels)
        values = self._random.integers(-1000, 1000, channels).astype(np.int32)
        count = (scales or channels) if self.precision == "int8" else 1
        quantization = _quantization([_ACTIVATION_SCALE * _WEIGHT_SCALE] * count, [0] * count)
        return self.constant(values, "bias", schema.TensorType.INT32, quantization)

    def integers(self, *values: int | Sequence[int], scalar: bool = False) -> int:
        """An int32 constant, written once."""
        array = np.array(values[0] if scalar else values, np.int32)
        key = array.tobytes() + bytes(array.ndim)
        if key not in self._integers:
            self._integers[key] = self.constant(array, "shape", schema.TensorType.INT32)
        return self._integers[key]

    def operator(self, kernel: Kernel, inputs: list[int], outputs: list[int]) -> None:
        name = BUILTIN_OF_OP[kernel.op]
        code = getattr(schema.BuiltinOperator, name)
        known = [one.builtinCode for one in self.codes]
        if code not in known:
            version = operator_version(kernel)
            self.codes.append(
                schema.OperatorCodeT(deprecatedBuiltinCode=min(code, 127), builtinCode=code, version=version)
            )
            known.append(code)
        options = operator_options(kernel)
        kind = getattr(schema.BuiltinOptions, type(options).__name__.removesuffix("T")) if options else 0
        self.operators.append(
            schema.OperatorT(
                opcodeIndex=known.index(code),
                inputs=inputs,
                outputs=outputs,
                builtinOptionsType=kind,
                builtinOptions=options,
            )
        )


def _quantization(scales, zero_points, axis: int = 0) -> schema.QuantizationParametersT:
    return schema.QuantizationParametersT(
        scale=np.array(scales, np.float32),
        zeroPoint=np.array(zero_points, np.int64),
        quantizedDimension=axis,
    )


def _data(kernel: Kernel, writer: _Writer) -> list[int]:
    """Tensor indices of what the operator reads from outside."""
    shape = kernel.input_shape
    source = kernel.source or ("float32" if kernel.op == "quantize" else None)
    inputs = [writer.tensor(shape, "input", source)]
    if kernel.op in CONVOLUTIONS and kernel.operand:
        inputs.append(writer.tensor(kernel.output_shape, "operand"))
    elif kernel.operand in STRETCHED or kernel.op == "batch_matmul":
        inputs.append(writer.tensor(kernel.second_shape, "operand"))
    for index, other in enumerate(kernel.other_channels[: -1 if kernel.operand else None]):
        other_shape = list(shape)
        other_shape[kernel.concat_axis] = other
        # LiteRT's GPU accelerator finds inputs by name: two of one name are one, and nothing
        inputs.append(writer.tensor(other_shape, f"input {index + 2}"))
    return inputs


def _write(kernel: Kernel, data: list[int], writer: _Writer) -> list[int]:
    """Write the operator, or the two that make the kernel; returns the output tensors."""
    if kernel.pads:
        top, bottom, left, right = kernel.pads
        height, width = kernel.in_height + top + bottom, kernel.in_width + left + right
        padded = writer.tensor((1, height, width, kernel.in_channels), "padded")
        sides = writer.integers((0, 0), (top, bottom), (left, right), (0, 0))
        writer.operator(replace(kernel, op="pad", activation="none"), [data[0], sides], [padded])
        inner = replace(kernel, in_height=height, in_width=width, pads=())
        return _write(inner, [padded, *data[1:]], writer)
    if kernel.op in CONVOLUTIONS and kernel.operand:
        inner = replace(kernel, operand="", activation="none")
        (convolved,) = _write(inner, data[:1], writer)
        output = writer.tensor(kernel.output_shape, "output")
        writer.operator(
            Kernel("add", *(1,) * 6, activation=kernel.activation), [convolved, data[1]], [output]
        )
        return [output]
    precision = "float32" if kernel.op == "dequantize" else None
    ranged = dict(zip(("scale", "offset"), _FIXED_RANGES.get(kernel.op, ()), strict=False))
    outputs = [
        writer.tensor(kernel.output_shape, "output", precision, **ranged) for _ in range(kernel.outputs)
    ]
    writer.operator(kernel, _inputs(kernel, data, writer), outputs)
    return outputs


def _inputs(kernel: Kernel, data: list[int], writer: _Writer) -> list[int]:
    """Tensor indices of all inputs of one operator in TFLite's order, with constants of its own."""
    channels, window = kernel.in_channels, (kernel.kernel_height, kernel.kernel_width)
    shape, out_shape = kernel.input_shape, kernel.output_shape
    match kernel.op:
        case "conv2d":
            filters = writer.weights(kernel.out_channels, *window, channels // kernel.groups, channel_axis=0)
            return [*data, filters, writer.bias(kernel.out_channels)]
        case "depthwise_conv2d":
            filters = writer.weights(1, *window, kernel.out_channels, channel_axis=3)
            return [*data, filters, writer.bias(kernel.out_channels)]
        case "transpose_conv2d":
            filters = writer.weights(kernel.out_channels, *window, channels, channel_axis=0)
            inputs = [writer.integers(*out_shape), filters, *data]
            # Converters keep a float bias as an addition of its own
            plain = kernel.precision == "float32" and kernel.activation == "none"
            return inputs if plain else [*inputs, writer.bias(kernel.out_channels)]
        case "fully_connected":
            filters = writer.weights(kernel.out_channels, channels)
            return [*data, filters, writer.bias(kernel.out_channels, scales=1)]
        case "prelu":
            return [*data, _operand(kernel, writer, (1, 1, channels))]
        case "resize_bilinear" | "resize_nearest":
            return [*data, writer.integers(kernel.out_height, kernel.out_width)]
        case "mean":
            return [*data, writer.integers(*(kernel.axes or (1, 2)))]
        case "pad":
            extra = [after - before for before, after in zip(shape, out_shape, strict=True)]
            begin = kernel.begin or [size // 2 for size in extra]
            sides = [(first, size - first) for first, size in zip(begin, extra, strict=True)]
            return [*data, writer.integers(*sides)]
        case "reshape":
            return [*data, writer.integers(*out_shape)]
        case "expand_dims":
            return [*data, writer.integers(kernel.axes[0], scalar=True)]
        case "transpose":
            return [*data, writer.integers(*kernel.axes)]
        case "slice":
            return [*data, writer.integers(*kernel.begin), writer.integers(*out_shape)]
        case "strided_slice":
            axes = zip(kernel.begin, out_shape, kernel.steps, strict=True)
            end = [begin + (size - 1) * step + 1 for begin, size, step in axes]
            return [*data, *(writer.integers(*values) for values in (kernel.begin, end, kernel.steps))]
        case "split":
            return [writer.integers(kernel.concat_axis, scalar=True), *data]
        case "concat" if kernel.operand:
            last = list(shape)
            last[kernel.concat_axis] = kernel.other_channels[-1]
            return [*data, writer.weights(*last, scale=_ACTIVATION_SCALE)]
    if kernel.operand in CONSTANTS:
        return [*data, _operand(kernel, writer, (channels,))]
    return list(data)


def _operand(kernel: Kernel, writer: _Writer, vector: tuple[int, ...]) -> int:
    """The constant that an operation on two values takes."""
    return writer.weights(*{"vector": vector, "scalar": (1,)}.get(kernel.operand, kernel.second_shape))
