"""`Kernel`: exactly what the runtime executes for one operation of a network."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Any, Literal

CONVOLUTIONS = ("conv2d", "depthwise_conv2d", "transpose_conv2d", "fully_connected")
BINARY = ("add", "mul", "sub", "div", "maximum", "minimum")
UNARY = (
    "relu",
    "relu6",
    "relu_0_to_1",
    "relu_n1_to_1",
    "leaky_relu",
    "elu",
    "gelu",
    "hard_swish",
    "logistic",
    "tanh",
    "exp",
    "abs",
    "neg",
    "sqrt",
    "rsqrt",
    "square",
    "sin",
    "cos",
)
# How the second of two operands stretches over the first, an (H, W, C): which of its axes are there, not 1
STRETCHED = {
    "tensor": (True, True, True),
    "gate": (False, False, True),
    "plane": (True, True, False),
    "row": (False, True, True),
    "column": (True, False, True),
    "row_plane": (False, True, False),
    "column_plane": (True, False, False),
    "value": (False, False, False),
}
# The same where the second is part of the model
CONSTANTS = {
    "scalar": "value",
    "vector": "gate",
    "constant": "tensor",
    **{f"constant_{name}": name for name in ("plane", "row", "column", "row_plane", "column_plane")},
}
OPERATIONS = (
    *CONVOLUTIONS,
    *BINARY,
    *UNARY,
    "prelu",
    "batch_matmul",
    "concat",
    "split",
    "resize_bilinear",
    "resize_nearest",
    "average_pool2d",
    "max_pool2d",
    "mean",
    "pad",
    "softmax",
    "reshape",
    "squeeze",
    "expand_dims",
    "transpose",
    "slice",
    "strided_slice",
    "depth_to_space",
    "space_to_depth",
    "quantize",
    "dequantize",
)

_CHOICES = {
    "op": OPERATIONS,
    "padding": ("", "same", "valid"),
    "activation": ("none", "relu", "relu6", "relu_n1_to_1"),
    "operand": ("", *STRETCHED, *CONSTANTS),
    "sampling": ("", "half_pixel", "align_corners", "asymmetric"),
    "precision": ("float32", "int8", "uint8"),
    "source": ("", "int8", "uint8"),
}
_BYTES = {"float32": 4, "int8": 1, "uint8": 1}
_BIAS_BYTES = 4


class _Hashed:
    """Room for a hash: kernels are looked up far more often than they are made."""

    __slots__ = ("_hash",)
    _hash: int


@dataclass(frozen=True, slots=True, order=True)
class Kernel(_Hashed):
    """One operation with its exact shapes, channels last.

    Attributes:
        op: one of `OPERATIONS`.
        in_height, in_width, in_channels: of the (first, or of two operands the larger) input of shape
            (1, H, W, C). In any other shape the last two axes are width and channels, and all before them
            are multiplied into the height.
        out_height, out_width, out_channels: of the (first) output, in the same way.
        other_channels: concat only; the sizes of the further inputs along the concatenated axis, in order.
        kernel_height, kernel_width, stride_height, stride_width, dilation_height, dilation_width, groups:
            of convolutions and pools, otherwise 1. `groups` of a depthwise convolution is `in_channels`.
        padding: `same` or `valid` for convolutions and pools (`same` where both mean no padding).
        activation: fused; `none`, `relu`, `relu6` or `relu_n1_to_1`.
        operand: of operations on two values (`BINARY`) and prelu; the second is a `tensor` of the same
            shape, a `gate` (1, 1, C), a `plane` (H, W, 1), a `row` (1, W, C) or another of `STRETCHED`, or
            part of the model: a `vector` (C), a `scalar`, a `constant` of the same shape or another of
            `CONSTANTS`. Which of the two comes first is not kept. A convolution with a `tensor` adds it to
            its output. A concat with a `constant` has its last input in the model.
        sampling: resize only; `half_pixel`, `align_corners` or `asymmetric`.
        precision: of activations and weights; of quantize and dequantize, on the quantised side. Biases of
            quantised convolutions are int32.
        in_shape, out_shape: where they are not (1, H, W, C).
        axes: of transpose, the permutation; of concat and split, the axis where it is not the last; of mean,
            the axes where they are not height and width; of batch_matmul, 1 for each operand (of two) that
            is transposed.
        begin: of slices, where they begin on each axis; of pad, what comes before each axis where that is
            not half (rounded down) of all that the axis gets.
        steps: strided_slice only; the step along each axis.
        pads: (top, bottom, left, right) zeros that a `valid` convolution adds by itself.
        source: of quantize, the precision of what it reads where that is quantised already; `precision` is
            what it writes.
    """

    op: str
    in_height: int
    in_width: int
    in_channels: int
    out_height: int
    out_width: int
    out_channels: int
    other_channels: tuple[int, ...] = ()
    kernel_height: int = 1
    kernel_width: int = 1
    stride_height: int = 1
    stride_width: int = 1
    dilation_height: int = 1
    dilation_width: int = 1
    groups: int = 1
    padding: str = ""
    activation: str = "none"
    operand: str = ""
    sampling: str = ""
    precision: str = "float32"
    in_shape: tuple[int, ...] = ()
    out_shape: tuple[int, ...] = ()
    axes: tuple[int, ...] = ()
    begin: tuple[int, ...] = ()
    steps: tuple[int, ...] = ()
    pads: tuple[int, ...] = ()
    source: str = ""

    def __hash__(self) -> int:
        try:
            return self._hash
        except AttributeError:
            object.__setattr__(self, "_hash", hash(_values(self)))
            return self._hash

    @property
    def macs(self) -> int:
        """Multiply-accumulates of convolutions, fully connected layers and products of matrices, else 0."""
        window = self.kernel_height * self.kernel_width
        if self.op == "transpose_conv2d":
            return self.in_height * self.in_width * self.in_channels * window * self.out_channels
        if self.op == "batch_matmul":
            return self.out_pixels * self.out_channels * self.depth
        if self.op in CONVOLUTIONS:
            return self.out_pixels * self.out_channels * window * self.in_channels // self.groups
        return 0

    @property
    def out_pixels(self) -> int:
        """Height times width of the output."""
        return self.out_height * self.out_width

    @property
    def depth(self) -> int:
        """Of batch_matmul, over how many products one value of the output is summed."""
        return self.in_width if self.axes[:1] == (1,) else self.in_channels

    @property
    def second_shape(self) -> tuple[int, ...]:
        """Of the second operand of `BINARY` and batch_matmul, data or part of the model."""
        if self.op == "batch_matmul":
            sides = (self.depth, self.out_channels)
            return (*self.input_shape[:-2], *(sides[::-1] if self.axes[1:] == (1,) else sides))
        *outer, width, channels = self.input_shape
        rows, columns, deep = STRETCHED[CONSTANTS.get(self.operand, self.operand)]
        outer = outer if rows else [1] * len(outer)
        return (*outer, width if columns else 1, channels if deep else 1)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Of the first input."""
        return self.in_shape or (1, self.in_height, self.in_width, self.in_channels)

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Of every output."""
        return self.out_shape or (1, self.out_height, self.out_width, self.out_channels)

    @property
    def concat_axis(self) -> int:
        """The axis of concat and split, from 0."""
        return self.axes[0] if self.axes else len(self.input_shape) - 1

    @property
    def outputs(self) -> int:
        """Number of outputs; 1 for all but split."""
        if self.op != "split":
            return 1
        return self.input_shape[self.concat_axis] // self.output_shape[self.concat_axis]

    @property
    def weight_bytes(self) -> int:
        """Bytes of constants read: filter and bias, or the constant operand."""
        size = _BYTES[self.precision]
        if self.op in CONVOLUTIONS:
            window = self.kernel_height * self.kernel_width
            return self.out_channels * (size * window * self.in_channels // self.groups + _BIAS_BYTES)
        if self.op == "concat" and self.operand:
            along = self.input_shape[self.concat_axis]
            return size * math.prod(self.input_shape) // along * self.other_channels[-1]
        return size * math.prod(self.second_shape) if self.operand in CONSTANTS else 0

    @property
    def in_bytes(self) -> int:
        """Bytes of all inputs that are not constants."""
        pixels = self.in_height * self.in_width
        elements = pixels * self.in_channels
        if self.other_channels:
            along = self.input_shape[self.concat_axis]
            others = self.other_channels[:-1] if self.operand else self.other_channels
            elements = elements // along * (along + sum(others))
        elif self.op in CONVOLUTIONS and self.operand:
            elements += self.out_pixels * self.out_channels
        elif self.op == "batch_matmul" or self.operand in STRETCHED:
            elements += math.prod(self.second_shape)
        size = _BYTES[self.source or ("float32" if self.op == "quantize" else self.precision)]
        return size * elements

    @property
    def out_bytes(self) -> int:
        """Bytes of all outputs."""
        size = _BYTES["float32" if self.op == "dequantize" else self.precision]
        return size * self.out_pixels * self.out_channels * self.outputs

    @property
    def kind(self) -> str:
        """The group within which times are interpolated: one inner loop of the runtime."""
        kind = self._kind()
        if self.op in CONVOLUTIONS and self.operand:
            kind += "_add"
        return kind if self.precision == "float32" else f"{kind}_{self.precision}"

    def _kind(self) -> str:
        window = f"k{self.kernel_height}x{self.kernel_width}"
        match self.op:
            case "conv2d" if self.groups > 1:
                return "conv_grouped"
            case "conv2d":
                return "conv1x1" if window == "k1x1" else "conv_kxk"
            case "depthwise_conv2d":
                return f"dw_{window}s{self.stride_height}"
            case "quantize" if self.source:
                return f"requantize_{self.source}"
        return f"{self.op}_{self.operand}" if self.op in BINARY else self.op

    def __str__(self) -> str:
        extra = "".join(f"+{channels}" for channels in self.other_channels)
        text = f"{self.kind} {self.in_height}x{self.in_width}x{self.in_channels}{extra}"
        text += f" -> {self.out_height}x{self.out_width}x{self.out_channels}"
        if self.kernel_height * self.kernel_width > 1 and self.op != "depthwise_conv2d":
            text += f" k{self.kernel_height}x{self.kernel_width}"
        if (self.stride_height, self.stride_width) != (1, 1) and self.op != "depthwise_conv2d":
            text += f" s{self.stride_height}"
        if (self.dilation_height, self.dilation_width) != (1, 1):
            text += f" d{self.dilation_height}"
        if self.op == "conv2d" and self.groups > 1:
            text += f" g{self.groups}"
        if self.padding == "valid":
            text += " valid"
        for name in ("in_shape", "out_shape", "axes", "begin", "steps", "pads"):
            if values := getattr(self, name):
                text += f" {name.removesuffix('_shape')}({','.join(map(str, values))})"
        return text + (f" {self.activation}" if self.activation != "none" else "")

    def to_row(self) -> dict[str, str]:
        """The kernel as flat text columns, the inverse of `from_row`."""
        row = {name: getattr(self, name) for name in KERNEL_COLUMNS}
        return {
            name: " ".join(map(str, value)) if name in _TUPLES else str(value) for name, value in row.items()
        }

    @classmethod
    def from_row(cls, row: Mapping[str, str]) -> Kernel:
        """Read `to_row`'s columns; `OPTIONAL_COLUMNS` may be missing.

        Raises:
            ValueError: a column does not read; the message names column, value and what is allowed.
        """
        values: dict[str, Any] = {}
        for name in KERNEL_COLUMNS:
            if name not in row and name in OPTIONAL_COLUMNS:
                continue
            text = row[name]
            if name in _CHOICES:
                if text not in _CHOICES[name]:
                    allowed = ", ".join(choice or "(empty)" for choice in _CHOICES[name])
                    raise ValueError(f"column {name} is {text!r}; it must be one of {allowed}")
                values[name] = text
                continue
            numbers = text.split() if name in _TUPLES else [text]
            least = 0 if name in ("axes", "begin", "pads") else 1
            if not all(number.isascii() and number.isdigit() and int(number) >= least for number in numbers):
                expected = "positive" if least else "non-negative"
                raise ValueError(f"column {name} is {text!r}; it must be a {expected} integer")
            parsed = tuple(map(int, numbers))
            values[name] = parsed if name in _TUPLES else parsed[0]
        return cls(**values)


KERNEL_COLUMNS = tuple(field.name for field in fields(Kernel))
_values = attrgetter(*KERNEL_COLUMNS)
_TUPLES = {field.name for field in fields(Kernel) if field.default == ()}
# Tables written before these columns existed hold none of the kernels that need them
OPTIONAL_COLUMNS = KERNEL_COLUMNS[KERNEL_COLUMNS.index("in_shape") :]


def hwc(shape: Sequence[int]) -> tuple[int, int, int]:
    """Height, width and channels of any shape, as `Kernel` counts them."""
    *outer, width, channels = (1, 1, *shape)
    return math.prod(outer), width, channels


def unusual(shape: Sequence[int]) -> tuple[int, ...]:
    """The shape where it is not (1, H, W, C), otherwise ()."""
    return () if len(shape) == 4 and shape[0] == 1 else tuple(shape)


def window_places(kernel: Kernel, side: Literal["height", "width"]) -> int:
    """At how many places of a side a window may stand at stride 1; below 1 where it does not fit."""
    size, window, dilation = (getattr(kernel, f"{name}_{side}") for name in ("in", "kernel", "dilation"))
    return size if kernel.padding == "same" else size - dilation * (window - 1)


def same_padding(size: int, kernel: int, stride: int, dilation: int = 1) -> tuple[int, int]:
    """TensorFlow's SAME padding before and after one axis of `size` pixels."""
    total = max((-(-size // stride) - 1) * stride + dilation * (kernel - 1) + 1 - size, 0)
    return total // 2, total - total // 2


def operand_of(
    shape: tuple[int, int, int], second: tuple[int, int, int], *, constant: bool = False
) -> str | None:
    """How a second input of (H, W, C), data or `constant`, joins a larger first of `BINARY`; None where it
    cannot. Of two names for one the first."""
    names = CONSTANTS if constant else dict.fromkeys(STRETCHED)
    for name, alias in names.items():
        there = STRETCHED[alias or name]
        if second == tuple(size if one else 1 for size, one in zip(shape, there, strict=True)):
            return name
    return None
