"""Which kernel TFLite's GPU delegate chooses for an operation: rules as data, by family of GPU."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import Field, ValidationError

from nasdepth.errors import NasdepthError
from nasdepth.kernels.kernel import Kernel
from nasdepth.latency.accuracy import Strict

Choice = Literal[
    "winograd", "constants", "generic", "grouped", "depthwise_3x3", "depthwise", "fully_connected", "other"
]
SLICE = 4
TILE = 4
_HALF = 2
_RULES = Path(__file__).with_name("delegate.yaml")
# The delegate's names for the kernels, as its profiler prints them
_NAMES = {
    "winograd": "convolution_winograd_4x4_6x6",
    "constants": "convolution_2d",
    "generic": "convolution_2d",
    "grouped": "convolution_2d_grouped",
    "depthwise_3x3": "depthwise_convolution",
    "depthwise": "depthwise_convolution",
    "fully_connected": "fully_connected",
}

_Count = Annotated[int, Field(ge=1)]


class Winograd(Strict):
    """From what size on a dense 3x3 convolution of stride 1 runs as Winograd's F(4x4, 3x3)."""

    least_in_slices: _Count
    least_out_slices: _Count
    least_tiles: _Count


class Constants(Strict):
    """Up to what size a filter is read from constant memory."""

    most_filter_bytes: _Count
    most_out_slices: _Count


class Delegate(Strict):
    """The choices of the delegate on one family of GPU.

    Attributes:
        winograd, constants: see there; None where it never chooses them.
        block: output columns, rows and slices of 4 channels that a thread of a convolution computes.
    """

    winograd: Winograd | None
    constants: Constants | None
    block: tuple[_Count, _Count, _Count]

    def choose(self, kernel: Kernel) -> Choice:
        """The kernel that runs an operation; `other` for what has only one."""
        match kernel.op:
            case "fully_connected":
                return "fully_connected"
            case "depthwise_conv2d":
                return "depthwise_3x3" if _is_3x3_same(kernel) else "depthwise"
            case "conv2d" if kernel.groups > 1:
                return "grouped"
            case "conv2d" if _is_fully_connected(kernel):
                return "fully_connected"
            case "conv2d" if self._is_winograd(kernel):
                return "winograd"
            case "conv2d" if self._is_constants(kernel):
                return "constants"
            case "conv2d" | "transpose_conv2d":
                return "generic"
        return "other"

    def next_winograd(self, kernel: Kernel) -> Kernel | None:
        """The smallest kernel, smaller than this in nothing, that runs as Winograd's; None where none."""
        rule = self.winograd
        if rule is None or not _is_dense_3x3(kernel) or kernel.op != "conv2d" or kernel.groups > 1:
            return None
        rows, columns = -(-kernel.out_height // TILE), -(-kernel.out_width // TILE)
        grids = [
            (high, max(columns, -(-rule.least_tiles // high)))
            for high in range(rows, max(rows, rule.least_tiles) + 1)
        ]
        high, wide = min(grids, key=lambda grid: grid[0] * grid[1])
        size = {"height": high * TILE if high > rows else 0, "width": wide * TILE if wide > columns else 0}
        return replace(
            kernel,
            in_channels=max(kernel.in_channels, rule.least_in_slices * SLICE),
            out_channels=max(kernel.out_channels, rule.least_out_slices * SLICE),
            **{f"{side}_{axis}": more for axis, more in size.items() if more for side in ("in", "out")},
        )

    def published_name(self, kernel: Kernel) -> str:
        """What the delegate's profiler calls the kernel of a convolution or fully connected layer.

        Raises:
            KeyError: another operation.
        """
        return _NAMES[self.choose(kernel)]

    def _is_winograd(self, kernel: Kernel) -> bool:
        rule = self.winograd
        return (
            rule is not None
            and _is_dense_3x3(kernel)
            and slices(kernel.in_channels) >= rule.least_in_slices
            and slices(kernel.out_channels) >= rule.least_out_slices
            and tiles(kernel) >= rule.least_tiles
        )

    def _is_constants(self, kernel: Kernel) -> bool:
        rule = self.constants
        if rule is None or slices(kernel.out_channels) > rule.most_out_slices:
            return False
        ins, outs = kernel.in_channels, kernel.out_channels
        # One side is rounded up to slices: the outputs, or the inputs where dot products waste less
        by_outputs, by_inputs = ins * slices(outs) * SLICE, outs * slices(ins) * SLICE
        whole = outs % SLICE == 0
        dots = not whole and (ins % SLICE == 0 or by_inputs < by_outputs)
        weights = (by_inputs if dots else by_outputs) * kernel.kernel_height * kernel.kernel_width
        return weights * _HALF <= rule.most_filter_bytes


def slices(channels: int) -> int:
    """Groups of 4 channels, in which the delegate stores and computes everything."""
    return -(-channels // SLICE)


def tiles(kernel: Kernel) -> int:
    """4x4 tiles of a convolution's output."""
    return -(-kernel.out_height // TILE) * -(-kernel.out_width // TILE)


def _is_fully_connected(kernel: Kernel) -> bool:
    window = kernel.kernel_height * kernel.kernel_width
    return window == kernel.in_height * kernel.in_width == kernel.out_pixels == 1


def _is_dense_3x3(kernel: Kernel) -> bool:
    return (
        (kernel.kernel_height, kernel.kernel_width) == (3, 3)
        and (kernel.stride_height, kernel.stride_width) == (1, 1)
        and (kernel.dilation_height, kernel.dilation_width) == (1, 1)
    )


def _is_3x3_same(kernel: Kernel) -> bool:
    padded = kernel.padding == "same" or kernel.pads == (1, 1, 1, 1)
    return _is_dense_3x3(kernel) and padded and kernel.out_channels == kernel.in_channels


@lru_cache
def load_delegates() -> dict[str, Delegate]:
    """{family: its choices}, from the file that ships with nasdepth.

    Raises:
        NasdepthError: the file is damaged; the message names the field and its value.
    """
    content = yaml.safe_load(_RULES.read_text(encoding="utf-8"))
    try:
        return {name: Delegate(**rules) for name, rules in content["families"].items()}
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise NasdepthError(f"{_RULES}: {field} is {first['input']!r}: {first['msg']}; restore it") from error


def load_delegate(family: str) -> Delegate:
    """The choices on one family of GPU.

    Raises:
        NasdepthError: no such family; the message lists them.
    """
    delegates = load_delegates()
    if family not in delegates:
        raise NasdepthError(f"no rules for GPUs of the family {family!r}; there are {', '.join(delegates)}")
    return delegates[family]
