"""Networks of other makers' kinds, drawn at random: what a calibration of depth networks alone does not know.

Classifiers, detectors, landmark and segmentation networks of small images: inverted residuals, depthwise
residuals with parametric activations, plain convolutions, gates, decoders. They are kernels that read each
other's outputs, written without a converter; no published network is among them.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from nasdepth.kernels.graph import Node, canonical
from nasdepth.kernels.kernel import Kernel

_FUSED = ("none", "relu", "relu6")
_LEAST_MACS, _MOST_MACS = 2e6, 5e8
_MOST_FLAT = 8192
_VALUES = 16  # of an anchor of a detector


@dataclass(frozen=True)
class _Style:
    """What a network's blocks have in common."""

    activation: str
    window: int
    expansion: int
    gated: bool


def _fused(activation: str) -> tuple[str, str]:
    """What of an activation its operator does, and what is left for one of its own."""
    return (activation, "none") if activation in _FUSED else ("none", activation)


class _Graph:
    """Nodes in order, and (H, W, C) of every value; value 1 is the image."""

    def __init__(self, height: int, width: int) -> None:
        self.nodes: list[Node] = []
        self.shapes = {1: (height, width, 3)}

    def add(self, op: str, inputs: Sequence[int], out: tuple[int, int, int], **attributes: object) -> int:
        """Append a kernel; the number of its output."""
        kernel = canonical(Kernel(op, *self.shapes[inputs[0]], *out, **attributes))
        number = len(self.shapes) + 1
        self.nodes.append(Node(kernel, tuple(inputs), number))
        self.shapes[number] = out
        return number

    def window(
        self, op: str, value: int, channels: int, size: int, stride: int = 1, **attributes: object
    ) -> int:
        height, width, _ = self.shapes[value]
        return self.add(
            op,
            [value],
            (-(-height // stride), -(-width // stride), channels),
            kernel_height=size,
            kernel_width=size,
            stride_height=stride,
            stride_width=stride,
            padding="same",
            **attributes,
        )

    def convolution(self, value: int, channels: int, activation: str, size: int = 1, stride: int = 1) -> int:
        fused, rest = _fused(activation)
        return self.activated(self.window("conv2d", value, channels, size, stride, activation=fused), rest)

    def depthwise(self, value: int, activation: str, size: int, stride: int = 1) -> int:
        channels, (fused, rest) = self.shapes[value][2], _fused(activation)
        options = {"activation": fused, "groups": channels}
        return self.activated(self.window("depthwise_conv2d", value, channels, size, stride, **options), rest)

    def activated(self, value: int, activation: str) -> int:
        if activation == "none":
            return value
        operand = {"operand": "vector"} if activation == "prelu" else {}
        return self.add(activation, [value], self.shapes[value], **operand)

    def sum(self, first: int, second: int, activation: str) -> int:
        fused, rest = _fused(activation)
        out = self.add("add", [first, second], self.shapes[first], operand="tensor", activation=fused)
        return self.activated(out, rest)

    def gated(self, value: int) -> int:
        channels = self.shapes[value][2]
        pooled = self.add("mean", [value], (1, 1, channels))
        squeezed = self.convolution(pooled, max(channels // 4, 8), "relu")
        gate = self.activated(self.convolution(squeezed, channels, "none"), "logistic")
        return self.add("mul", [value, gate], self.shapes[value], operand="gate")

    def flat(self, value: int, last: int) -> int:
        """Reshaped to (1, n, last), or to (1, n) where `last` is 0."""
        height, width, channels = self.shapes[value]
        count = height * width * channels
        out = (1, 1, count) if not last else (1, count // last, last)
        return self.add("reshape", [value], out, out_shape=(1, count) if not last else out)


def _inverted(graph: _Graph, value: int, channels: int, stride: int, style: _Style) -> int:
    before = graph.shapes[value]
    out = graph.convolution(value, style.expansion * before[2], style.activation)
    out = graph.depthwise(out, style.activation, style.window, stride)
    out = graph.convolution(graph.gated(out) if style.gated else out, channels, "none")
    return graph.sum(out, value, "none") if graph.shapes[out] == before else out


def _residual_depthwise(graph: _Graph, value: int, channels: int, stride: int, style: _Style) -> int:
    out = graph.convolution(graph.depthwise(value, "none", style.window, stride), channels, "none")
    if stride == 2:
        value = graph.window("max_pool2d", value, graph.shapes[value][2], 2, 2)
    if graph.shapes[value][2] < channels:
        value = graph.add("pad", [value], graph.shapes[out], begin=(0, 0, 0, 0))
    if graph.shapes[value] != graph.shapes[out]:
        return graph.activated(out, style.activation)
    return graph.sum(out, value, style.activation)


def _separable(graph: _Graph, value: int, channels: int, stride: int, style: _Style) -> int:
    out = graph.depthwise(value, style.activation, style.window, stride)
    return graph.convolution(out, channels, style.activation)


def _plain(graph: _Graph, value: int, channels: int, stride: int, style: _Style) -> int:
    return graph.convolution(value, channels, style.activation, 3, stride)


def _bottleneck(graph: _Graph, value: int, channels: int, stride: int, style: _Style) -> int:
    before = graph.shapes[value]
    out = graph.convolution(value, max(channels // 2, 8), style.activation, 1)
    out = graph.depthwise(out, style.activation, style.window, stride)
    out = graph.convolution(out, channels, "none")
    return graph.sum(out, value, style.activation) if graph.shapes[out] == before else out


_BLOCKS: tuple[Callable[[_Graph, int, int, int, _Style], int], ...] = (
    _inverted,
    _inverted,
    _residual_depthwise,
    _residual_depthwise,
    _separable,
    _plain,
    _bottleneck,
)
_ACTIVATIONS = ("relu", "relu", "relu6", "relu6", "prelu", "prelu", "hard_swish", "leaky_relu")


def random_network(seed: int) -> tuple[Node, ...]:
    """A random network of an image of 64 to 320 pixels a side; value 1 is its input."""
    rng = random.Random(seed)
    while True:
        nodes = _network(rng)
        if _LEAST_MACS <= sum(node.kernel.macs for node in nodes) <= _MOST_MACS:
            return nodes


def _network(rng: random.Random) -> tuple[Node, ...]:
    side = 32 * rng.randint(2, 8)
    graph = _Graph(side, side if rng.random() < 0.7 else 32 * rng.randint(2, 10))
    style = _Style(
        rng.choice(_ACTIVATIONS), rng.choice((3, 3, 5)), rng.choice((2, 3, 4, 6)), rng.random() < 0.2
    )
    block = rng.choice(_BLOCKS)
    channels = 8 * rng.randint(1, 4)
    value = graph.convolution(1, channels, style.activation, rng.choice((3, 3, 5)), 2)
    scales = [value]
    for _ in range(rng.randint(2, 4)):
        channels = 8 * round(channels * rng.uniform(1.2, 2.2) / 8)
        value = block(graph, value, channels, 2, style)
        for _ in range(rng.randint(0, 4)):
            value = block(graph, value, channels, 1, style)
        scales.append(value)
    return tuple(_headed(rng, graph, scales, block, style))


def _headed(
    rng: random.Random, graph: _Graph, scales: list[int], block: Callable, style: _Style
) -> list[Node]:
    match rng.choice(("map", "map", "vector", "flat", "detector")):
        case "map":
            value = _decoded(rng, graph, scales, block, style)
            value = graph.convolution(value, rng.choice((1, 1, 2, 6)), "none")
            graph.activated(value, rng.choice(("none", "logistic")))
        case "detector":
            fine = _decoded(rng, graph, scales[-2:], block, style) if rng.random() < 0.5 else scales[-2]
            parts = [
                graph.flat(graph.convolution(value, _VALUES * rng.choice((2, 4, 6)), "none"), _VALUES)
                for value in (fine, scales[-1])
            ]
            counts = [graph.shapes[part][1] for part in parts]
            out = (1, sum(counts), _VALUES)
            shapes = {"in_shape": graph.shapes[parts[0]], "out_shape": out}
            graph.add("concat", parts, out, other_channels=(counts[1],), axes=(1,), **shapes)
        case head:
            height, width, channels = graph.shapes[scales[-1]]
            outputs = rng.choice((1, 10, 63, 200, 1000))
            if head == "vector" or height * width * channels > _MOST_FLAT:
                pooled = graph.add("mean", [scales[-1]], (1, 1, channels))
                graph.add("fully_connected", [pooled], (1, 1, outputs))
            else:
                flat = graph.flat(scales[-1], 0)
                shapes = {"in_shape": (1, height * width * channels), "out_shape": (1, outputs)}
                graph.add("fully_connected", [flat], (1, 1, outputs), **shapes)
    return graph.nodes


def _decoded(rng: random.Random, graph: _Graph, scales: list[int], block: Callable, style: _Style) -> int:
    value, transposed, joined = scales[-1], rng.random() < 0.3, rng.choice(("concat", "add"))
    for skip in reversed(scales[:-1]):
        height, width, channels = graph.shapes[skip]
        own = graph.shapes[value][2]
        if transposed:
            window = dict.fromkeys(("kernel_height", "kernel_width", "stride_height", "stride_width"), 2)
            value = graph.add(
                "transpose_conv2d", [value], (height, width, channels), padding="same", **window
            )
            own = channels
        else:
            value = graph.add("resize_bilinear", [value], (height, width, own), sampling="half_pixel")
        if joined == "concat":
            out = (height, width, own + channels)
            value = graph.add("concat", [value, skip], out, other_channels=(channels,))
        else:
            if own != channels:
                value = graph.convolution(value, channels, "none")
            value = graph.sum(value, skip, "none")
        value = block(graph, value, channels, 1, style)
    return value
