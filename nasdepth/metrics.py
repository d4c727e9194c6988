"""Depth metrics in float64: of the Mobile AI challenge, Eigen's, of ordinal pairs, up to scale and shift.

Source of the challenge's: Ignatov et al. 2021, "Fast and Accurate Quantized Camera Scene / Single-Image
Depth Estimation, Mobile AI 2021 Challenge: Report". Both depths are millimetres and clamped below at 1 mm; a
target of 1 mm or less is unknown and masked out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, get_args

import numpy as np

from nasdepth.errors import DataError, NasdepthError


def _pairs(pred_mm: np.ndarray, target_mm: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the known pixels of every image as float64 (prediction, target) in millimetres."""
    pred_mm, target_mm = np.asarray(pred_mm), np.asarray(target_mm)
    if pred_mm.shape != target_mm.shape or pred_mm.ndim != 3:
        raise ValueError(f"expected two (N, H, W) arrays, got {pred_mm.shape} and {target_mm.shape}")
    for pred, target in zip(pred_mm, target_mm, strict=True):
        known = target > 1
        yield np.maximum(pred[known].astype(np.float64), 1.0), target[known].astype(np.float64)


def _per_image(
    function: Callable[[np.ndarray, np.ndarray], float], pred_mm: np.ndarray, target_mm: np.ndarray
) -> np.ndarray:
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

    >>> target_mm = np.array([[[1000.0, 2000.0, 0.0]]])
    >>> si_rmse(1.5 * target_mm, target_mm).round(9).tolist()  # the scale does not count
    [0.0]
    >>> si_rmse(np.array([[[1000.0, 4000.0, 9000.0]]]), target_mm).round(4).tolist()
    [0.3466]
    """
    return _per_image(_si_rmse, pred_mm, target_mm)


def rmse_m(pred_mm: np.ndarray, target_mm: np.ndarray) -> np.ndarray:
    """The root mean squared error in metres of each image; arguments and result are as in `si_rmse`.

    >>> rmse_m(np.array([[[1500.0, 2500.0]]]), np.array([[[1000.0, 2000.0]]])).tolist()
    [0.5]
    """
    return _per_image(_rmse, pred_mm, target_mm)


def log10_error(pred_mm: np.ndarray, target_mm: np.ndarray) -> np.ndarray:
    """The mean absolute difference of log10 depth of each image; arguments and result are as in `si_rmse`.

    >>> log10_error(np.array([[[10000.0, 200.0]]]), np.array([[[1000.0, 2000.0]]])).round(9).tolist()
    [1.0]
    """
    return _per_image(_log10, pred_mm, target_mm)


def rel_error(pred_mm: np.ndarray, target_mm: np.ndarray) -> np.ndarray:
    """The mean absolute error relative to the target of each image; arguments and result are as in `si_rmse`.

    >>> rel_error(np.array([[[1500.0, 2000.0]]]), np.array([[[1000.0, 2000.0]]])).tolist()
    [0.25]
    """
    return _per_image(_rel, pred_mm, target_mm)


def sq_rel_m(pred_mm: np.ndarray, target_mm: np.ndarray) -> np.ndarray:
    """Sq Rel, the mean of (pred - target)^2 / target in metres; arguments and result are as in `si_rmse`.

    Eigen et al. 2014, arXiv:1406.2283, section 4, as are `rmse_log` and `delta`.

    >>> sq_rel_m(np.array([[[3000.0, 2000.0]]]), np.array([[[1000.0, 2000.0]]])).tolist()
    [2.0]
    """
    return _per_image(_sq_rel, pred_mm, target_mm)


def rmse_log(pred_mm: np.ndarray, target_mm: np.ndarray) -> np.ndarray:
    """The root mean squared difference of ln depth; arguments and result are as in `si_rmse`.

    >>> rmse_log(np.array([[[2000.0]]]), np.array([[[1000.0]]])).round(4).tolist()
    [0.6931]
    """
    return _per_image(_rmse_log, pred_mm, target_mm)


def delta(pred_mm: np.ndarray, target_mm: np.ndarray, power: int = 1) -> np.ndarray:
    """The share of pixels whose max(pred / target, target / pred) is below 1.25^power.

    Arguments and result are as in `si_rmse`; `power` is 1, 2 or 3 in the literature.

    >>> delta(np.array([[[1200.0, 1300.0]]]), np.array([[[1000.0, 1000.0]]])).tolist()
    [0.5]
    """
    return _per_image(partial(_delta, power=power), pred_mm, target_mm)


def _sq_rel(pred: np.ndarray, target: np.ndarray) -> float:
    return float(np.mean((pred - target) ** 2 / target) / 1000)


def _rmse_log(pred: np.ndarray, target: np.ndarray) -> float:
    return float(np.sqrt(np.mean((np.log(pred) - np.log(target)) ** 2)))


def _delta(pred: np.ndarray, target: np.ndarray, power: int) -> float:
    return float(np.mean(np.maximum(pred / target, target / pred) < 1.25**power))


_CHALLENGE = {"si_rmse": _si_rmse, "rmse_m": _rmse, "log10": _log10, "rel": _rel}
_EIGEN = {
    "sq_rel_m": _sq_rel,
    "rmse_log": _rmse_log,
    **{f"delta{power}": partial(_delta, power=power) for power in (1, 2, 3)},
}

Crop = Literal["eigen", "garg", "nyu"]
_CROPS: dict[Crop, tuple[float, float, float, float]] = {
    "eigen": (0.3324324, 0.91351351, 0.0359477, 0.96405229),
    "garg": (0.40810811, 0.99189189, 0.03594771, 0.96405229),
    "nyu": (45 / 480, 471 / 480, 41 / 640, 601 / 640),
}


@dataclass(frozen=True)
class Protocol:
    """Which pixels of an image are judged, and how far a prediction may reach.

    Attributes:
        cap_m: targets beyond this many metres are left out, and predictions beyond it count as it: 80, or 50,
            for KITTI. None for no cap.
        crop: the part of an image in which targets count, as shares of its height and width: "eigen" and
            "garg" are KITTI's (Eigen et al. 2014, arXiv:1406.2283; Garg et al. 2016, arXiv:1603.04992, as
            Monodepth2's evaluation has them), "nyu" is Eigen's of NYU Depth v2. None for all of it.

    Raises:
        NasdepthError: the cap is not above 0, or there is no such crop.
    """

    cap_m: float | None = None
    crop: Crop | None = None

    def __post_init__(self) -> None:
        if self.cap_m is not None and not 0 < self.cap_m < float("inf"):
            raise NasdepthError(f"`cap_m` is {self.cap_m:g}; it must be a number of metres above 0, as in 80")
        if self.crop is not None and self.crop not in get_args(Crop):
            raise NasdepthError(f"`crop` is {self.crop!r}; it must be one of {', '.join(get_args(Crop))}")

    def judged(self, target_mm: np.ndarray) -> np.ndarray:
        """A copy of targets (N, H, W) in millimetres with 0, unknown, where they do not count."""
        judged = np.zeros_like(target_mm)
        window = (slice(None), *self._window(target_mm.shape[1:]))
        judged[window] = target_mm[window]
        if self.cap_m is not None:
            judged[judged >= self.cap_m * 1000] = 0
        return judged

    def _window(self, hw: tuple[int, ...]) -> tuple[slice, slice]:
        if self.crop is None:
            return slice(None), slice(None)
        top, bottom, left, right = _CROPS[self.crop]
        # a hair more, for shares that should be whole pixels
        rows, columns = (
            slice(int(first * size + 1e-6), int(last * size + 1e-6))
            for first, last, size in ((top, bottom, hw[0]), (left, right, hw[1]))
        )
        return rows, columns


ALL_KNOWN = Protocol()
"""Every known pixel is judged, as the challenge does."""


@dataclass
class DepthMetrics:
    """Accumulates depth metrics per image; the data set's value is the mean over its images.

    Attributes:
        protocol: which pixels are judged; all known ones by default.
        eigen: compute Eigen's metrics beside the challenge's four: sq_rel_m, rmse_log, delta1 to delta3.
        median_scaled: every prediction is first scaled so that its median over the known pixels is the
            target's (Zhou et al. 2017, arXiv:1704.07813): for networks whose depth has no scale.
    """

    median_scaled: bool = False
    protocol: Protocol = ALL_KNOWN
    eigen: bool = False
    per_image: dict[str, list[float]] = field(init=False)

    def __post_init__(self) -> None:
        self._functions = _CHALLENGE | (_EIGEN if self.eigen else {})
        self.per_image = {name: [] for name in self._functions}

    def update(self, pred_mm: np.ndarray, target_mm: np.ndarray) -> None:
        """Add (N, H, W) predictions and targets in millimetres."""
        for pred, target in _pairs(pred_mm, self.protocol.judged(np.asarray(target_mm))):
            if self.median_scaled and target.size:
                # never below the 1 mm to which the challenge clamps
                pred = np.maximum(pred * (np.median(target) / np.median(pred)), 1.0)
            if self.protocol.cap_m is not None:
                pred = np.minimum(pred, self.protocol.cap_m * 1000)
            for name, function in self._functions.items():
                self.per_image[name].append(function(pred, target) if target.size else float("nan"))

    def compute(self) -> dict[str, float]:
        """Means over the images that have judged pixels: si_rmse, rmse_m, log10, rel, and Eigen's.

        Raises:
            DataError: no image has one.
        """
        if all(np.isnan(values).all() for values in self.per_image.values()):
            raise DataError(
                f"no image has a known depth that counts (cap {self.protocol.cap_m} m, crop "
                f"{self.protocol.crop}); take another cap, crop or data set"
            )
        return {name: float(np.nanmean(values)) for name, values in self.per_image.items()}


Space = Literal["disparity", "depth"]


def sample_points(pred: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A prediction at both ends of ordinal pairs, at the nearest pixel.

    Args:
        pred: (H, W).
        points: (P, 4), y_A x_A y_B x_B as shares of height and width in [0, 1).

    Returns:
        Two (P,) arrays, at A and at B.
    """
    height, width = pred.shape
    places = np.floor(np.asarray(points, np.float64) * [height, width, height, width]).astype(np.intp)
    y_a, x_a, y_b, x_b = places.T
    return pred[y_a, x_a], pred[y_b, x_b]


def pair_disagrees(
    depth_a: np.ndarray, depth_b: np.ndarray, relation: np.ndarray, equal_ratio: float = 0.0
) -> np.ndarray:
    """Whether predicted depths contradict an ordinal pair.

    Args:
        depth_a, depth_b: (P,) predicted depth, positive.
        relation: (P,) +1 where A is farther than B, -1 where it is nearer, 0 where they are equal.
        equal_ratio: depths within this factor above 1 count as equal (0.02: 2 %). At 0, as for Depth in the
            Wild, a tie contradicts every pair that is not equal.

    Returns:
        (P,) bool; a prediction that is not a number contradicts.

    >>> pair_disagrees([3.0, 1.0], [2.0, 1.0], [1, 1]).tolist()  # a tie contradicts
    [False, True]
    """
    a, b = np.asarray(depth_a, np.float64), np.asarray(depth_b, np.float64)
    factor = 1.0 + equal_ratio
    said = (a > b * factor).astype(np.int8) - (b > a * factor).astype(np.int8)
    return (said != np.asarray(relation)) | ~np.isfinite(a) | ~np.isfinite(b)


def whdr(disagrees: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Weighted human disagreement rate (Bell et al. 2014; Chen et al. 2016, arXiv:1604.03901).

    Args:
        disagrees: (P,) bool from `pair_disagrees`, of all images together.
        weights: (P,) the annotators' confidence; 1 for all by default, as in Depth in the Wild.

    Returns:
        The weight of the contradicted pairs over the weight of all, NaN without a pair.

    >>> whdr([True, False, False, False])
    0.25
    """
    disagrees = np.asarray(disagrees, dtype=np.float64)
    weights = np.ones_like(disagrees) if weights is None else np.asarray(weights, np.float64)
    return float((disagrees * weights).sum() / weights.sum()) if weights.sum() > 0 else float("nan")


@dataclass
class OrdinalMetrics:
    """Accumulates WHDR over images."""

    equal_ratio: float = 0.0
    disagrees: list[np.ndarray] = field(default_factory=list)

    def update(self, pred: np.ndarray, points: np.ndarray, relation: np.ndarray) -> None:
        """Add one image: depth (H, W), points (P, 4) and relation (P,) as in `pair_disagrees`."""
        self.disagrees.append(
            pair_disagrees(*sample_points(pred, points), relation, equal_ratio=self.equal_ratio)
        )

    def compute(self) -> dict[str, float]:
        """`whdr` over all pairs, and how many `pairs` there were."""
        pairs = np.concatenate([np.zeros(0, dtype=bool), *self.disagrees])
        return {"whdr": whdr(pairs), "pairs": len(pairs)}


def align_scale_shift(pred: np.ndarray, target: np.ndarray) -> tuple[float, float]:
    """Least-squares (scale, shift) with scale * pred + shift closest to target.

    Ranftl et al. 2020, arXiv:1907.01341, eq. 4, with the scale kept from going below 0: a prediction that
    orders depth the wrong way round is fitted by the mean, not by turning it over.

    Args:
        pred, target: known pixels, of any equal shape.

    >>> align_scale_shift([1.0, 2.0, 3.0], [7.0, 9.0, 11.0])
    (2.0, 5.0)
    """
    x, y = np.asarray(pred, np.float64).ravel(), np.asarray(target, np.float64).ravel()
    deviation = x - x.mean()
    spread = (deviation**2).sum()
    # what the rounding of the mean leaves of a constant is no spread
    varies = spread > 1e-20 * (x**2).sum()
    scale = max(0.0, float((deviation * y).sum() / spread)) if varies else 0.0
    return scale, float(y.mean() - scale * x.mean())


def aligned_rmse(pred_mm: np.ndarray, target: np.ndarray, space: Space) -> np.ndarray:
    """RMSE after alignment, in units of the target's standard deviation: 0 is perfect, 1 no better than its
    mean. It does not depend on the scale and shift of either.

    Args:
        pred_mm: (N, H, W) predicted depth in mm; clamped below at 1, and inverted for `disparity`.
        target: (N, H, W) disparity or depth up to scale and shift, 0 where unknown.

    Returns:
        (N,) float64, NaN for an image with fewer than two different known values.
    """
    return np.array([_aligned_rmse(*known) for known in _known_in(pred_mm, target, space)])


def aligned_rel_error(pred_mm: np.ndarray, target_mm: np.ndarray, space: Space = "disparity") -> np.ndarray:
    """Mean absolute relative error in depth after alignment in `space`, the protocol of zero-shot transfer.

    The aligned depth is limited to the range of the image's own true depths, as MiDaS limits it to a data
    set's: an aligned disparity may come near 0, whose depth is no number.

    Args:
        pred_mm, target_mm: (N, H, W) in mm; a target of 1 or less is unknown.

    Returns:
        (N,) float64, NaN for an image without a known pixel.
    """
    values = []
    for pred, true in _pairs(pred_mm, target_mm):
        if not true.size:
            values.append(np.nan)
            continue
        p, t = (1 / pred, 1 / true) if space == "disparity" else (pred, true)
        scale, shift = align_scale_shift(p, t)
        aligned = np.clip(scale * p + shift, t.min(), t.max())
        values.append(_rel(1 / aligned if space == "disparity" else aligned, true))
    return np.array(values)


@dataclass
class RelativeMetrics:
    """Accumulates `aligned_rmse` over images.

    Attributes:
        space: of the targets.
    """

    space: Space
    per_image: list[float] = field(default_factory=list)

    def update(self, pred_mm: np.ndarray, target: np.ndarray) -> None:
        """Add (N, H, W) predictions in millimetres and targets, 0 where unknown."""
        self.per_image += aligned_rmse(pred_mm, target, self.space).tolist()

    def compute(self) -> dict[str, float]:
        """`aligned_rmse`, the mean over the images that have one."""
        return {"aligned_rmse": float(np.nanmean(self.per_image))}


def _known_in(
    pred_mm: np.ndarray, target: np.ndarray, space: Space
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    pred_mm, target = np.asarray(pred_mm), np.asarray(target)
    if pred_mm.shape != target.shape or pred_mm.ndim != 3:
        raise ValueError(f"expected two (N, H, W) arrays, got {pred_mm.shape} and {target.shape}")
    if space not in ("disparity", "depth"):
        raise ValueError(f"space {space!r}: must be disparity or depth")
    for pred, values in zip(pred_mm, target, strict=True):
        known = values > 0
        depth = np.maximum(pred[known].astype(np.float64), 1.0)
        yield (1 / depth if space == "disparity" else depth), values[known].astype(np.float64)


def _aligned_rmse(pred: np.ndarray, target: np.ndarray) -> float:
    if target.size < 2 or target.min() == target.max():
        return float("nan")
    scale, shift = align_scale_shift(pred, target)
    return float(np.sqrt(np.mean((scale * pred + shift - target) ** 2)) / target.std())
