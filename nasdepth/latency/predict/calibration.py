"""What whole networks say about a table of kernels: factors of kinds, the end-to-end rest, and the error.

A kernel in a network finds its input warm and all else cold, and the runtime does work between kernels. So
a network's latency is modelled as base + partitions * partition_ms + sum over groups of factor * kernels,
a linear regression with a Gaussian prior around one common factor: what few networks use stays near it.
A convolution measured by itself finds its data in the cache as far as they fit; in a network, which has
moved other data since, it does not. What that adds is in proportion to its time, up to what computing a
cache's worth of its outputs takes at the device's best rate, and the less the fewer bytes the network moves:
what moves few keeps them in the cache. None of it falls when a kernel or a network grows.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import lsq_linear

from nasdepth.kernels.kernel import Kernel
from nasdepth.latency.accuracy import SD_OF_INTERVAL_90, nine_in_ten
from nasdepth.latency.predict.card import Calibration

# Factors differ by about this much between groups, partitions cost about this much (ms of a 1 ms network)
_PRIOR_SD = 0.08
_PRIOR_REST = 0.02
_NOISE = 0.05
FACTOR_BOUNDS = (0.4, 2.5)
# A cache's worth of outputs, float32; held-out errors are flat from half to twice as much
_COLD_VALUES = 1e5
# Smaller convolutions than this say nothing about the device's best rate, which few exceed
_RATE_MACS, _RATE_QUANTILE = 1e6, 0.1
# Bytes that a network moves when it feels half of the cold: the one that networks left out prefer
_HALF_COLD_BYTES = (2.5e6, 5e6, 1e7, 2e7, 4e7)
_PRIOR_COLD_SD = 0.3
_MOST_COLD = 2.0
_FEWEST = 6


@dataclass(frozen=True, slots=True)
class Decomposition:
    """A network as a table sees it, before any calibration.

    Attributes:
        groups: {group: ms}, see `group_of`.
        partitions: how many pieces the delegate and the built-in kernels cut it into.
        variance: of the sum, ms squared, from measuring and interpolating.
        convolutions: of each its group, ms, multiplications, and those for one output value.
        moved_bytes: of all its kernels, see `moved_bytes`.
    """

    groups: dict[str, float]
    partitions: int
    variance: float
    convolutions: tuple[tuple[str, float, int, float], ...] = ()
    moved_bytes: int = 0


def group_of(kernel: Kernel) -> str:
    """Kernels that share a factor: the same operation; convolutions also by 1x1 or wider."""
    if kernel.op != "conv2d" or kernel.groups > 1:
        return kernel.op
    return "conv1x1" if kernel.kernel_height * kernel.kernel_width == 1 else "conv_kxk"


def moved_bytes(kernel: Kernel) -> int:
    """What is read of weights and written of outputs: the more of it, the less does a cache keep."""
    return kernel.weight_bytes + kernel.out_bytes


def taps(kernel: Kernel) -> float:
    """Multiplications for one output value."""
    return kernel.macs / max(kernel.out_pixels * kernel.out_channels, 1)


def coldness(network_bytes: int, half_cold_bytes: float) -> float:
    """Share of the full cold that a network feels, 0 to 1; monotone in the bytes that it moves."""
    return network_bytes / (network_bytes + half_cold_bytes)


def fit_calibration(
    networks: Sequence[Decomposition], latencies_ms: Sequence[float], sorts: Sequence[str] = ()
) -> Calibration | None:
    """Fit factors to measured networks; the error comes from leaving each of them out in turn.

    Args:
        sorts: of each network, where they differ in kind: the interval is to hold for every sort.

    Returns:
        None for fewer than 6 networks: they would be fitted, not learnt from.
    """
    if len(networks) < _FEWEST:
        return None
    latencies = np.asarray(latencies_ms, np.float64)
    groups = sorted({group for network in networks for group in network.groups})
    # a group that is in one network alone tells nothing about the next one
    groups = [group for group in groups if sum(group in one.groups for one in networks) >= 2]
    per_tap_ms = _COLD_VALUES * _best_rate(networks)
    warm = [_warm(network, per_tap_ms) for network in networks]
    cold = [group for group in groups if sum(group in one for one in warm) >= 2]
    half_bytes, design, errors = min(
        (_left_out(networks, latencies, groups, cold, warm, half) for half in _HALF_COLD_BYTES),
        key=lambda one: float(np.mean(np.abs(one[2]))),
    )
    spread = np.sqrt([network.variance for network in networks]) / latencies
    unexplained = float(np.sqrt(max(np.median(errors**2) / 0.455 - np.median(spread**2), 1e-4)))
    standardised = np.abs(errors) / np.sqrt(unexplained**2 + spread**2)
    sort_of = np.array(sorts or [""] * len(errors))
    solution = _solve(design, latencies, len(cold))
    first = 1 + len(groups)
    rounded = solution.round(4).tolist()
    return Calibration(
        networks=len(networks),
        default_factor=round(_common(design[:, :first], latencies), 4),
        factors=dict(zip(groups, rounded[1:first], strict=True)),
        cold=dict(zip(cold, rounded[first:-2], strict=True)),
        cold_ms_per_tap=float(f"{per_tap_ms:.4g}"),
        half_cold_bytes=half_bytes,
        base_ms=round(float(solution[-2]), 6),
        partition_ms=round(float(solution[-1]), 6),
        relative_sd=round(unexplained, 4),
        sd_factor=round(
            max(nine_in_ten(standardised[sort_of == one]) for one in set(sort_of)) / SD_OF_INTERVAL_90, 4
        ),
    )


def _best_rate(networks: Sequence[Decomposition]) -> float:
    """ms a multiplication of the device's best convolutions; 0 without any."""
    rates = [ms / macs for one in networks for _, ms, macs, _ in one.convolutions if macs >= _RATE_MACS]
    return float(np.quantile(rates, _RATE_QUANTILE)) if rates else 0.0


def _warm(network: Decomposition, per_tap_ms: float) -> dict[str, float]:
    """{group: ms of its convolutions, each up to the bound}"""
    warm: dict[str, float] = defaultdict(float)
    for group, latency_ms, _, own_taps in network.convolutions:
        warm[group] += min(latency_ms, per_tap_ms * own_taps)
    return dict(warm)


def _left_out(
    networks: Sequence[Decomposition],
    latencies: np.ndarray,
    groups: Sequence[str],
    cold: Sequence[str],
    warm: Sequence[dict[str, float]],
    half_bytes: float,
) -> tuple[float, np.ndarray, np.ndarray]:
    """`half_bytes`, the regression's design with it, and every network's error when it is left out."""
    rows = []
    for network, one in zip(networks, warm, strict=True):
        felt = coldness(network.moved_bytes, half_bytes)
        rows.append(_row(network, groups, [felt * one.get(group, 0.0) for group in cold]))
    design = np.stack(rows)
    errors = np.empty(len(latencies))
    for index in range(len(latencies)):
        rest = np.arange(len(latencies)) != index
        guess = design[index] @ _solve(design[rest], latencies[rest], len(cold))
        errors[index] = guess / latencies[index] - 1
    return half_bytes, design, errors


def _row(network: Decomposition, groups: Sequence[str], warm: Sequence[float]) -> np.ndarray:
    """[other groups, groups..., what was warm of them..., base, partitions]"""
    others = sum(ms for group, ms in network.groups.items() if group not in groups)
    known = [network.groups.get(group, 0.0) for group in groups]
    return np.array([others, *known, *warm, 1.0, network.partitions])


def _common(kernels: np.ndarray, latencies: np.ndarray) -> float:
    return float(np.clip(np.median(latencies / kernels.sum(1)), *FACTOR_BOUNDS))


def _solve(design: np.ndarray, latencies: np.ndarray, warm: int) -> np.ndarray:
    """Maximum a posteriori [factor of other groups, factors..., cold..., base_ms, partition_ms]."""
    factors = design.shape[1] - warm - 2
    common = _common(design[:, :factors], latencies)
    small = float(np.min(latencies))
    scales = np.array([_PRIOR_SD] * factors + [_PRIOR_COLD_SD] * warm + [_PRIOR_REST * small] * 2)
    centre = np.array([common] * factors + [0.0] * (warm + 2))
    rows = np.concatenate([design / latencies[:, None] / _NOISE, np.diag(1 / scales)])
    wanted = np.concatenate([np.full(len(latencies), 1 / _NOISE), centre / scales])
    low, high = FACTOR_BOUNDS
    bounds = (
        [low] * factors + [0] * (warm + 2),
        [high] * factors + [_MOST_COLD] * warm + [np.inf] * 2,
    )
    return lsq_linear(rows, wanted, bounds).x
