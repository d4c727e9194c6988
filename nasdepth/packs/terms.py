"""Physical terms: what an operation's time is made of, as functions of a kernel that never fall with size.

A term is code and has a name; a prior (`nasdepth.packs.prior`) lists terms by name and says what each costs
on a device. A time is the sum over terms of coefficient times amount, so it never falls where no amount does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from nasdepth.latency.kernels import BINARY, Kernel
from nasdepth.latency.rules import partitions

_TILE = 8  # rows and columns of what ruy and XNNPACK compute at once on aarch64
_CACHE_BYTES = 256e3


@dataclass(frozen=True, slots=True)
class Term:
    """Something that takes time.

    Attributes:
        name: as priors and packs spell it.
        unit: of the amount; a coefficient is in ms of it.
        amount: of one kernel, not negative and not falling with channels, height, width or window; None for a
            term of the network.
        of_network: amount of a whole network in order and its runtime; None for a term of kernels.
        meaning: one line.
    """

    name: str
    unit: str
    meaning: str
    amount: Callable[[Kernel], float] | None = None
    of_network: Callable[[Sequence[Kernel], str], float] | None = None


TERMS: dict[str, Term] = {}


def term(name: str, unit: str, meaning: str) -> Callable:
    """Register a function of a kernel as a term."""

    def register(amount: Callable[[Kernel], float]) -> Callable[[Kernel], float]:
        _add(Term(name, unit, meaning, amount=amount))
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


@term("op", "kernel", "one operation: the interpreter's step, starting and joining threads")
def _op(kernel: Kernel) -> float:
    return 1.0


def is_gemm(kernel: Kernel) -> bool:
    """Whether a matrix multiplication does the work."""
    dense = kernel.op in ("fully_connected", "transpose_conv2d")
    return dense or (kernel.op == "conv2d" and kernel.groups == 1)


def is_pointwise(kernel: Kernel) -> bool:
    """Whether the matrix to multiply with is the image as it lies."""
    window = kernel.kernel_height * kernel.kernel_width
    return window == 1 and kernel.stride_height * kernel.stride_width == 1


def _gemm_shape(kernel: Kernel) -> tuple[float, float, float]:
    """(rows, columns, depth): pixels, output channels, what is summed over."""
    window = kernel.kernel_height * kernel.kernel_width
    if kernel.op == "transpose_conv2d":
        return kernel.in_height * kernel.in_width, kernel.out_channels * window, kernel.in_channels
    return kernel.out_pixels, kernel.out_channels, window * kernel.in_channels


@term("gemm_mmac", "10^6 MAC", "multiplications of convolutions, in tiles of 8 output channels by 8 pixels")
def _gemm(kernel: Kernel) -> float:
    if not is_gemm(kernel):
        return 0.0
    rows, columns, depth = _gemm_shape(kernel)
    return round_up(rows, _TILE) * round_up(columns, _TILE) * depth / 1e6


@term(
    "gemm_moutputs",
    "10^6 sums",
    "sums that a multiplication begins, rounds off and stores, whatever the depth",
)
def _gemm_outputs(kernel: Kernel) -> float:
    if not is_gemm(kernel):
        return 0.0
    rows, columns, _ = _gemm_shape(kernel)
    return round_up(rows, _TILE) * round_up(columns, _TILE) / 1e6


@term("grouped_mmac", "10^6 MAC", "multiplications of convolutions in groups")
def _grouped(kernel: Kernel) -> float:
    return kernel.macs / 1e6 if kernel.op == "conv2d" and kernel.groups > 1 else 0.0


@term("dw_mmac", "10^6 MAC", "multiplications of depthwise convolutions")
def _depthwise(kernel: Kernel) -> float:
    return kernel.macs / 1e6 if kernel.op == "depthwise_conv2d" else 0.0


@term("im2col_mb", "MB", "patches written for a convolution with a window or a stride, and read again")
def _im2col(kernel: Kernel) -> float:
    if kernel.op != "conv2d" or is_pointwise(kernel):
        return 0.0
    window = kernel.kernel_height * kernel.kernel_width
    return kernel.out_pixels * window * kernel.in_channels * _size(kernel) / 1e6


@term("im2col_mrows", "10^6 copies", "copies of one row of a window each, that make up the patches")
def _im2col_rows(kernel: Kernel) -> float:
    if kernel.op != "conv2d" or is_pointwise(kernel):
        return 0.0
    return kernel.out_pixels * kernel.kernel_height / 1e6


@term("col2im_mb", "MB", "windows that a transposed convolution adds into its output")
def _col2im(kernel: Kernel) -> float:
    if kernel.op != "transpose_conv2d":
        return 0.0
    window = kernel.kernel_height * kernel.kernel_width
    return kernel.in_height * kernel.in_width * window * kernel.out_channels * _size(kernel) / 1e6


@term("conv_io_mb", "MB", "input and output of convolutions that are not depthwise")
def _conv_io(kernel: Kernel) -> float:
    is_conv = kernel.op in ("conv2d", "transpose_conv2d", "fully_connected")
    return (kernel.in_bytes + kernel.out_bytes) / 1e6 if is_conv else 0.0


@term("dw_io_mb", "MB", "input and output of depthwise convolutions")
def _depthwise_io(kernel: Kernel) -> float:
    return (kernel.in_bytes + kernel.out_bytes) / 1e6 if kernel.op == "depthwise_conv2d" else 0.0


@term("weights_mb", "MB", "weights of convolutions and fully connected layers, read on every call")
def _weights(kernel: Kernel) -> float:
    return kernel.weight_bytes / 1e6


@term("packed_mb", "MB", "weights that ruy lays out anew on every call: all but those for up to 8 pixels")
def _packed(kernel: Kernel) -> float:
    # ruy/prepare_packed_matrices.cc: kCacheIfLargeSpeedup, which TFLite asks for, keeps only those
    return kernel.weight_bytes / 1e6 if is_gemm(kernel) and _gemm_shape(kernel)[0] > _TILE else 0.0


@term("packed_spill_mb", "MB", "what of that does not stay in a core's share of a Cortex-A72's cache, 256 kB")
def _packed_spill(kernel: Kernel) -> float:
    packed = is_gemm(kernel) and _gemm_shape(kernel)[0] > _TILE
    return max(kernel.weight_bytes - _CACHE_BYTES, 0) / 1e6 if packed else 0.0


_TRANSCENDENTAL = ("logistic", "tanh", "exp", "elu", "gelu", "softmax", "sqrt", "rsqrt", "div")
_RESHAPING = ("reshape", "squeeze", "expand_dims")
_MOVING = (
    "pad",
    "transpose",
    "slice",
    "strided_slice",
    "split",
    "depth_to_space",
    "space_to_depth",
    *_RESHAPING,
)
_PIECEWISE = ("relu", "relu6", "relu_0_to_1", "relu_n1_to_1", "leaky_relu", "prelu", "abs", "neg", "square")


@term(
    "elementwise_mb", "MB", "inputs and outputs of additions, multiplications and piecewise linear functions"
)
def _elementwise(kernel: Kernel) -> float:
    chosen = kernel.op in _PIECEWISE or (kernel.op in BINARY and kernel.op != "div")
    return (kernel.in_bytes + kernel.out_bytes) / 1e6 if chosen else 0.0


@term("hard_swish_mvalues", "10^6 values", "hard-swish, an operation of its own")
def _hard_swish(kernel: Kernel) -> float:
    return _outputs(kernel) if kernel.op == "hard_swish" else 0.0


@term("transcendental_mvalues", "10^6 values", "logistic, tanh, exp, gelu, softmax, roots and divisions")
def _transcendental(kernel: Kernel) -> float:
    return _outputs(kernel) if kernel.op in _TRANSCENDENTAL else 0.0


@term("pool_mvalues", "10^6 values", "values that pools and means read, window by window")
def _pool(kernel: Kernel) -> float:
    if kernel.op == "mean":
        return kernel.in_height * kernel.in_width * kernel.in_channels / 1e6
    if kernel.op not in ("average_pool2d", "max_pool2d"):
        return 0.0
    return _outputs(kernel) * kernel.kernel_height * kernel.kernel_width


@term(
    "resize_mpixels", "10^6 pixels", "output pixels of a resize: where each comes from, and a copy or a blend"
)
def _resize_pixels(kernel: Kernel) -> float:
    return kernel.out_pixels / 1e6 if kernel.op.startswith("resize") else 0.0


@term("resize_mvalues", "10^6 values", "values of a bilinear resize, each blended from four")
def _resize_values(kernel: Kernel) -> float:
    return _outputs(kernel) if kernel.op == "resize_bilinear" else 0.0


@term("resize_nearest_mb", "MB", "bytes that a nearest resize writes")
def _resize_nearest(kernel: Kernel) -> float:
    return kernel.out_bytes / 1e6 if kernel.op == "resize_nearest" else 0.0


@term("concat_mb", "MB", "bytes that a concatenation reads and writes")
def _concat(kernel: Kernel) -> float:
    return (kernel.in_bytes + kernel.out_bytes) / 1e6 if kernel.op == "concat" else 0.0


@term("concat_mcopies", "10^6 copies", "runs of values that a concatenation copies: one a pixel and input")
def _concat_copies(kernel: Kernel) -> float:
    return kernel.out_pixels * (1 + len(kernel.other_channels)) / 1e6 if kernel.op == "concat" else 0.0


@term("move_mb", "MB", "bytes that padding, slicing, transposing and the like read and write")
def _move(kernel: Kernel) -> float:
    return (kernel.in_bytes + kernel.out_bytes) / 1e6 if kernel.op in _MOVING else 0.0


@term("quantize_mvalues", "10^6 values", "values that are quantised or widened")
def _quantize(kernel: Kernel) -> float:
    return _outputs(kernel) if kernel.op in ("quantize", "dequantize") else 0.0


def _outputs(kernel: Kernel) -> float:
    return kernel.out_pixels * kernel.out_channels / 1e6


def _size(kernel: Kernel) -> int:
    return 4 if kernel.precision == "float32" else 1
