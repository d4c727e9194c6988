"""Times of unmeasured kernels from measured ones of the same kind: physics first, then the neighbours."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import nnls

from nasdepth.latency.kernels import Kernel

# Lanes of the widest vectors the runtime uses: output channels are computed in blocks of this many
_LANES = 16
# How near, in octaves of shape, a measured kernel must be to correct another
_REACH = 1.0
_PRIOR_WEIGHT = 0.3
_LEAST_SD = 0.02
# One or two kernels of a kind say nothing about how far off the form is
_SD_OF_FEW = 0.3


def physical_features(kernel: Kernel) -> np.ndarray:
    """(7,) float64, none negative, none falling with any size: what an operation's time is made of."""
    window = kernel.kernel_height * kernel.kernel_width
    lanes = -(-kernel.out_channels // _LANES) * _LANES
    im2col = kernel.out_pixels * window * kernel.in_channels if window > 1 else 0
    return np.array(
        [
            1.0,
            kernel.macs,
            kernel.macs * lanes / kernel.out_channels,
            kernel.in_bytes,
            kernel.out_bytes,
            kernel.weight_bytes,
            im2col,
        ]
    )


def shape_position(kernel: Kernel) -> np.ndarray:
    """(4,) float64: where a kernel lies among its kind, in octaves."""
    channels_in = kernel.in_channels + sum(kernel.other_channels)
    pixels_in = kernel.in_height * kernel.in_width
    window = kernel.kernel_height * kernel.kernel_width
    return np.log2([pixels_in, kernel.out_pixels * window, channels_in, kernel.out_channels])


class KindModel:
    """Non-negative least squares on `physical_features`, times a correction from the nearest neighbours.

    Args:
        kernels: measured, all of one kind; at least one.
        times_ms: their times.
    """

    def __init__(self, kernels: Sequence[Kernel], times_ms: Sequence[float]) -> None:
        times = np.asarray(times_ms, np.float64)
        features = np.stack([physical_features(kernel) for kernel in kernels])
        # Relative errors: a kernel of 10 us counts as much as one of 10 ms
        rows = features / times[:, None]
        self._norm = np.maximum(rows.max(0), 1e-30)
        self._weights = nnls(rows / self._norm, np.ones(len(times)))[0] / self._norm
        self._positions = np.stack([shape_position(kernel) for kernel in kernels])
        self._residuals = np.log(times / np.maximum(features @ self._weights, 1e-9))
        self._sd = self._held_out_sd()

    def predict(self, kernel: Kernel) -> tuple[float, float]:
        """Time in ms, above 0, and its relative standard deviation."""
        nearness = self._nearness(shape_position(kernel)[None])[0]
        correction = nearness @ self._residuals / (nearness.sum() + _PRIOR_WEIGHT)
        time_ms = max(float(physical_features(kernel) @ self._weights), 1e-9) * float(np.exp(correction))
        # Far from all that was measured, the neighbours' agreement is no evidence
        far = _PRIOR_WEIGHT / (nearness.sum() + _PRIOR_WEIGHT)
        return float(time_ms), float(self._sd * (1 + far))

    def _nearness(self, positions: np.ndarray) -> np.ndarray:
        squared = ((positions[:, None] - self._positions[None]) ** 2).sum(-1)
        return np.exp(-squared / (2 * _REACH**2)) + 1e-300

    def _held_out_sd(self) -> float:
        if len(self._residuals) < 3:
            return _SD_OF_FEW
        nearness = self._nearness(self._positions)
        np.fill_diagonal(nearness, 0)
        left_out = self._residuals - nearness @ self._residuals / (nearness.sum(1) + _PRIOR_WEIGHT)
        return max(float(np.sqrt(np.mean(left_out**2))), _LEAST_SD)
