"""Kernels of every operation, and a table over them, for the tests of this folder."""

import datetime

from nasdepth.kernels.kernel import CONSTANTS, KERNEL_COLUMNS, STRETCHED, UNARY
from nasdepth.latency import DeviceCard, Kernel, LatencyTable, Timing

K3 = {"kernel_height": 3, "kernel_width": 3}
S2 = {"stride_height": 2, "stride_width": 2}
BIG, SAME = (8, 12, 16), {"padding": "same"}

# TFLite has no kernel for one of int8 and uint8, or refuses the values that the tests feed
_NOT_QUANTISED = {"elu", "exp", "abs", "neg", "sqrt", "rsqrt", "square", "div", "prelu", "sin", "cos"}
FLOAT = (
    Kernel("conv2d", *BIG, 8, 12, 24, **SAME, activation="relu6"),
    Kernel("conv2d", *BIG, 4, 6, 24, **K3, **S2, **SAME),
    Kernel("conv2d", *BIG, 6, 10, 24, **K3, padding="valid"),
    Kernel("conv2d", *BIG, 8, 12, 16, **K3, dilation_height=2, dilation_width=2, **SAME),
    Kernel("conv2d", *BIG, 8, 12, 32, **K3, groups=4, **SAME),
    Kernel("depthwise_conv2d", *BIG, 4, 6, 16, **K3, **S2, groups=16, **SAME, activation="relu"),
    Kernel("depthwise_conv2d", *BIG, 8, 12, 32, **K3, groups=16, **SAME),
    Kernel("transpose_conv2d", *BIG, 16, 24, 8, **K3, **S2, **SAME),
    Kernel("fully_connected", 1, 1, 16, 1, 1, 10),
    Kernel("add", *BIG, *BIG, operand="tensor", activation="relu"),
    Kernel("add", *BIG, *BIG, operand="scalar"),
    Kernel("add", *BIG, *BIG, operand="vector"),
    Kernel("mul", *BIG, *BIG, operand="gate"),
    Kernel("mul", *BIG, *BIG, operand="plane"),
    Kernel("concat", *BIG, 8, 12, 28, other_channels=(8, 4)),
    Kernel("concat", *BIG, 8, 12, 32, other_channels=(4,) * 4),
    Kernel("concat", *BIG, 8, 12, 36, other_channels=(4,) * 5),
    Kernel("resize_bilinear", *BIG, 16, 24, 16, sampling="half_pixel"),
    Kernel("resize_bilinear", *BIG, 15, 23, 16, sampling="align_corners"),
    Kernel("resize_nearest", *BIG, 16, 24, 16, sampling="asymmetric"),
    Kernel("average_pool2d", *BIG, 1, 1, 16, kernel_height=8, kernel_width=12, padding="valid"),
    Kernel("max_pool2d", *BIG, 4, 6, 16, kernel_height=2, kernel_width=2, **S2, **SAME),
    Kernel("mean", *BIG, 1, 1, 16),
    Kernel("pad", *BIG, 9, 14, 16),
    *(Kernel(op, *BIG, *BIG) for op in (*UNARY, "softmax")),
    Kernel("reshape", 1, 1, 16, 1, 1, 16, out_shape=(1, 16)),
    Kernel("sub", *BIG, *BIG, operand="scalar"),
    Kernel("div", *BIG, *BIG, operand="tensor"),
    Kernel("maximum", *BIG, *BIG, operand="scalar"),
    Kernel("minimum", *BIG, *BIG, operand="tensor"),
    Kernel("add", *BIG, *BIG, operand="constant"),
    *(
        Kernel("mul", *BIG, *BIG, operand=operand)
        for operand in (*STRETCHED, *CONSTANTS)
        if operand not in ("tensor", "gate", "plane")
    ),
    Kernel("sub", *BIG, *BIG, operand="constant_plane"),
    Kernel("div", *BIG, *BIG, operand="column"),
    Kernel("concat", *BIG, 8, 12, 28, other_channels=(8, 4), operand="constant"),
    Kernel("batch_matmul", 1, 96, 8, 1, 96, 24, in_shape=(1, 96, 8), out_shape=(1, 96, 24)),
    Kernel("batch_matmul", 1, 96, 8, 1, 96, 40, in_shape=(1, 96, 8), out_shape=(1, 96, 40), axes=(0, 1)),
    Kernel("batch_matmul", 1, 96, 8, 1, 8, 24, in_shape=(1, 96, 8), out_shape=(1, 8, 24), axes=(1, 0)),
    Kernel("softmax", 1, 96, 96, 1, 96, 96, in_shape=(1, 96, 96), out_shape=(1, 96, 96)),
    Kernel("average_pool2d", *BIG, 8, 1, 16, kernel_width=12, padding="valid"),
    Kernel("average_pool2d", *BIG, 1, 12, 16, kernel_height=8, padding="valid"),
    Kernel(
        "max_pool2d",
        15,
        23,
        16,
        3,
        6,
        16,
        kernel_height=7,
        kernel_width=7,
        stride_height=3,
        stride_width=3,
        padding="valid",
    ),
    Kernel("prelu", *BIG, *BIG, operand="vector"),
    Kernel("split", *BIG, 8, 12, 4),
    Kernel("concat", *BIG, 24, 12, 16, other_channels=(10, 6), axes=(1,)),
    Kernel("fully_connected", 1, 1, 16, 1, 1, 10, in_shape=(1, 16), out_shape=(1, 10), activation="relu"),
    Kernel("mean", *BIG, 1, 1, 16, out_shape=(1, 16)),
    Kernel("mean", *BIG, 8, 12, 1, axes=(3,)),
    Kernel("mean", *BIG, 8, 1, 16, axes=(2,)),
    Kernel("mean", *BIG, 1, 12, 16, axes=(1,)),
    Kernel("pad", *BIG, 9, 14, 20, begin=(0, 0, 1, 3)),
    Kernel("softmax", 1, 1, 16, 1, 1, 16, in_shape=(1, 16), out_shape=(1, 16)),
    Kernel("reshape", *BIG, 1, 96, 16, out_shape=(1, 96, 16)),
    Kernel("squeeze", 1, 1, 16, 1, 1, 16, out_shape=(1, 16), axes=(1, 2)),
    Kernel("expand_dims", 1, 96, 16, 96, 1, 16, in_shape=(1, 96, 16), axes=(2,)),
    Kernel("transpose", *BIG, 16, 8, 12, axes=(0, 3, 1, 2)),
    Kernel("slice", *BIG, 4, 12, 8, begin=(0, 2, 0, 8)),
    Kernel("strided_slice", *BIG, 4, 6, 16, begin=(0, 1, 0, 0), steps=(1, 2, 2, 1)),
    Kernel("strided_slice", *BIG, 4, 12, 16, begin=(0, 1, 0, 0), steps=(1, 1, 1, 1)),
    Kernel("depth_to_space", *BIG, 16, 24, 4),
    Kernel("space_to_depth", *BIG, 4, 6, 64),
)
QUANTISED = (
    *(
        Kernel("quantize", *BIG, *BIG, precision=precision, source=source)
        for precision in ("int8", "uint8")
        for source in ("int8", "uint8")
    ),
    Kernel("quantize", *BIG, *BIG, precision="int8"),
    Kernel("dequantize", *BIG, *BIG, precision="int8"),
    Kernel("quantize", *BIG, *BIG, precision="uint8"),
    Kernel("dequantize", *BIG, *BIG, precision="uint8"),
    *(
        Kernel(**{name: getattr(kernel, name) for name in KERNEL_COLUMNS} | {"precision": precision})
        for precision in ("int8", "uint8")
        for kernel in FLOAT
        if kernel.op not in _NOT_QUANTISED and (kernel.op, precision) != ("batch_matmul", "uint8")
    ),
)
EVERY_OPERATION = (*FLOAT, *QUANTISED)


def card(**changes) -> DeviceCard:
    """A complete device card."""
    fields = dict(
        device="pi",
        soc="BCM2711",
        architecture="aarch64",
        cores=4,
        threads=1,
        runtime="ai-edge-litert",
        runtime_version="2.1.2",
        delegate="xnnpack",
        os="Linux 6.6",
        os_bits=64,
        governor="performance",
        date=datetime.date(2026, 1, 2),
        kind="measured",
        space="quick",
        kernels=2,
        overhead_ms=0.5,
    )
    return DeviceCard(**{**fields, **changes})


def table(times_ms, rejected=None, **changes) -> LatencyTable:
    """A table of given times {kernel: ms} without spread."""
    timings = {kernel: Timing(ms, ms, 0.0, 30) for kernel, ms in times_ms.items()}
    rejected = rejected or {}
    fields = {"kernels": len(timings) + len(rejected), **changes}
    return LatencyTable("pi-xnnpack-1t", card(**fields), timings, rejected)
