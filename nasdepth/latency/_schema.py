"""Names of TFLite's flatbuffer schema that reading and writing share."""

from __future__ import annotations

from ai_edge_litert import schema_py_generated as schema

__all__ = ["ACTIVATION_CODES", "BUILTIN_OF_OP", "OP_OF_BUILTIN", "PADDING_CODES", "schema"]

BUILTIN_OF_OP = {
    "conv2d": "CONV_2D",
    "depthwise_conv2d": "DEPTHWISE_CONV_2D",
    "transpose_conv2d": "TRANSPOSE_CONV",
    "fully_connected": "FULLY_CONNECTED",
    "add": "ADD",
    "mul": "MUL",
    "concat": "CONCATENATION",
    "resize_bilinear": "RESIZE_BILINEAR",
    "resize_nearest": "RESIZE_NEAREST_NEIGHBOR",
    "average_pool2d": "AVERAGE_POOL_2D",
    "max_pool2d": "MAX_POOL_2D",
    "mean": "MEAN",
    "pad": "PAD",
    "relu": "RELU",
    "relu6": "RELU6",
    "leaky_relu": "LEAKY_RELU",
    "hard_swish": "HARD_SWISH",
    "logistic": "LOGISTIC",
    "softmax": "SOFTMAX",
    "reshape": "RESHAPE",
}
OP_OF_BUILTIN = {builtin: op for op, builtin in BUILTIN_OF_OP.items()}
ACTIVATION_CODES = {"none": 0, "relu": 1, "relu6": 3}
PADDING_CODES = {"same": 0, "valid": 1}
