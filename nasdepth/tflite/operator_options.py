"""Options and versions of the operators in micro models."""

from __future__ import annotations

from typing import Literal

from nasdepth.kernels.kernel import Kernel, window_places
from nasdepth.tflite.schema_codes import ACTIVATION_CODES, PADDING_CODES, schema

# Where version 2 is not the first that takes int8
_INT8_VERSIONS = {"conv2d": 3, "depthwise_conv2d": 3, "fully_connected": 5, "transpose_conv2d": 3}
_FIRST_VERSION_TAKES_INT8 = {
    "reshape",
    "quantize",
    "relu_0_to_1",
    "relu_n1_to_1",
    "elu",
    "hard_swish",
    "neg",
    "square",
    "prelu",
    "expand_dims",
}
# Operators without options, or whose options hold nothing that is read
_PLAIN = {
    "hard_swish": "HardSwishOptionsT",
    "pad": "PadOptionsT",
    "transpose": "TransposeOptionsT",
    "slice": "SliceOptionsT",
    "expand_dims": "ExpandDimsOptionsT",
    "quantize": "QuantizeOptionsT",
    "dequantize": "DequantizeOptionsT",
    "maximum": "MaximumMinimumOptionsT",
    "minimum": "MaximumMinimumOptionsT",
    "exp": "ExpOptionsT",
    "abs": "AbsOptionsT",
    "neg": "NegOptionsT",
    "square": "SquareOptionsT",
    "gelu": "GeluOptionsT",
    "cos": "CosOptionsT",
}


def operator_version(kernel: Kernel) -> int:
    """TFLite's version number of the operator: the first that has what the kernel needs."""
    if kernel.op == "fully_connected" and len(kernel.output_shape) > 2:
        return 5  # keeps the number of dimensions
    if kernel.op == "transpose_conv2d" and kernel.activation != "none":
        return 4
    if kernel.op == "depthwise_conv2d" and kernel.precision != "int8":
        return 2 if (kernel.dilation_height, kernel.dilation_width) != (1, 1) else 1
    if kernel.precision != "int8" or kernel.op in _FIRST_VERSION_TAKES_INT8:
        return 3 if kernel.op == "transpose_conv2d" and kernel.precision != "float32" else 1
    return _INT8_VERSIONS.get(kernel.op, 2)


def operator_options(kernel: Kernel) -> object | None:
    """The operator's entry in TFLite's union of options, None where it has none."""
    activation = ACTIVATION_CODES[kernel.activation]
    window = {
        "padding": PADDING_CODES.get(kernel.padding, 0),
        "strideH": _stride(kernel, "height"),
        "strideW": _stride(kernel, "width"),
        "fusedActivationFunction": activation,
    }
    dilation = {"dilationHFactor": kernel.dilation_height, "dilationWFactor": kernel.dilation_width}
    sampling = {
        "alignCorners": kernel.sampling == "align_corners",
        "halfPixelCenters": kernel.sampling == "half_pixel",
    }
    match kernel.op:
        case "conv2d":
            return schema.Conv2DOptionsT(**window, **dilation)
        case "depthwise_conv2d":
            multiplier = kernel.out_channels // kernel.in_channels
            return schema.DepthwiseConv2DOptionsT(**window, **dilation, depthMultiplier=multiplier)
        case "transpose_conv2d":
            return schema.TransposeConvOptionsT(**window)
        case "fully_connected":
            keep = len(kernel.output_shape) > 2
            return schema.FullyConnectedOptionsT(fusedActivationFunction=activation, keepNumDims=keep)
        case "add":
            return schema.AddOptionsT(fusedActivationFunction=activation)
        case "sub":
            return schema.SubOptionsT(fusedActivationFunction=activation)
        case "mul":
            return schema.MulOptionsT(fusedActivationFunction=activation)
        case "div":
            return schema.DivOptionsT(fusedActivationFunction=activation)
        case "batch_matmul":
            first, second = kernel.axes or (0, 0)
            return schema.BatchMatMulOptionsT(adjX=bool(first), adjY=bool(second))
        case "concat":
            return schema.ConcatenationOptionsT(axis=kernel.concat_axis)
        case "split":
            return schema.SplitOptionsT(numSplits=kernel.outputs)
        case "resize_bilinear":
            return schema.ResizeBilinearOptionsT(**sampling)
        case "resize_nearest":
            return schema.ResizeNearestNeighborOptionsT(**sampling)
        case "average_pool2d" | "max_pool2d":
            sizes = {"filterHeight": kernel.kernel_height, "filterWidth": kernel.kernel_width}
            return schema.Pool2DOptionsT(**window, **sizes)
        case "mean":
            return schema.ReducerOptionsT(keepDims=len(kernel.output_shape) == len(kernel.input_shape))
        case "leaky_relu":
            return schema.LeakyReluOptionsT(alpha=0.1)
        case "softmax":
            return schema.SoftmaxOptionsT(beta=1.0)
        case "reshape":
            return schema.ReshapeOptionsT(newShape=list(kernel.output_shape))
        case "squeeze":
            return schema.SqueezeOptionsT(squeezeDims=list(kernel.axes))
        case "strided_slice":
            return schema.StridedSliceOptionsT()
        case "depth_to_space":
            return schema.DepthToSpaceOptionsT(blockSize=kernel.out_height // kernel.in_height)
        case "space_to_depth":
            return schema.SpaceToDepthOptionsT(blockSize=kernel.in_height // kernel.out_height)
    return getattr(schema, _PLAIN[kernel.op])() if kernel.op in _PLAIN else None


def _stride(kernel: Kernel, side: Literal["height", "width"]) -> int:
    """A kernel with one row of outputs says stride 1; the file's has to be one that makes no second row."""
    out, stride = (getattr(kernel, f"{name}_{side}") for name in ("out", "stride"))
    if out != 1 or stride != 1 or kernel.op == "transpose_conv2d":
        return stride
    return max(window_places(kernel, side), 1)
