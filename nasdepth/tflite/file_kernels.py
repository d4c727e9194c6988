"""The graph of kernels in a .tflite file."""

from __future__ import annotations

import math
import struct
from copy import copy
from pathlib import Path
from typing import Literal

import numpy as np

from nasdepth.errors import ModelFileError, UnknownKernelError
from nasdepth.kernels.graph import Node, canonical, fuse
from nasdepth.kernels.kernel import BINARY, CONVOLUTIONS, Kernel, hwc, operand_of, unusual, window_places
from nasdepth.kernels.precision import Precision, int8_kernels
from nasdepth.kernels.rules import load_rules
from nasdepth.tflite.flatbuffer import operator_name, read_model
from nasdepth.tflite.input_shape import check_is_fixed
from nasdepth.tflite.schema_codes import (
    ACTIVATION_CODES,
    OP_OF_BUILTIN,
    PADDING_CODES,
    PRECISION_CODES,
    schema,
)

_ACTIVATIONS = {code: name for name, code in ACTIVATION_CODES.items()}
_PADDINGS = {code: name for name, code in PADDING_CODES.items()}
_PRECISIONS = {code: name for name, code in PRECISION_CODES.items()}
_TYPE_NAMES = {value: name for name, value in vars(schema.TensorType).items() if isinstance(value, int)}
# MediaPipe's, which XNNPACK takes though TFLite itself has no such operation
_TRANSPOSE_CONV_WITH_BIAS = b"Convolution2DTransposeBias"
_SHOWN_TENSORS = 4
_DAMAGED = (
    ArithmeticError,
    AttributeError,
    IndexError,
    KeyError,
    StopIteration,
    TypeError,
    ValueError,
    struct.error,
)
_MASKS = ("beginMask", "endMask", "ellipsisMask", "newAxisMask", "shrinkAxisMask")


def tflite_kernels(
    path: str | Path, runtime: str = "xnnpack", precision: Precision = "float32"
) -> tuple[Kernel, ...]:
    """The kernels that the runtime executes for a .tflite, float or quantised, in order.

    Args:
        path: of the model.
        runtime: `xnnpack`, `tflite` (no delegate) or `gpu`.
        precision: `int8` for the kernels that a float file would have once it is quantised; a file that is
            quantised already stays what it is.

    Raises:
        ModelFileError: missing or damaged.
        UnknownKernelError: an operation, or a type of tensor, that has no kernel, or int8 on a GPU.
    """
    graph = FileGraph.read(path)
    if precision == "int8" and all(node.kernel.precision == "float32" for node in graph.nodes):
        return int8_kernels(graph.nodes, int(graph.graph.inputs[0]), graph.outputs, runtime)
    return tuple(node.kernel for node in fuse(graph.nodes, graph.outputs, load_rules(runtime)))


def _as_transpose_conv(operator: schema.OperatorT) -> schema.OperatorT:
    """TFLite's own operator for MediaPipe's, whose options are a TfLiteTransposeConvParams."""
    plain, options = copy(operator), schema.TransposeConvOptionsT()
    padding, options.strideW, options.strideH = struct.unpack("<3i", bytes(operator.customOptions[:12]))
    options.padding = padding - 1  # there 0 is unknown
    plain.builtinOptions = options
    return plain


class FileGraph:
    """The operators of a .tflite file as nodes; values are the numbers of tensors.

    Attributes:
        model: of the file.
        graph: its one subgraph.
        constants: the tensors that are part of the model.
        nodes: in order, nothing fused. Of an operator with several outputs only the first is known.
        operators: of each node, the place of its operator.

    Args:
        model: as `read_model` gives it.
        path: for messages.

    Raises:
        UnknownKernelError: an operation, or a type of tensor, that has no kernel.
    """

    def __init__(self, model: schema.ModelT, path: str | Path) -> None:
        self.model, self.path = model, path
        if len(model.subgraphs) != 1:
            raise UnknownKernelError(f"{path}: {len(model.subgraphs)} subgraphs; expected 1")
        self.graph = model.subgraphs[0]
        self.constants = {
            index
            for index, tensor in enumerate(self.graph.tensors)
            if model.buffers[tensor.buffer].data is not None
        }
        self.nodes: list[Node] = []
        self.operators: list[int] = []
        check_is_fixed(self.path, self.model)
        for index, operator in enumerate(self.graph.operators):
            try:
                node = self._node(index, operator)
            # operators of a damaged list, or of a version to come, lack what others have
            except _DAMAGED as error:
                raise ModelFileError(
                    f"{self.path}: operator {index}, {operator_name(self.model, operator)}, on tensors "
                    f"{self._named(operator)} cannot be read ({type(error).__name__}: {error})"
                ) from error
            if node:
                self.nodes.append(node)
                self.operators.append(index)

    @classmethod
    def read(cls, path: str | Path) -> FileGraph:
        """The graph of a file.

        Raises:
            ModelFileError: missing or damaged.
            UnknownKernelError: see the class.
        """
        return cls(read_model(path), path)

    @property
    def outputs(self) -> list[int]:
        """The tensors that leave the graph."""
        return [int(one) for one in self.graph.outputs]

    def is_float(self, tensor: int) -> bool:
        """Whether a tensor is of float32."""
        return self.graph.tensors[tensor].type == schema.TensorType.FLOAT32

    def floats(self, tensor: int) -> np.ndarray:
        """The values of a constant of float32."""
        content = self.model.buffers[self.graph.tensors[tensor].buffer].data
        return np.frombuffer(bytes(content), np.float32).reshape(self._shape(tensor))

    def _unknown(self, what: str) -> UnknownKernelError:
        return UnknownKernelError(f"{self.path}: {what} has no latency kernel")

    def _named(self, operator: schema.OperatorT) -> str:
        """Its tensors with their shapes, for messages."""
        tensors = [int(one) for one in (*operator.inputs, *operator.outputs) if one >= 0]
        shown = [
            f"{(self.graph.tensors[one].name or b'').decode(errors='replace') or one} "
            f"{'x'.join(map(str, self._shape(one)))}"
            for one in tensors[:_SHOWN_TENSORS]
        ]
        return ", ".join(shown) or "(none)"

    def _node(self, index: int, operator: schema.OperatorT) -> Node | None:
        name = operator_name(self.model, operator)
        inputs = [int(tensor) for tensor in operator.inputs if tensor >= 0]
        if not len(operator.outputs) or operator.outputs[0] < 0:
            raise ModelFileError(f"{self.path}: operator {index}, {name}, has no output; the file is damaged")
        output = int(operator.outputs[0])
        # half-precision or sparse weights are unpacked once, when the model is loaded
        if name in ("DEQUANTIZE", "DENSIFY") and self.constants.issuperset(inputs):
            self.constants.add(output)
            return None
        custom = self.model.operatorCodes[operator.opcodeIndex].customCode
        if custom == _TRANSPOSE_CONV_WITH_BIAS:
            name, operator = "TRANSPOSE_CONV", _as_transpose_conv(operator)
        if name not in OP_OF_BUILTIN:
            raise self._unknown(f"operator {index}, {name}{f' {custom.decode()}' if custom else ''},")
        op, where = OP_OF_BUILTIN[name], f"operator {index}, {name},"
        data = [tensor for tensor in inputs if tensor not in self.constants]
        if not data:
            raise self._unknown(f"{where} on constants alone,")
        for tensor in (*inputs, output):
            if 0 in self._shape(tensor):
                raise self._unknown(f"{where} on the empty tensor {self._named(operator)},")
        if op in BINARY:
            data.sort(key=lambda tensor: -math.prod(self._shape(tensor)))
        if op == "concat" and len(data) < len(inputs):
            constants = [tensor for tensor in inputs if tensor in self.constants]
            if len(constants) > 1:
                raise self._unknown(f"{where} of {len(constants)} constants (expected one at most)")
            inputs = [*data, *constants]
        kernel = Kernel(
            op,
            *hwc(self._shape(data[0])),
            *hwc(self._shape(output)),
            precision=self._precision(where, op, inputs, data, output),
            in_shape=unusual(self._shape(data[0])),
            out_shape=unusual(self._shape(output)),
            **self._attributes(op, where, operator, inputs, data),
        )
        if problem := _impossible(kernel):
            raise ModelFileError(
                f"{self.path}: {where} {problem} (tensors {self._named(operator)}); the file is damaged"
            )
        return Node(canonical(kernel), tuple(data), output, self._pads(op, inputs))

    def _precision(self, where: str, op: str, inputs: list[int], data: list[int], output: int) -> str:
        """Of every tensor that holds activations or weights."""
        tensors = {"quantize": [output], "dequantize": data}.get(op, [*data, output])
        if op in CONVOLUTIONS:
            tensors = [*tensors, inputs[1]]
        kinds = {self.graph.tensors[tensor].type for tensor in tensors}
        ends = {"quantize": data, "dequantize": [output]}.get(op, [])
        allowed = _PRECISIONS.keys() if op == "quantize" else {schema.TensorType.FLOAT32}
        float_ends = all(self.graph.tensors[end].type in allowed for end in ends)
        if len(kinds) != 1 or not kinds <= _PRECISIONS.keys() or not float_ends:
            every = sorted(_TYPE_NAMES[self.graph.tensors[tensor].type] for tensor in {*tensors, *ends})
            raise self._unknown(f"{where} on tensors of {', '.join(dict.fromkeys(every))}")
        return _PRECISIONS[kinds.pop()]

    def _attributes(self, op, where, operator, inputs, data) -> dict:
        options = operator.builtinOptions
        shape = self._shape(data[0])
        out_shape = self._shape(int(operator.outputs[0]))
        attributes = {}
        activation = getattr(options, "fusedActivationFunction", 0)
        if activation not in _ACTIVATIONS:
            raise self._unknown(f"{where} with fused activation {activation}")
        attributes["activation"] = _ACTIVATIONS[activation]
        if op in CONVOLUTIONS and op != "fully_connected":
            attributes |= self._convolution(op, options, self._shape(inputs[1]), shape)
        if op.endswith("pool2d"):
            attributes |= {"kernel_height": options.filterHeight, "kernel_width": options.filterWidth}
        if hasattr(options, "strideH"):
            attributes |= {
                "stride_height": options.strideH,
                "stride_width": options.strideW,
                "padding": _PADDINGS[options.padding],
            }
        match op:
            case "quantize":
                source = _PRECISIONS[self.graph.tensors[data[0]].type]
                attributes["source"] = "" if source == "float32" else source
            case _ if op == "prelu" or op in BINARY:
                attributes["operand"] = self._operand(where, inputs, data)
            case "concat":
                attributes |= self._concat(options, inputs, data)
            case "split":
                axis = int(np.ravel(self._integers(inputs[0]))[0])
                attributes["axes"] = _not_last(self._axis(axis, data[0]), shape)
            case "resize_bilinear" | "resize_nearest":
                aligned = "align_corners" if options.alignCorners else "asymmetric"
                attributes["sampling"] = "half_pixel" if options.halfPixelCenters else aligned
            case "mean":
                given = np.ravel(self._integers(inputs[1])).tolist()
                axes = sorted(self._axis(axis, data[0]) for axis in given)
                attributes["axes"] = () if axes == [1, 2] and len(shape) == 4 else tuple(axes)
            case "pad":
                attributes["begin"] = self._pad_begin(inputs)
            case "batch_matmul":
                sides = int(options.adjX), int(options.adjY)
                attributes["axes"] = sides if any(sides) else ()
            case "softmax" if options.beta != 1:
                raise self._unknown(f"{where} with beta {options.beta}")
            case "transpose":
                attributes["axes"] = tuple(map(int, self._integers(inputs[1])))
            case "squeeze":
                dims = () if options.squeezeDims is None else options.squeezeDims
                attributes["axes"] = tuple(int(axis) % len(shape) for axis in dims)
            case "expand_dims":
                attributes["axes"] = (int(self._integers(inputs[1]).ravel()[0]) % len(out_shape),)
            case "slice":
                attributes["begin"] = tuple(map(int, self._integers(inputs[1])))
            case "strided_slice":
                attributes |= self._strided(where, options, inputs, shape)
        return attributes

    def _convolution(self, op: str, options, filters: tuple[int, ...], shape: tuple[int, ...]) -> dict:
        attributes = {"kernel_height": filters[1], "kernel_width": filters[2]}
        if op == "depthwise_conv2d":
            attributes["groups"] = shape[-1]
        elif op == "conv2d":
            attributes["groups"] = shape[-1] // filters[3]
        if op == "transpose_conv2d":
            return attributes
        return attributes | {
            "dilation_height": options.dilationHFactor,
            "dilation_width": options.dilationWFactor,
        }

    def _concat(self, options, inputs: list[int], data: list[int]) -> dict:
        shape = self._shape(data[0])
        axis = self._axis(options.axis, data[0])
        others = tuple(self._shape(tensor)[axis] for tensor in inputs[1:])
        operand = "constant" if len(data) < len(inputs) else ""
        return {"other_channels": others, "axes": _not_last(axis, shape), "operand": operand}

    def _strided(self, where: str, options, inputs: list[int], shape: tuple[int, ...]) -> dict:
        masks = {name: getattr(options, name) for name in _MASKS}
        begin, _, steps = (self._integers(tensor).tolist() for tensor in inputs[1:4])
        if masks["ellipsisMask"] or masks["newAxisMask"] or min(steps) < 1 or len(begin) != len(shape):
            raise self._unknown(f"{where} with new axes, an ellipsis or steps {steps}")
        first = [
            0 if masks["beginMask"] >> axis & 1 else start + size * (start < 0)
            for axis, (start, size) in enumerate(zip(begin, shape, strict=True))
        ]
        return {"begin": tuple(first), "steps": tuple(steps)}

    def _pad_begin(self, inputs: list[int]) -> tuple[int, ...]:
        sides = self._integers(inputs[1]).reshape(-1, 2).tolist()
        centred = all(before == (before + after) // 2 for before, after in sides)
        return () if centred else tuple(before for before, _ in sides)

    def _pads(self, op: str, inputs: list[int]) -> tuple[int, int, int, int] | None:
        if op != "pad":
            return None
        sides = self._integers(inputs[1]).ravel().tolist()
        if len(sides) != 8 or any(sides[:2] + sides[6:]):
            return None
        return tuple(sides[2:6])

    def _operand(self, where: str, inputs: list[int], data: list[int]) -> str:
        shape = self._shape(data[0])
        if len(data) == 1:
            if inputs.count(data[0]) == 2:
                return "tensor"
            constant = self._shape(next(tensor for tensor in inputs if tensor in self.constants))
            if operand := operand_of(hwc(shape), hwc(constant), constant=True):
                return operand
            raise self._unknown(f"{where} of {shape} and a constant of shape {constant}")
        other = self._shape(data[1])
        if (operand := operand_of(hwc(shape), hwc(other))) is None:
            raise self._unknown(f"{where} of {shape} and {other}")
        return operand

    def _shape(self, tensor: int) -> tuple[int, ...]:
        """Of a tensor; a kernel has a width and channels, so those of rank 0 and 1 are matrices of a row."""
        shape = self.graph.tensors[tensor].shape
        sizes = () if shape is None else tuple(map(int, shape))
        return (*(1,) * (2 - len(sizes)), *sizes)

    def _axis(self, axis: int, tensor: int) -> int:
        """An axis of a tensor among those that `_shape` gives it."""
        shape = self.graph.tensors[tensor].shape
        rank = 0 if shape is None else len(shape)
        return axis % rank + max(0, 2 - rank) if rank else 1

    def _integers(self, tensor: int) -> np.ndarray:
        if tensor not in self.constants:
            raise self._unknown("a shape or axis that is computed")
        buffer = self.model.buffers[self.graph.tensors[tensor].buffer].data
        wide = self.graph.tensors[tensor].type == schema.TensorType.INT64
        values = np.frombuffer(bytes(buffer), np.int64 if wide else np.int32)
        shape = self.graph.tensors[tensor].shape
        return values if shape is not None and len(shape) else values[0]


def _impossible(kernel: Kernel) -> str:
    """Why no convolution or pool can have these shapes; empty for all else."""
    if kernel.padding not in ("same", "valid") or kernel.op == "transpose_conv2d":
        return ""
    sides: tuple[Literal["height", "width"], ...] = ("height", "width")
    for side in sides:
        size, out, window, stride = (
            getattr(kernel, f"{name}_{side}") for name in ("in", "out", "kernel", "stride")
        )
        places = window_places(kernel, side)
        # a kernel with one row of outputs says stride 1, whatever its file says
        one_row = out == 1 and places > 0
        if stride < 1 or not (one_row or out == -(-places // stride)):
            return f"makes {out} of {size} by a window of {window} at stride {stride}"
    return ""


def _not_last(axis: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    axis %= len(shape)
    return () if axis == len(shape) - 1 else (axis,)
