"""Options and versions of the operators in micro models."""

from __future__ import annotations

from nasdepth.latency._schema import ACTIVATION_CODES, PADDING_CODES, schema
from nasdepth.latency.kernels import Kernel

# The versions that the runtime wants where it is not 1: for float32, for int8, for uint8
_VERSIONS = {
    "resize_bilinear": (3, 3, 3),
    "resize_nearest": (3, 3, 3),
    "transpose_conv2d": (3, 3, 3),
    "conv2d": (1, 3, 1),
    "depthwise_conv2d": (2, 3, 2),
    "fully_connected": (5, 5, 5),
}
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
}


def operator_version(kernel: Kernel) -> int:
    """TFLite's version number of the operator."""
    column = ("float32", "int8", "uint8").index(kernel.precision)
    if kernel.op in _VERSIONS:
        return _VERSIONS[kernel.op][column]
    return 2 if kernel.precision == "int8" and kernel.op not in _FIRST_VERSION_TAKES_INT8 else 1


def operator_options(kernel: Kernel) -> object | None:
    """The operator's entry in TFLite's union of options, None where it has none."""
    activation = ACTIVATION_CODES[kernel.activation]
    window = {
        "padding": PADDING_CODES.get(kernel.padding, 0),
        "strideH": kernel.stride_height,
        "strideW": kernel.stride_width,
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
