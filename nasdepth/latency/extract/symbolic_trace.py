"""Programs: what a piece of a network runs at any size, from one look at the piece.

A search scores thousands of architectures a proposal, and building and tracing a block takes a millisecond.
So an architecture takes 37 ms where traces are kept for equal blocks, and 4.5 ms in the way of this module. A
piece is traced once, with channels that can be told apart in whatever sums, multiples and fractions of them
turn up (`channel_formulas.py`), and its kernels at other sizes are computed. That is checked against tracing
at sizes unlike each other. Where small images are treated apart, as by a pool whose window must not exceed
them, they get programs of their own. Where channels are rounded in a way that is not known here, a program is
made for every number of channels; where that is not enough either, the piece is traced each time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache

import torch

from nasdepth.errors import UnknownKernelError
from nasdepth.kernels.graph import Node, canonical
from nasdepth.kernels.kernel import Kernel
from nasdepth.kernels.rules import module_rules
from nasdepth.latency.extract.channel_formulas import (
    SMALLEST,
    Amount,
    Channels,
    Rounded,
    distinct,
    evaluate,
    fit,
    symbols,
)
from nasdepth.latency.extract.from_torch import trace
from nasdepth.latency.extract.network_pieces import Piece
from nasdepth.latency.extract.shape_only import Skeleton

Hw = tuple[int, int]

# Few and many; one of multiples of 4 alone tells rounding to multiples of 8 from not rounding
_CHANNEL_PROBES: tuple[Channels, ...] = ((16, 8, 24), (268, 524, 140))
# Remainders unlike each other: a rounding that is not known could pass for another one at the first few
_ROUNDING_PROBES: tuple[Channels, ...] = ((56, 32, 88), (24, 48, 72), (40, 24, 8))
_NAMES = [field.name for field in fields(Kernel)]


@dataclass(frozen=True)
class _Look:
    """Where a piece is traced for a program, and where the program must be right.

    Attributes:
        reference: height and width at which it is read.
        probes: at which it is checked; a single one, the reference, where it is for this one alone.
    """

    reference: Hw
    probes: tuple[Hw, ...]

    @property
    def fixed(self) -> bool:
        """For the reference alone."""
        return self.probes == (self.reference,)


_ANY = _Look((64, 96), ((7, 9), (6, 4), (1, 1), (33, 18)))
# An odd reference: a window that drops the last row is spelt like one that pads where there is none to drop
_ROOM_FOR_TWO = _Look((65, 97), ((7, 9), (6, 4), (2, 2), (33, 18)))
# Along each axis: up to 14 pixels a pool of 7 behind a stride of 2 sees all; from 16 on it has a window
_SMALL, _LARGE = (12, 8), (64, 96)
_SMALL_PROBES, _LARGE_PROBES = ((1, 14, 5, 9), (14, 1, 4, 3)), ((17, 26, 16, 33), (19, 24, 16, 18))
_SMALL_TO, _LARGE_FROM = 14, 16


@dataclass(frozen=True)
class Linked:
    """Kernels in order, and what each of them reads and writes.

    Attributes:
        kernels: of a piece.
        links: of each kernel, the values that it reads and the one that it writes. The piece's inputs are 1,
            2 and so on.
        output: the value that leaves; an input's where a piece runs nothing.
    """

    kernels: tuple[Kernel, ...]
    links: tuple[tuple[tuple[int, ...], int], ...]
    output: int


def run(piece: Piece, channels: Channels, hw: Hw, runtime: str) -> tuple[Kernel, ...]:
    """The kernels of a piece at the given channels and input height and width, in order."""
    return run_linked(piece, channels, hw, runtime).kernels


@lru_cache(maxsize=65536)
def run_linked(piece: Piece, channels: Channels, hw: Hw, runtime: str) -> Linked:
    """The kernels of a piece at given channels and input height and width, with what they read and write."""
    # a depthwise convolution of one channel is an ordinary one
    if not channels or 1 in channels:
        return _linked(piece, channels, hw, runtime)
    equal = tuple(map(channels.index, channels))
    try:
        for look in _looks(hw):
            if program := _symbolic(piece, equal, runtime, look):
                return program.linked(piece, channels, hw)
    except Rounded:
        pass
    if _sizes_are_free(piece, equal, runtime):
        return _sized(piece, channels, runtime).linked(piece, channels, hw)
    if program := _symbolic(piece, equal, runtime, _Look(hw, (hw,))):
        try:
            return program.linked(piece, channels, hw)
        except Rounded:
            pass
    return _linked(piece, channels, hw, runtime)


def _looks(hw: Hw) -> Iterator[_Look]:
    """Looks whose program is right at a height and width, those that are right at the most first."""
    yield _ANY
    if min(hw) > 1:
        yield _ROOM_FOR_TWO
    if all(size <= _SMALL_TO or size >= _LARGE_FROM for size in hw):
        yield _look(hw[0] >= _LARGE_FROM, hw[1] >= _LARGE_FROM)


@lru_cache
def _look(*large: bool) -> _Look:
    reference = tuple((_LARGE if one else _SMALL)[axis] for axis, one in enumerate(large))
    probes = ((_LARGE_PROBES if one else _SMALL_PROBES)[axis] for axis, one in enumerate(large))
    return _Look(reference, tuple(zip(*probes, strict=True)))


@lru_cache(maxsize=16384)
def _symbolic(piece: Piece, equal: tuple[int, ...], runtime: str, look: _Look) -> Program | None:
    """The piece at any channels of which exactly those at the same index in `equal` are equal."""
    try:
        program = Program.read(
            piece, symbols(equal), look.reference, runtime, symbolic=True, fixed=look.fixed
        )
    except UnknownKernelError:
        return None
    seen = []
    for number, probe in enumerate(_CHANNEL_PROBES):
        channels = tuple(probe[index] for index in equal)
        for hw in look.probes[number :: len(_CHANNEL_PROBES)] or look.probes:
            values = program.traced(piece, channels, hw, runtime)
            if values is None:
                return None
            seen.append((channels, values))

    def probe(channels: Channels) -> list[int] | None:
        return program.traced(piece, channels, look.probes[0], runtime)

    amounts = fit(program.values, equal, seen, _ROUNDING_PROBES, probe)
    return None if amounts is None else program.with_amounts(amounts, len(equal))


@lru_cache(maxsize=4096)
def _sizes_are_free(piece: Piece, equal: tuple[int, ...], runtime: str) -> bool:
    channels = tuple(_CHANNEL_PROBES[0][index] for index in equal)
    try:
        program = _sized(piece, channels, runtime)
        return all(
            program.kernels(piece, channels, hw) == _trace(piece, channels, hw, runtime) for hw in _ANY.probes
        )
    except UnknownKernelError:
        return False


@lru_cache(maxsize=16384)
def _sized(piece: Piece, channels: Channels, runtime: str) -> Program:
    return Program.read(piece, channels, _ANY.reference, runtime, symbolic=False, fixed=False)


@lru_cache(maxsize=16384)
def _trace(piece: Piece, channels: Channels, hw: Hw, runtime: str) -> tuple[Kernel, ...]:
    return tuple(node.kernel for node in _nodes(piece, channels, hw, runtime))


def _linked(piece: Piece, channels: Channels, hw: Hw, runtime: str) -> Linked:
    nodes = _nodes(piece, channels, hw, runtime)
    return Linked(tuple(node.kernel for node in nodes), *_links(nodes))


def _links(nodes: Sequence[Node]) -> tuple[tuple[tuple[tuple[int, ...], int], ...], int]:
    """What each node reads and writes, and the value that leaves."""
    return tuple((node.inputs, node.output) for node in nodes), nodes[-1].output if nodes else 1


def _nodes(piece: Piece, channels: Channels, hw: Hw, runtime: str) -> tuple[Node, ...]:
    function = _built(piece, channels, hw if piece.sized else None)
    return trace(function, piece.inputs(channels, hw), type(piece).__name__, module_rules(runtime))


@lru_cache(maxsize=1)  # building takes longer than tracing, and is for several sizes in a row
def _built(piece: Piece, channels: Channels, hw: Hw | None) -> Callable[..., torch.Tensor]:
    with Skeleton():
        return piece.build(channels, hw)


@dataclass(frozen=True)
class Program:
    """Kernels in order, each with what depends on sizes.

    Attributes:
        steps: the kernels.
        values: the numbers of channels in them that are to be found out, as traced.
        amounts: how they follow from the piece's channels.
        links, output: see `Linked`.
    """

    steps: tuple[_Step, ...]
    values: tuple[int, ...] = ()
    amounts: tuple[Amount, ...] = ()
    links: tuple[tuple[tuple[int, ...], int], ...] = ()
    output: int = 1

    @classmethod
    def read(
        cls, piece: Piece, channels: Channels, hw: Hw, runtime: str, *, symbolic: bool, fixed: bool
    ) -> Program:
        """Trace a piece.

        Args:
            symbolic: channels are `symbols`; the program has no amounts yet.
            fixed: for this height and width alone.
        """
        sizes = {index: shape[1:] for index, shape in enumerate(piece.inputs(channels, hw), 1)}
        places = _Places(len(channels)) if symbolic else None
        steps = []
        nodes = _nodes(piece, channels, hw, runtime)
        for node in nodes:
            steps.append(_Step.of(node, {} if fixed else sizes, places))
            sizes[node.output] = (node.kernel.out_height, node.kernel.out_width)
        links, output = _links(nodes)
        return cls(tuple(steps), places.values if places else (), links=links, output=output)

    def with_amounts(self, amounts: Sequence[Amount], given: int) -> Program:
        """The program, of any channels now.

        Args:
            amounts: how `values` follow from the piece's channels.
            given: how many those are.
        """
        amounts, places = distinct(amounts, given)
        steps = (
            replace(
                step,
                channels=tuple((position, places[place]) for position, place in step.channels),
                others=tuple(places[place] for place in step.others),
            )
            for step in self.steps
        )
        return replace(self, steps=tuple(steps), amounts=amounts)

    def kernels(self, piece: Piece, channels: Channels, hw: Hw) -> tuple[Kernel, ...]:
        """The kernels at other sizes.

        Raises:
            Rounded: see there.
        """
        return self.linked(piece, channels, hw).kernels

    def linked(self, piece: Piece, channels: Channels, hw: Hw) -> Linked:
        """As `kernels`, with what they read and write."""
        kernels, links = [], []
        same: dict[int, int] = {}
        every = self._all_at(evaluate(self.amounts, channels), piece.inputs(channels, hw))
        for kernel, (reads, writes) in zip(every, self.links, strict=True):
            sources = tuple(same.get(one, one) for one in reads)
            if _resizes_to_the_same(kernel):
                same[writes] = sources[0]
            else:
                kernels.append(kernel)
                links.append((sources, writes))
        return Linked(tuple(kernels), tuple(links), same.get(self.output, self.output))

    def traced(self, piece: Piece, channels: Channels, hw: Hw, runtime: str) -> list[int] | None:
        """What `values` are at other sizes, from a trace there.

        Returns:
            None where the piece does not run, or the kernels differ in anything but those from the program's.
        """
        try:
            traced = _trace(piece, channels, hw, runtime)
        except (UnknownKernelError, ValueError):  # a piece need not run at every size that is tried
            return None
        if len(traced) != len(self.steps):
            return None
        known = [*channels, *[0] * len(self.values)]
        for step, kernel in zip(self.steps, traced, strict=True):
            for place, value in step.amounts_of(kernel):
                known[place] = value
        if self._at(known, piece.inputs(channels, hw)) != traced:
            return None
        return known[len(channels) :]

    def _at(self, known: Sequence[int], inputs: Sequence[tuple[int, int, int]]) -> tuple[Kernel, ...]:
        return tuple(one for one in self._all_at(known, inputs) if not _resizes_to_the_same(one))

    def _all_at(self, known: Sequence[int], inputs: Sequence[tuple[int, int, int]]) -> list[Kernel]:
        sizes = {index: shape[1:] for index, shape in enumerate(inputs, 1)}
        kernels = []
        for step in self.steps:
            kernel = step.at(known, *sizes[step.source], sizes.get(step.like))
            sizes[step.output] = (kernel.out_height, kernel.out_width)
            kernels.append(kernel)
        return kernels


class _Places:
    """Where the amounts of a program stand: behind the channels that the piece is given.

    What comes to the same number in two tensors need not do so at other channels.
    """

    def __init__(self, given: int) -> None:
        self._given = given
        self._places: dict[tuple[int, int], int] = {}

    def of(self, value: int, tensor: int = 0) -> int:
        """The place of a number of channels of a value number."""
        return self._places.setdefault((value, tensor), self._given + len(self._places))

    @property
    def values(self) -> tuple[int, ...]:
        """The numbers as traced, in the order of their places."""
        return tuple(value for value, _ in self._places)


@dataclass(frozen=True)
class _Step:
    """A kernel at the reference size and how to move it to another.

    Attributes:
        kernel: as traced.
        values: its fields, in order.
        source, output: value numbers of the first input and of the output.
        channels: (position of the field, place among the known amounts)...
        others: the places of `other_channels`.
        grows: how the output's height and width follow from the input's; `times` that many.
        like: value number of what has the output's height and width, where `grows` says so.
    """

    kernel: Kernel
    values: tuple
    source: int
    output: int
    channels: tuple[tuple[int, int], ...]
    others: tuple[int, ...]
    grows: str
    times: int
    like: int

    @classmethod
    def of(cls, node: Node, sizes: Mapping[int, Hw], places: _Places | None) -> _Step:
        """A step from a node.

        Args:
            sizes: height and width of the values so far; none where they will not change.
            places: of amounts; None where channels stay as they are.
        """
        kernel = node.kernel
        grows, times = _growth(kernel) if sizes else ("fixed", 1)
        like = 0
        if grows == "fixed" and kernel.op.startswith("resize"):
            out = (kernel.out_height, kernel.out_width)
            like = next((value for value, size in sizes.items() if size == out), 0)
            grows = "like" if like else grows
        channels, others = (), ()
        if places is not None:
            of = {"in_channels": node.inputs[0], "groups": node.inputs[0], "out_channels": node.output}
            channels = tuple(
                (_NAMES.index(name), places.of(value, tensor))
                for name, tensor in of.items()
                if (value := getattr(kernel, name)) >= SMALLEST
            )
            others = tuple(places.of(value) for value in kernel.other_channels)
        return cls(
            kernel,
            tuple(getattr(kernel, name) for name in _NAMES),
            node.inputs[0],
            node.output,
            channels,
            others,
            grows,
            times,
            like,
        )

    def amounts_of(self, kernel: Kernel) -> Iterator[tuple[int, int]]:
        """(place, number of channels) of all that a kernel in this one's stead says about amounts."""
        for position, place in self.channels:
            yield place, getattr(kernel, _NAMES[position])
        yield from zip(self.others, kernel.other_channels, strict=False)

    def at(self, known: Sequence[int], height: int, width: int, like: Hw | None = None) -> Kernel:
        """The kernel for known amounts and the height and width of this step's input.

        Args:
            known: the channels that the piece is given, then the program's amounts.
            like: height and width of the value `self.like`.
        """
        kernel, values = self.kernel, list(self.values)
        for position, place in self.channels:
            values[position] = known[place]
        if self.others:
            values[_OTHERS] = tuple(known[place] for place in self.others)
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
                out = 1, _windows(kernel, height, width)[1]
            case "all columns":
                values[_KERNEL_WIDTH] = width
                out = _windows(kernel, height, width)[0], 1
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
        return _kernel(*values)


def _resizes_to_the_same(kernel: Kernel) -> bool:
    """Whether a network leaves a kernel out where it would resize to the size that there is."""
    same = (kernel.in_height, kernel.in_width) == (kernel.out_height, kernel.out_width)
    return same and kernel.op.startswith("resize")


@lru_cache(maxsize=131072)
def _kernel(*values: int | str | tuple[int, ...]) -> Kernel:
    """Equal kernels are one object, which is found in a table or a cache without comparing its fields."""
    return canonical(Kernel(*values))


_IN_HEIGHT, _IN_WIDTH = _NAMES.index("in_height"), _NAMES.index("in_width")
_OUT_HEIGHT, _OUT_WIDTH = _NAMES.index("out_height"), _NAMES.index("out_width")
_KERNEL_HEIGHT, _KERNEL_WIDTH = _NAMES.index("kernel_height"), _NAMES.index("kernel_width")
_OTHERS = _NAMES.index("other_channels")


def _growth(kernel: Kernel) -> tuple[str, int]:
    """How a kernel's output follows its input's height and width, and how many times as large it is."""
    whole = (kernel.in_height, kernel.in_width)
    out = (kernel.out_height, kernel.out_width)
    window = (kernel.kernel_height, kernel.kernel_width)
    if kernel.op in ("conv2d", "depthwise_conv2d"):
        return "all" if window == whole else "window", 1
    if kernel.op.endswith("pool2d"):
        rows, columns = window[0] == whole[0], window[1] == whole[1]
        return (
            "all" if rows and columns else "all rows" if rows else "all columns" if columns else "window"
        ), 1
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
