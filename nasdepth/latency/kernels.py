"""`Kernel`: exactly what the runtime executes for one operation of a network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

OPERATIONS = (
    "conv2d",
    "depthwise_conv2d",
    "transpose_conv2d",
    "fully_connected",
    "add",
    "mul",
    "concat",
    "resize_bilinear",
    "resize_nearest",
    "average_pool2d",
    "max_pool2d",
    "mean",
    "pad",
    "relu",
    "relu6",
    "leaky_relu",
    "hard_swish",
    "logistic",
    "softmax",
    "reshape",
)
CONVOLUTIONS = ("conv2d", "depthwise_conv2d", "transpose_conv2d", "fully_connected")

_CHOICES = {
    "op": OPERATIONS,
    "padding": ("", "same", "valid"),
    "activation": ("none", "relu", "relu6"),
    "operand": ("", "tensor", "gate", "plane", "vector", "scalar"),
    "sampling": ("", "half_pixel", "align_corners", "asymmetric"),
    "precision": ("float32",),
}
_FLOAT_BYTES = 4


@dataclass(frozen=True, slots=True, order=True)
class Kernel:
    """One operation with its exact shapes; batch 1, channels last.

    Attributes:
        op: one of `OPERATIONS`.
        in_height, in_width, in_channels: of the (first, or for add and mul the larger) input. Tensors of
            rank 2 have height and width 1.
        out_height, out_width, out_channels: of the output.
        other_channels: concat only; the channels of the further inputs, in order.
        kernel_height, kernel_width, stride_height, stride_width, dilation_height, dilation_width, groups:
            of convolutions and pools, otherwise 1. `groups` of a depthwise convolution is `in_channels`.
        padding: `same` or `valid` for convolutions and pools (`same` where both mean no padding).
        activation: fused `none`, `relu` or `relu6`.
        operand: add and mul only; the second input is a `tensor` of the same shape, a `gate` (1, 1, C),
            a `plane` (H, W, 1), or a constant `vector` (C) or `scalar`.
        sampling: resize only; `half_pixel`, `align_corners` or `asymmetric`.
        precision: of activations and weights.
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

    @property
    def macs(self) -> int:
        """Multiply-accumulates of convolutions and fully connected layers; 0 for everything else."""
        window = self.kernel_height * self.kernel_width
        if self.op == "transpose_conv2d":
            return self.in_height * self.in_width * self.in_channels * window * self.out_channels
        if self.op in CONVOLUTIONS:
            return self.out_pixels * self.out_channels * window * self.in_channels // self.groups
        return 0

    @property
    def out_pixels(self) -> int:
        """Height times width of the output."""
        return self.out_height * self.out_width

    @property
    def weight_bytes(self) -> int:
        """Bytes of constants read: filter and bias, or the constant operand."""
        if self.op in CONVOLUTIONS:
            window = self.kernel_height * self.kernel_width
            return _FLOAT_BYTES * self.out_channels * (window * self.in_channels // self.groups + 1)
        return _FLOAT_BYTES * {"vector": self.in_channels, "scalar": 1}.get(self.operand, 0)

    @property
    def in_bytes(self) -> int:
        """Bytes of all inputs that are not constants."""
        pixels = self.in_height * self.in_width
        elements = pixels * (self.in_channels + sum(self.other_channels))
        second = {"tensor": pixels * self.in_channels, "gate": self.in_channels, "plane": pixels}
        return _FLOAT_BYTES * (elements + second.get(self.operand, 0))

    @property
    def out_bytes(self) -> int:
        """Bytes of the output."""
        return _FLOAT_BYTES * self.out_pixels * self.out_channels

    @property
    def kind(self) -> str:
        """The group within which times are interpolated: one inner loop of the runtime."""
        window = f"k{self.kernel_height}x{self.kernel_width}"
        match self.op:
            case "conv2d" if self.groups > 1:
                return "conv_grouped"
            case "conv2d":
                return "conv1x1" if window == "k1x1" else "conv_kxk"
            case "depthwise_conv2d":
                return f"dw_{window}s{self.stride_height}"
            case "add" | "mul":
                return f"{self.op}_{self.operand}"
        return self.op

    def __str__(self) -> str:
        extra = "".join(f"+{channels}" for channels in self.other_channels)
        text = f"{self.kind} {self.in_height}x{self.in_width}x{self.in_channels}{extra}"
        text += f" -> {self.out_height}x{self.out_width}x{self.out_channels}"
        if self.kernel_height * self.kernel_width > 1 and not self.kind.startswith("dw_"):
            text += f" k{self.kernel_height}x{self.kernel_width}"
        if (self.stride_height, self.stride_width) != (1, 1) and not self.kind.startswith("dw_"):
            text += f" s{self.stride_height}"
        if (self.dilation_height, self.dilation_width) != (1, 1):
            text += f" d{self.dilation_height}"
        if self.kind == "conv_grouped":
            text += f" g{self.groups}"
        if self.padding == "valid":
            text += " valid"
        return text + (f" {self.activation}" if self.activation != "none" else "")

    def to_row(self) -> dict[str, str]:
        """The kernel as flat text columns, the inverse of `from_row`."""
        row = {name: str(getattr(self, name)) for name in KERNEL_COLUMNS}
        row["other_channels"] = " ".join(map(str, self.other_channels))
        return row

    @classmethod
    def from_row(cls, row: Mapping[str, str]) -> Kernel:
        """Read `to_row`'s columns.

        Raises:
            ValueError: a column does not read; the message names column, value and what is allowed.
        """
        values = {}
        for name in KERNEL_COLUMNS:
            text = row[name]
            if name in _CHOICES:
                if text not in _CHOICES[name]:
                    allowed = ", ".join(choice or "(empty)" for choice in _CHOICES[name])
                    raise ValueError(f"column {name} is {text!r}; it must be one of {allowed}")
                values[name] = text
                continue
            numbers = text.split() if name == "other_channels" else [text]
            if not all(number.isascii() and number.isdigit() and int(number) > 0 for number in numbers):
                raise ValueError(f"column {name} is {text!r}; it must be a positive integer")
            parsed = tuple(map(int, numbers))
            values[name] = parsed if name == "other_channels" else parsed[0]
        return cls(**values)


KERNEL_COLUMNS = tuple(field.name for field in fields(Kernel))


def same_padding(size: int, kernel: int, stride: int, dilation: int = 1) -> tuple[int, int]:
    """TensorFlow's SAME padding before and after one axis of `size` pixels."""
    total = max((-(-size // stride) - 1) * stride + dilation * (kernel - 1) + 1 - size, 0)
    return total // 2, total - total // 2


def operand_of(shape: tuple[int, int, int], second: tuple[int, int, int]) -> str | None:
    """How a second input of (H, W, C) enters an add or mul of a larger first; None where it cannot."""
    height, width, channels = shape
    if second == shape:
        return "tensor"
    if second == (1, 1, channels):
        return "gate"
    return "plane" if second == (height, width, 1) else None
