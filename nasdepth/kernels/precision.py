"""From a float graph of kernels to the int8 graph that is deployed.

The plan says what runs in which precision and where values are converted. It follows from the graph and the
runtime's rules alone, never from values. So the file that the quantiser writes and the kernels of an
architecture that was never trained come from one function.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

from nasdepth.errors import UnknownKernelError
from nasdepth.kernels.graph import Node, fuse
from nasdepth.kernels.kernel import Kernel, hwc, unusual
from nasdepth.kernels.rules import Rules, load_rules

Precision = Literal["float32", "fp16", "int8"]
"""Of a deployed file: float32, weights of half precision (computed in float32), or int8."""

Ends = Literal["uint8", "float32"]
"""What a quantised file takes: the camera's bytes, or float RGB on 0-255."""

FILE_RUNTIME = "xnnpack"
"""Whose rules decide on a file: the delegate's of every device on which int8 is faster."""

FIXED_RANGES = {"logistic": (1 / 256, 0), "softmax": (1 / 256, 0), "tanh": (1 / 128, 128)}
"""Operations of a prescribed output range: scale, and the zero point's offset from the lowest integer."""

IMAGE_RANGE = (1.0, 0)
"""Of the image: with scale 1 its bytes are its values."""

# What they write are values that they read, so that they keep scale and zero point
KEEP_SCALE = (
    "resize_bilinear",
    "resize_nearest",
    "max_pool2d",
    "pad",
    "reshape",
    "squeeze",
    "expand_dims",
    "transpose",
    "slice",
    "strided_slice",
    "split",
    "depth_to_space",
    "space_to_depth",
)


@dataclass(frozen=True, slots=True)
class PlannedValue:
    """A value of the quantised graph.

    Attributes:
        of: number of the float graph's value that it holds.
        precision: float32, int8 or uint8.
        group: quantised values of one group have one scale and one zero point.
    """

    of: int
    precision: str
    group: int


@dataclass(frozen=True, slots=True)
class Step:
    """An operation of the quantised graph.

    Attributes:
        kernel: what runs.
        inputs, output: places in `Plan.values`.
        origin: place of the float graph's node that it stands for; None for a conversion between precisions.
    """

    kernel: Kernel
    inputs: tuple[int, ...]
    output: int
    origin: int | None


@dataclass(frozen=True)
class Plan:
    """The quantised graph of a float one.

    Attributes:
        steps: in the order in which they run.
        values: what the steps read and write.
        fixed: scale and zero point's offset from the lowest integer, by group, where they are prescribed.
        image, outputs: places in `values` of what enters and what leaves.
    """

    steps: tuple[Step, ...]
    values: tuple[PlannedValue, ...]
    fixed: dict[int, tuple[float, int]]
    image: int
    outputs: tuple[int, ...]

    def nodes(self, origin: Sequence[Node]) -> list[Node]:
        """The steps as nodes, for what a runtime fuses.

        Args:
            origin: nodes of the float graph.
        """
        return [
            Node(
                step.kernel,
                step.inputs,
                step.output,
                None if step.origin is None else origin[step.origin].pads,
            )
            for step in self.steps
        ]

    def floats(self) -> list[Step]:
        """The steps in float, but for conversions and for resizes of the image and of the depth."""
        return [
            step
            for step in self.steps
            if step.kernel.precision == "float32" and not step.kernel.op.startswith("resize")
        ]


def plan_int8(
    nodes: Sequence[Node], image: int, outputs: Sequence[int], rules: Rules, ends: Ends = "uint8"
) -> Plan:
    """Plan the int8 graph of a float one; depth comes out in float32.

    - An operation that the delegate takes in float but not in int8 stays in float, between conversions.
    - ReLU on its own is a conversion to a range that begins at 0, which saturates, within the delegate.
    - A pool over whole axes is a mean, which the delegate takes in int8.
    - The image is resized as it comes; a last resize that is slower in int8 runs in float.
    - What concatenates shares one scale. A member that is read elsewhere too is converted for it.

    Args:
        nodes: as a converted float file has them, in order.
        image: number of the value that enters.
        outputs: numbers of the values that leave.
        rules: of the runtime that the file is for.
        ends: what the file takes.
    """
    return _Planner(nodes, image, outputs, rules, ends).plan()


def int8_kernels(
    nodes: Sequence[Node], image: int, outputs: Sequence[int], runtime: str, ends: Ends = "uint8"
) -> tuple[Kernel, ...]:
    """The kernels that a runtime runs of the int8 file of a converted float graph.

    Args:
        nodes, image, outputs, ends: see `plan_int8`.
        runtime: `xnnpack` or `tflite`; the file is the same for both.

    Raises:
        UnknownKernelError: on a GPU.
    """
    if runtime == "gpu":
        raise UnknownKernelError("a GPU runs int8 no faster than float32: use fp16 there")
    plan = plan_int8(nodes, image, outputs, load_rules(FILE_RUNTIME), ends)
    return tuple(node.kernel for node in fuse(plan.nodes(nodes), plan.outputs, load_rules(runtime)))


class _Planner:
    def __init__(
        self, nodes: Sequence[Node], image: int, outputs: Sequence[int], rules: Rules, ends: Ends
    ) -> None:
        self._nodes = _chained(nodes)
        self._image, self._outputs, self._rules, self._ends = image, outputs, rules, ends
        self._readers: dict[int, list[int]] = {}
        for index, node in enumerate(self._nodes):
            for value in node.inputs:
                self._readers.setdefault(value, []).append(index)
        self._steps: list[Step] = []
        self._values: list[PlannedValue] = []
        self._homes: dict[int, int] = {}  # where a value is written first, by its number
        self._copies: dict[tuple[int, str], int] = {}
        self._shapes: dict[int, tuple[int, ...]] = {}
        self._joined: list[int] = []  # of each group, the one that it was joined to
        self._fixed: dict[int, tuple[float, int]] = {}
        self._clamped: set[int] = set()  # groups whose range cuts values off

    def plan(self) -> Plan:
        for node in self._nodes:
            if node.inputs and node.inputs[0] == self._image:
                self._shapes[self._image] = node.kernel.input_shape
                break
        image = self._new(self._image, self._ends)
        self._homes[self._image] = image
        self._fixed[self._values[image].group] = IMAGE_RANGE
        for index, node in enumerate(self._nodes):
            self._shapes[node.output] = node.kernel.output_shape
            self._add(index, node)
        outputs = tuple(self._read(value, "float32") for value in self._outputs)
        values = tuple(
            PlannedValue(value.of, value.precision, self._group(value.group)) for value in self._values
        )
        fixed = {self._group(group): prescribed for group, prescribed in self._fixed.items()}
        return Plan(tuple(self._steps), values, fixed, image, outputs)

    def _add(self, index: int, node: Node) -> None:
        precision = self._precision(node)
        if precision == "float32":
            inputs = tuple(self._read(value, "float32") for value in node.inputs)
            # a float image that is resized is an image still
            of_image = node.inputs == (self._image,) and node.kernel.op in KEEP_SCALE
            group = self._values[inputs[0]].group if of_image else None
            self._write(index, node, node.kernel, inputs, "float32", group)
        elif node.kernel.op in self._rules.quantisation.clamps:
            inputs = (self._read(node.inputs[0], "int8"),)
            kernel = _conversion(self._shapes[node.output], "int8", "int8")
            output = self._write(index, node, kernel, inputs, "int8")
            self._clamped.add(self._values[output].group)
        elif node.kernel.op == "concat":
            self._concatenate(index, node)
        else:
            inputs = tuple(self._read(value, precision) for value in node.inputs)
            kernel = self._quantised(node.kernel, precision)
            group = self._values[inputs[0]].group if kernel.op in KEEP_SCALE else None
            output = self._write(index, node, kernel, inputs, precision, group)
            if kernel.op in FIXED_RANGES:
                self._fixed[self._values[output].group] = FIXED_RANGES[kernel.op]

    def _precision(self, node: Node) -> str:
        """In which a node runs."""
        kernel, rules = node.kernel, self._rules
        if node.output in self._outputs and kernel.op in rules.quantisation.last_in_float:
            return "float32"
        if node.inputs == (self._image,) and kernel.op.startswith("resize"):
            return self._ends
        if kernel.op in rules.quantisation.clamps:
            return self._values[self._homes[node.inputs[0]]].precision.replace("uint8", "int8")
        if rules.delegates(self._quantised(kernel, "int8")) or not rules.delegates(kernel):
            return "int8"
        return "float32"

    def _quantised(self, kernel: Kernel, precision: str) -> Kernel:
        return _quantised(kernel, precision, self._rules.quantisation.pools_as_means)

    def _concatenate(self, index: int, node: Node) -> None:
        group = self._new_group()
        inputs = []
        for value in node.inputs:
            home = self._values[self._homes[value]]
            own = self._only_for(value, index)
            if home.precision == "int8" and own and self._can_join(home.group):
                self._joined[self._group(home.group)] = group
                inputs.append(self._homes[value])
            else:
                inputs.append(self._converted(value, "int8", group))
        kernel = replace(node.kernel, precision="int8")
        self._write(index, node, kernel, tuple(inputs), "int8", group)

    def _can_join(self, group: int) -> bool:
        """Whether a group may get a wider range than its own."""
        ends = {self._group(one) for one in (*self._fixed, *self._clamped)}
        return self._group(group) not in ends

    def _only_for(self, value: int, concat: int) -> bool:
        """Whether nothing but a concatenation, and what keeps the scale on the way to it, reads a group."""
        group = self._group(self._values[self._homes[value]].group)
        for of in {one.of for one in self._values if self._group(one.group) == group}:
            readers = self._readers.get(of, [])
            if of in self._outputs or readers.count(concat) > 1:
                return False
            for reader in readers:
                inside = reader < concat and self._nodes[reader].kernel.op in (*KEEP_SCALE, "concat")
                if reader != concat and not (inside and self._is_in(self._nodes[reader].output, group)):
                    return False
        return True

    def _is_in(self, value: int, group: int) -> bool:
        return self._group(self._values[self._homes[value]].group) == group

    def _read(self, value: int, precision: str) -> int:
        """A value in a precision, converted once where it is in another."""
        home = self._homes[value]
        if self._values[home].precision == precision:
            return home
        if (value, precision) not in self._copies:
            self._copies[value, precision] = self._converted(value, precision)
        return self._copies[value, precision]

    def _converted(self, value: int, precision: str, group: int | None = None) -> int:
        """A value behind a conversion of its own."""
        home = self._homes[value]
        before = self._values[home]
        output = self._new(value, precision, group)
        prescribed = self._fixed.get(self._group(before.group))
        if group is None and precision != "float32" and prescribed is not None:
            self._fixed[self._values[output].group] = prescribed
        kernel = _conversion(self._shapes[value], before.precision, precision)
        self._steps.append(Step(kernel, (home,), output, None))
        return output

    def _write(
        self,
        index: int,
        node: Node,
        kernel: Kernel,
        inputs: tuple[int, ...],
        precision: str,
        group: int | None = None,
    ) -> int:
        output = self._homes[node.output] = self._new(node.output, precision, group)
        self._steps.append(Step(kernel, inputs, output, index))
        return output

    def _new(self, of: int, precision: str, group: int | None = None) -> int:
        self._values.append(PlannedValue(of, precision, self._new_group() if group is None else group))
        return len(self._values) - 1

    def _new_group(self) -> int:
        self._joined.append(len(self._joined))
        return len(self._joined) - 1

    def _group(self, group: int) -> int:
        while self._joined[group] != group:
            group = self._joined[group]
        return group


def _chained(nodes: Iterable[Node]) -> list[Node]:
    """Nodes of which each writes a value of its own.

    A batch normalisation that nothing takes is a multiplication and an addition of one input and one output.
    """
    done: list[Node] = []
    fresh = -1
    for node in nodes:
        if done and done[-1].output == node.output:
            done[-1] = replace(done[-1], output=fresh)
            node = replace(node, inputs=(fresh,))
            fresh -= 1
        done.append(node)
    return done


@lru_cache(maxsize=131072)
def _quantised(kernel: Kernel, precision: str, pools_as_means: bool) -> Kernel:
    """A float kernel in another precision."""
    axes = _pooled_whole(kernel) if kernel.op == "average_pool2d" and pools_as_means else None
    if axes is None:
        return replace(kernel, precision=precision)
    at = (kernel.in_height, kernel.in_width, kernel.in_channels)
    out = (kernel.out_height, kernel.out_width, kernel.out_channels)
    return Kernel("mean", *at, *out, axes=axes, precision=precision)


def _pooled_whole(kernel: Kernel) -> tuple[int, ...] | None:
    """The axes that a pool averages wholly, as a mean has them (none for both); None for any other pool."""
    rows = kernel.kernel_height == kernel.in_height and kernel.out_height == 1
    columns = kernel.kernel_width == kernel.in_width and kernel.out_width == 1
    kept_rows = kernel.kernel_height == kernel.stride_height == 1
    kept_columns = kernel.kernel_width == kernel.stride_width == 1
    if kernel.in_shape or kernel.activation != "none":
        return None
    if rows and columns:
        return ()
    if rows and kept_columns:
        return (1,)
    if columns and kept_rows:
        return (2,)
    return None


@lru_cache(maxsize=16384)
def _conversion(shape: tuple[int, ...], source: str, precision: str) -> Kernel:
    ends = {"in_shape": unusual(shape), "out_shape": unusual(shape)}
    if precision == "float32":
        return Kernel("dequantize", *hwc(shape), *hwc(shape), precision=source, **ends)
    quantised = "" if source == "float32" else source
    return Kernel("quantize", *hwc(shape), *hwc(shape), precision=precision, source=quantised, **ends)
