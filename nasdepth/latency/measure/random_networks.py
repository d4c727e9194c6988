"""Networks of other makers' kinds, drawn at random: what a calibration of depth networks alone does not know.

Classifiers, detectors, landmark and segmentation networks of small images: inverted residuals, depthwise
residuals with parametric activations, plain convolutions, gates, decoders. They are kernels that read each
other's outputs, written without a converter; no published network is among them.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from nasdepth.kernels.builder import GraphBuilder, Value, window_of
from nasdepth.kernels.graph import Node

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


def _gated(graph: GraphBuilder, value: Value) -> Value:
    pooled = graph.add("mean", [value], (1, 1, value.channels))
    squeezed = graph.conv(pooled, max(value.channels // 4, 8), activation="relu")
    gate = graph.activated(graph.conv(squeezed, value.channels), "logistic")
    return graph.add("mul", [value, gate], value.shape, operand="gate")


def _flat(graph: GraphBuilder, value: Value, last: int) -> Value:
    """Reshaped to (1, n, last), or to (1, n) where `last` is 0."""
    count = value.height * value.width * value.channels
    out = (1, 1, count) if not last else (1, count // last, last)
    return graph.add("reshape", [value], out, out_shape=(1, count) if not last else out)


def _inverted(graph: GraphBuilder, value: Value, channels: int, stride: int, style: _Style) -> Value:
    out = graph.conv(value, style.expansion * value.channels, activation=style.activation)
    out = graph.depthwise(out, style.window, stride, style.activation)
    out = graph.conv(_gated(graph, out) if style.gated else out, channels)
    return graph.sum(out, value) if out.shape == value.shape else out


def _residual_depthwise(
    graph: GraphBuilder, value: Value, channels: int, stride: int, style: _Style
) -> Value:
    out = graph.conv(graph.depthwise(value, style.window, stride), channels)
    if stride == 2:
        value = graph.max_pool(value, 2, 2)
    if value.channels < channels:
        value = graph.add("pad", [value], out.shape, begin=(0, 0, 0, 0))
    if value.shape != out.shape:
        return graph.activated(out, style.activation)
    return graph.sum(out, value, style.activation)


def _separable(graph: GraphBuilder, value: Value, channels: int, stride: int, style: _Style) -> Value:
    out = graph.depthwise(value, style.window, stride, style.activation)
    return graph.conv(out, channels, activation=style.activation)


def _plain(graph: GraphBuilder, value: Value, channels: int, stride: int, style: _Style) -> Value:
    return graph.conv(value, channels, 3, stride, style.activation)


def _bottleneck(graph: GraphBuilder, value: Value, channels: int, stride: int, style: _Style) -> Value:
    out = graph.conv(value, max(channels // 2, 8), activation=style.activation)
    out = graph.depthwise(out, style.window, stride, style.activation)
    out = graph.conv(out, channels)
    return graph.sum(out, value, style.activation) if out.shape == value.shape else out


_BLOCKS: tuple[Callable[[GraphBuilder, Value, int, int, _Style], Value], ...] = (
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
    graph = GraphBuilder(side, side if rng.random() < 0.7 else 32 * rng.randint(2, 10))
    style = _Style(
        rng.choice(_ACTIVATIONS), rng.choice((3, 3, 5)), rng.choice((2, 3, 4, 6)), rng.random() < 0.2
    )
    block = rng.choice(_BLOCKS)
    channels = 8 * rng.randint(1, 4)
    value = graph.conv(graph.image, channels, rng.choice((3, 3, 5)), 2, style.activation)
    scales = [value]
    for _ in range(rng.randint(2, 4)):
        channels = 8 * round(channels * rng.uniform(1.2, 2.2) / 8)
        value = block(graph, value, channels, 2, style)
        for _ in range(rng.randint(0, 4)):
            value = block(graph, value, channels, 1, style)
        scales.append(value)
    return tuple(_headed(rng, graph, scales, block, style))


def _headed(
    rng: random.Random, graph: GraphBuilder, scales: list[Value], block: Callable, style: _Style
) -> list[Node]:
    match rng.choice(("map", "map", "vector", "flat", "detector")):
        case "map":
            value = _decoded(rng, graph, scales, block, style)
            value = graph.conv(value, rng.choice((1, 1, 2, 6)))
            graph.activated(value, rng.choice(("none", "logistic")))
        case "detector":
            fine = _decoded(rng, graph, scales[-2:], block, style) if rng.random() < 0.5 else scales[-2]
            parts = [
                _flat(graph, graph.conv(value, _VALUES * rng.choice((2, 4, 6))), _VALUES)
                for value in (fine, scales[-1])
            ]
            counts = [part.width for part in parts]
            out = (1, sum(counts), _VALUES)
            shapes = {"in_shape": parts[0].shape, "out_shape": out}
            graph.add("concat", parts, out, other_channels=(counts[1],), axes=(1,), **shapes)
        case head:
            height, width, channels = scales[-1].shape
            outputs = rng.choice((1, 10, 63, 200, 1000))
            if head == "vector" or height * width * channels > _MOST_FLAT:
                pooled = graph.add("mean", [scales[-1]], (1, 1, channels))
                graph.add("fully_connected", [pooled], (1, 1, outputs))
            else:
                flat = _flat(graph, scales[-1], 0)
                shapes = {"in_shape": (1, height * width * channels), "out_shape": (1, outputs)}
                graph.add("fully_connected", [flat], (1, 1, outputs), **shapes)
    return graph.nodes


def _decoded(
    rng: random.Random, graph: GraphBuilder, scales: list[Value], block: Callable, style: _Style
) -> Value:
    value, transposed, joined = scales[-1], rng.random() < 0.3, rng.choice(("concat", "add"))
    for skip in reversed(scales[:-1]):
        height, width, channels = skip.shape
        own = value.channels
        if transposed:
            value = graph.add("transpose_conv2d", [value], skip.shape, padding="same", **window_of(2, 2, 2))
            own = channels
        else:
            value = graph.add("resize_bilinear", [value], (height, width, own), sampling="half_pixel")
        if joined == "concat":
            out = (height, width, own + channels)
            value = graph.add("concat", [value, skip], out, other_channels=(channels,))
        else:
            if own != channels:
                value = graph.conv(value, channels)
            value = graph.sum(value, skip)
        value = block(graph, value, channels, 1, style)
    return value
