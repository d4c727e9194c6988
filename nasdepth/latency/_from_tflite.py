"""Kernels of a .tflite file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nasdepth.deploy.tflite_file import operator_name, read_model
from nasdepth.errors import UnknownKernelError
from nasdepth.latency._graph import Node, canonical, fuse
from nasdepth.latency._schema import ACTIVATION_CODES, OP_OF_BUILTIN, PADDING_CODES, schema
from nasdepth.latency.kernels import CONVOLUTIONS, Kernel, operand_of

_ACTIVATIONS = {code: name for name, code in ACTIVATION_CODES.items()}
_PADDINGS = {code: name for name, code in PADDING_CODES.items()}


def tflite_kernels(path: str | Path) -> tuple[Kernel, ...]:
    """The kernels that the runtime executes for a float .tflite, in order.

    Raises:
        ModelFileError: missing or damaged.
        UnknownKernelError: an operation, or a type of tensor, that has no kernel.
    """
    return _Reader(Path(path)).kernels()


@dataclass
class _Reader:
    path: Path

    def kernels(self) -> tuple[Kernel, ...]:
        self.model = read_model(self.path)
        if len(self.model.subgraphs) != 1:
            raise UnknownKernelError(f"{self.path}: {len(self.model.subgraphs)} subgraphs; expected 1")
        self.graph = self.model.subgraphs[0]
        self.constants = {
            index
            for index, tensor in enumerate(self.graph.tensors)
            if self.model.buffers[tensor.buffer].data is not None
        }
        nodes = []
        for index, operator in enumerate(self.graph.operators):
            if node := self._node(index, operator):
                nodes.append(node)
        return tuple(node.kernel for node in fuse(nodes, map(int, self.graph.outputs)))

    def _unknown(self, what: str) -> UnknownKernelError:
        return UnknownKernelError(f"{self.path}: {what} has no latency kernel")

    def _node(self, index: int, operator: schema.OperatorT) -> Node | None:
        name = operator_name(self.model, operator)
        inputs = [int(tensor) for tensor in operator.inputs if tensor >= 0]
        output = int(operator.outputs[0])
        if name == "DEQUANTIZE" and self.constants.issuperset(inputs):
            self.constants.add(output)  # half-precision weights, widened once when the model is loaded
            return None
        if name not in OP_OF_BUILTIN:
            custom = self.model.operatorCodes[operator.opcodeIndex].customCode
            raise self._unknown(f"operator {index}, {name}{f' {custom.decode()}' if custom else ''},")
        op = OP_OF_BUILTIN[name]
        data = [tensor for tensor in inputs if tensor not in self.constants]
        for tensor in (*data, output):
            if self.graph.tensors[tensor].type != schema.TensorType.FLOAT32:
                raise self._unknown(f"operator {index}, {name}, on tensors that are not float32,")
        if not data:
            raise self._unknown(f"operator {index}, {name}, on constants alone,")
        attributes = self._attributes(op, f"operator {index}, {name},", operator, inputs, data)
        if op in ("add", "mul"):
            data.sort(key=lambda tensor: -np.prod(self._shape(tensor)))
        kernel = Kernel(op, *self._hwc(data[0]), *self._hwc(output), **attributes)
        pads = tuple(self._integers(inputs[1]).ravel()[2:6]) if op == "pad" else (0, 0, 0, 0)
        return Node(canonical(kernel), tuple(data), output, tuple(map(int, pads)))

    def _attributes(self, op, where, operator, inputs, data) -> dict:
        options = operator.builtinOptions
        attributes = {}
        activation = getattr(options, "fusedActivationFunction", 0)
        if activation not in _ACTIVATIONS:
            raise self._unknown(f"{where} with fused activation {activation}")
        attributes["activation"] = _ACTIVATIONS[activation]
        if op in CONVOLUTIONS and op != "fully_connected":
            filters = self._shape(inputs[1])
            attributes |= {"kernel_height": filters[1], "kernel_width": filters[2]}
            channels = self._hwc(data[0])[2]
            if op == "depthwise_conv2d":
                attributes["groups"] = channels
            elif op == "conv2d":
                attributes["groups"] = channels // filters[3]
            if op != "transpose_conv2d":
                attributes |= {
                    "dilation_height": options.dilationHFactor,
                    "dilation_width": options.dilationWFactor,
                }
        if op.endswith("pool2d"):
            attributes |= {"kernel_height": options.filterHeight, "kernel_width": options.filterWidth}
        if hasattr(options, "strideH"):
            attributes |= {
                "stride_height": options.strideH,
                "stride_width": options.strideW,
                "padding": _PADDINGS[options.padding],
            }
        if op in ("add", "mul"):
            attributes["operand"] = self._operand(where, inputs, data)
        if op == "concat":
            if len(data) != len(inputs) or options.axis % len(self._shape(data[0])) != 3:
                raise self._unknown(f"{where} with a constant or over axis {options.axis}")
            attributes["other_channels"] = tuple(self._hwc(tensor)[2] for tensor in data[1:])
        if op.startswith("resize"):
            aligned = "align_corners" if options.alignCorners else "asymmetric"
            attributes["sampling"] = "half_pixel" if options.halfPixelCenters else aligned
        if op == "mean" and sorted(int(axis) % 4 for axis in self._integers(inputs[1]).ravel()) != [1, 2]:
            raise self._unknown(f"{where} over axes other than height and width")
        if op == "pad" and self._integers(inputs[1]).ravel()[[0, 1, 6, 7]].any():
            raise self._unknown(f"{where} of other axes than height and width")
        return attributes

    def _operand(self, where: str, inputs: list[int], data: list[int]) -> str:
        if len(data) == 1:
            constant = next((tensor for tensor in inputs if tensor in self.constants), data[0])
            size = int(np.prod(self._shape(constant)))
            if constant == data[0]:
                return "tensor"
            if size not in (1, self._hwc(data[0])[2]):
                raise self._unknown(f"{where} with a constant of shape {self._shape(constant)}")
            return "scalar" if size == 1 else "vector"
        large, small = sorted((self._hwc(tensor) for tensor in data), key=lambda hwc: -np.prod(hwc))
        if (operand := operand_of(large, small)) is None:
            raise self._unknown(f"{where} of {large} and {small}")
        return operand

    def _shape(self, tensor: int) -> tuple[int, ...]:
        shape = self.graph.tensors[tensor].shape
        return () if shape is None else tuple(map(int, shape))

    def _hwc(self, tensor: int) -> tuple[int, int, int]:
        shape = self._shape(tensor)
        if len(shape) > 4 or (len(shape) == 4 and shape[0] != 1):
            raise self._unknown(f"a tensor of shape {shape}")
        height, width, channels = (1, 1, 1, 1, *shape)[-3:]
        return height, width, channels

    def _integers(self, tensor: int) -> np.ndarray:
        buffer = self.model.buffers[self.graph.tensors[tensor].buffer].data
        return np.frombuffer(bytes(buffer), np.int32)
