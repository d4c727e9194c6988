"""The graph both extractors build, and what the runtime fuses in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

from nasdepth.latency.kernels import CONVOLUTIONS, Kernel, same_padding

# Operations that take a ReLU as part of their own loop (XNNPACK and TFLite's own kernels alike)
_TAKE_ACTIVATION = {
    "conv2d",
    "depthwise_conv2d",
    "transpose_conv2d",
    "fully_connected",
    "add",
    "mul",
    "average_pool2d",
    "max_pool2d",
}
_TAKE_PADDING = {"conv2d", "depthwise_conv2d"}


@dataclass(frozen=True, slots=True)
class Node:
    """A kernel between values.

    Attributes:
        kernel: what runs.
        inputs, output: value numbers.
        pads: of `pad`, (top, bottom, left, right).
        normalisation: a `mul` that stands for a batch normalisation, which conversion multiplies into the
            convolution before it or, where there is none, turns into a multiplication and an addition.
    """

    kernel: Kernel
    inputs: tuple[int, ...]
    output: int
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    normalisation: bool = False


def fuse(nodes: Iterable[Node], outputs: Iterable[int]) -> tuple[Node, ...]:
    """The nodes that run: padding, constants and activations merged into their neighbours.

    Args:
        nodes: in topological order.
        outputs: values that leave the graph.
    """
    nodes = list(nodes)
    uses = Counter(outputs)
    for node in nodes:
        uses.update(node.inputs)
    done: list[Node | None] = []
    made_by: dict[int, int] = {}
    for node in nodes:
        before = made_by.get(node.inputs[0]) if len(node.inputs) == 1 else None
        merged = None
        if before is not None and uses[node.inputs[0]] == 1:
            merged = _merge(done[before], node)
        if merged is None:
            if node.normalisation:
                done.append(node)
                node = replace(node, kernel=replace(node.kernel, op="add"), normalisation=False)
            made_by[node.output] = len(done)
            done.append(node)
        elif merged.kernel.op == node.kernel.op:  # padding went into its consumer
            done[before] = None
            made_by[node.output] = len(done)
            done.append(merged)
        else:
            done[before] = merged
            made_by[node.output] = before
    return tuple(node for node in done if node is not None)


def _merge(first: Node, second: Node) -> Node | None:
    """One node for two, or None; `first`'s value goes nowhere else."""
    one, two = first.kernel, second.kernel
    if two.op in ("relu", "relu6") and one.op in _TAKE_ACTIVATION and one.activation == "none":
        return replace(first, kernel=replace(one, activation=two.op), output=second.output)
    if second.normalisation and one.op in CONVOLUTIONS and one.activation == "none":
        return replace(first, output=second.output)
    if one.op == "pad" and two.op in _TAKE_PADDING and two.padding == "valid":
        kernel = replace(two, in_height=one.in_height, in_width=one.in_width, padding="same")
        rows, columns = _same_padding(kernel)
        if first.pads == (*rows, *columns):
            return replace(second, kernel=kernel, inputs=first.inputs)
    return None


def canonical(kernel: Kernel) -> Kernel:
    """Spell two ways of saying the same thing alike."""
    if not kernel.padding:
        if kernel.operand in ("gate", "plane"):
            whole = {"gate": kernel.in_height * kernel.in_width, "plane": kernel.in_channels}
            if whole[kernel.operand] == 1:
                return replace(kernel, operand="tensor")
        return kernel
    if kernel.op.endswith("pool2d") and (kernel.out_height, kernel.out_width) == (1, 1):
        # One window: neither stride nor, where it covers the input, padding is ever used
        kernel = replace(kernel, stride_height=1, stride_width=1)
        if (kernel.kernel_height, kernel.kernel_width) == (kernel.in_height, kernel.in_width):
            return replace(kernel, padding="valid")
        return kernel
    if kernel.op != "transpose_conv2d" and kernel.padding == "valid":
        rows, columns = _same_padding(kernel)
        if not any(rows + columns):
            return replace(kernel, padding="same")
    return kernel


def _same_padding(kernel: Kernel) -> tuple[tuple[int, int], tuple[int, int]]:
    rows = same_padding(kernel.in_height, kernel.kernel_height, kernel.stride_height, kernel.dilation_height)
    columns = same_padding(kernel.in_width, kernel.kernel_width, kernel.stride_width, kernel.dilation_width)
    return rows, columns
