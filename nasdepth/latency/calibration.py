"""What whole networks say about a table of kernels: factors of kinds, the end-to-end rest, and the error.

A kernel in a network finds its input warm and all else cold, and the runtime does work between kernels. So
a network's latency is modelled as base + partitions * partition_ms + sum over groups of factor * kernels,
a linear regression with a Gaussian prior around one common factor: what few networks use stays near it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import lsq_linear

from nasdepth.latency.card import Calibration
from nasdepth.latency.kernels import Kernel

# Factors differ by about this much between groups, partitions cost about this much (ms of a 1 ms network)
_PRIOR_SD = 0.15
_PRIOR_REST = 0.02
_NOISE = 0.03
_FACTOR_BOUNDS = (0.4, 2.5)
_NORMAL_90 = 1.6449
_FEWEST = 6


@dataclass(frozen=True, slots=True)
class Decomposition:
    """A network as a table sees it, before any calibration.

    Attributes:
        groups: {group: ms}, see `group_of`.
        partitions: how many pieces the delegate and the built-in kernels cut it into.
        variance: of the sum, ms squared, from measuring and interpolating.
    """

    groups: dict[str, float]
    partitions: int
    variance: float


def group_of(kernel: Kernel) -> str:
    """Kernels that share a factor: the same operation; convolutions also by 1x1 or wider."""
    if kernel.op != "conv2d" or kernel.groups > 1:
        return kernel.op
    return "conv1x1" if kernel.kernel_height * kernel.kernel_width == 1 else "conv_kxk"


def calibrate(networks: Sequence[Decomposition], latencies_ms: Sequence[float]) -> Calibration | None:
    """Fit factors to measured networks; the error comes from leaving each of them out in turn.

    Returns:
        None for fewer than 6 networks: they would be fitted, not learnt from.
    """
    if len(networks) < _FEWEST:
        return None
    latencies = np.asarray(latencies_ms, np.float64)
    groups = sorted({group for network in networks for group in network.groups})
    # a group that is in one network alone tells nothing about the next one
    groups = [group for group in groups if sum(group in one.groups for one in networks) >= 2]
    design = np.stack([_row(network, groups) for network in networks])
    spread = np.sqrt([network.variance for network in networks]) / latencies
    errors = np.empty(len(latencies))
    for index in range(len(latencies)):
        rest = np.arange(len(latencies)) != index
        guess = design[index] @ _solve(design[rest], latencies[rest])
        errors[index] = guess / latencies[index] - 1
    unexplained = float(np.sqrt(max(np.median(errors**2) / 0.455 - np.median(spread**2), 1e-4)))
    standardised = np.abs(errors) / np.sqrt(unexplained**2 + spread**2)
    # the smallest sample quantile that covers nine in ten of networks not yet seen (split conformal)
    rank = min(int(np.ceil(0.9 * (len(errors) + 1))), len(errors)) - 1
    solution = _solve(design, latencies)
    return Calibration(
        networks=len(networks),
        default_factor=round(float(_common(design, latencies)), 4),
        factors={group: round(float(value), 4) for group, value in zip(groups, solution[1:], strict=False)},
        base_ms=round(float(solution[-2]), 6),
        partition_ms=round(float(solution[-1]), 6),
        relative_sd=round(unexplained, 4),
        sd_factor=round(float(np.sort(standardised)[rank] / _NORMAL_90), 4),
    )


def _row(network: Decomposition, groups: Sequence[str]) -> np.ndarray:
    """[other groups, groups..., base, partitions]"""
    others = sum(ms for group, ms in network.groups.items() if group not in groups)
    return np.array([others, *(network.groups.get(group, 0.0) for group in groups), 1.0, network.partitions])


def _common(design: np.ndarray, latencies: np.ndarray) -> float:
    return float(np.clip(np.median(latencies / design[:, :-2].sum(1)), *_FACTOR_BOUNDS))


def _solve(design: np.ndarray, latencies: np.ndarray) -> np.ndarray:
    """Maximum a posteriori [factor of other groups, factors..., base_ms, partition_ms]."""
    count = design.shape[1]
    common = _common(design, latencies)
    small = float(np.min(latencies))
    scales = np.array([_PRIOR_SD] * (count - 2) + [_PRIOR_REST * small] * 2)
    centre = np.array([common] * (count - 2) + [0.0, 0.0])
    rows = np.concatenate([design / latencies[:, None] / _NOISE, np.diag(1 / scales)])
    wanted = np.concatenate([np.full(len(latencies), 1 / _NOISE), centre / scales])
    low, high = _FACTOR_BOUNDS
    bounds = ([low] * (count - 2) + [0, 0], [high] * (count - 2) + [np.inf] * 2)
    return lsq_linear(rows, wanted, bounds).x
