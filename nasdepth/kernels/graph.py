"""The graph both extractors build, and what the runtime fuses in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from nasdepth.kernels.kernel import BINARY, CONSTANTS, Kernel, hwc, operand_of, same_padding
from nasdepth.kernels.rules import Rules


@dataclass(frozen=True, slots=True)
class Node:
    """A kernel between values.

    Attributes:
        kernel: what runs.
        inputs, output: value numbers.
        pads: of `pad`, (top, bottom, left, right); None where it pads other axes, or with anything but 0.
        normalisation: a `mul` that stands for a batch normalisation, which conversion multiplies into the
            convolution before it or, where there is none, turns into a multiplication and an addition.
    """

    kernel: Kernel
    inputs: tuple[int, ...]
    output: int
    pads: tuple[int, int, int, int] | None = None
    normalisation: bool = False


def outputs_of(nodes: Sequence[Node]) -> list[int]:
    """Values that nothing reads."""
    read = {value for node in nodes for value in node.inputs}
    return [node.output for node in nodes if node.output not in read]


def fuse(nodes: Iterable[Node], outputs: Iterable[int], rules: Rules) -> tuple[Node, ...]:
    """The nodes that run: padding, constants, activations and additions merged into their neighbours.

    Args:
        nodes: in topological order.
        outputs: values that leave the graph.
        rules: what is merged.
    """
    nodes = list(nodes)
    uses = Counter(outputs)
    for node in nodes:
        uses.update(node.inputs)
    done: list[Node | None] = []
    made_by: dict[int, int] = {}
    for node in nodes:
        before, merged = None, None
        for value in dict.fromkeys(node.inputs):
            before = made_by.get(value)
            first = None if before is None else done[before]
            if first is not None and uses[value] == 1:
                merged = _merge(first, node, rules)
            if merged is not None:
                break
        if merged is None or before is None:
            if node.normalisation:
                done.append(node)
                node = replace(node, kernel=replace(node.kernel, op="add"), normalisation=False)
            made_by[node.output] = len(done)
            done.append(node)
        elif merged.kernel.op == node.kernel.op or len(node.inputs) > 1:
            # What was merged runs where the second stood: that is when all its inputs are there
            done[before] = None
            made_by[node.output] = len(done)
            done.append(merged)
        else:
            done[before] = merged
            made_by[node.output] = before
    return tuple(node for node in done if node is not None)


def _merge(first: Node, second: Node, rules: Rules) -> Node | None:
    """One node for two, or None; `first`'s value goes nowhere else."""
    one, two = first.kernel, second.kernel
    plain = one.activation == "none" and one.precision == two.precision
    if plain and two.op in rules.activations.of and one.op in rules.activations.into:
        return replace(first, kernel=replace(one, activation=two.op), output=second.output)
    if plain and second.normalisation and one.op in rules.normalisation:
        return replace(first, output=second.output)
    if two.op in rules.links and len(second.inputs) == 1 and one.precision == two.precision:
        return replace(first, output=second.output)
    if one.op == "pad" and two.op in rules.padding.into and two.padding == "valid" and not two.pads:
        return _padded(first, second, rules)
    if (
        plain
        and two.op == "add"
        and two.operand == "tensor"
        and one.op in rules.additions
        and not one.operand
    ):
        kernel = replace(one, operand="tensor", activation=two.activation)
        others = tuple(value for value in second.inputs if value != first.output)
        return replace(first, kernel=kernel, inputs=first.inputs + others, output=second.output)
    return None


def _padded(pad: Node, convolution: Node, rules: Rules) -> Node | None:
    """A convolution that pads by itself, or None."""
    one, two = pad.kernel, convolution.kernel
    if one.in_shape or pad.pads is None:
        return None
    kernel = replace(two, in_height=one.in_height, in_width=one.in_width, padding="same")
    rows, columns = _same_padding(kernel)
    if pad.pads != (*rows, *columns):
        if not rules.padding.any:
            return None
        kernel = replace(kernel, padding="valid", pads=pad.pads)
    return replace(convolution, kernel=kernel, inputs=(*pad.inputs, *convolution.inputs[1:]))


def pads_of(kernel: Kernel) -> tuple[int, int, int, int] | None:
    """What a `pad` adds: top, bottom, left, right; None where it pads other axes, and for other kernels."""
    if kernel.op != "pad" or kernel.in_shape or kernel.in_channels != kernel.out_channels:
        return None
    rows, columns = kernel.out_height - kernel.in_height, kernel.out_width - kernel.in_width
    top, left = kernel.begin[1:3] if kernel.begin else (rows // 2, columns // 2)
    return top, rows - top, left, columns - left


def canonical(kernel: Kernel) -> Kernel:
    """Spell two ways of saying the same thing alike."""
    if not kernel.padding:
        if kernel.op in BINARY and 1 in (kernel.in_height, kernel.in_width, kernel.in_channels):
            shape, second = hwc(kernel.input_shape), hwc(kernel.second_shape)
            return replace(kernel, operand=operand_of(shape, second, constant=kernel.operand in CONSTANTS))
        return kernel
    if kernel.op.endswith("pool2d") and 1 in (kernel.out_height, kernel.out_width):
        # One window along an axis: neither stride nor, where it covers the input, padding is ever used
        kernel = replace(
            kernel,
            stride_height=1 if kernel.out_height == 1 else kernel.stride_height,
            stride_width=1 if kernel.out_width == 1 else kernel.stride_width,
        )
        rows = (kernel.in_height, kernel.kernel_height, kernel.stride_height, kernel.out_height)
        columns = (kernel.in_width, kernel.kernel_width, kernel.stride_width, kernel.out_width)
        if all(_is_one_window(*axis) or axis[1:3] == (1, 1) for axis in (rows, columns)):
            return replace(kernel, padding="valid")
        if (kernel.out_height, kernel.out_width) == (1, 1):
            return kernel
    if kernel.op != "transpose_conv2d" and kernel.padding == "valid" and not kernel.pads:
        rows, columns = _same_padding(kernel)
        if not any(rows + columns):
            return replace(kernel, padding="same")
    return kernel


def _is_one_window(size: int, kernel: int, stride: int, out: int) -> bool:
    return size == kernel and out == 1


def _same_padding(kernel: Kernel) -> tuple[tuple[int, int], tuple[int, int]]:
    rows = same_padding(kernel.in_height, kernel.kernel_height, kernel.stride_height, kernel.dilation_height)
    columns = same_padding(kernel.in_width, kernel.kernel_width, kernel.stride_width, kernel.dilation_width)
    return rows, columns
