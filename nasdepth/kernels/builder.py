"""`GraphBuilder`: networks written down layer by layer as kernels, without torch or a converter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nasdepth.kernels.graph import Node, canonical, fuse
from nasdepth.kernels.kernel import Kernel
from nasdepth.kernels.rules import load_rules

_FUSED = ("none", "relu", "relu6")


@dataclass(frozen=True, slots=True)
class Value:
    """Something computed: its number, height, width and channels."""

    number: int
    height: int
    width: int
    channels: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, channels)."""
        return (self.height, self.width, self.channels)


class GraphBuilder:
    """A network under construction; every method appends kernels and returns the last one's output.

    Args:
        height, width: of the image in pixels; it has 3 channels and is value 1.
        precision: of all that follows.

    Attributes:
        image: the input.
        nodes: what was appended, in order.
    """

    def __init__(self, height: int, width: int, precision: str = "float32") -> None:
        self.image = Value(1, height, width, 3)
        self.precision = precision
        self.nodes: list[Node] = []

    def kernels(self, outputs: Sequence[Value], runtime: str) -> tuple[Kernel, ...]:
        """What a runtime runs of the network, fused by its rules."""
        numbers = [value.number for value in outputs]
        return tuple(node.kernel for node in fuse(self.nodes, numbers, load_rules(runtime)))

    def add(self, op: str, inputs: Sequence[Value], shape: tuple[int, int, int], **attributes: Any) -> Value:
        """Append any kernel; `shape` is the output's, `attributes` are further fields of `Kernel`."""
        kernel = Kernel(op, *inputs[0].shape, *shape, precision=self.precision, **attributes)
        output = Value(len(self.nodes) + 2, *shape)
        self.nodes.append(Node(canonical(kernel), tuple(value.number for value in inputs), output.number))
        return output

    def conv(
        self,
        x: Value,
        channels: int,
        window: int = 1,
        stride: int = 1,
        activation: str = "none",
        *,
        depthwise: bool = False,
    ) -> Value:
        """SAME convolution with its batch normalisation folded in; see `activated` for the activation."""
        fused = activation if activation in _FUSED else "none"
        y = self.add(
            "depthwise_conv2d" if depthwise else "conv2d",
            [x],
            (-(-x.height // stride), -(-x.width // stride), channels),
            **window_of(window, window, stride),
            groups=x.channels if depthwise else 1,
            padding="same",
            activation=fused,
        )
        return self.activated(y, "none" if fused == activation else activation)

    def depthwise(self, x: Value, window: int, stride: int = 1, activation: str = "none") -> Value:
        """SAME depthwise convolution."""
        return self.conv(x, x.channels, window, stride, activation, depthwise=True)

    def activated(self, x: Value, activation: str) -> Value:
        """An activation by an operation of its own; nothing for `none`."""
        if activation == "none":
            return x
        operand = {"operand": "vector"} if activation == "prelu" else {}
        return self.add(activation, [x], x.shape, **operand)

    def sum(self, x: Value, y: Value, activation: str = "none") -> Value:
        """Two values of one shape added; ReLU and ReLU6 are part of it, other activations are not."""
        fused = activation if activation in _FUSED else "none"
        out = self.add("add", [x, y], x.shape, operand="tensor", activation=fused)
        return self.activated(out, "none" if fused == activation else activation)

    def max_pool(self, x: Value, window: int, stride: int) -> Value:
        """SAME max pool."""
        shape = (-(-x.height // stride), -(-x.width // stride), x.channels)
        return self.add("max_pool2d", [x], shape, **window_of(window, window, stride), padding="same")


def window_of(height: int, width: int, stride: int = 1) -> dict[str, int]:
    """The fields of `Kernel` that say so."""
    return {
        "kernel_height": height,
        "kernel_width": width,
        "stride_height": stride,
        "stride_width": stride,
    }
