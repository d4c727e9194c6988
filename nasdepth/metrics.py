"""Depth metrics of the Mobile AI challenge, per image, in float64.

Source: Ignatov et al. 2021, "Fast and Accurate Quantized Camera Scene / Single-Image Depth Estimation,
Mobile AI 2021 Challenge: Report". Both depths are millimetres and clamped below at 1 mm; a target of
1 mm or less is unknown and masked out.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


def _pairs(pred_mm: np.ndarray, target_mm: np.ndarray):
    """Yield the known pixels of every image as float64 (prediction, target) in millimetres."""
    pred_mm, target_mm = np.asarray(pred_mm), np.asarray(target_mm)
    if pred_mm.shape != target_mm.shape or pred_mm.ndim != 3:
        raise ValueError(f"expected two (N, H, W) arrays, got {pred_mm.shape} and {target_mm.shape}")
    for pred, target in zip(pred_mm, target_mm, strict=True):
        known = target > 1
        yield np.maximum(pred[known].astype(np.float64), 1.0), target[known].astype(np.float64)


def _per_image(function, pred_mm: np.ndarray, target_mm: np.ndarray) -> np.ndarray:
    return np.array([function(p, t) if t.size else np.nan for p, t in _pairs(pred_mm, target_mm)])


def _si_rmse(pred: np.ndarray, target: np.ndarray) -> float:
    difference = np.log(pred) - np.log(target)
    return float(np.sqrt(max(0.0, np.mean(difference**2) - np.mean(difference) ** 2)))


def _rmse(pred: np.ndarray, target: np.ndarray) -> float:
    return float(np.sqrt(np.mean((pred - target) ** 2)) / 1000)


def _log10(pred: np.ndarray, target: np.ndarray) -> float:
    return float(np.mean(np.abs(np.log10(pred) - np.log10(target))))


def _rel(pred: np.ndarray, target: np.ndarray) -> float:
    return float(np.mean(np.abs(pred - target) / target))


def si_rmse(pred_mm: np.ndarray, target_mm: np.ndarray) -> np.ndarray:
    """Scale-invariant RMSE of ln depth: sqrt(mean g^2 - (mean g)^2), g = ln pred - ln target.

    Args:
        pred_mm: (N, H, W) predicted depth in millimetres.
        target_mm: (N, H, W) true depth in millimetres, 0 where unknown.

    Returns:
        (N,) float64, NaN for an image without a known pixel.
    """
    return _per_image(_si_rmse, pred_mm, target_mm)


def rmse_m(pred_mm: np.ndarray, target_mm: np.ndarray) -> np.ndarray:
    """Root mean squared error in metres; shapes as in `si_rmse`."""
    return _per_image(_rmse, pred_mm, target_mm)


def log10_error(pred_mm: np.ndarray, target_mm: np.ndarray) -> np.ndarray:
    """Mean absolute difference of log10 depth; shapes as in `si_rmse`."""
    return _per_image(_log10, pred_mm, target_mm)


def rel_error(pred_mm: np.ndarray, target_mm: np.ndarray) -> np.ndarray:
    """Mean absolute error relative to the target; shapes as in `si_rmse`."""
    return _per_image(_rel, pred_mm, target_mm)


_FUNCTIONS = {"si_rmse": _si_rmse, "rmse_m": _rmse, "log10": _log10, "rel": _rel}


@dataclass
class DepthMetrics:
    """Accumulates the four metrics per image; the data set's value is the mean over its images."""

    per_image: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in _FUNCTIONS})

    def update(self, pred_mm: np.ndarray, target_mm: np.ndarray) -> None:
        """Add (N, H, W) predictions and targets in millimetres."""
        for pred, target in _pairs(pred_mm, target_mm):
            for name, function in _FUNCTIONS.items():
                self.per_image[name].append(function(pred, target) if target.size else float("nan"))

    def compute(self) -> dict[str, float]:
        """Means over the images that have known pixels: si_rmse, rmse_m, log10, rel."""
        return {name: float(np.nanmean(values)) for name, values in self.per_image.items()}
