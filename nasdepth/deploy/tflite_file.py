"""Reading and rewriting .tflite flatbuffers through the schema that ships with LiteRT."""

from __future__ import annotations

from pathlib import Path

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from nasdepth.errors import ModelFileError

_FILE_IDENTIFIER = b"TFL3"
_OPERATOR_NAMES = {
    value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)
}


def read_model(path: str | Path) -> schema.ModelT:
    """Parse a .tflite file.

    Raises:
        ModelFileError: missing, or not a TFLite flatbuffer.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read ({error.strerror})") from error
    if content[4:8] != _FILE_IDENTIFIER:
        raise ModelFileError(f"{path}: is no .tflite model (the identifier TFL3 is missing)")
    try:
        return schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    except Exception as error:  # a damaged flatbuffer fails in whatever field it is damaged in
        raise ModelFileError(
            f"{path}: is a damaged .tflite model ({type(error).__name__}: {error})"
        ) from error


def write_model(model: schema.ModelT, path: str | Path) -> None:
    """Serialise a model to `path`."""
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), file_identifier=_FILE_IDENTIFIER)
    Path(path).write_bytes(bytes(builder.Output()))


def operator_name(model: schema.ModelT, operator: schema.OperatorT) -> str:
    """TFLite's name of an operator, for example CONV_2D."""
    code = model.operatorCodes[operator.opcodeIndex]
    return _OPERATOR_NAMES[max(code.builtinCode, code.deprecatedBuiltinCode)]


def fold_padding(model: schema.ModelT) -> int:
    """Replace PAD + convolution(VALID) by convolution(SAME) where they compute the same; return how many.

    Likewise PADV2 with the lowest float + MAX_POOL_2D. The converter cannot: ONNX keeps asymmetric padding
    apart. Runtimes without XNNPACK run a PAD as a copy of the whole tensor.
    """
    graph = model.subgraphs[0]
    consumers: dict[int, list] = {}
    for operator in graph.operators:
        for index in operator.inputs:
            consumers.setdefault(int(index), []).append(operator)
    outputs = {int(index) for index in graph.outputs}
    folded = []
    for pad in graph.operators:
        if operator_name(model, pad) not in ("PAD", "PADV2"):
            continue
        users = consumers.get(int(pad.outputs[0]), [])
        if (
            len(users) != 1
            or int(pad.outputs[0]) in outputs
            or not _pads_to_same(model, graph, pad, users[0])
        ):
            continue
        users[0].inputs = [pad.inputs[0], *users[0].inputs[1:]]
        users[0].builtinOptions.padding = schema.Padding.SAME
        folded.append(pad)
    graph.operators = [operator for operator in graph.operators if not any(operator is pad for pad in folded)]
    return len(folded)


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
    data = model.buffers[graph.tensors[pad.inputs[1]].buffer].data
    given = np.frombuffer(bytes(data), np.int32).reshape(4, 2)
    size = graph.tensors[pad.inputs[0]].shape[1:3]
    wanted = [(0, 0)]
    for length, taps, stride in zip(size, kernel, (options.strideH, options.strideW), strict=True):
        total = max(0, (-(-int(length) // stride) - 1) * stride + int(taps) - int(length))
        wanted.append((total // 2, total - total // 2))
    return bool(np.array_equal(given, [*wanted, (0, 0)]))
