"""Physical terms: what an operation's time is made of, as functions of a kernel that never fall with size.

A term is code and has a name; a prior (`nasdepth.packs.physical.prior`) lists terms by name and says what
each costs on a device. A time is the sum over terms of coefficient times amount, so it never falls where no
amount does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from nasdepth.kernels.kernel import BINARY, OPERATIONS, Kernel
from nasdepth.kernels.rules import partitions

_TILE = 8  # rows and columns of what ruy and XNNPACK compute at once on aarch64
_CACHE_BYTES = 256e3


@dataclass(frozen=True, slots=True)
class Term:
    """Something that takes time.

    Attributes:
        name: as priors and packs spell it.
        unit: of the amount; a coefficient is in ms of it.
        meaning: one line.
        ops: operations that may have some of it; empty for a term of networks.
        amount: of one kernel of these operations, not negative and not falling with channels, height, width
            or window; None for a term of networks.
        of_network: amount of a whole network in order and its runtime; None for a term of kernels.
    """

    name: str
    unit: str
    meaning: str
    ops: frozenset[str] = frozenset()
    amount: Callable[[Kernel], float] | None = None
    of_network: Callable[[Sequence[Kernel], str], float] | None = None

    def of(self, kernel: Kernel) -> float:
        """Of a kernel of any operation."""
        return self.amount(kernel) if self.amount and kernel.op in self.ops else 0.0


TERMS: dict[str, Term] = {}


def term(name: str, unit: str, meaning: str, ops: Sequence[str]) -> Callable:
    """Register a function of a kernel of some operations as a term."""

    def register(amount: Callable[[Kernel], float]) -> Callable[[Kernel], float]:
        _add(Term(name, unit, meaning, frozenset(ops), amount=amount))
        return amount

    return register


def network_term(name: str, unit: str, meaning: str) -> Callable:
    """Register a function of (kernels of a network, runtime) as a term."""

    def register(amount: Callable[[Sequence[Kernel], str], float]) -> Callable:
        _add(Term(name, unit, meaning, of_network=amount))
        return amount

    return register


def _add(new: Term) -> None:
    if new.name in TERMS:
        raise ValueError(f"the term {new.name!r} is registered twice")
    TERMS[new.name] = new


def round_up(value: float, block: int) -> float:
    """To the next multiple: what a tiled loop computes."""
    return math.ceil(value / block) * block


@network_term("call", "call", "one call of the interpreter")
def _call(kernels: Sequence[Kernel], runtime: str) -> float:
    return 1.0


@network_term("input_mvalues", "10^6 values", "values of the image, handed over before the clock stops")
def _input_values(kernels: Sequence[Kernel], runtime: str) -> float:
    return math.prod(kernels[0].input_shape) / 1e6 if kernels else 0.0


@network_term("partition", "partition", "pieces that a delegate and the runtime's own kernels run in turn")
def _partitions(kernels: Sequence[Kernel], runtime: str) -> float:
    return float(partitions(kernels, runtime))


_GEMM = ("conv2d", "fully_connected", "transpose_conv2d", "batch_matmul")
_TRANSCENDENTAL = (
    *("logistic", "tanh", "exp", "elu", "gelu", "softmax", "sqrt", "rsqrt", "div", "sin", "cos"),
)
_PIECEWISE = ("relu", "relu6", "relu_0_to_1", "relu_n1_to_1", "leaky_relu", "prelu", "abs", "neg", "square")
_MOVING = (
    *("pad", "transpose", "slice", "strided_slice", "split", "depth_to_space", "space_to_depth"),
    *("reshape", "squeeze", "expand_dims"),
)
_LINEAR = tuple(op for op in BINARY if op != "div")


@term("op", "kernel", "one operation: the interpreter's step, starting and joining threads", OPERATIONS)
def _op(kernel: Kernel) -> float:
    return 1.0


def _gemm_shape(kernel: Kernel) -> tuple[float, float, float]:
    """(rows, columns, depth): pixels, output channels, what is summed over; no rows in groups."""
    window = kernel.kernel_height * kernel.kernel_width
    if kernel.op == "batch_matmul":
        return kernel.out_pixels, kernel.out_channels, kernel.depth
    if kernel.op == "transpose_conv2d":
        return kernel.in_height * kernel.in_width, kernel.out_channels * window, kernel.in_channels
    rows = 0 if kernel.op == "conv2d" and kernel.groups > 1 else kernel.out_pixels
    return rows, kernel.out_channels, window * kernel.in_channels


def _is_copied(kernel: Kernel) -> bool:
    """Whether patches have to be written out before a matrix multiplication."""
    return kernel.kernel_height * kernel.kernel_width * kernel.stride_height * kernel.stride_width > 1


@term("gemm_mmac", "10^6 MAC", "multiplications in tiles of 8 output channels by 8 pixels", _GEMM)
def _gemm(kernel: Kernel) -> float:
    rows, columns, depth = _gemm_shape(kernel)
    return round_up(rows, _TILE) * round_up(columns, _TILE) * depth / 1e6


@term("gemm_moutputs", "10^6 sums", "sums that are begun, rounded off and stored, whatever the depth", _GEMM)
def _gemm_outputs(kernel: Kernel) -> float:
    rows, columns, _ = _gemm_shape(kernel)
    return round_up(rows, _TILE) * round_up(columns, _TILE) / 1e6


@term("grouped_mmac", "10^6 MAC", "multiplications of convolutions in groups", ("conv2d",))
def _grouped(kernel: Kernel) -> float:
    return kernel.macs / 1e6 if kernel.groups > 1 else 0.0


@term("dw_mmac", "10^6 MAC", "multiplications of depthwise convolutions", ("depthwise_conv2d",))
def _depthwise(kernel: Kernel) -> float:
    return kernel.macs / 1e6


@term("im2col_mb", "MB", "patches written for a window or a stride, and read again", ("conv2d",))
def _im2col(kernel: Kernel) -> float:
    if not _is_copied(kernel):
        return 0.0
    window = kernel.kernel_height * kernel.kernel_width
    return kernel.out_pixels * window * kernel.in_channels * _size(kernel) / 1e6


@term("im2col_mrows", "10^6 copies", "copies of a window's row each, that make up the patches", ("conv2d",))
def _im2col_rows(kernel: Kernel) -> float:
    return kernel.out_pixels * kernel.kernel_height / 1e6 if _is_copied(kernel) else 0.0


@term("col2im_mb", "MB", "windows that are added into the output", ("transpose_conv2d",))
def _col2im(kernel: Kernel) -> float:
    window = kernel.kernel_height * kernel.kernel_width
    return kernel.in_height * kernel.in_width * window * kernel.out_channels * _size(kernel) / 1e6


@term("conv_io_mb", "MB", "input and output of convolutions that are not depthwise", _GEMM)
def _conv_io(kernel: Kernel) -> float:
    return _moved_mb(kernel)


@term("dw_io_mb", "MB", "input and output of depthwise convolutions", ("depthwise_conv2d",))
def _depthwise_io(kernel: Kernel) -> float:
    return _moved_mb(kernel)


@term("weights_mb", "MB", "weights and constant operands, read on every call", OPERATIONS)
def _weights(kernel: Kernel) -> float:
    return kernel.weight_bytes / 1e6


@term("packed_mb", "MB", "matrices that ruy lays out anew on every call: not those for up to 8 pixels", _GEMM)
def _packed(kernel: Kernel) -> float:
    # ruy/prepare_packed_matrices.cc: kCacheIfLargeSpeedup, which TFLite asks for, keeps only those
    return _packed_bytes(kernel) / 1e6 if _gemm_shape(kernel)[0] > _TILE else 0.0


@term("packed_spill_mb", "MB", "what of that exceeds a core's share of a Cortex-A72's cache, 256 kB", _GEMM)
def _packed_spill(kernel: Kernel) -> float:
    return max(_packed_bytes(kernel) - _CACHE_BYTES, 0) / 1e6 if _gemm_shape(kernel)[0] > _TILE else 0.0


@term("elementwise_mb", "MB", "inputs and outputs of piecewise linear functions", (*_LINEAR, *_PIECEWISE))
def _elementwise(kernel: Kernel) -> float:
    return _moved_mb(kernel)


@term("hard_swish_mvalues", "10^6 values", "hard-swish, an operation of its own", ("hard_swish",))
def _hard_swish(kernel: Kernel) -> float:
    return _outputs(kernel)


@term("transcendental_mvalues", "10^6 values", "exponentials, roots and divisions", _TRANSCENDENTAL)
def _transcendental(kernel: Kernel) -> float:
    return _outputs(kernel)


@term(
    *("pool_mvalues", "10^6 values", "values that pools and means read, window by window"),
    ("average_pool2d", "max_pool2d", "mean"),
)
def _pool(kernel: Kernel) -> float:
    if kernel.op == "mean":
        return kernel.in_height * kernel.in_width * kernel.in_channels / 1e6
    return _outputs(kernel) * kernel.kernel_height * kernel.kernel_width


@term(
    *("resize_mpixels", "10^6 pixels", "output pixels: where each comes from, and a copy or a blend"),
    ("resize_bilinear", "resize_nearest"),
)
def _resize_pixels(kernel: Kernel) -> float:
    return kernel.out_pixels / 1e6


@term("resize_mvalues", "10^6 values", "values that are each blended from four", ("resize_bilinear",))
def _resize_values(kernel: Kernel) -> float:
    return _outputs(kernel)


@term("resize_nearest_mb", "MB", "bytes that a nearest resize writes", ("resize_nearest",))
def _resize_nearest(kernel: Kernel) -> float:
    return kernel.out_bytes / 1e6


@term("concat_mb", "MB", "bytes that a concatenation reads and writes", ("concat",))
def _concat(kernel: Kernel) -> float:
    return _moved_mb(kernel)


@term("concat_mcopies", "10^6 copies", "runs of values that are copied: one a pixel and input", ("concat",))
def _concat_copies(kernel: Kernel) -> float:
    return kernel.out_pixels * (1 + len(kernel.other_channels)) / 1e6


@term("move_mb", "MB", "bytes that padding, slicing, transposing and the like read and write", _MOVING)
def _move(kernel: Kernel) -> float:
    return _moved_mb(kernel)


@term("quantize_mvalues", "10^6 values", "values quantised or widened", ("quantize", "dequantize"))
def _quantize(kernel: Kernel) -> float:
    return _outputs(kernel)


def _moved_mb(kernel: Kernel) -> float:
    return (kernel.in_bytes + kernel.out_bytes) / 1e6


def _outputs(kernel: Kernel) -> float:
    return kernel.out_pixels * kernel.out_channels / 1e6


def _packed_bytes(kernel: Kernel) -> int:
    """Of the matrix that is multiplied by: weights, or what another operation has just computed."""
    if kernel.op == "batch_matmul":
        return math.prod(kernel.second_shape) * _size(kernel)
    return kernel.weight_bytes


def _size(kernel: Kernel) -> int:
    return 4 if kernel.precision == "float32" else 1
