"""Reading and writing .tflite flatbuffers through the schema that ships with LiteRT."""

from __future__ import annotations

from pathlib import Path

import flatbuffers
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
