"""What every torch operation becomes: a table of handlers, one an operation.

A handler takes the trace and the operation's own arguments and returns the output.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from nasdepth.kernels.kernel import hwc, operand_of, same_padding
from nasdepth.latency.extract.recorder import Recorder

_aten = torch.ops.aten
HANDLERS: dict[Any, Callable] = {}
# Those of them that take tensors in another order of axes
REARRANGING: set[Callable] = set()


def _handles(*packets: Any) -> Callable:
    def register(handler: Callable) -> Callable:
        HANDLERS.update(dict.fromkeys(packets, handler))
        return handler

    return register


def _pair(values: list[int]) -> tuple[int, int]:
    return (values[0], values[-1])


def _pad(trace: Recorder, x: torch.Tensor, pads: tuple[int, int, int, int]) -> torch.Tensor:
    """Zero padding by (top, bottom, left, right)."""
    shape = (1, x.shape[1], x.shape[2] + pads[0] + pads[1], x.shape[3] + pads[2] + pads[3])
    return trace.node("pad", [x], shape, pads=pads)


@_handles(_aten.constant_pad_nd)
def _constant_pad(trace, x, pads, value=0):
    if len(pads) != 4 or value != 0:
        raise trace.unknown(f"padding {pads} with {value} (expected the two image axes, with 0)")
    return _pad(trace, x, (pads[2], pads[3], pads[0], pads[1])) if any(pads) else x


@_handles(_aten.convolution)
def _convolution(trace, x, weight, bias, stride, padding, dilation, transposed, output_padding, groups):
    stride, padding, dilation = _pair(stride), _pair(padding), _pair(dilation)
    window = tuple(weight.shape[2:])
    attributes = {
        "kernel_height": window[0],
        "kernel_width": window[1],
        "stride_height": stride[0],
        "stride_width": stride[1],
    }
    if transposed:
        if groups != 1 or dilation != (1, 1):
            raise trace.unknown(f"a transposed convolution with groups {groups}, dilation {dilation}")
        return _transposed(trace, x, weight.shape[1], bias, padding, _pair(output_padding), attributes)
    geometry = list(zip(x.shape[2:], window, stride, dilation, strict=True))
    out = [
        (size + 2 * p - d * (k - 1) - 1) // s + 1
        for (size, k, s, d), p in zip(geometry, padding, strict=True)
    ]
    mode = "same" if window == (1, 1) else "valid"
    if any(padding):
        if all(same_padding(*axis) == (p, p) for axis, p in zip(geometry, padding, strict=True)):
            mode = "same"
        else:
            x = _pad(trace, x, (padding[0], padding[0], padding[1], padding[1]))
    depthwise = groups == x.shape[1] and weight.shape[1] == 1 and groups > 1
    return trace.node(
        "depthwise_conv2d" if depthwise else "conv2d",
        [x],
        (1, weight.shape[0], *out),
        padding=mode,
        groups=groups,
        dilation_height=dilation[0],
        dilation_width=dilation[1],
        **attributes,
    )


def _transposed(trace, x, out_channels, bias, padding, output_padding, attributes):
    """Conversion crops what torch does not compute, and adds the bias afterwards."""
    rows, columns = (
        (size - 1) * attributes[f"stride_{axis}"] + attributes[f"kernel_{axis}"]
        for size, axis in zip(x.shape[2:], ("height", "width"), strict=True)
    )
    out = (
        rows - 2 * padding[0] + output_padding[0],
        columns - 2 * padding[1] + output_padding[1],
    )
    if out[0] + padding[0] > rows or out[1] + padding[1] > columns:
        raise trace.unknown(
            f"a transposed convolution with output padding {output_padding} above its padding"
        )
    y = trace.node("transpose_conv2d", [x], (1, out_channels, rows, columns), padding="valid", **attributes)
    if out != (rows, columns):
        begin = (0, *padding, 0)
        y = trace.node("strided_slice", [y], (1, out_channels, *out), begin=begin, steps=(1, 1, 1, 1))
    if bias is not None:
        y = trace.node("add", [y], y.shape, operand="vector")
    trace.transposed[trace.value_of(y)] = bias is not None
    return y


@_handles(
    _aten.native_batch_norm,
    _aten.cudnn_batch_norm,
    _aten._native_batch_norm_legit_no_training,
    _aten._batch_norm_no_update,
)
def _batch_norm(trace, x, *_, **__):
    if (biased := trace.transposed.get(trace.value_of(x))) is None:
        normalised = trace.node("mul", [x], x.shape, operand="vector", normalisation=True)
    else:  # the scale goes into the weights, the shift into the addition that is the bias
        normalised = x if biased else trace.node("add", [x], x.shape, operand="vector")
    return normalised, torch.empty(0, device="meta"), torch.empty(0, device="meta")


_CLAMPS = {(0, None): "relu", (0, 6): "relu6", (0, 1): "relu_0_to_1"}


@_handles(_aten.relu, _aten.relu_)
def _relu(trace, x):
    return trace.node("relu", [x], x.shape)


@_handles(_aten.hardtanh, _aten.hardtanh_, _aten.clamp, _aten.clamp_, _aten.clamp_min, _aten.clamp_min_)
def _clamp(trace, x, low=None, high=None):
    if (low, high) == (-1, 1):
        raise trace.unknown("clamp to [-1, 1], which converts to a RELU_N1_TO_1 between transposes,")
    if (low, high) in _CLAMPS:
        return trace.node(_CLAMPS[low, high], [x], x.shape)
    for op, limit in (("maximum", low), ("minimum", high)):
        if limit is not None:
            x = trace.node(op, [x], x.shape, operand="scalar")
    return x


@_handles(_aten.clamp_max, _aten.clamp_max_)
def _clamp_max(trace, x, high):
    return _clamp(trace, x, None, high)


@_handles(_aten.hardsigmoid, _aten.hardsigmoid_)
def _hard_sigmoid(trace, x):
    # x / 6 + 1/2 goes into a convolution before it, as a normalisation does
    scaled = trace.node("mul", [x], x.shape, operand="vector", normalisation=True)
    return trace.node("relu_0_to_1", [scaled], x.shape)


@_handles(_aten.silu, _aten.silu_)
def _silu(trace, x):
    gate = trace.node("logistic", [x], x.shape)
    return trace.node("mul", [x, gate], x.shape, operand="tensor")


def _unary(op: str) -> Callable:
    def handler(trace, x, *_, **__):
        return trace.node(op, [x], x.shape)

    return handler


for _op, _packets in {
    "hard_swish": (_aten.hardswish, _aten.hardswish_),
    "logistic": (_aten.sigmoid, _aten.sigmoid_),
    "leaky_relu": (_aten.leaky_relu, _aten.leaky_relu_),
    "tanh": (_aten.tanh, _aten.tanh_),
    "gelu": (_aten.gelu,),
    "exp": (_aten.exp, _aten.exp_),
    "abs": (_aten.abs,),
    "neg": (_aten.neg,),
    "sqrt": (_aten.sqrt,),
    "rsqrt": (_aten.rsqrt,),
    "sin": (_aten.sin,),
    "cos": (_aten.cos,),
}.items():
    _handles(*_packets)(_unary(_op))


@_handles(_aten.prelu, _aten._prelu_kernel)
def _prelu(trace, x, weight):
    if weight.numel() not in (1, x.shape[1]):
        raise trace.unknown(f"prelu with {weight.numel()} slopes for {x.shape[1]} channels")
    return trace.node("prelu", [x], x.shape, operand="vector")


@_handles(_aten.slice)
def _slice(trace, x, dim=0, start=None, end=None, step=1):
    size = x.shape[dim]
    start, end = max((start or 0) + size * ((start or 0) < 0), 0), min(size if end is None else end, size)
    end += size * (end < 0)
    if (start, end, step) == (0, size, 1):
        return trace.rearranged(x, x.shape, trace.order_of(x))
    if x.dim() != 4 or dim % 4 != 1 or step != 1:
        raise trace.unknown(f"slicing axis {dim} with step {step} (expected channels, which stay together)")
    return trace.node("slice", [x], (1, end - start, *x.shape[2:]), begin=(0, 0, 0, start))


@_handles(_aten._softmax)
def _softmax(trace, x, dim, half_to_float):
    if dim % x.dim() != (1 if x.dim() == 4 else x.dim() - 1):
        raise trace.unknown(f"softmax over axis {dim} (expected the channels)")
    return trace.node("softmax", [x], x.shape)


def _binary(op: str) -> Callable:
    def handler(trace, x, y, alpha=1):
        if alpha != 1:
            raise trace.unknown(f"{op} with alpha {alpha}")
        x, y = (x, y) if trace.is_data(x) else (y, x)
        if not trace.is_data(y):
            if op not in ("add", "mul"):
                raise trace.unknown(f"{op} with a constant (expected add or mul, which convert as they are)")
            shape = y.shape if isinstance(y, torch.Tensor) else ()
            shape = (1,) * (x.dim() - len(shape)) + tuple(shape)
            operand = operand_of(*(hwc(trace.deployed(one)) for one in (x.shape, shape)), constant=True)
            if operand is None:
                raise trace.unknown(f"{op} of {tuple(x.shape)} and a constant of {tuple(y.shape)}")
            return trace.node(op, [x], x.shape, operand=operand)
        if y.numel() > x.numel():
            x, y = y, x
        operand = operand_of(*(hwc(trace.deployed(one.shape)) for one in (x, y)))
        if operand is None:
            raise trace.unknown(f"{op} of {tuple(x.shape)} and {tuple(y.shape)}")
        return trace.node(op, [x, y], x.shape, operand=operand)

    return handler


_handles(_aten.add, _aten.add_)(_binary("add"))
_handles(_aten.mul, _aten.mul_)(_binary("mul"))
_handles(_aten.sub, _aten.sub_)(_binary("sub"))
_handles(_aten.div, _aten.div_)(_binary("div"))
_handles(_aten.maximum)(_binary("maximum"))
_handles(_aten.minimum)(_binary("minimum"))


@_handles(_aten.cat)
def _concat(trace, tensors, dim=0):
    data = [tensor for tensor in tensors if trace.is_data(tensor)]
    constants = [tensor for tensor in tensors if not trace.is_data(tensor)]
    if dim % tensors[0].dim() != 1 or len(constants) > 1 or any(map(trace.order_of, data)):
        raise trace.unknown(
            f"concatenation over axis {dim} with {len(constants)} constants (expected channels, one at most)"
        )
    if len(tensors) == 1:
        return tensors[0]
    others = tuple(tensor.shape[1] for tensor in [*data, *constants][1:])
    shape = (1, data[0].shape[1] + sum(others), *data[0].shape[2:])
    return trace.node("concat", data, shape, other_channels=others, operand="constant" if constants else "")


@_handles(_aten.pixel_shuffle)
def _pixel_shuffle(trace, x, factor):
    channels = x.shape[1] // factor**2
    if channels != 1:
        raise trace.unknown(f"a pixel shuffle to {channels} channels (expected 1; more convert to a GATHER)")
    return trace.node("depth_to_space", [x], (1, 1, factor * x.shape[2], factor * x.shape[3]))


def _target_hw(x: torch.Tensor, size: list[int] | None, scales: list[float] | None) -> tuple[int, int]:
    if size is not None:
        return _pair(size)
    return tuple(int(length * scale) for length, scale in zip(x.shape[2:], scales, strict=True))


def _resize(trace: Recorder, op: str, x: torch.Tensor, hw: tuple[int, int], sampling: str) -> torch.Tensor:
    # the exported file has none to the size that there is (`deploy.clean_up.drop_resizes`)
    if hw == tuple(x.shape[2:]):
        return x
    return trace.node(op, [x], (1, x.shape[1], *hw), sampling=sampling)


@_handles(_aten.upsample_bilinear2d)
def _resize_bilinear(trace, x, size, align_corners, scales=None, *_):
    sampling = "align_corners" if align_corners else "half_pixel"
    return _resize(trace, "resize_bilinear", x, _target_hw(x, size, scales), sampling)


@_handles(_aten.upsample_nearest2d)
def _resize_nearest(trace, x, size, scales=None, *_):
    return _resize(trace, "resize_nearest", x, _target_hw(x, size, scales), "asymmetric")


def _pool(trace, op, x, window, stride, padding, dilation=(1, 1), ceil_mode=False):
    window, padding = _pair(window), _pair(padding)
    stride = _pair(stride) if stride else window
    geometry = list(zip(x.shape[2:], window, stride, strict=True))
    out = [(size + 2 * p - k) // s + 1 for (size, k, s), p in zip(geometry, padding, strict=True)]
    whole = [-(-size // s) for size, _, s in geometry]
    # rounding up makes room for a last window, as SAME does where all of its padding comes behind
    behind = ceil_mode and op == "max_pool2d" and not any(padding) and out != whole
    if (ceil_mode and not behind and out != whole) or _pair(dilation) != (1, 1):
        raise trace.unknown(f"{op} with ceil_mode {ceil_mode}, dilation {dilation}")
    same = all(
        same_padding(*axis) == (p, p) or (behind and same_padding(*axis)[0] == 0)
        for axis, p in zip(geometry, padding, strict=True)
    )
    if (any(padding) or behind) and not same:
        raise trace.unknown(f"{op} of {window} with padding {padding} (expected SAME padding or none)")
    out = whole if behind else out
    return trace.node(
        op,
        [x],
        (*x.shape[:2], *out),
        kernel_height=window[0],
        kernel_width=window[1],
        stride_height=stride[0],
        stride_width=stride[1],
        padding="same" if any(padding) or behind else "valid",
    )


@_handles(_aten.avg_pool2d)
def _average_pool(trace, x, window, stride=(), padding=(0,), ceil_mode=False, *_):
    return _pool(trace, "average_pool2d", x, window, stride, padding, ceil_mode=ceil_mode)


@_handles(_aten.max_pool2d_with_indices)
def _max_pool(trace, x, window, stride=(), padding=(0,), dilation=(1,), ceil_mode=False):
    pooled = _pool(trace, "max_pool2d", x, window, stride, padding, dilation, ceil_mode)
    return pooled, torch.empty(0, device="meta")


@_handles(_aten.mean)
def _mean(trace, x, dim=None, keepdim=False, dtype=None):
    if dim is None or sorted(axis % x.dim() for axis in dim) != [2, 3]:
        raise trace.unknown(f"mean over axes {dim} (expected height and width)")
    return trace.node("mean", [x], (1, x.shape[1], 1, 1) if keepdim else x.shape[:2])


@_handles(_aten.addmm, _aten.mm)
def _fully_connected(trace, *operands):
    x, weight = operands[-2:]
    return trace.node("fully_connected", [x], (x.shape[0], weight.shape[1]))


@_handles(_aten.view, _aten._unsafe_view, _aten.reshape, _aten.squeeze)
def _reshape(trace, x, shape=None):
    shape = _sized(x, shape) if isinstance(shape, list | tuple) else None
    if shape == tuple(x.shape):
        return trace.rearranged(x, shape, trace.order_of(x))
    order = trace.order_of(x)
    if not order and x.numel() == x.shape[1]:
        return trace.node("reshape", [x], (1, x.shape[1]))
    if order == "channels_last" and shape == (1, x.shape[1] * x.shape[2], x.shape[3]):
        return trace.node("reshape", [x], shape)
    if not order and x.dim() == 3 and shape == (1, *shape[1:3], x.shape[2]):
        image = trace.node("reshape", [x], (1, x.shape[2], *shape[1:3]))
        return trace.rearranged(image, shape, "channels_last")
    raise trace.unknown(
        f"reshape of {tuple(x.shape)} to {shape} (expected 1x1 pixels, or (1, H, W, C) to "
        "(1, H W, C) and back, which convert without transposing)"
    )


def _sized(x: torch.Tensor, shape: list[int]) -> tuple[int, ...]:
    known = math.prod(size for size in shape if size != -1)
    return tuple(x.numel() // known if size == -1 else size for size in shape)


@_handles(_aten.permute)
def _permute(trace, x, dims):
    order, dims = trace.order_of(x), tuple(dim % x.dim() for dim in dims)
    shape = tuple(x.shape[dim] for dim in dims)
    if not order and dims == (0, 2, 3, 1):
        return trace.rearranged(x, shape, "channels_last")
    if order == "channels_last" and dims == (0, 3, 1, 2):
        return trace.rearranged(x, shape, "")
    if x.dim() == 3 and dims == (0, 2, 1):
        return trace.rearranged(x, shape, "" if order else "swapped")
    raise trace.unknown(f"permute of {tuple(x.shape)} by {dims} (expected channels last and back)")


@_handles(_aten.transpose)
def _transpose(trace, x, first, second):
    dims = list(range(x.dim()))
    dims[first], dims[second] = dims[second], dims[first]
    return _permute(trace, x, dims)


@_handles(_aten.bmm)
def _matrix_product(trace, x, y):
    if not (trace.is_data(x) and trace.is_data(y)):
        raise trace.unknown("a product of matrices with a constant (expected two that are computed)")
    swapped = tuple(int(trace.order_of(one) == "swapped") for one in (x, y))
    axes = swapped if any(swapped) else ()
    return trace.node("batch_matmul", [x, y], (1, x.shape[1], y.shape[2]), axes=axes)


@_handles(_aten.expand)
def _expand(trace, x, shape, implicit=False):
    if tuple(x.shape) != tuple(
        size if given == -1 else given for size, given in zip(x.shape, shape, strict=True)
    ):
        raise trace.unknown(f"expanding {tuple(x.shape)} to {tuple(shape)}")
    return trace.rearranged(x, x.shape, trace.order_of(x))


@_handles(_aten.clone, _aten.detach, _aten.alias, _aten._to_copy, _aten.native_dropout, _aten.dropout)
def _identity(trace, x, *_, **__):
    # torch refuses a view that is its own base
    return trace.rearranged(x, x.shape, trace.order_of(x))


REARRANGING |= {_slice, _reshape, _permute, _transpose, _matrix_product, _expand, _identity}
