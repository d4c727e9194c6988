"""Kernels that any convolutional network may have, so that a table answers for models of other makers too."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from nasdepth.kernels.graph import canonical
from nasdepth.kernels.kernel import BINARY, CONSTANTS, STRETCHED, UNARY, Kernel

_MOST_MACS = 4e8
_MOST_BYTES = 16e6
_PER_FORM = 30
_FEW = 8
_RESIZES = (("resize_nearest", "asymmetric"), ("resize_bilinear", "half_pixel"))
_USUAL_OPERANDS = {
    *((op, operand) for op in ("add", "mul") for operand in ("tensor", "vector", "scalar")),
    *(("mul", operand) for operand in ("gate", "plane", "row", "column")),
}
_USUAL = ("relu", "relu6", "leaky_relu", "hard_swish", "logistic", "tanh")


def random_kernels(seed: int = 0) -> list[Kernel]:
    """About 2,400 kernels: what published networks are made of, at sizes drawn evenly on a log scale.

    Every beginning of the list has all forms in their proportions.
    """
    rng = random.Random(seed)
    drawn: dict[Kernel, float] = {}
    for form, count in _FORMS:
        found = 0
        while found < count:
            kernel = canonical(form(rng))
            if kernel in drawn or not _fits(kernel):
                continue
            found += 1
            drawn[kernel] = found / count
    return sorted(drawn, key=drawn.__getitem__)


def _fits(kernel: Kernel) -> bool:
    return (
        kernel.macs <= _MOST_MACS and kernel.in_bytes + kernel.out_bytes + kernel.weight_bytes <= _MOST_BYTES
    )


def _log(rng: random.Random, low: int, high: int) -> int:
    return round(math.exp(rng.uniform(math.log(low), math.log(high))))


def _side(rng: random.Random) -> int:
    return _log(rng, 4, 256)


def _channels(rng: random.Random) -> int:
    # most networks use multiples of 8; the others show what rounding up costs
    return 8 * _log(rng, 1, 96) if rng.random() < 0.8 else _log(rng, 1, 96)


def _convolution(
    window: tuple[int, ...], stride: int = 1, dilations: tuple[int, ...] = (1,), groups: int = 1
) -> Callable:
    def form(rng: random.Random) -> Kernel:
        side, kernel, dilation = _side(rng), rng.choice(window), rng.choice(dilations)
        channels = groups * _log(rng, 2, 48) if groups > 1 else _channels(rng)
        out_channels = groups * _log(rng, 2, 48) if groups > 1 else _channels(rng)
        out = -(-side // stride)
        return Kernel(
            "conv2d",
            *(side, side, channels, out, out, out_channels),
            kernel_height=kernel,
            kernel_width=kernel,
            stride_height=stride,
            stride_width=stride,
            dilation_height=dilation,
            dilation_width=dilation,
            groups=groups,
            padding="same",
        )

    return form


def _depthwise(window: int, stride: int, dilation: int = 1, *, across: int | None = None) -> Callable:
    """`across` is the window's width where it is not its height."""

    def form(rng: random.Random) -> Kernel:
        side, channels = _side(rng), _channels(rng)
        out = -(-side // stride)
        return Kernel(
            "depthwise_conv2d",
            *(side, side, channels, out, out, channels),
            kernel_height=window,
            kernel_width=across or window,
            stride_height=stride,
            stride_width=stride,
            dilation_height=dilation,
            dilation_width=dilation,
            groups=channels,
            padding="same",
        )

    return form


def _transposed(window: int, stride: int) -> Callable:
    def form(rng: random.Random) -> Kernel:
        side, channels = _log(rng, 4, 128), _channels(rng)
        return Kernel(
            "transpose_conv2d",
            *(side, side, channels, side * stride, side * stride, _channels(rng)),
            kernel_height=window,
            kernel_width=window,
            stride_height=stride,
            stride_width=stride,
            padding="same",
        )

    return form


def _fully_connected(rng: random.Random) -> Kernel:
    return Kernel("fully_connected", 1, 1, _log(rng, 8, 2048), 1, 1, _log(rng, 1, 1024))


def _elementwise(op: str, operand: str = "") -> Callable:
    def form(rng: random.Random) -> Kernel:
        # of one channel, a vector is a scalar
        shape = (_side(rng), _side(rng), max(_channels(rng), 2))
        return Kernel(op, *shape, *shape, operand=operand)

    return form


def _concat(operand: str = "") -> Callable:
    def form(rng: random.Random) -> Kernel:
        side, channels = _side(rng), _channels(rng)
        others = tuple(_channels(rng) for _ in range(rng.choice((1, 1, 1, 2, 3))))
        shape = (side, side, channels, side, side, channels + sum(others))
        return Kernel("concat", *shape, other_channels=others, operand=operand)

    return form


def _few_channels(form: Callable) -> Callable:
    """Of images, coordinates and planes: at large sizes, which many channels do not leave room for."""

    def few(rng: random.Random) -> Kernel:
        kernel, side = form(rng), _log(rng, 32, 256)
        grown = {
            name: getattr(kernel, f"out_{name}") * side // getattr(kernel, f"in_{name}")
            for name in ("height", "width")
        }
        channels = rng.choice((1, 2, 3, 3, 4, 6))
        return replace(
            kernel,
            **dict(in_height=side, in_width=side, out_height=grown["height"], out_width=grown["width"]),
            **dict(in_channels=channels, out_channels=channels),
        )

    return few


def _matrix_product(transposed: bool) -> Callable:
    def form(rng: random.Random) -> Kernel:
        # pixels by pixels, as attention between all of them has it
        pixels, channels = _log(rng, 16, 1200), _log(rng, 4, 192)
        wide, high = (pixels, channels), (pixels, pixels)
        first, out = (wide, high) if transposed else (high, wide)
        axes = (0, 1) if transposed else ()
        return Kernel(
            "batch_matmul", 1, *first, 1, *out, in_shape=(1, *first), out_shape=(1, *out), axes=axes
        )

    return form


def _softmax_of_pixels(rng: random.Random) -> Kernel:
    pixels = _log(rng, 16, 1200)
    shape = (1, pixels, pixels)
    return Kernel("softmax", *shape, *shape, in_shape=shape, out_shape=shape)


def _resize(op: str, sampling: str) -> Callable:
    def form(rng: random.Random) -> Kernel:
        side, channels = _log(rng, 1, 128), _channels(rng)
        # a factor between two integers where a branch is brought back to the size that it came from
        factor = rng.choice((2, 2, 2, 4, 8, rng.uniform(2, 6)))
        out = round(side * factor)
        return Kernel(op, side, side, channels, out, out, channels, sampling=sampling)

    return form


def _pool(op: str, window: int, stride: int, padding: str = "same") -> Callable:
    def form(rng: random.Random) -> Kernel:
        side, channels = _log(rng, 8 if padding == "same" else window + stride, 256), _channels(rng)
        out = -(-side // stride) if padding == "same" else (side - window) // stride + 1
        return Kernel(
            op,
            *(side, side, channels, out, out, channels),
            kernel_height=window,
            kernel_width=window,
            stride_height=stride,
            stride_width=stride,
            padding=padding,
        )

    return form


def _pool_over(axis: str) -> Callable:
    def form(rng: random.Random) -> Kernel:
        height, width, channels = _log(rng, 2, 128), _log(rng, 2, 128), _channels(rng)
        out = (1, width) if axis == "height" else (height, 1)
        window: dict[str, Any] = {f"kernel_{axis}": height if axis == "height" else width, "padding": "valid"}
        return Kernel("average_pool2d", height, width, channels, *out, channels, **window)

    return form


def _global_pool(op: str) -> Callable:
    def form(rng: random.Random) -> Kernel:
        side, channels = _log(rng, 2, 64), _channels(rng)
        if op == "mean":
            return Kernel(op, side, side, channels, 1, 1, channels)
        return Kernel(
            op, side, side, channels, 1, 1, channels, kernel_height=side, kernel_width=side, padding="valid"
        )

    return form


def _pad(rng: random.Random) -> Kernel:
    side, channels, extra = _side(rng), _channels(rng), rng.choice((1, 2, 3))
    return Kernel("pad", side, side, channels, side + extra, side + extra, channels)


def _rearranged(op: str) -> Callable:
    def form(rng: random.Random) -> Kernel:
        height, width, channels = _side(rng), _side(rng), 4 * _log(rng, 1, 48)
        shape = (height, width, channels)
        match op:
            case "reshape":
                flat = (1, height * width, channels)
                if rng.random() < 0.5:
                    return Kernel(op, *flat, *shape, in_shape=flat)
                return Kernel(op, *shape, *flat, out_shape=flat)
            case "squeeze" | "expand_dims":
                one, flat = (1, 1, channels), (1, channels)
                if op == "squeeze":
                    return Kernel(op, *one, *one, out_shape=flat, axes=(1, 2))
                return Kernel(op, *one, *one, in_shape=flat, out_shape=one, axes=(1,))
            case "transpose":
                return Kernel(op, *shape, channels, height, width, axes=(0, 3, 1, 2))
            case "split":
                return Kernel(op, *shape, height, width, channels // 4)
            case "slice":
                return Kernel(op, *shape, height, width, channels // 2, begin=(0, 0, 0, channels // 4))
            case "strided_slice":
                odd = (height // 2 + height % 2, width // 2 + width % 2, channels)
                return Kernel(op, *shape, *odd, begin=(0, 0, 0, 0), steps=(1, 2, 2, 1))
            case "depth_to_space":
                return Kernel(op, *shape, 2 * height, 2 * width, channels // 4)
            case "space_to_depth":
                return Kernel(op, 2 * height, 2 * width, channels, height, width, 4 * channels)
        raise ValueError(f"no general form of {op!r}")

    return form


def _quantised(form: Callable, precision: str) -> Callable:
    return lambda rng: replace(form(rng), precision=precision)


_FORMS: tuple[tuple[Callable, int], ...] = (
    (_convolution((1,)), 4 * _PER_FORM),
    (_convolution((3,)), 3 * _PER_FORM),
    (_convolution((3,), stride=2), _PER_FORM),
    (_convolution((5, 7)), _PER_FORM),
    (_convolution((1,), stride=2), _PER_FORM // 2),
    (_convolution((3,), dilations=(2, 3, 6, 12, 18, 24)), _PER_FORM // 2),
    (_convolution((1, 3), groups=4), _PER_FORM),
    *((_depthwise(window, stride), _PER_FORM) for window in (3, 5, 7, 11) for stride in (1, 2)),
    (_depthwise(3, 1, dilation=2), _PER_FORM // 2),
    (_depthwise(1, 1), _PER_FORM // 2),
    *((_depthwise(high, 1, across=wide), _FEW) for high, wide in ((1, 5), (5, 1))),
    *((_transposed(window, 2), _PER_FORM // 2) for window in (2, 3, 4)),
    (_fully_connected, _PER_FORM),
    *((_elementwise(op, "tensor"), _PER_FORM) for op in ("add", "mul")),
    *((_elementwise(op, "vector"), _PER_FORM // 2) for op in ("add", "mul")),
    *((_elementwise(op, "scalar"), _PER_FORM // 2) for op in ("add", "mul")),
    *((_elementwise("mul", operand), _PER_FORM // 2) for operand in ("gate", "plane")),
    *((_elementwise("mul", operand), _PER_FORM // 2) for operand in ("row", "column")),
    *(
        (_elementwise(op, operand), _FEW)
        for op in ("add", "mul")
        for operand in (*STRETCHED, *CONSTANTS)
        if (op, operand) not in _USUAL_OPERANDS
    ),
    *((_few_channels(_elementwise(op, "tensor")), _FEW) for op in ("add", "mul", "div", "sub")),
    *((_few_channels(_elementwise("add", operand)), _FEW) for operand in ("constant", "constant_plane")),
    *((_few_channels(_elementwise("mul", operand)), _FEW) for operand in ("constant", "constant_plane")),
    *((_few_channels(_elementwise(op)), _FEW) for op in ("sin", "cos", "logistic")),
    *((_few_channels(_resize(op, way)), _FEW) for op, way in _RESIZES),
    (_concat(), _PER_FORM),
    (_concat("constant"), _FEW),
    *((_matrix_product(transposed), _PER_FORM // 2) for transposed in (False, True)),
    (_softmax_of_pixels, _FEW),
    *((_resize("resize_bilinear", sampling), _PER_FORM) for sampling in ("half_pixel", "align_corners")),
    (_resize("resize_nearest", "asymmetric"), _PER_FORM),
    *((_pool(op, 2, 2), _PER_FORM // 2) for op in ("max_pool2d", "average_pool2d")),
    *((_pool(op, 3, 2), _PER_FORM // 2) for op in ("max_pool2d", "average_pool2d")),
    (_pool("max_pool2d", 7, 3, "valid"), _PER_FORM // 2),
    *((_pool_over(axis), _PER_FORM // 2) for axis in ("height", "width")),
    *((_global_pool(op), _PER_FORM // 2) for op in ("mean", "average_pool2d")),
    (_pad, _PER_FORM),
    *((_elementwise(op), _PER_FORM // 2) for op in (*_USUAL, "softmax")),
    *((_elementwise(op), _FEW) for op in UNARY if op not in _USUAL),
    *((_elementwise(op, operand), _FEW) for op in BINARY[2:] for operand in ("tensor", "vector", "scalar")),
    (_elementwise("prelu", "vector"), _PER_FORM // 2),
    *(
        (_rearranged(op), _PER_FORM // 2)
        for op in (
            *("reshape", "squeeze", "expand_dims", "transpose", "split", "slice", "strided_slice"),
            *("depth_to_space", "space_to_depth"),
        )
    ),
    *(
        (_quantised(form, precision), count)
        for precision in ("int8", "uint8")
        for form, count in (
            (_convolution((1,)), 2 * _PER_FORM),
            (_convolution((3,)), _PER_FORM),
            (_convolution((3,), stride=2), _PER_FORM // 2),
            *((_depthwise(3, stride), _PER_FORM) for stride in (1, 2)),
            (_fully_connected, _PER_FORM // 2),
            (_elementwise("add", "tensor"), _PER_FORM // 2),
            (_concat(), _PER_FORM // 2),
            (_resize("resize_bilinear", "half_pixel"), _PER_FORM // 2),
            (_global_pool("mean"), _FEW),
            (_global_pool("average_pool2d"), _FEW),
            (_elementwise("softmax"), _FEW),
            (_rearranged("reshape"), _FEW),
            *((_elementwise(op), _FEW) for op in ("quantize", "dequantize")),
        )
    ),
)
