"""Rewriting of converted .tflite graphs, only where the rewritten graph computes exactly the same."""

from __future__ import annotations

import copy

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from nasdepth.tflite.flatbuffer import operator_name


def clean_up(model: schema.ModelT) -> None:
    """Remove what the converter leaves in a graph for no use; see the functions below."""
    fold_padding(model)
    cancel_transposes(model)
    drop_gathers(model)
    drop_resizes(model)
    drop_unused(model)


def drop_unused(model: schema.ModelT) -> None:
    """Remove tensors, buffers and operator codes that no operator uses."""
    graph = model.subgraphs[0]
    used = {int(one) for op in graph.operators for one in (*op.inputs, *op.outputs) if one >= 0}
    kept = sorted(used.union(map(int, graph.inputs), map(int, graph.outputs)))
    place = {before: after for after, before in enumerate(kept)}
    place[-1] = -1  # an input that an operator does without
    graph.tensors = [graph.tensors[one] for one in kept]
    for operator in graph.operators:
        operator.inputs = [place[int(one)] for one in operator.inputs]
        operator.outputs = [place[int(one)] for one in operator.outputs]
    graph.inputs = [place[int(one)] for one in graph.inputs]
    graph.outputs = [place[int(one)] for one in graph.outputs]
    for signature in model.signatureDefs or ():
        for entry in (*signature.inputs, *signature.outputs):
            entry.tensorIndex = place[int(entry.tensorIndex)]
    _drop_unused_buffers(model)
    codes = sorted({int(op.opcodeIndex) for op in graph.operators})
    for operator in graph.operators:
        operator.opcodeIndex = codes.index(operator.opcodeIndex)
    model.operatorCodes = [model.operatorCodes[one] for one in codes]


def _drop_unused_buffers(model: schema.ModelT) -> None:
    # the first buffer is empty by TFLite's convention
    buffers = sorted({0, *(int(tensor.buffer) for tensor in model.subgraphs[0].tensors)})
    for tensor in model.subgraphs[0].tensors:
        tensor.buffer = buffers.index(tensor.buffer)
    # what describes the model to other tools names buffers too
    described = buffers[:]
    for metadata in model.metadata or ():
        described.append(int(metadata.buffer))
        metadata.buffer = len(described) - 1
    model.buffers = [model.buffers[one] for one in described]


def fold_padding(model: schema.ModelT) -> int:
    """Replace PAD + convolution(VALID) by convolution(SAME) where they compute the same; return how many.

    Likewise PADV2 with the lowest float + MAX_POOL_2D. The converter cannot: ONNX keeps asymmetric padding
    apart. Runtimes without XNNPACK run a PAD as a copy of the whole tensor.
    """
    graph = model.subgraphs[0]
    consumers = _Consumers(graph)
    folded = []
    for pad in graph.operators:
        if operator_name(model, pad) not in ("PAD", "PADV2"):
            continue
        user = consumers.only(pad)
        if user is None or not _pads_to_same(model, graph, pad, user):
            continue
        user.inputs = [pad.inputs[0], *user.inputs[1:]]
        user.builtinOptions.padding = schema.Padding.SAME
        folded.append(pad)
    _remove(graph, folded)
    return len(folded)


# what they compute of a value depends on nothing but the value, so that they commute with a TRANSPOSE
_POINTWISE = {"SIN", "COS", "LOGISTIC", "TANH", "RELU", "RELU6", "LEAKY_RELU", "HARD_SWISH", "EXP", "ABS"}


def cancel_transposes(model: schema.ModelT) -> int:
    """Remove a TRANSPOSE and its inverse around operators that may run without; return how many pairs.

    The operators are pointwise, or concatenations with constants, which are transposed here. The converter
    keeps the channels first around operators whose layout it does not follow, SIN for one.
    """
    graph = model.subgraphs[0]
    consumers = _Consumers(graph)
    cancelled = []
    for first in graph.operators:
        if operator_name(model, first) != "TRANSPOSE":
            continue
        chain, value, user = [], first, consumers.only(first)
        while user is not None and _commutes(model, graph, user, int(value.outputs[0])):
            chain.append(user)
            value, user = user, consumers.only(user)
        if not chain or user is None or operator_name(model, user) != "TRANSPOSE":
            continue
        order, back = (_constant(model, graph, op.inputs[1]) for op in (first, user))
        if not len(order) or not np.array_equal(order[back], np.arange(len(order))):
            continue
        data = int(first.outputs[0])
        for operator in chain:
            _transpose(model, graph, operator, data, back)
            data = int(operator.outputs[0])
        chain[0].inputs = [
            first.inputs[0] if index == first.outputs[0] else index for index in chain[0].inputs
        ]
        # what read the second TRANSPOSE goes on reading the same tensor
        chain[-1].outputs = user.outputs
        cancelled += [first, user]
    _remove(graph, cancelled)
    return len(cancelled) // 2


def _commutes(model, graph, operator, data: int) -> bool:
    """Whether an operator on the tensor `data` may run on it transposed."""
    name = operator_name(model, operator)
    if name != "CONCATENATION":
        return name in _POINTWISE
    others = [graph.tensors[index] for index in operator.inputs if index != data]
    return len(others) == len(operator.inputs) - 1 and all(
        model.buffers[tensor.buffer].data is not None and tensor.type == schema.TensorType.FLOAT32
        for tensor in others
    )


def _transpose(model, graph, operator, data: int, order: np.ndarray) -> None:
    """Make an operator on `data` one on `data` transposed by `order`."""
    if operator_name(model, operator) == "CONCATENATION":
        axis = operator.builtinOptions.axis % len(order)
        operator.builtinOptions.axis = int(np.flatnonzero(order == axis)[0])
        operator.inputs = [
            index if index == data else _transposed(model, graph, index, order) for index in operator.inputs
        ]
    tensor = graph.tensors[operator.outputs[0]]
    tensor.shape = [int(tensor.shape[axis]) for axis in order]
    tensor.shapeSignature = None


def _transposed(model, graph, index: int, order: np.ndarray) -> int:
    """A new constant of float32, another transposed."""
    tensor = copy.copy(graph.tensors[index])
    content = np.frombuffer(bytes(model.buffers[tensor.buffer].data), np.float32).reshape(tensor.shape)
    content = np.ascontiguousarray(content.transpose(order))
    tensor.shape = list(content.shape)
    tensor.shapeSignature = None
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(content.tobytes(), np.uint8)
    tensor.buffer = len(model.buffers)
    model.buffers.append(buffer)
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1


def drop_gathers(model: schema.ModelT) -> int:
    """Remove every GATHER of all entries of an axis in order, which is a copy; return how many.

    The converter puts one in front of the DEPTH_TO_SPACE of a single channel, whose order is the same in
    ONNX's column-row-depth and in TFLite's depth-column-row.
    """
    graph = model.subgraphs[0]
    outputs = {int(index) for index in graph.outputs}
    consumers = _Consumers(graph)
    dropped = []
    for gather in graph.operators:
        if operator_name(model, gather) != "GATHER" or int(gather.outputs[0]) in outputs:
            continue
        options = gather.builtinOptions
        chosen = _constant(model, graph, gather.inputs[1])
        axis_size = int(graph.tensors[gather.inputs[0]].shape[options.axis])
        if options.batchDims or not np.array_equal(chosen, np.arange(axis_size)):
            continue
        _bypass(consumers, gather)
        dropped.append(gather)
    _remove(graph, dropped)
    return len(dropped)


def drop_resizes(model: schema.ModelT) -> int:
    """Remove every RESIZE_BILINEAR and RESIZE_NEAREST_NEIGHBOR to the size that there is; return how many.

    All their ways of sampling give each pixel itself there. A resize from the model's input to its output
    stays: a tensor cannot be both.
    """
    graph = model.subgraphs[0]
    inputs, outputs = ({int(index) for index in ends} for ends in (graph.inputs, graph.outputs))
    dropped = []
    for resize in list(graph.operators):
        if operator_name(model, resize) not in ("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"):
            continue
        given, made = int(resize.inputs[0]), int(resize.outputs[0])
        if not np.array_equal(graph.tensors[given].shape, graph.tensors[made].shape):
            continue
        if made in outputs:
            if given in inputs or given in outputs or _is_constant(model, graph, given):
                continue
            # what made its input writes the output instead, and all that read the one read the other
            for operator in graph.operators:
                operator.inputs = [made if index == given else index for index in operator.inputs]
                operator.outputs = [made if index == given else index for index in operator.outputs]
        else:
            _bypass(_Consumers(graph), resize)
        dropped.append(resize)
        _remove(graph, [resize])
    return len(dropped)


def _bypass(consumers: _Consumers, operator: schema.OperatorT) -> None:
    """Let all that read what an operator writes read its first input instead."""
    made = int(operator.outputs[0])
    for user in consumers.get(made, []):
        user.inputs = [operator.inputs[0] if index == made else index for index in user.inputs]


def _is_constant(model: schema.ModelT, graph: schema.SubGraphT, index: int) -> bool:
    return model.buffers[graph.tensors[index].buffer].data is not None


def _constant(model: schema.ModelT, graph: schema.SubGraphT, index: int) -> np.ndarray:
    """A constant of int32; empty where the tensor is computed or of another type."""
    tensor = graph.tensors[index]
    data = model.buffers[tensor.buffer].data
    if data is None or tensor.type != schema.TensorType.INT32:
        return np.empty(0, np.int32)
    return np.frombuffer(bytes(data), np.int32).reshape(tensor.shape)


class _Consumers(dict[int, list]):
    """The operators that read each tensor."""

    def __init__(self, graph: schema.SubGraphT) -> None:
        for operator in graph.operators:
            for index in operator.inputs:
                self.setdefault(int(index), []).append(operator)
        self._outputs = {int(index) for index in graph.outputs}

    def only(self, operator: schema.OperatorT) -> schema.OperatorT | None:
        """The one reader of what an operator writes; None where there are others."""
        index = int(operator.outputs[0])
        readers = self.get(index, [])
        return readers[0] if len(readers) == 1 and index not in self._outputs else None


def _remove(graph: schema.SubGraphT, operators: list) -> None:
    gone = {id(operator) for operator in operators}
    graph.operators = [operator for operator in graph.operators if id(operator) not in gone]


def _pads_to_same(model, graph, pad, window) -> bool:
    name, options = operator_name(model, window), window.builtinOptions
    if operator_name(model, pad) == "PADV2":
        value = np.frombuffer(bytes(model.buffers[graph.tensors[pad.inputs[2]].buffer].data), np.float32)
        if name != "MAX_POOL_2D" or value > np.finfo(np.float32).min:
            return False
        kernel = (options.filterHeight, options.filterWidth)
    elif name in ("CONV_2D", "DEPTHWISE_CONV_2D"):
        if options.dilationHFactor != 1 or options.dilationWFactor != 1:
            return False
        kernel = graph.tensors[window.inputs[1]].shape[1:3]
    else:
        return False
    if options.padding != schema.Padding.VALID:
        return False
    given = _constant(model, graph, pad.inputs[1])
    size = graph.tensors[pad.inputs[0]].shape[1:3]
    wanted = [(0, 0)]
    for length, taps, stride in zip(size, kernel, (options.strideH, options.strideW), strict=True):
        total = max(0, (-(-int(length) // stride) - 1) * stride + int(taps) - int(length))
        wanted.append((total // 2, total - total // 2))
    return bool(np.array_equal(given, [*wanted, (0, 0)]))
