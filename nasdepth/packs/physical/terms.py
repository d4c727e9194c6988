"""Physical terms: what an operation's time is made of, as functions of a kernel.

A term is code and has a name; a prior (`nasdepth.packs.physical.prior`) lists terms by name and says what
each costs on a device. A time is the sum over terms of coefficient times amount. No amount falls with a size
but that of a term which says so by `monotone`; so no time falls either where no such term has a part in it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from nasdepth.kernels.kernel import BINARY, CONVOLUTIONS, OPERATIONS, Kernel
from nasdepth.kernels.rules import partitions

_TILE = 8  # rows and columns of what ruy computes at once on aarch64, and columns of what XNNPACK does
_CACHE_BYTES = 256e3
# XNNPACK's micro-kernels for a Cortex-A72 compute 4 pixels by 8 channels (src/configs/gemm-config.c)
_PIXELS = 4
_CORES = 4
# Fewer tiles of pixels than this are divided by channels, too (src/operators/convolution-nhwc.c,
# target_tiles_per_thread = 5)
_TILES_OF_WHOLE_ROWS = 5 * _CORES
# Of a Cortex-A72's 1 MB of L2, half is what weights or values keep beside all else
_HALF_L2_BYTES = 512e3


@dataclass(frozen=True, slots=True)
class Term:
    """Something that takes time.

    Attributes:
        name: as priors and packs spell it.
        unit: of the amount; a coefficient is in ms of it.
        meaning: one line.
        ops: operations that may have some of it; empty for a term of networks.
        amount: of one kernel of these operations, not negative; None for a term of networks.
        of_network: amount of a whole network in order and its runtime; None for a term of kernels.
        monotone: whether the amount never falls with a size.
    """

    name: str
    unit: str
    meaning: str
    ops: frozenset[str] = frozenset()
    amount: Callable[[Kernel], float] | None = None
    of_network: Callable[[Sequence[Kernel], str], float] | None = None
    monotone: bool = True

    def of(self, kernel: Kernel) -> float:
        """Of a kernel of any operation."""
        return self.amount(kernel) if self.amount and kernel.op in self.ops else 0.0


TERMS: dict[str, Term] = {}


def term(name: str, unit: str, meaning: str, ops: Sequence[str], *, monotone: bool = True) -> Callable:
    """Register a function of a kernel of some operations as a term."""

    def register(amount: Callable[[Kernel], float]) -> Callable[[Kernel], float]:
        _add(Term(name, unit, meaning, frozenset(ops), amount=amount, monotone=monotone))
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


@term("tiled_mmac", "10^6 MAC", "multiplications in tiles of 4 pixels by 8 output channels", _GEMM)
def _tiled(kernel: Kernel) -> float:
    rows, columns, depth = _gemm_shape(kernel)
    return round_up(rows, _PIXELS) * round_up(columns, _TILE) * depth / 1e6


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


@term(
    *("streamed_mb", "MB", "weights beyond half of the L2 cache, read again by all cores in step", _GEMM),
)
def _streamed(kernel: Kernel) -> float:
    tiles = _pixel_tiles(kernel)
    # the first time stands in weights_mb
    return _beyond_l2(kernel) * max(math.ceil(tiles / _CORES) - 1, 0) / 1e6


@term(
    *("unshared_mb", "MB", "the same where the cores read different weights: few tiles of pixels", _GEMM),
    monotone=False,
)
def _unshared(kernel: Kernel) -> float:
    """Cores begin with the same weights, and share what they read, where each gets whole tiles of pixels.

    Up to 19 tiles are divided by channels, too, and dealt out evenly: where their number is no multiple of
    four, the cores begin at two or at four places. So 16 tiles take less than 15.
    """
    tiles = _pixel_tiles(kernel)
    if not 1 < tiles < _TILES_OF_WHOLE_ROWS:
        return 0.0
    places = _CORES // math.gcd(tiles, _CORES)
    return _beyond_l2(kernel) * (tiles * places / _CORES - math.ceil(tiles / _CORES)) / 1e6


def _pixel_tiles(kernel: Kernel) -> int:
    return math.ceil(_gemm_shape(kernel)[0] / _PIXELS)


def _beyond_l2(kernel: Kernel) -> float:
    return max(_packed_bytes(kernel) - _HALF_L2_BYTES, 0)


@term("conv_spill_mb", "MB", "inputs and outputs of convolutions beyond half of the L2 cache", CONVOLUTIONS)
def _convolution_spill(kernel: Kernel) -> float:
    return _spilled_mb(kernel)


# A resize has terms of its own for what it reads and writes: nothing is known of it from other operations
@term(
    *("spill_mb", "MB", "inputs and outputs of other operations, not resizes, beyond half of the L2 cache"),
    tuple(op for op in OPERATIONS if op not in (*CONVOLUTIONS, "resize_bilinear", "resize_nearest")),
)
def _spill(kernel: Kernel) -> float:
    return _spilled_mb(kernel)


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
    *(
        "window_pool_mvalues",
        "10^6 values",
        "values that pools over part of the image read, window by window",
    ),
    ("average_pool2d", "max_pool2d"),
)
def _window_pool(kernel: Kernel) -> float:
    return 0.0 if _is_global_pool(kernel) else _pool(kernel)


@term(
    *("global_pool_mvalues", "10^6 values", "values that means over the whole image read, on one core"),
    ("average_pool2d", "mean"),
)
def _global_pool(kernel: Kernel) -> float:
    return _pool(kernel) if _is_global_pool(kernel) else 0.0


def _is_global_pool(kernel: Kernel) -> bool:
    return kernel.op == "mean" or kernel.out_pixels == 1


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


def _spilled_mb(kernel: Kernel) -> float:
    return max(kernel.in_bytes + kernel.out_bytes - _HALF_L2_BYTES, 0) / 1e6


def _outputs(kernel: Kernel) -> float:
    return kernel.out_pixels * kernel.out_channels / 1e6


def _packed_bytes(kernel: Kernel) -> int:
    """Of the matrix that is multiplied by: weights, or what another operation has just computed."""
    if kernel.op == "batch_matmul":
        return math.prod(kernel.second_shape) * _size(kernel)
    return kernel.weight_bytes


def _size(kernel: Kernel) -> int:
    return 4 if kernel.precision == "float32" else 1
