"""Numbers that stand for other numbers: scales, zero points, and constants in eight or thirty-two bits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_LOWEST = {"int8": -128, "uint8": 0}
_LEVELS = 255
# XNNPACK wants the scale of what goes in over the scale of what comes out in [2^-32, 2^7 or 2^8)
_LEAST_RATIO, MOST_RATIO = 2.0**-24, 64.0
_INT32 = 2**31 - 1
# The 6 of a ReLU6 must fit into int32
_FINEST = 2.0**-26


@dataclass(frozen=True, slots=True)
class Affine:
    """What the integers of a tensor stand for: scale * (integer - zero).

    Attributes:
        scale: above 0.
        zero: the integer that stands for 0.
    """

    scale: float
    zero: int

    @classmethod
    def of_range(cls, low: float, high: float) -> Affine:
        """The int8 numbers from the lowest to the highest value; 0 is always one of them."""
        low, high = min(low, 0.0), max(high, 0.0)
        if high == low:
            return cls(1.0, 0)
        scale = float(np.float32(max((high - low) / _LEVELS, _FINEST)))
        return cls(scale, int(np.clip(round(-128 - low / scale), -128, 127)))

    @classmethod
    def prescribed(cls, scale: float, offset: int, precision: str) -> Affine:
        """What TFLite prescribes: a scale, and how far above the lowest integer the zero is."""
        return cls(scale, _LOWEST[precision] + offset)

    def quantise(self, values: np.ndarray) -> np.ndarray:
        """float -> the nearest int8."""
        return np.clip(np.round(values / self.scale) + self.zero, -128, 127).astype(np.int8)

    def values(self, integers: np.ndarray) -> np.ndarray:
        """Integers -> the float32 that they stand for."""
        return (integers.astype(np.float32) - self.zero) * np.float32(self.scale)


def quantise_filters(
    filters: np.ndarray, axis: int | None, in_scale: float, out_scale: float, bias: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Filters in int8, symmetric, with a scale for each output channel.

    Args:
        filters: float32.
        axis: of the output channels; None for one scale for all of them.
        in_scale, out_scale: of the activations that the operation reads and writes.
        bias: (channels,), which must fit into int32 in units of input and filter scale.

    Returns:
        Filters in int8, and the float32 scales, (channels,) or (1,).
    """
    others = tuple(one for one in range(filters.ndim) if one != axis) if axis is not None else None
    peak = np.abs(filters).max(axis=others).reshape(-1).astype(np.float64)
    scales = np.maximum(peak / 127, _LEAST_RATIO * out_scale / in_scale)
    if bias is not None and len(scales) == len(bias):
        scales = np.maximum(scales, np.abs(bias) / (in_scale * _INT32 / 2))
    scales = scales.astype(np.float32)
    shape = [1] * filters.ndim
    if axis is not None:
        shape[axis] = -1
    integers = np.clip(np.round(filters / scales.reshape(shape)), -127, 127).astype(np.int8)
    return integers, scales


def least_output_scale(filters: np.ndarray, in_scale: float) -> float:
    """The finest scale that XNNPACK's kernels can write, for filters whose activations hardly vary."""
    return float(np.abs(filters).max()) / 127 * in_scale / MOST_RATIO


def quantise_bias(bias: np.ndarray, in_scale: float, filter_scales: np.ndarray) -> np.ndarray:
    """A bias in int32, in units of input and filter scale."""
    integers = np.round(bias.astype(np.float64) / (in_scale * filter_scales.astype(np.float64)))
    return np.clip(integers, -_INT32, _INT32).astype(np.int32)
