"""Names of TFLite's flatbuffer schema that reading and writing share."""

from __future__ import annotations

from ai_edge_litert import schema_py_generated as schema

from nasdepth.kernels.kernel import OPERATIONS

__all__ = ["ACTIVATION_CODES", "BUILTIN_OF_OP", "OP_OF_BUILTIN", "PADDING_CODES", "PRECISION_CODES", "schema"]

_OTHER_NAMES = {
    "conv2d": "CONV_2D",
    "depthwise_conv2d": "DEPTHWISE_CONV_2D",
    "transpose_conv2d": "TRANSPOSE_CONV",
    "concat": "CONCATENATION",
    "resize_nearest": "RESIZE_NEAREST_NEIGHBOR",
    "average_pool2d": "AVERAGE_POOL_2D",
    "max_pool2d": "MAX_POOL_2D",
}
BUILTIN_OF_OP = {op: _OTHER_NAMES.get(op, op.upper()) for op in OPERATIONS}
OP_OF_BUILTIN = {builtin: op for op, builtin in BUILTIN_OF_OP.items()}
ACTIVATION_CODES = {"none": 0, "relu": 1, "relu_n1_to_1": 2, "relu6": 3}
PADDING_CODES = {"same": 0, "valid": 1}
PRECISION_CODES = {
    "float32": schema.TensorType.FLOAT32,
    "int8": schema.TensorType.INT8,
    "uint8": schema.TensorType.UINT8,
}
