"""Calibration finds the factors that whole networks were made with, and an honest error."""

from dataclasses import replace

import numpy as np
import pytest

from nasdepth.latency.predict.calibration import Decomposition, fit_calibration

FACTORS = {"conv1x1": 1.3, "resize_nearest": 1.0, "add": 1.15}


def _networks(count: int, noise: float, seed: int = 0):
    rng = np.random.default_rng(seed)
    networks, latencies = [], []
    for _ in range(count):
        groups = {group: float(rng.uniform(0.2, 3)) for group in FACTORS}
        partitions = int(rng.integers(1, 9))
        truth = sum(FACTORS[group] * ms for group, ms in groups.items()) + 0.004 * partitions + 0.01
        networks.append(Decomposition(groups, partitions, 0.0))
        latencies.append(truth * float(np.exp(rng.normal(0, noise))))
    return networks, latencies


def _predict(calibration, network) -> float:
    kernels = sum(
        calibration.factors.get(group, calibration.default_factor) * ms
        for group, ms in network.groups.items()
    )
    return calibration.base_ms + calibration.partition_ms * network.partitions + kernels


def test_factors_are_found():
    calibration = fit_calibration(*_networks(60, 0.01))
    for group, factor in FACTORS.items():
        assert calibration.factors[group] == pytest.approx(factor, rel=0.05)
    assert calibration.networks == 60


TAPS, BEST_MS_PER_MAC = 32.0, 2e-8


def _with_convolutions(count: int, half_cold_bytes: float):
    """Networks of few long or many short convolutions, and what their cold caches add."""
    rng = np.random.default_rng(3)
    bound_ms = 1e5 * BEST_MS_PER_MAC * TAPS
    networks, latencies = [], []
    for network, latency_ms in zip(*_networks(count, 0.003), strict=True):
        parts = int(rng.integers(1, 40))
        each_ms = network.groups["conv1x1"] / parts
        convolutions = (("conv1x1", each_ms, round(each_ms / BEST_MS_PER_MAC), TAPS),) * parts
        moved = int(np.exp(rng.uniform(np.log(1e6), np.log(1e8))))
        networks.append(Decomposition(network.groups, network.partitions, 0.0, convolutions, moved))
        felt = moved / (moved + half_cold_bytes)
        latencies.append(latency_ms + 0.6 * felt * parts * min(each_ms, bound_ms))
    return networks, latencies


def test_the_cold_of_a_network_adds_to_convolutions():
    calibration = fit_calibration(*_with_convolutions(80, 1e7))
    assert calibration.cold["conv1x1"] == pytest.approx(0.6, rel=0.2)
    assert calibration.factors["conv1x1"] == pytest.approx(FACTORS["conv1x1"], rel=0.05)
    assert calibration.cold_ms_per_tap == pytest.approx(1e5 * BEST_MS_PER_MAC, rel=0.01)
    assert calibration.half_cold_bytes == 1e7


def test_the_interval_covers_nine_in_ten_of_networks_not_seen():
    calibration = fit_calibration(*_networks(60, 0.05))
    unseen, latencies = _networks(400, 0.05, seed=1)
    half = 1.645 * calibration.relative_sd * calibration.sd_factor
    inside = [
        abs(_predict(calibration, network) - latency) <= half * _predict(calibration, network)
        for network, latency in zip(unseen, latencies, strict=True)
    ]
    assert 0.82 < np.mean(inside) < 0.97


def test_networks_of_which_too_little_is_claimed_do_not_narrow_the_interval_of_others():
    networks, latencies = _networks(60, 0.05)
    sure = [replace(one, variance=(0.01 * ms) ** 2) for one, ms in zip(networks, latencies, strict=True)]
    humble = [replace(one, variance=(0.5 * ms) ** 2) for one, ms in zip(networks, latencies, strict=True)]
    mixed = [*sure[:30], *humble[30:]]
    together = fit_calibration(mixed, latencies)
    apart = fit_calibration(mixed, latencies, ["whole"] * 30 + ["core"] * 30)
    assert apart.sd_factor > 1.1 * together.sd_factor
    assert apart.factors == together.factors


def test_a_group_that_one_network_alone_has_keeps_to_the_others():
    networks, latencies = _networks(30, 0.01)
    odd = Decomposition({**networks[0].groups, "softmax": 5.0}, 1, 0.0)
    calibration = fit_calibration([odd, *networks[1:]], [latencies[0] + 5.0 * 2.4, *latencies[1:]])
    assert "softmax" not in calibration.factors and 1.0 < calibration.default_factor < 1.4


def test_few_networks_are_no_calibration():
    assert fit_calibration(*_networks(5, 0.01)) is None
