"""Files whose weights are of half precision: half the size, computed in float32 or, on a GPU, in float16."""

from __future__ import annotations

import copy

import numpy as np

from nasdepth.tflite.flatbuffer import operator_name
from nasdepth.tflite.schema_codes import schema

_DEQUANTIZE = schema.BuiltinOperator.DEQUANTIZE
_VERSION = 3  # the first that widens float16
_LARGEST = float(np.finfo(np.float16).max)
# Biases too: left in float32 they keep their convolutions out of XNNPACK
_OPERATORS = ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED")


def halve_weights(model: schema.ModelT) -> int:
    """Store the filters and biases of convolutions as float16, each behind a DEQUANTIZE; return how many.

    A convolution with a value beyond float16 (65504) stays as it is.
    """
    graph = model.subgraphs[0]
    code = _dequantize(model)
    widened: dict[int, int] = {}
    conversions = []
    for operator in graph.operators:
        if operator_name(model, operator) not in _OPERATORS:
            continue
        constants = [
            int(one) for one in operator.inputs if one >= 0 and _is_float_constant(model, graph, one)
        ]
        if any(np.abs(_values(model, graph, one)).max() > _LARGEST for one in constants):
            continue
        for constant in constants:
            if constant not in widened:
                widened[constant] = _halved(model, graph, constant)
                conversions.append(
                    schema.OperatorT(
                        opcodeIndex=code,
                        inputs=[widened[constant]],
                        outputs=[constant],
                        builtinOptionsType=schema.BuiltinOptions.DequantizeOptions,
                        builtinOptions=schema.DequantizeOptionsT(),
                    )
                )
    for constant in widened:
        graph.tensors[constant].buffer = 0
    graph.operators = [*conversions, *graph.operators]
    return len(conversions)


def _dequantize(model: schema.ModelT) -> int:
    """The place of a new operator code."""
    model.operatorCodes.append(
        schema.OperatorCodeT(deprecatedBuiltinCode=_DEQUANTIZE, builtinCode=_DEQUANTIZE, version=_VERSION)
    )
    return len(model.operatorCodes) - 1


def _is_float_constant(model: schema.ModelT, graph: schema.SubGraphT, tensor: int) -> bool:
    one = graph.tensors[tensor]
    return one.type == schema.TensorType.FLOAT32 and model.buffers[one.buffer].data is not None


def _values(model: schema.ModelT, graph: schema.SubGraphT, tensor: int) -> np.ndarray:
    return np.frombuffer(bytes(model.buffers[graph.tensors[tensor].buffer].data), np.float32)


def _halved(model: schema.ModelT, graph: schema.SubGraphT, tensor: int) -> int:
    """A new constant, another's values in float16."""
    values = _values(model, graph, tensor).astype(np.float16)
    model.buffers.append(schema.BufferT(data=np.frombuffer(values.tobytes(), np.uint8)))
    narrow = copy.copy(graph.tensors[tensor])
    narrow.type, narrow.name = schema.TensorType.FLOAT16, b""
    narrow.buffer = len(model.buffers) - 1
    graph.tensors.append(narrow)
    return len(graph.tensors) - 1
