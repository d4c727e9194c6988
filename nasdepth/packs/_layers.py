"""Layers of published networks, one call a layer, as a converted .tflite has them."""

from __future__ import annotations

from dataclasses import dataclass

from nasdepth.kernels.graph import Node, canonical, fuse
from nasdepth.kernels.kernel import Kernel
from nasdepth.kernels.rules import load_rules


@dataclass(frozen=True, slots=True)
class Value:
    """Something computed: number, height, width, channels."""

    number: int
    height: int
    width: int
    channels: int


class Layers:
    """A network under construction.

    Args:
        height, width: of the image, which has 3 channels and is value 1.
        precision: of all that follows.
    """

    def __init__(self, height: int, width: int, precision: str = "float32") -> None:
        self.image = Value(1, height, width, 3)
        self.precision = precision
        self._nodes: list[Node] = []

    def kernels(self, outputs: list[Value], runtime: str) -> tuple[Kernel, ...]:
        """What the runtime runs, fused by its rules."""
        numbers = [value.number for value in outputs]
        return tuple(node.kernel for node in fuse(self._nodes, numbers, load_rules(runtime)))

    def conv(
        self,
        x: Value,
        channels: int,
        window: int = 1,
        stride: int = 1,
        activation: str = "none",
        depthwise: bool = False,
    ) -> Value:
        """SAME convolution, its batch normalisation folded; `hard_swish` is an operation of its own."""
        fused = activation if activation in ("relu", "relu6") else "none"
        y = self._add(
            "depthwise_conv2d" if depthwise else "conv2d",
            [x],
            (-(-x.height // stride), -(-x.width // stride), channels),
            **_window(window, window, stride),
            groups=x.channels if depthwise else 1,
            padding="same",
            activation=fused,
        )
        return y if fused == activation else self.unary(activation, y)

    def depthwise(self, x: Value, window: int, stride: int = 1, activation: str = "none") -> Value:
        return self.conv(x, x.channels, window, stride, activation, depthwise=True)

    def add(self, x: Value, y: Value, activation: str = "none") -> Value:
        return self._add("add", [x, y], _shape(x), operand="tensor", activation=activation)

    def unary(self, op: str, x: Value) -> Value:
        return self._add(op, [x], _shape(x))

    def squeeze_excite(self, x: Value, channels: int) -> Value:
        """Pool, two convolutions, hard-sigmoid as ADD with ReLU6 and MUL, and the gate's multiplication."""
        gate = self.conv(self.conv(self.pool(x), channels, activation="relu"), x.channels)
        gate = self._add("add", [gate], _shape(gate), operand="scalar", activation="relu6")
        gate = self._add("mul", [gate], _shape(gate), operand="scalar")
        return self._add("mul", [x, gate], _shape(x), operand="gate")

    def pool(self, x: Value) -> Value:
        """Average over the image."""
        shape = (1, 1, x.channels)
        return self._add("average_pool2d", [x], shape, **_window(x.height, x.width), padding="valid")

    def max_pool(self, x: Value, window: int, stride: int) -> Value:
        shape = (-(-x.height // stride), -(-x.width // stride), x.channels)
        return self._add("max_pool2d", [x], shape, **_window(window, window, stride), padding="same")

    def classifier(self, x: Value, classes: int, *, dense: bool = False) -> Value:
        """Scores, as a 1x1 convolution or (`dense`) a fully connected layer, and their softmax."""
        op, extra = ("fully_connected", {}) if dense else ("conv2d", {"padding": "same"})
        if dense:
            extra |= {"out_shape": (1, classes)}
        scores = self._add(op, [x], (1, 1, classes), **extra)
        if not dense:
            scores = self._add("reshape", [scores], (1, 1, classes), out_shape=(1, classes))
        return self._add("softmax", [scores], (1, 1, classes), in_shape=(1, classes), out_shape=(1, classes))

    def convert(self, op: str, x: Value) -> Value:
        """`quantize` or `dequantize`."""
        return self._add(op, [x], _shape(x))

    def _add(self, op: str, inputs: list[Value], shape: tuple[int, int, int], **attributes) -> Value:
        first = inputs[0]
        kernel = Kernel(
            op,
            *(first.height, first.width, first.channels),
            *shape,
            precision=self.precision,
            **attributes,
        )
        output = Value(len(self._nodes) + 2, *shape)
        numbers = tuple(value.number for value in inputs)
        self._nodes.append(Node(canonical(kernel), numbers, output.number))
        return output


def _shape(x: Value) -> tuple[int, int, int]:
    return (x.height, x.width, x.channels)


def _window(height: int, width: int, stride: int = 1) -> dict[str, int]:
    return {
        "kernel_height": height,
        "kernel_width": width,
        "stride_height": stride,
        "stride_width": stride,
    }
