"""Rank statistics, against formulas and against rankings that are known."""

import math
import random
from dataclasses import replace

import numpy as np
import pytest
from replay_formula import TABLE, records_of, training
from scipy.stats import kendalltau, spearmanr

from nasdepth.errors import DataError
from nasdepth.packs import load_predictor
from nasdepth.replay import Latencies, rank_fidelities
from nasdepth.replay.ranking import pooled_tau


@pytest.fixture(scope="module")
def latency_ms():
    latencies = Latencies(load_predictor(TABLE))
    return lambda one: latencies.of(one).latency_ms


@pytest.fixture(scope="module")
def ranking(records, latency_ms):
    return rank_fidelities(records, latency_ms)


def by_si_rmse(ranking, name):
    (found,) = [one for one in ranking.ranks if one.fidelity == name and one.by == "si-RMSE"]
    return found


def test_figures_are_scipys(ranking, records):
    rank = by_si_rmse(ranking, "epochs1")
    full: dict = {}
    for one in records.of("full", None):
        full.setdefault(one.architecture, []).append(one.final)
    cheap = {one.architecture: one.final for one in records.of("epochs1")}
    x = [cheap[one] for one in full]
    y = [np.mean(full[one]) for one in full]
    assert rank.kendall.value == pytest.approx(kendalltau(x, y).statistic)
    assert rank.spearman.value == pytest.approx(spearmanr(x, y).statistic)
    assert rank.kendall.low < rank.kendall.value < rank.kendall.high
    assert rank.architectures == 24


def test_within_bins_counts_pairs_of_one_bin_only():
    first, second = np.array([1.0, 2.0, 11.0, 12.0]), np.array([2.0, 1.0, 11.0, 12.0])
    bins = np.array([0, 0, 1, 1])
    assert pooled_tau(first, second) == pytest.approx(4 / 6)
    assert pooled_tau(first, second, bins) == 0
    assert math.isnan(pooled_tau(first, second, np.arange(4)))


def test_a_noisy_epoch_ranks_worse_than_the_proxy(ranking):
    assert by_si_rmse(ranking, "epochs1").kendall.value < by_si_rmse(ranking, "proxy").kendall.value
    assert by_si_rmse(ranking, "proxy").within_bins.value < by_si_rmse(ranking, "proxy").kendall.value


def test_cost_is_the_share_of_full_trainings_seconds(ranking):
    assert by_si_rmse(ranking, "proxy").cost == pytest.approx(4 / 30)
    (early,) = [one for one in ranking.ranks if (one.fidelity, one.by) == ("proxy", "si-RMSE, epoch 1")]
    assert early.cost == pytest.approx(1 / 30)


def test_overlap_of_the_best_falls_when_the_figure_is_shuffled(records, latency_ms, ranking):
    values = [one.si_rmse for one in records.of("proxy")]
    random.Random(1).shuffle(values)
    shuffled = [
        replace(one, si_rmse=curve) for one, curve in zip(records.of("proxy"), values, strict=True)
    ] + records.of("full", None)
    worse = rank_fidelities(records_of(shuffled), latency_ms)
    rank = by_si_rmse(worse, "proxy")
    assert rank.kendall.low < 0.25
    assert abs(rank.kendall.value) < 0.4 < by_si_rmse(ranking, "proxy").kendall.value
    assert rank.top_overlap < by_si_rmse(ranking, "proxy").top_overlap


def test_noise_between_seeds_and_the_ceiling_it_sets(ranking, records):
    proxy, full = ranking.noise
    assert (proxy.fidelity, proxy.pairs, full.pairs) == ("proxy", 20, 8)
    pairs: dict = {}
    for one in records.of("proxy", None):
        pairs.setdefault(one.architecture, []).append(one.final)
    differences = [a - b for a, b in (two for two in pairs.values() if len(two) == 2)]
    assert proxy.sd == pytest.approx(np.sqrt(np.mean(np.square(differences)) / 2))
    assert proxy.within_bins < proxy.spread
    assert 0.5 < ranking.ceiling_within_bins < ranking.ceiling < 1


def test_random_starts_are_compared_in_pairs(ranking):
    whole, family = ranking.random_start
    assert (whole.family, family.family) == ("all", "efficientnet_lite0")
    assert whole.si_rmse.low < 0.02 < whole.si_rmse.high + 0.005
    assert whole.worse >= 0.9 * whole.architectures


def test_without_second_seeds_there_is_no_ceiling(records, latency_ms):
    single = records_of([one for one in records.trainings if one.seed == 0])
    assert math.isnan(rank_fidelities(single, latency_ms).ceiling)


def test_too_few_full_trainings_are_named(drawn, latency_ms):
    with pytest.raises(DataError, match="hold 2 architectures that were trained fully"):
        rank_fidelities(records_of([training(one, "full") for one in drawn[:2]]), latency_ms)
