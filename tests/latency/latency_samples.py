"""Kernels of every operation, and a table over them, for the tests of this folder."""

import datetime

from nasdepth.latency import DeviceCard, Kernel, LatencyTable, Timing

K3 = {"kernel_height": 3, "kernel_width": 3}
S2 = {"stride_height": 2, "stride_width": 2}
BIG, SAME = (8, 12, 16), {"padding": "same"}

EVERY_OPERATION = (
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
    Kernel("resize_bilinear", *BIG, 16, 24, 16, sampling="half_pixel"),
    Kernel("resize_bilinear", *BIG, 15, 23, 16, sampling="align_corners"),
    Kernel("resize_nearest", *BIG, 16, 24, 16, sampling="asymmetric"),
    Kernel("average_pool2d", *BIG, 1, 1, 16, kernel_height=8, kernel_width=12, padding="valid"),
    Kernel("max_pool2d", *BIG, 4, 6, 16, kernel_height=2, kernel_width=2, **S2, **SAME),
    Kernel("mean", *BIG, 1, 1, 16),
    Kernel("pad", *BIG, 9, 14, 16),
    *(Kernel(op, *BIG, *BIG) for op in ("relu", "relu6", "leaky_relu", "hard_swish", "logistic", "softmax")),
    Kernel("reshape", 1, 1, 16, 1, 1, 16),
)


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
