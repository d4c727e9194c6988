"""Published measurements of models operator by operator, as kernels.

The format is that of Li, Paolieri and Golubchik, "Inference Latency Prediction at the Edge"
(arXiv:2210.02620; github.com/qed-usc/mobile-ml-benchmark, MIT), as CSV with these columns:

    model,op,input_shape,input_channel,output_shape,stride,kernel,filter,group,flops,
    <device>_us,<device>_kernel, ...

Only convolutions, fully connected layers, pools, means and concatenations have rows. What the delegate linked
to one of them is in its kernel's name with the number of its node in the graph
(`convolution_2d_16_linked_:_add_17_linked_:_relu_18`), and its time stands there too. Numbers that no row has
are paddings, which the delegate merges into what follows, or elementwise operations, which it runs by
themselves; `PublishedModel` puts both back.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from nasdepth.errors import TableError
from nasdepth.kernels.kernel import Kernel, same_padding
from nasdepth.reading import read_text

_COLUMNS = (
    "model",
    "op",
    "input_shape",
    "input_channel",
    "output_shape",
    "stride",
    "kernel",
    "filter",
    "group",
)
_MICROSECONDS = "_us"
_KERNEL = "_kernel"
_NODE = re.compile(r"(.+?)_(\d+)")
_LINK = "_linked_:_"
# A gate is what squeeze-and-excite multiplies by: the last of the layers on one pixel
_GATES = ("sigmoid", "mul", "minimum", "relu")
# mul, add and relu of a batch normalisation, or mul, add and relu around a shortcut, run as one kernel
_LINKED_IN_ONE = 3
_INPUT_MULTIPLE = 32
_ON_CPU = {"sigmoid": "logistic", "hard_swish": "hard_swish", "relu": "relu"}


@dataclass(frozen=True, slots=True)
class PublishedOperation:
    """One operator with what the delegate linked to it.

    Attributes:
        kernel: as `nasdepth.latency.extract` forms it for the GPU delegate: with padding, an addition and an
            activation merged in.
        links: operations linked to it, in the delegate's words, in order.
        latencies_ms: {device: ms}, from profiling; empty for what no row has.
        names: {device: the delegate's name for the kernel, without numbers and links}.
    """

    kernel: Kernel
    links: tuple[str, ...] = ()
    latencies_ms: Mapping[str, float] | None = None
    names: Mapping[str, str] | None = None

    @property
    def listed(self) -> bool:
        """Whether the file has a row for it; otherwise it is inferred from a gap in the numbers."""
        return self.latencies_ms is not None


@dataclass(frozen=True, slots=True)
class PublishedModel:
    """A model's operators in order, those without a row among them."""

    name: str
    operations: tuple[PublishedOperation, ...]

    @property
    def gpu_kernels(self) -> tuple[Kernel, ...]:
        """What the GPU delegate runs."""
        return tuple(one.kernel for one in self.operations)

    @property
    def cpu_kernels(self) -> tuple[Kernel, ...]:
        """What TFLite runs on a CPU: additions, batch normalisations and activations but ReLU apart."""
        return tuple(kernel for one in self.operations for kernel in _unlinked(one))


def read_models(path: str | Path) -> dict[str, PublishedModel]:
    """Read operators of models from a CSV file of the format above.

    Returns:
        {name: model}, in the order of the file.

    Raises:
        TableError: unreadable, or a row that is none; the message names file, line, column and value.
    """
    rows: dict[str, list[_Row]] = {}
    for line, cells in _records(Path(path)):
        row = _Row.read(cells, f"{path}, line {line}")
        rows.setdefault(row.model, []).append(row)
    return {name: PublishedModel(name, tuple(_operations(some))) for name, some in rows.items()}


def read_end_to_end(path: str | Path) -> dict[str, dict[str, float]]:
    """Read latencies of whole models from a CSV file with the columns `model` and `<device>_us`.

    Returns:
        {model: {device: ms}}; a device's name is its column's without `_gpu` and `_us`, and a cell left empty
        is left out.

    Raises:
        TableError: unreadable, or a cell that is no time; the message names file, line, column and value.
    """
    latencies: dict[str, dict[str, float]] = {}
    for line, cells in _records(Path(path), ("model",)):
        columns = [name for name in cells if name.endswith(_MICROSECONDS)]
        latencies[cells["model"]] = {
            name.removesuffix(_MICROSECONDS).removesuffix("_gpu"): _milliseconds(
                cells[name], name, f"{path}, line {line}"
            )
            for name in columns
            if cells[name]
        }
    return latencies


def _records(path: Path, needed: Sequence[str] = _COLUMNS):
    reader = csv.DictReader(read_text(path, error=TableError).splitlines())
    missing = [name for name in needed if name not in (reader.fieldnames or ())]
    if missing:
        raise TableError(f"{path}, line 1: no column {', '.join(missing)}; see nasdepth.packs for the format")
    for cells in reader:
        if None in cells or None in cells.values():
            raise TableError(
                f"{path}, line {reader.line_num}: not {len(reader.fieldnames or ())} cells; restore it"
            )
        yield reader.line_num, cells


def _milliseconds(text: str, column: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value <= 0:
        raise TableError(f"{where}: column {column} is {text!r}; it must be microseconds above 0, or empty")
    return value / 1000


@dataclass(frozen=True, slots=True)
class _Row:
    """A row as it stands; sizes that it does not have are 0."""

    model: str
    op: str
    size: int
    channels: int
    out_size: int
    stride: int
    window: int
    filters: int
    groups: int
    latencies_ms: Mapping[str, float]
    names: Mapping[str, str]
    links: tuple[str, ...]
    first_node: int
    last_node: int

    @classmethod
    def read(cls, cells: Mapping[str, str], where: str) -> _Row:
        if cells["op"] not in _READERS:
            raise TableError(
                f"{where}: column op is {cells['op']!r}; known are {', '.join(_READERS)}. Delete the row, or "
                "teach nasdepth.packs.published_operations to read it"
            )
        sizes = []
        for column in _COLUMNS[2:]:
            text = cells[column]
            if text not in ("", "-") and not (text.isascii() and text.isdigit()):
                raise TableError(f"{where}: column {column} is {text!r}; it must be a whole number or -")
            sizes.append(int(text) if text not in ("", "-") else 0)
        size, channels, out_size, stride, window, filters, groups = sizes
        devices = [name.removesuffix(_KERNEL) for name in cells if name.endswith(_KERNEL)]
        times, names, chains = {}, {}, []
        for device in devices:
            if not cells.get(device + _MICROSECONDS):
                continue
            times[device] = _milliseconds(cells[device + _MICROSECONDS], device + _MICROSECONDS, where)
            parts = [_NODE.fullmatch(part) for part in cells[device + _KERNEL].split(_LINK)]
            if None in parts:
                raise TableError(
                    f"{where}: column {device + _KERNEL} is {cells[device + _KERNEL]!r}; expected names that "
                    "end with the number of a node, such as convolution_2d_0_linked_:_relu_1"
                )
            names[device] = parts[0][1]
            chains.append([(part[1], int(part[2])) for part in parts])
        if not chains:
            raise TableError(f"{where}: no device has a time; delete the row")
        # Winograd's kernel is the middle one of three, and what is linked is linked to the last of them
        chain = max(chains, key=len)
        return cls(
            cells["model"], cells["op"], size, channels, out_size, stride or 1, window, filters, groups,
            times, names, tuple(name for name, _ in chain[1:]), chain[0][1], chain[-1][1],
        )  # fmt: skip


def _operations(rows: Sequence[_Row]) -> list[PublishedOperation]:
    """A model's operations, those without a row put back."""
    operations: list[PublishedOperation] = []
    # Every size that a padding can start from
    sizes = {rows[0].size - (rows[0].size % _INPUT_MULTIPLE if rows[0].first_node else 0)}
    node, squeezed, gated = -1, None, False
    for row in rows:
        gap = row.first_node - node - 1
        kernel = _READERS[row.op](row)
        if gap > 0 and kernel.padding == "valid" and (before := _before_padding(row, sizes)):
            kernel = _padded(kernel, before)
            gap -= 1
        if gap > 0:
            operations += _unlisted(gap, kernel, squeezed if gated else None)
        operations.append(
            PublishedOperation(_linked(kernel, row.links), row.links, row.latencies_ms, row.names)
        )
        if row.op == "MEAN":
            squeezed = kernel
        gated = kernel.out_pixels == 1 and bool(row.links) and row.links[-1] in _GATES
        sizes.add(kernel.out_height)
        node = max(node, row.last_node)
    return operations


def _before_padding(row: _Row, sizes: set[int]) -> int:
    """The size before a padding, 0 where there is none."""
    if row.size in sizes:
        return 0
    return max((row.size - more for more in range(1, row.window) if row.size - more in sizes), default=0)


def _padded(kernel: Kernel, before: int) -> Kernel:
    """A convolution or pool that pads by itself."""
    total = kernel.in_height - before
    same = same_padding(before, kernel.kernel_height, kernel.stride_height)
    kernel = replace(kernel, in_height=before, in_width=before)
    # a total of 1 or 3 is Keras's, which pads as TensorFlow's SAME does; an even one is alike on both sides
    ends = (total // 2, total - total // 2)
    if ends == same or kernel.op.endswith("pool2d"):
        return replace(kernel, padding="same")
    return replace(kernel, pads=(*ends, *ends))


def _unlisted(gap: int, following: Kernel, squeezed: Kernel | None) -> list[PublishedOperation]:
    """Kernels for so many nodes without a row: a gate's multiplication first, then normalisations."""
    kernels = []
    if squeezed is not None:
        sizes = (squeezed.in_height, squeezed.in_width, squeezed.in_channels)
        kernels.append(Kernel("mul", *sizes, *sizes, operand="gate"))
    sizes = (following.in_height, following.in_width, following.in_channels)
    while len(kernels) * _LINKED_IN_ONE < gap:
        kernels.append(Kernel("mul", *sizes, *sizes, operand="vector"))
    return [PublishedOperation(kernel) for kernel in kernels]


def _linked(kernel: Kernel, links: Sequence[str]) -> Kernel:
    """With the addition and the ReLU that a kernel can hold."""
    if kernel.op in ("conv2d", "depthwise_conv2d", "concat") and links[:1] == ("add",):
        kernel = replace(kernel, operand="tensor")
    if kernel.op in ("conv2d", "depthwise_conv2d", "fully_connected") and "relu" in links:
        kernel = replace(kernel, activation="relu")
    return kernel


def _unlinked(operation: PublishedOperation) -> list[Kernel]:
    """The kernels of an operation on a CPU, where only a ReLU is fused."""
    kernels = [replace(operation.kernel, operand="", activation="none")]
    if not operation.listed:
        kernels = [operation.kernel]
    sizes = (operation.kernel.out_height, operation.kernel.out_width, operation.kernel.out_channels)
    fuses = operation.kernel.op in ("conv2d", "depthwise_conv2d", "fully_connected")
    normalising = False
    for link in operation.links:
        if link == "relu" and fuses:
            kernels[-1] = replace(kernels[-1], activation="relu")
            fuses = False
            continue
        if link in ("add", "mul", "minimum"):
            # after a multiplication an addition is a batch normalisation's, before it a shortcut's
            operand = "tensor" if link == "add" and not normalising else "vector"
            if sizes[0] * sizes[1] == 1 and operand == "vector":
                operand = "scalar"
            kernels.append(Kernel(link, *sizes, *sizes, operand=operand))
            normalising, fuses = link == "mul", link == "add"
        else:
            kernels.append(Kernel(_ON_CPU.get(link, link), *sizes, *sizes))
            fuses = False
    return kernels


def _window(row: _Row, op: str, out_channels: int, groups: int) -> Kernel:
    same = row.out_size == -(-row.size // row.stride)
    valid = row.out_size == (row.size - row.window) // row.stride + 1
    return Kernel(
        op,
        row.size, row.size, row.channels,
        row.out_size, row.out_size, out_channels,
        kernel_height=row.window, kernel_width=row.window,
        stride_height=row.stride, stride_width=row.stride,
        groups=groups,
        # where both say the same there is nothing to pad
        padding="valid" if valid and (row.window > 1 or not same) else "same",
    )  # fmt: skip


def _convolution(row: _Row) -> Kernel:
    return _window(row, "conv2d", row.filters, max(row.groups, 1))


def _depthwise(row: _Row) -> Kernel:
    return _window(row, "depthwise_conv2d", row.channels * max(row.filters, 1), row.channels)


def _average_pool(row: _Row) -> Kernel:
    return _window(row, "average_pool2d", row.channels, 1)


def _max_pool(row: _Row) -> Kernel:
    return _window(row, "max_pool2d", row.channels, 1)


def _mean(row: _Row) -> Kernel:
    # the column `kernel` says whether height and width stay, as 1
    flat = () if row.window else (1, row.channels)
    return Kernel("mean", row.size, row.size, row.channels, 1, 1, row.channels, out_shape=flat)


def _fully_connected(row: _Row) -> Kernel:
    return Kernel(
        "fully_connected", 1, 1, row.channels, 1, 1, row.filters,
        in_shape=(1, row.channels), out_shape=(1, row.filters),
    )  # fmt: skip


def _concat(row: _Row) -> Kernel:
    # the columns `kernel` and `filter` hold the number of inputs and the channels of all of them; how these
    # are shared out among the others is not published
    others = max(row.window - 1, 1)
    share, rest = divmod(row.filters - row.channels, others)
    channels = tuple(share + (index < rest) for index in range(others))
    size = row.size, row.size
    return Kernel("concat", *size, row.channels, *size, row.filters, other_channels=channels)


_READERS = {
    "CONV_2D": _convolution,
    "CONV_2D_GROUP": _convolution,
    "DEPTHWISE_CONV_2D": _depthwise,
    "AVERAGE_POOL_2D": _average_pool,
    "MAX_POOL_2D": _max_pool,
    "MEAN": _mean,
    "FULLY_CONNECTED": _fully_connected,
    "CONCATENATION": _concat,
}
