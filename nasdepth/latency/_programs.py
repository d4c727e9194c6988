"""Programs: what a piece of a network runs at any size, from one look at the piece.

Building and tracing modules costs a millisecond a block. A piece is therefore traced once, with channels that
can be told apart in whatever sums and multiples of them turn up, and its kernels at other sizes are computed.
That is checked against tracing at sizes unlike each other. Where channels are rounded, as in
squeeze-and-excite, a program is made for every number of channels; where that is not enough either, the piece
is traced each time.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import lru_cache

from nasdepth.latency._from_module import trace
from nasdepth.latency._graph import Node, canonical
from nasdepth.latency._pieces import Piece
from nasdepth.latency._skeleton import Skeleton
from nasdepth.latency.kernels import Kernel
from nasdepth.latency.rules import module_rules

Channels = tuple[int, ...]
Hw = tuple[int, int]

_BASE = 1000  # of the digits that channels are told apart by; a multiple of 8, so that rounding keeps it
_REFERENCE_HW = (64, 96)
_PROBES: tuple[tuple[Channels, Hw], ...] = (((8, 16), (7, 9)), ((56, 24), (6, 4)), ((40, 104), (1, 1)))
_NAMES = [field.name for field in fields(Kernel)]
_CHANNEL_FIELDS = ("in_channels", "out_channels", "groups")


def run(piece: Piece, channels: Channels, hw: Hw, runtime: str) -> tuple[Kernel, ...]:
    """The kernels of a piece at the given channels and input height and width, in order."""
    if 1 in channels:  # a depthwise convolution of one channel is an ordinary one
        return _trace(piece, channels, hw, runtime)
    equal = tuple(map(channels.index, channels))
    if program := _symbolic(piece, equal, runtime):
        return program.kernels(piece, channels, hw)
    if _sizes_are_free(piece, equal, runtime):
        return _sized(piece, channels, runtime).kernels(piece, channels, hw)
    return _trace(piece, channels, hw, runtime)


@lru_cache(maxsize=4096)
def _symbolic(piece: Piece, equal: tuple[int, ...], runtime: str) -> Program | None:
    """The piece at any channels of which exactly those at the same index in `equal` are equal."""
    program = Program.read(piece, tuple(_BASE ** (index + 1) for index in equal), runtime, symbolic=True)
    for probe, hw in _PROBES:
        channels = tuple(probe[index] for index in equal)
        if program.kernels(piece, channels, hw) != _trace(piece, channels, hw, runtime):
            return None
    return program


@lru_cache(maxsize=4096)
def _sizes_are_free(piece: Piece, equal: tuple[int, ...], runtime: str) -> bool:
    channels = tuple(_PROBES[0][0][index] for index in equal)
    program = _sized(piece, channels, runtime)
    return all(
        program.kernels(piece, channels, hw) == _trace(piece, channels, hw, runtime) for _, hw in _PROBES
    )


@lru_cache(maxsize=16384)
def _sized(piece: Piece, channels: Channels, runtime: str) -> Program:
    return Program.read(piece, channels, runtime, symbolic=False)


@lru_cache(maxsize=16384)
def _trace(piece: Piece, channels: Channels, hw: Hw, runtime: str) -> tuple[Kernel, ...]:
    return tuple(node.kernel for node in _nodes(piece, channels, hw, runtime))


def _nodes(piece: Piece, channels: Channels, hw: Hw, runtime: str) -> tuple[Node, ...]:
    with Skeleton():
        function = piece.build(channels, hw)
    return trace(function, piece.inputs(channels, hw), type(piece).__name__, module_rules(runtime))


@dataclass(frozen=True)
class Program:
    """Kernels in order, each with what depends on sizes."""

    steps: tuple[_Step, ...]

    @classmethod
    def read(cls, piece: Piece, channels: Channels, runtime: str, *, symbolic: bool) -> Program:
        """Trace a piece; with `symbolic`, channels are powers of `_BASE`."""
        nodes = _nodes(piece, channels, _REFERENCE_HW, runtime)
        return cls(tuple(_Step.of(node, len(channels) if symbolic else 0) for node in nodes))

    def kernels(self, piece: Piece, channels: Channels, hw: Hw) -> tuple[Kernel, ...]:
        """The kernels at other sizes."""
        sizes = {index: shape[1:] for index, shape in enumerate(piece.inputs(channels, hw), 1)}
        kernels = []
        for step in self.steps:
            kernel = step.at(channels, *sizes[step.source])
            sizes[step.output] = (kernel.out_height, kernel.out_width)
            kernels.append(kernel)
        return tuple(kernels)


@dataclass(frozen=True)
class _Step:
    """A kernel at the reference size and how to move it to another.

    Attributes:
        kernel: as traced.
        values: its fields, in order.
        source, output: value numbers of the first input and of the output.
        channels: (position of the field, constant, (index into the piece's channels, factor)...).
        others: the same for each entry of `other_channels`.
        grows: how the output's height and width follow from the input's.
    """

    kernel: Kernel
    values: tuple
    source: int
    output: int
    channels: tuple[tuple, ...]
    others: tuple[tuple, ...]
    grows: str

    @classmethod
    def of(cls, node: Node, digits: int) -> _Step:
        kernel = node.kernel
        channels, others = [], []
        if digits:
            for name in _CHANNEL_FIELDS:
                if (value := getattr(kernel, name)) >= _BASE:
                    channels.append((_NAMES.index(name), *_digits(value, digits)))
            others = [(0, *_digits(value, digits)) for value in kernel.other_channels]
        return cls(
            kernel,
            tuple(getattr(kernel, name) for name in _NAMES),
            node.inputs[0],
            node.output,
            tuple(channels),
            tuple(others),
            _growth(kernel),
        )

    def at(self, channels: Channels, height: int, width: int) -> Kernel:
        """The kernel for the given channels of the piece and height and width of this step's input."""
        kernel, values = self.kernel, list(self.values)
        for position, constant, terms in self.channels:
            values[position] = constant + sum(factor * channels[index] for index, factor in terms)
        if self.others:
            values[_NAMES.index("other_channels")] = tuple(
                constant + sum(factor * channels[index] for index, factor in terms)
                for _, constant, terms in self.others
            )
        values[_IN_HEIGHT], values[_IN_WIDTH] = height, width
        match self.grows:
            case "equal":
                out = height, width
            case "window":
                out = _windows(kernel, height, width)
            case "all":
                values[_KERNEL_HEIGHT], values[_KERNEL_WIDTH] = height, width
                out = 1, 1
            case "double":
                out = 2 * height, 2 * width
            case "pad":
                out = (
                    height + kernel.out_height - kernel.in_height,
                    width + kernel.out_width - kernel.in_width,
                )
            case _:
                out = kernel.out_height, kernel.out_width
        values[_OUT_HEIGHT], values[_OUT_WIDTH] = out
        return canonical(Kernel(*values))


_IN_HEIGHT, _IN_WIDTH = _NAMES.index("in_height"), _NAMES.index("in_width")
_OUT_HEIGHT, _OUT_WIDTH = _NAMES.index("out_height"), _NAMES.index("out_width")
_KERNEL_HEIGHT, _KERNEL_WIDTH = _NAMES.index("kernel_height"), _NAMES.index("kernel_width")


def _digits(value: int, count: int) -> tuple[int, tuple[tuple[int, int], ...]]:
    """A sum of channels as its constant and (index, factor) of each of `count` channels in it."""
    value, constant = divmod(value, _BASE)
    terms = []
    for index in range(count):
        value, factor = divmod(value, _BASE)
        if factor:
            terms.append((index, factor))
    return constant, tuple(terms)


def _growth(kernel: Kernel) -> str:
    whole = (kernel.in_height, kernel.in_width)
    out = (kernel.out_height, kernel.out_width)
    if kernel.op in ("conv2d", "depthwise_conv2d") or kernel.op.endswith("pool2d"):
        return "all" if (kernel.kernel_height, kernel.kernel_width) == whole else "window"
    if kernel.op.startswith("resize") and out == (2 * whole[0], 2 * whole[1]):
        return "double"
    if kernel.op == "pad":
        return "pad"
    return "equal" if out == whole else "fixed"


def _windows(kernel: Kernel, height: int, width: int) -> Hw:
    """Positions of the kernel's window over an input."""
    if kernel.padding == "same":
        return -(-height // kernel.stride_height), -(-width // kernel.stride_width)
    top, bottom, left, right = kernel.pads or (0, 0, 0, 0)
    rows = height + top + bottom - kernel.dilation_height * (kernel.kernel_height - 1) - 1
    columns = width + left + right - kernel.dilation_width * (kernel.kernel_width - 1) - 1
    return rows // kernel.stride_height + 1, columns // kernel.stride_width + 1
