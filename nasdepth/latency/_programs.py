"""Programs: what a piece of a network runs at any size, from one look at the piece.

Building and tracing modules costs a millisecond a block. A piece is therefore traced once, with channels
that can be told apart in whatever sums, multiples and fractions of them turn up, and its kernels at other
sizes are computed. That is checked against tracing at sizes unlike each other. Where small images are treated
apart, as by a pool whose window must not exceed them, they get programs of their own. Where channels are
rounded, as in squeeze-and-excite, a program is made for every number of channels; where that is not enough
either, the piece is traced each time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache

from nasdepth.errors import UnknownKernelError
from nasdepth.latency._from_module import trace
from nasdepth.latency._graph import Node, canonical
from nasdepth.latency._pieces import Piece
from nasdepth.latency._skeleton import Skeleton
from nasdepth.latency.kernels import Kernel
from nasdepth.latency.rules import module_rules

Channels = tuple[int, ...]
Hw = tuple[int, int]

_BASE = 256  # of the digits that channels are told apart by; a multiple of 8, so that rounding keeps it
_UNIT = 16  # what a digit counts: sixteenths of a number of channels
_REFERENCE_HW = (64, 96)
_CHANNEL_PROBES: tuple[Channels, ...] = ((8, 16, 24), (56, 24, 88), (40, 104, 64), (264, 520, 136))
_HW_PROBES: tuple[Hw, ...] = ((7, 9), (6, 4), (1, 1), (33, 18))
_LARGE = 16
_LARGE_HW_PROBES: tuple[Hw, ...] = ((17, 19), (26, 24), (_LARGE, _LARGE), (33, 18))
_NAMES = [field.name for field in fields(Kernel)]
_CHANNEL_FIELDS = ("in_channels", "out_channels", "groups")


@lru_cache(maxsize=16384)
def run(piece: Piece, channels: Channels, hw: Hw, runtime: str) -> tuple[Kernel, ...]:
    """The kernels of a piece at the given channels and input height and width, in order."""
    if 1 in channels:  # a depthwise convolution of one channel is an ordinary one
        return _trace(piece, channels, hw, runtime)
    equal = tuple(map(channels.index, channels))
    try:
        if program := _symbolic(piece, equal, runtime, _HW_PROBES):
            return program.kernels(piece, channels, hw)
    except _Rounded:
        pass
    if _sizes_are_free(piece, equal, runtime):
        return _sized(piece, channels, runtime).kernels(piece, channels, hw)
    try:
        hws = _LARGE_HW_PROBES if min(hw) >= _LARGE else (hw,)
        if program := _symbolic(piece, equal, runtime, hws) or _symbolic(piece, equal, runtime, (hw,)):
            return program.kernels(piece, channels, hw)
    except _Rounded:
        pass
    return _trace(piece, channels, hw, runtime)


@lru_cache(maxsize=16384)
def _symbolic(piece: Piece, equal: tuple[int, ...], runtime: str, hws: tuple[Hw, ...]) -> Program | None:
    """The piece at any channels of which exactly those at the same index in `equal` are equal.

    Args:
        hws: what it must be right at; a single one, where it is for this one alone.
    """
    fixed = len(hws) == 1
    reference = hws[0] if fixed else _REFERENCE_HW
    symbols = tuple(_UNIT * _BASE ** (index + 1) for index in equal)
    program = Program.read(piece, symbols, reference, runtime, symbolic=True, fixed=fixed)
    for index, probe in enumerate(_CHANNEL_PROBES):
        channels, hw = tuple(probe[index] for index in equal), hws[index % len(hws)]
        try:
            if program.kernels(piece, channels, hw) != _trace(piece, channels, hw, runtime):
                return None
        except (_Rounded, UnknownKernelError):  # a piece need not run at every size that is tried
            return None
    return program


@lru_cache(maxsize=4096)
def _sizes_are_free(piece: Piece, equal: tuple[int, ...], runtime: str) -> bool:
    channels = tuple(_CHANNEL_PROBES[0][index] for index in equal)
    program = _sized(piece, channels, runtime)
    try:
        return all(
            program.kernels(piece, channels, hw) == _trace(piece, channels, hw, runtime) for hw in _HW_PROBES
        )
    except UnknownKernelError:
        return False


@lru_cache(maxsize=16384)
def _sized(piece: Piece, channels: Channels, runtime: str) -> Program:
    return Program.read(piece, channels, _REFERENCE_HW, runtime, symbolic=False, fixed=False)


@lru_cache(maxsize=16384)
def _trace(piece: Piece, channels: Channels, hw: Hw, runtime: str) -> tuple[Kernel, ...]:
    return tuple(node.kernel for node in _nodes(piece, channels, hw, runtime))


def _nodes(piece: Piece, channels: Channels, hw: Hw, runtime: str) -> tuple[Node, ...]:
    with Skeleton():
        function = piece.build(channels, hw)
    return trace(function, piece.inputs(channels, hw), type(piece).__name__, module_rules(runtime))


class _Rounded(Exception):
    """Channels of which a program would need a fraction, or so few that another kernel runs."""


@dataclass(frozen=True)
class Program:
    """Kernels in order, each with what depends on sizes."""

    steps: tuple[_Step, ...]

    @classmethod
    def read(
        cls, piece: Piece, channels: Channels, hw: Hw, runtime: str, *, symbolic: bool, fixed: bool
    ) -> Program:
        """Trace a piece.

        Args:
            symbolic: channels are `_UNIT` times powers of `_BASE`.
            fixed: for this height and width alone.
        """
        sizes = {index: shape[1:] for index, shape in enumerate(piece.inputs(channels, hw), 1)}
        steps = []
        for node in _nodes(piece, channels, hw, runtime):
            steps.append(_Step.of(node, len(channels) if symbolic else 0, {} if fixed else sizes))
            sizes[node.output] = (node.kernel.out_height, node.kernel.out_width)
        return cls(tuple(steps))

    def kernels(self, piece: Piece, channels: Channels, hw: Hw) -> tuple[Kernel, ...]:
        """The kernels at other sizes."""
        sizes = {index: shape[1:] for index, shape in enumerate(piece.inputs(channels, hw), 1)}
        kernels = []
        for step in self.steps:
            kernel = step.at(channels, *sizes[step.source], sizes.get(step.like))
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
        grows: how the output's height and width follow from the input's; `times` that many.
        like: value number of what has the output's height and width, where `grows` says so.
    """

    kernel: Kernel
    values: tuple
    source: int
    output: int
    channels: tuple[tuple, ...]
    others: tuple[tuple, ...]
    grows: str
    times: int
    like: int

    @classmethod
    def of(cls, node: Node, digits: int, sizes: Mapping[int, Hw]) -> _Step:
        """A step from a node.

        Args:
            digits: how many channels are told apart.
            sizes: height and width of the values so far; none where they will not change.
        """
        kernel = node.kernel
        grows, times = _growth(kernel) if sizes else ("fixed", 1)
        like = 0
        if grows == "fixed" and kernel.op.startswith("resize"):
            out = (kernel.out_height, kernel.out_width)
            like = next((value for value, size in sizes.items() if size == out), 0)
            grows = "like" if like else grows
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
            grows,
            times,
            like,
        )

    def at(self, channels: Channels, height: int, width: int, like: Hw | None = None) -> Kernel:
        """The kernel for the given channels of the piece and height and width of this step's input.

        Args:
            like: height and width of the value `self.like`.

        Raises:
            _Rounded: see there.
        """
        kernel, values = self.kernel, list(self.values)
        for position, constant, terms in self.channels:
            values[position] = _sum(constant, terms, channels)
        if self.others:
            values[_OTHERS] = tuple(_sum(constant, terms, channels) for _, constant, terms in self.others)
        values[_IN_HEIGHT], values[_IN_WIDTH] = height, width
        match self.grows:
            case "equal":
                out = height, width
            case "window":
                out = _windows(kernel, height, width)
            case "all":
                values[_KERNEL_HEIGHT], values[_KERNEL_WIDTH] = height, width
                out = 1, 1
            case "all rows":
                values[_KERNEL_HEIGHT] = height
                out = 1, width
            case "all columns":
                values[_KERNEL_WIDTH] = width
                out = height, 1
            case "times":
                out = self.times * height, self.times * width
            case "like":
                out = like
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


_OTHERS = _NAMES.index("other_channels")


def _sum(constant: int, terms: Sequence[tuple[int, int]], channels: Channels) -> int:
    if not terms:
        return constant
    whole, rest = divmod(sum(factor * channels[index] for index, factor in terms), _UNIT)
    if rest or constant + whole == 1:
        raise _Rounded
    return constant + whole


def _digits(value: int, count: int) -> tuple[int, tuple[tuple[int, int], ...]]:
    """A sum of channels as its constant and (index, factor in units) of each of `count` channels in it."""
    value, constant = divmod(value, _BASE)
    terms = []
    for index in range(count):
        value, factor = divmod(value, _BASE)
        if factor:
            terms.append((index, factor))
    return constant, tuple(terms)


def _growth(kernel: Kernel) -> tuple[str, int]:
    """How a kernel's output follows its input's height and width, and how many times as large it is."""
    whole = (kernel.in_height, kernel.in_width)
    out = (kernel.out_height, kernel.out_width)
    window = (kernel.kernel_height, kernel.kernel_width)
    if kernel.op in ("conv2d", "depthwise_conv2d"):
        return "all" if window == whole else "window", 1
    if kernel.op.endswith("pool2d"):
        axes = {whole: "all", (whole[0], 1): "all rows", (1, whole[1]): "all columns"}
        return axes.get(window, "window"), 1
    if kernel.op.startswith("resize") or kernel.op == "depth_to_space":
        times = out[0] // whole[0]
        return ("times", times) if out == (times * whole[0], times * whole[1]) else ("fixed", 1)
    if kernel.op == "pad":
        return "pad", 1
    return "equal" if out == whole else "fixed", 1


def _windows(kernel: Kernel, height: int, width: int) -> Hw:
    """Positions of the kernel's window over an input."""
    if kernel.padding == "same":
        return -(-height // kernel.stride_height), -(-width // kernel.stride_width)
    top, bottom, left, right = kernel.pads or (0, 0, 0, 0)
    rows = height + top + bottom - kernel.dilation_height * (kernel.kernel_height - 1) - 1
    columns = width + left + right - kernel.dilation_width * (kernel.kernel_width - 1) - 1
    return rows // kernel.stride_height + 1, columns // kernel.stride_width + 1
