"""Reading and writing .tflite flatbuffers through the schema that ships with LiteRT."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import flatbuffers
from ai_edge_litert import schema_py_generated as schema

from nasdepth.errors import ModelFileError
from nasdepth.reading import read_bytes

# offsets of a flatbuffer have 32 bits
_LARGEST_BYTES = 1 << 31
_BYTES = {
    schema.TensorType.FLOAT32: 4,
    schema.TensorType.FLOAT16: 2,
    schema.TensorType.INT32: 4,
    schema.TensorType.INT64: 8,
    schema.TensorType.INT8: 1,
    schema.TensorType.UINT8: 1,
}
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
    content = read_bytes(path, at_most=_LARGEST_BYTES, error=ModelFileError)
    if content[4:8] != _FILE_IDENTIFIER:
        raise ModelFileError(f"{path}: is no .tflite model (the identifier TFL3 is missing)")
    try:
        root = schema.Model.GetRootAs(content, 0)
        counted = _counted(root, most=4 * len(content))
        model = schema.ModelT.InitFromObj(root) if counted else None
    except Exception as error:  # a damaged flatbuffer fails in whatever field it is damaged in
        raise ModelFileError(
            f"{path}: is a damaged .tflite model ({type(error).__name__}: {error})"
        ) from error
    if model is None:
        raise ModelFileError(f"{path}: is a damaged .tflite model (it claims more parts than it has bytes)")
    if problem := _inconsistency(model):
        raise ModelFileError(f"{path}: is a damaged .tflite model ({problem})")
    return model


def _counted(root: schema.Model, most: int) -> bool:
    """Whether a file has no more parts than so many; sizes that lie would be read for hours."""
    left = most - root.OperatorCodesLength() - root.BuffersLength() - root.SubgraphsLength()
    for graph in _parts(root, "Subgraphs", left):
        left -= graph.InputsLength() + graph.OutputsLength()
        left -= graph.TensorsLength() + graph.OperatorsLength()
        for tensor in _parts(graph, "Tensors", left):
            left -= tensor.ShapeLength() + tensor.ShapeSignatureLength()
        for operator in _parts(graph, "Operators", left):
            left -= operator.InputsLength() + operator.OutputsLength() + operator.CustomOptionsLength()
    for buffer in _parts(root, "Buffers", left):
        left -= buffer.DataLength()
    return left >= 0


def _parts(table: Any, name: str, left: int) -> Iterator[Any]:
    count = getattr(table, f"{name}Length")()
    return (getattr(table, name)(index) for index in range(count if left >= 0 else 0))


def _inconsistency(model: schema.ModelT) -> str:
    """What cannot be in a model: a part that is missing, or a reference to one that is not there."""
    if not model.subgraphs or model.buffers is None:
        return "it has no subgraph" if model.buffers else "it has no buffers"
    for graph in model.subgraphs:
        tensors = graph.tensors if graph.tensors is not None else []
        graph.tensors, graph.operators = tensors, graph.operators if graph.operators is not None else []
        for name in ("inputs", "outputs"):
            given = getattr(graph, name)
            setattr(graph, name, [] if given is None else given)
            if wrong := [int(one) for one in getattr(graph, name) if not 0 <= one < len(tensors)]:
                return f"its {name} name tensor {wrong[0]}, but it has {len(tensors)}"
        for number, tensor in enumerate(tensors):
            if not 0 <= tensor.buffer < len(model.buffers):
                return f"tensor {number} is in buffer {tensor.buffer}, but it has {len(model.buffers)}"
            if problem := _wrong_size(model, tensor):
                return f"tensor {number}{problem}"
            if tensor.shape is not None and any(not 0 <= size < _LARGEST_BYTES for size in tensor.shape):
                return f"tensor {number} has the shape {[int(size) for size in tensor.shape]}"
        for number, operator in enumerate(graph.operators):
            codes = model.operatorCodes or []
            if not 0 <= operator.opcodeIndex < len(codes):
                return f"operator {number} is of code {operator.opcodeIndex}, but it has {len(codes)}"
            for name in ("inputs", "outputs"):
                given = getattr(operator, name)
                setattr(operator, name, [] if given is None else given)
                if wrong := [int(one) for one in getattr(operator, name) if not -1 <= one < len(tensors)]:
                    return (
                        f"the {name} of operator {number}, {operator_name(model, operator)}, name tensor "
                        f"{wrong[0]}, but it has {len(tensors)}"
                    )
    return ""


def _wrong_size(model: schema.ModelT, tensor: schema.TensorT) -> str:
    """Why a constant cannot be of its tensor's shape; empty where it can, or nobody knows."""
    size, data = _BYTES.get(tensor.type), model.buffers[tensor.buffer].data
    if size is None or data is None or len(data) == 0 or tensor.sparsity is not None or tensor.shape is None:
        return ""
    needed = size * math.prod(map(int, tensor.shape))
    if len(data) == needed:
        return ""
    return f" of shape {[int(one) for one in tensor.shape]} needs {needed:,} bytes, but has {len(data):,}"


def write_model(model: schema.ModelT, path: str | Path) -> None:
    """Serialise a model to `path`."""
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), file_identifier=_FILE_IDENTIFIER)
    Path(path).write_bytes(bytes(builder.Output()))


def operator_name(model: schema.ModelT, operator: schema.OperatorT) -> str:
    """TFLite's name of an operator, for example CONV_2D."""
    code = model.operatorCodes[operator.opcodeIndex]
    number = max(code.builtinCode, code.deprecatedBuiltinCode)
    return _OPERATOR_NAMES.get(number, f"operator of code {number}")
