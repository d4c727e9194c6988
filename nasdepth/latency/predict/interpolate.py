"""Times of unmeasured kernels from measured ones of their kind: monotone by construction.

Two steps, each of which never falls when a size grows and is never negative:

1. Non-negative least squares on what an operation's time is made of: multiplications in the runtime's
   tiles, bytes moved, bytes and weights beyond each cache.
2. An envelope: no kernel is faster than a measured one that is smaller in every dimension, nor slower than
   one that is larger in every dimension, after both are moved part of the way by step 1. The maximum (or
   minimum) of monotone functions over a set that only grows (or shrinks) with the query is monotone.

A runtime fills pairs of vectors with channels, and what is left over runs in slower code: a depthwise
convolution of 14 channels takes 1.4 times as long as one of 16 (XNNPACK, AVX-512). Where the measured kernels
of a kind show that, both steps know what is left over. Then "larger" is: in every size, and leaving over what
the smaller one does, unless that leaves nothing. A kernel that fills its vectors may be faster than a smaller
one that does not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.optimize import nnls
from threadpoolctl import threadpool_limits

from nasdepth.kernels.kernel import Kernel

# Channels and pixels are computed in blocks of the vector width and the tile; least squares picks which
_CHANNEL_BLOCKS = (4, 8, 16, 32, 64)
_PIXEL_BLOCK = 8
_CACHES_BYTES = (32e3, 256e3, 1e6, 2e6, 8e6)
# Weights beyond these are read anew for each pixel, those beyond the others at least once
_WEIGHTS_FOR_PIXELS_BYTES = (16e3, 32e3, 48e3, 256e3, 1e6, 2e6)
_WEIGHTS_BYTES = (32e3, 128e3, 512e3, 2e6)
# Floats that a vector may hold: NEON, AVX, AVX-512; held-out kernels pick, and a wider one only where their
# error falls to this share
_VECTORS = (4, 8, 16)
_TELLING = 0.9
# Share of the way, in octaves, that a measured time is moved by the form before it bounds another kernel;
# 1 would trust the form's ratios entirely and keep nothing but noise to bound with (held-out errors on the
# committed tables are lowest from 0.5 to 0.8)
_MOVED = 0.6
_FOLDS = 5
# Held-out errors are estimated on at most this many kernels: beyond, only loading gets slower
_MOST_HELD_OUT = 300
_LEAST_SD = 0.02
# One or two kernels of a kind say nothing about how far off the form is
_SD_OF_FEW = 0.3
# An end of a size is tried by leaving out its last octave, where it and the rest hold so many kernels
_FEWEST_BEYOND, _FEWEST_WITHIN, _MOST_BEYOND = 5, 10, 100
# Where that cannot be tried: time may not change in an octave, or double
_SD_PER_OCTAVE = 0.35
_BATCH = 256
# What `left_over` may say, and which of `physical_features` then count more: rows, pixels, those times sizes
_LEFT_OVER = (1, 2, 3, 4)
_ADDED = (1, 2, 10, 13, 14)


@dataclass(frozen=True, slots=True)
class Interpolation:
    """Answers for n kernels.

    Attributes:
        latency_ms: (n,) float64, above 0.
        relative_sd: (n,) float64.
        octaves_outside: (n,) float64; how far beyond all measured sizes, 0 inside.
    """

    latency_ms: np.ndarray
    relative_sd: np.ndarray
    octaves_outside: np.ndarray


def dimensions(kernels: Sequence[Kernel]) -> np.ndarray:
    """(n, 10) float64: every size that time can only grow with."""
    return np.array(
        [
            (
                one.in_height,
                one.in_width,
                one.out_height,
                one.out_width,
                one.in_channels,
                sum(one.other_channels),
                one.out_channels,
                one.in_channels / one.groups,
                one.kernel_height,
                one.kernel_width,
            )
            for one in kernels
        ],
        np.float64,
    ).reshape(-1, 10)


def physical_features(kernels: Sequence[Kernel], sizes: np.ndarray) -> np.ndarray:
    """(n, 42) float64, none negative, none falling with any of `sizes`, the kernels' `dimensions`."""
    in_height, in_width, out_height, out_width, channels, others, out_channels, depth, *window = sizes.T
    taps = window[0] * window[1]
    pixels = out_height * out_width
    in_bytes = np.array([one.in_bytes for one in kernels], np.float64)
    out_bytes = np.array([one.out_bytes for one in kernels], np.float64)
    weight_bytes = np.array([one.weight_bytes for one in kernels], np.float64)
    work = taps * depth
    features = [
        np.ones(len(sizes)),
        out_height,
        pixels,
        in_height * in_width,
        in_bytes,
        out_bytes,
        weight_bytes,
        np.sqrt(in_bytes + out_bytes),
        channels + others,
        out_channels,
        pixels * out_channels * work,
        pixels * (channels + others),
        pixels * taps,
        pixels * work,
        pixels * out_channels,
        _up(pixels, _PIXEL_BLOCK) * _up(out_channels, 16) * work,
        out_height * _up(out_width, _PIXEL_BLOCK) * _up(out_channels, 16) * work,
    ]
    for block in _CHANNEL_BLOCKS:
        features += [pixels * _up(out_channels, block) * work, pixels * _up(out_channels, block)]
    features += [np.maximum(in_bytes + out_bytes + weight_bytes - size, 0) for size in _CACHES_BYTES]
    features += [pixels * np.maximum(weight_bytes - size, 0) for size in _WEIGHTS_FOR_PIXELS_BYTES]
    features += [np.maximum(weight_bytes - size, 0) for size in _WEIGHTS_BYTES]
    return np.stack(features, axis=1)


def left_over(sizes: np.ndarray, vector: int) -> np.ndarray:
    """(n,) int64: what output channels leave over of vectors of so many floats, which are worked on in pairs.

    0: nothing; 1: one vector; 2: less than one; 3: more than one; 4: there is one channel in and out, which
    runtimes compute as a depthwise convolution. All 0 where `vector` is 0.
    """
    if not vector:
        return np.zeros(len(sizes), np.int64)
    in_channels, out_channels = sizes[:, 4], sizes[:, 6]
    of_rest = np.array([0, *[2] * (vector - 1), 1, *[3] * (vector - 1)])
    classes = of_rest[(out_channels % len(of_rest)).astype(int)]
    classes[(in_channels == 1) & (out_channels == 1)] = 4
    return classes


def _with_left_over(features: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """(n, 42 + 20): `features`, and what of them counts once more for each of `_LEFT_OVER`."""
    added = features[:, _ADDED]
    return np.hstack([features, *(added * (classes == one)[:, None] for one in _LEFT_OVER)])


def _up(values: np.ndarray, block: int) -> np.ndarray:
    return np.ceil(values / block) * block


class KindModel:
    """Interpolates among measured kernels of one kind.

    Args:
        kernels: measured, all of one kind; at least one.
        times_ms: their times.
    """

    def __init__(self, kernels: Sequence[Kernel], times_ms: Sequence[float]) -> None:
        times = np.asarray(times_ms, np.float64)
        sizes = dimensions(kernels)
        features = physical_features(kernels, sizes)
        # so small that threads only wait for each other, ten times as long on a busy machine
        with threadpool_limits(1, user_api="blas"):
            squares = _best_squares(features, sizes, times)
            self._form = _Form(features, sizes, times, squares.vector, squares.weights)
            self._low, self._high = (np.maximum(ends, 1) for ends in (sizes.min(0), sizes.max(0)))
            self._sd = self._held_out_sd(features, squares)
        self._features = features
        self._per_octave: dict[tuple[int, int], float] = {}

    def predict(self, kernels: Sequence[Kernel]) -> Interpolation:
        """Times of kernels of this kind, measured or not."""
        sizes = dimensions(kernels)
        return self.predict_sizes(physical_features(kernels, sizes), sizes)

    def predict_sizes(self, features: np.ndarray, sizes: np.ndarray) -> Interpolation:
        """`predict` for kernels of which `physical_features` and `dimensions` are known."""
        times, width = self._form.predict(features, sizes)
        some = np.maximum(sizes, 1)
        beyond = np.log2(np.maximum(np.stack([self._low / some, some / self._high]), 1))
        octaves = beyond.max((0, 2))
        # Bounds that lie close together know more than the average error of the kind
        sd = np.minimum(self._sd, _LEAST_SD + width / 2) * (1 + octaves)
        if octaves.any():
            sd = np.hypot(sd, self._sd_outside(beyond))
        return Interpolation(times, sd, octaves)

    def _sd_outside(self, beyond: np.ndarray) -> np.ndarray:
        """(n,) what the distance adds to the error; `beyond` is (2, n, 10) octaves below and above all sizes.

        Heights and widths mostly leave together, so the worst of the sizes counts, not their sum.
        """
        worst = np.zeros(beyond.shape[1])
        for end, size in np.argwhere(beyond.any(1)).tolist():
            if (end, size) not in self._per_octave:
                with threadpool_limits(1, user_api="blas"):
                    self._per_octave[end, size] = self._sd_per_octave(end, size)
            worst = np.maximum(worst, self._per_octave[end, size] * beyond[end, :, size])
        return worst

    def _sd_per_octave(self, end: int, size: int) -> float:
        """How wrong a prediction is an octave outside, seen by leaving the last octave of one size out."""
        form = self._form
        values = np.maximum(form.sizes[:, size], 1)
        far = values > values.max() / 2 if end else values < 2 * values.min()
        held, kept = np.flatnonzero(far), np.flatnonzero(~far)
        if len(held) < _FEWEST_BEYOND or len(kept) < _FEWEST_WITHIN:
            return _SD_PER_OCTAVE
        held = np.random.default_rng(0).permutation(held)[:_MOST_BEYOND]
        edge = values[kept].max() if end else values[kept].min()
        octaves = np.abs(np.log2(values[held] / edge))
        inside = (self._features[kept], form.sizes[kept], form.times[kept])
        weights = _LeastSquares(*inside, form.vector).weights
        guess, _ = _Form(*inside, form.vector, weights).predict(self._features[held], form.sizes[held])
        errors = np.log(guess / form.times[held])
        return float(np.sqrt(max(np.mean(errors**2) - self._sd**2, 0) / np.mean(octaves**2)))

    def _held_out_sd(self, features: np.ndarray, squares: _LeastSquares) -> float:
        form = self._form
        if len(form.times) < 2 * _FOLDS:
            return _SD_OF_FEW
        errors = []
        folds = _folds(len(form.times))
        for (held, kept), weights in zip(folds, squares.weights_without, strict=True):
            held = held[: _MOST_HELD_OUT // _FOLDS]
            other = _Form(features[kept], form.sizes[kept], form.times[kept], form.vector, weights)
            guess, _ = other.predict(features[held], form.sizes[held])
            errors.append(np.log(guess / form.times[held]))
        return max(float(np.sqrt(np.mean(np.concatenate(errors) ** 2))), _LEAST_SD)


def _folds(count: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(held out, kept) indices."""
    order = np.random.default_rng(0).permutation(count)
    for fold in range(_FOLDS):
        yield order[fold::_FOLDS], np.delete(order, np.s_[fold::_FOLDS])


class _LeastSquares:
    """Step 1 with one width of vectors, for all kernels or all but a fold.

    Non-negative least squares of relative errors: a kernel of 10 us counts as much as one of 10 ms.
    """

    def __init__(self, features: np.ndarray, sizes: np.ndarray, times: np.ndarray, vector: int) -> None:
        classes = left_over(sizes, vector)
        self.vector = vector
        self.features = _with_left_over(features, classes) if vector else features
        rows = self.features / times[:, None]
        self._norm = np.maximum(rows.max(0), 1e-30)
        rows = np.column_stack([rows / self._norm, np.ones(len(times))])
        # the triangle of a QR decomposition has the same least squares and a hundredth of the rows, and so
        # have triangles of parts, stacked
        self._triangles = [np.linalg.qr(rows[held], mode="r") for held, _ in _folds(len(times))]

    @property
    def weights(self) -> np.ndarray:
        """One for each of `features`."""
        return self._solved(self._triangles)

    @cached_property
    def weights_without(self) -> list[np.ndarray]:
        """The same of all kernels but those of each fold."""
        return [self._solved(self._triangles[:fold] + self._triangles[fold + 1 :]) for fold in range(_FOLDS)]

    def _solved(self, triangles: Sequence[np.ndarray]) -> np.ndarray:
        triangle = np.linalg.qr(np.concatenate(triangles), mode="r")
        return nnls(triangle[:, :-1], triangle[:, -1], maxiter=10_000)[0] / self._norm


def _best_squares(features: np.ndarray, sizes: np.ndarray, times: np.ndarray) -> _LeastSquares:
    """Those with the narrowest of 0 and `_VECTORS` that predicts held-out kernels as well as any."""
    plain = _LeastSquares(features, sizes, times, 0)
    if len(times) < 2 * _FOLDS:
        return plain
    tried = [plain]
    tried += [
        _LeastSquares(features, sizes, times, vector) for vector in _VECTORS if left_over(sizes, vector).any()
    ]
    errors = []
    for squares in tried:
        guesses = np.empty(len(times))
        for (held, _), weights in zip(_folds(len(times)), squares.weights_without, strict=True):
            guesses[held] = _at_least(squares.features[held] @ weights)
        errors.append(float(np.median(np.abs(np.log(guesses / times)))))
    return next(
        squares for squares, error in zip(tried, errors, strict=True) if _TELLING * error <= min(errors)
    )


def _at_least(times: np.ndarray) -> np.ndarray:
    return np.maximum(times, 1e-9)


class _Form:
    """The two steps, fitted; `vector` as `left_over` takes it, `weights` of step 1."""

    def __init__(
        self, features: np.ndarray, sizes: np.ndarray, times: np.ndarray, vector: int, weights: np.ndarray
    ) -> None:
        self.sizes, self.times, self.vector = sizes, times, vector
        classes = left_over(sizes, vector)
        self._own, added = np.split(weights, [features.shape[1]])
        self._added = np.vstack([np.zeros(len(_ADDED)), added.reshape(-1, len(_ADDED))])
        base = self._base(features, classes)
        self._bounds = times / base**_MOVED
        # In the order of the bounds the first kernel that is larger has the lowest bound of all that are, and
        # the last that is smaller the highest. Narrow integers compare several times faster, and comparing is
        # all the time there is: a size that always equals another says nothing more
        self._order = np.argsort(self._bounds, kind="stable")
        self._ordered = self._bounds[self._order]
        self._compact = _compared(sizes[self._order], classes[self._order])
        self._same_as = _twins(self._compact)

    def predict(self, features: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(n,) times in ms, and (n,) the envelope's width as a logarithm (infinite where it is open)."""
        classes = left_over(sizes, self.vector)
        base, asked = self._base(features, classes), _compared(sizes, classes)
        times, width = np.empty_like(base), np.empty_like(base)
        for first in range(0, len(base), _BATCH):
            part = slice(first, first + _BATCH)
            times[part], width[part] = self._envelope(base[part], asked[:, part])
        return times, width

    def _base(self, features: np.ndarray, classes: np.ndarray) -> np.ndarray:
        times = features @ self._own
        if self.vector:
            times += (features[:, _ADDED] * self._added[classes]).sum(1)
        return _at_least(times)

    def _envelope(self, base: np.ndarray, asked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        telling = set(self._same_as) if (asked == asked[self._same_as]).all() else range(len(asked))
        smaller = np.ones((len(base), len(self.times)), bool)
        larger = smaller.copy()
        for index in telling:
            known, some = self._compact[index], asked[index][:, None]
            smaller &= known <= some
            larger &= known >= some
        last, first = len(self.times) - 1 - smaller[:, ::-1].argmax(1), larger.argmax(1)
        rows = np.arange(len(base))
        low = np.where(smaller[rows, last], self._ordered[last], 0) * base**_MOVED
        high = np.where(larger[rows, first], self._ordered[first], np.inf) * base**_MOVED
        # Noise can turn the bounds around: then meet half way, which is monotone too
        times = np.sqrt(np.minimum(np.maximum(base, low), high) * np.maximum(np.minimum(base, high), low))
        with np.errstate(divide="ignore"):
            return times, np.abs(np.log(high) - np.log(low))


def _twins(compact: np.ndarray) -> list[int]:
    """For each size, the first that equals it in all kernels."""
    first: dict[bytes, int] = {}
    return [first.setdefault(size.tobytes(), index) for index, size in enumerate(compact)]


def _compared(sizes: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """(n, d) sizes and (n,) classes as (d + 2, n) contiguous 16-bit integers: all grow where a kernel does.

    What leaves nothing over is smaller than all that are as large, another only than its like.
    """
    opposite = np.where(classes == 0, 0, _LEFT_OVER[-1] + 1 - classes)
    compared = np.column_stack([sizes, classes, opposite])
    return np.ascontiguousarray(np.minimum(compared, 65535).astype(np.uint16).T)
