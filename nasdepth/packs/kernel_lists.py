"""Networks as lists of kernels in a CSV file: anchors that no name and no `.tflite` file stands for.

One row is one kernel, in the order of execution: `model` first, then the columns of `Kernel.to_row`. The file
may be compressed (`.csv.gz`). The kernels are those that the runtime runs, fused as it fuses them.
"""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from nasdepth.errors import TableError
from nasdepth.kernels.kernel import KERNEL_COLUMNS, OPTIONAL_COLUMNS, Kernel

_NEEDED = ("model", *(name for name in KERNEL_COLUMNS if name not in OPTIONAL_COLUMNS))
_TELLING = {"model", "op", "in_height"}


def has_kernel_lists(path: str | Path) -> bool:
    """Whether a CSV file has columns of kernels, and not those of another format.

    Raises:
        TableError: the file cannot be read; the message names it.
    """
    return set(next(csv.reader(io.StringIO(_text(Path(path)))), [])) >= _TELLING


def read_kernel_lists(path: str | Path) -> dict[str, tuple[Kernel, ...]]:
    """Read networks from a file of the format above.

    Returns:
        {name of the network: its kernels in order}.

    Raises:
        TableError: the file cannot be read, or a row is no kernel; the message names file, line, column and
            value.
    """
    path = Path(path)
    reader = csv.reader(io.StringIO(_text(path)))
    columns = next(reader, [])
    if missing := [name for name in _NEEDED if name not in columns]:
        raise TableError(
            f"{path}, line 1: no column {missing[0]!r}; lists of kernels have {', '.join(_NEEDED)}"
        )
    place = columns.index("model")
    # the same kernels come again and again: each is read once
    kernels: dict[tuple[str, ...], Kernel] = {}
    networks: dict[str, list[Kernel]] = {}
    for cells in reader:
        if len(cells) != len(columns):
            raise TableError(
                f"{path}, line {reader.line_num}: {len(cells)} cells, not {len(columns)}; restore the line"
            )
        key = (*cells[:place], *cells[place + 1 :])
        if key not in kernels:
            try:
                kernels[key] = Kernel.from_row(dict(zip(columns, cells, strict=True)))
            except ValueError as error:
                raise TableError(f"{path}, line {reader.line_num}: {error}") from None
        networks.setdefault(cells[place], []).append(kernels[key])
    return {name: tuple(network) for name, network in networks.items()}


def quantised(network: Sequence[Kernel]) -> tuple[Kernel, ...]:
    """The same network with 8-bit integers, its image and its outputs still float32.

    Between a `quantize` of the image and a `dequantize` of every output stand the same kernels. An output is
    what no later kernel reads, as far as shapes tell. A network that is not float32 stays as it is.
    """
    if any(kernel.precision != "float32" for kernel in network):
        return tuple(network)
    first = network[0]
    image = (first.in_height, first.in_width, first.in_channels)
    outputs = [
        (kernel.out_height, kernel.out_width, kernel.out_channels)
        for index, kernel in enumerate(network)
        if not any(_reads(later, kernel) for later in network[index + 1 :])
    ]
    return (
        Kernel("quantize", *image, *image, precision="int8"),
        *map(_int8, network),
        *(Kernel("dequantize", *shape, *shape, precision="int8") for shape in outputs),
    )


def _reads(later: Kernel, kernel: Kernel) -> bool:
    """Whether a kernel may read another's output."""
    if later.op == "concat" and kernel.out_channels in later.other_channels:
        return (later.in_height, later.in_width) == (kernel.out_height, kernel.out_width)
    sizes = (later.in_height, later.in_width, later.in_channels)
    return sizes == (kernel.out_height, kernel.out_width, kernel.out_channels)


@lru_cache(maxsize=65536)
def _int8(kernel: Kernel) -> Kernel:
    return replace(kernel, precision="int8")


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
        return (gzip.decompress(content) if path.suffix == ".gz" else content).decode()
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise TableError(f"{path}: cannot be read ({error}); give a CSV file, or one in gzip") from None
