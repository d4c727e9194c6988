import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from nasdepth.score import log2_score
from nasdepth.searching.goals import SCORE, parse_goal
from nasdepth.searching.sampling.acquisition import (
    HypervolumeImprovement,
    MeritImprovement,
    expected_excess,
    log_expected_excess,
)

RNG = np.random.default_rng(0)


def test_scores_are_the_projects():
    si_rmse, latency_ms = np.array([0.2, 0.31]), np.array([1.0, 7.5])
    expected = [log2_score(*pair) for pair in zip(si_rmse, latency_ms, strict=True)]
    assert SCORE.merit(si_rmse, latency_ms) == pytest.approx(expected)


@pytest.mark.parametrize("mean", [-8.0, -1.0, 0.0, 0.3, 4.0])
@pytest.mark.parametrize("sd", [0.1, 1.0])
def test_the_expected_excess_is_the_integral(mean, sd):
    expected, _ = quad(lambda x: x * norm.pdf(x, mean, sd), 0, mean + 12 * sd if mean > 0 else 12 * sd + 1)
    if expected > 1e-250:
        assert math.exp(float(log_expected_excess(np.array(mean), np.array(sd)))) == pytest.approx(
            expected, rel=1e-3, abs=1e-300
        )
    assert float(expected_excess(np.array(mean), np.array(sd))) == pytest.approx(expected, abs=1e-9)


def test_the_logarithm_falls_steadily_where_the_expectation_underflows():
    means = -np.concatenate([np.linspace(0, 8, 400), np.geomspace(8.1, 1e6, 200)])
    logs = log_expected_excess(means, np.ones_like(means))
    assert np.isfinite(logs).all() and (np.diff(logs) < 0).all()


def test_improvement_is_of_the_best_that_is_believed():
    acquisition = MeritImprovement(np.array([0.25, 0.3]), np.array([2.0, 1.0]))
    best = log2_score(0.25, 2.0)
    mean, sd = np.array([0.24, 0.26]), np.array([0.01, 0.02])
    latency_ms, latency_sd = np.array([1.9, 2.2]), np.array([0.05, 0.3])
    gains = acquisition.gain(mean, sd, latency_ms, latency_sd)
    for place in range(2):
        spread = math.hypot(20 * sd[place], latency_sd[place])
        centre = log2_score(mean[place], latency_ms[place]) - best
        drawn = np.maximum(centre + spread * RNG.normal(size=400_000), 0).mean()
        assert math.exp(gains[place]) == pytest.approx(drawn, rel=0.03)


def test_faster_better_and_less_sure_rank_higher():
    acquisition = MeritImprovement(np.array([0.25]), np.array([2.0]))

    def gain(mean=0.26, sd=0.01, latency_ms=2.0, latency_sd=0.05):
        given = (np.array([one]) for one in (mean, sd, latency_ms, latency_sd))
        return float(acquisition.gain(*given)[0])

    assert gain(latency_ms=1.8) > gain() and gain(mean=0.25) > gain()
    assert gain(sd=0.02) > gain() and gain(latency_sd=0.2) > gain()


def area(points, worst, end):
    """What (latency in octaves, si-RMSE) points dominate, on a fine grid."""
    grid = np.linspace(-2, end, 60_001)
    levels = np.full_like(grid, worst)
    for octaves, si_rmse in points:
        levels = np.where(grid >= octaves, np.minimum(levels, si_rmse), levels)
    return float((worst - levels).mean() * (end + 2))


def test_the_hypervolume_improvement_is_what_is_gained_on_average():
    si_rmse, latency_ms = np.array([0.30, 0.25, 0.27, 0.22]), np.array([1.0, 2.0, 3.0, 5.0])
    acquisition = HypervolumeImprovement(si_rmse, latency_ms, max_latency_ms=8.0)
    points = list(zip(np.log2(latency_ms), si_rmse, strict=True))
    worst = 0.30 + 0.5 / 20
    before = area(points, worst, 3.0)
    for mean, sd, ms in ((0.24, 0.02, 1.5), (0.31, 0.01, 0.6), (0.28, 0.02, 2.5), (0.2, 0.01, 7.0)):
        gain = float(acquisition.gain(*(np.array([one]) for one in (mean, sd, ms, 0.1)))[0])
        quantiles = norm.ppf((np.arange(200) + 0.5) / 200, mean, sd)
        grown = np.mean([area([*points, (math.log2(ms), one)], worst, 3.0) - before for one in quantiles])
        assert gain == pytest.approx(grown, rel=0.05, abs=1e-4)


def test_beyond_the_limit_nothing_is_gained():
    acquisition = HypervolumeImprovement(np.array([0.3]), np.array([1.0]), max_latency_ms=4.0)
    gains = acquisition.gain(np.full(2, 0.1), np.full(2, 0.01), np.array([3.9, 4.1]), np.full(2, 0.1))
    assert gains[0] > 0 and gains[1] == 0


def test_standing_is_how_far_below_the_front():
    acquisition = HypervolumeImprovement(np.array([0.3, 0.25]), np.array([1.0, 2.0]))
    standing = acquisition.standing(np.array([0.3, 0.25, 0.28]), np.array([1.0, 2.0, 2.0]))
    assert standing == pytest.approx([0.0, 0.0, -0.03])


def test_what_is_hardly_of_use_gains_little():
    limit, sd = 0.3, np.full(3, 0.01)
    trained, latency_ms = np.array([0.2, 0.31]), np.array([4.0, 0.1])
    # what is to beat is the useful one, though the other scores more
    acquisition = MeritImprovement(trained, latency_ms, limit)
    plain = MeritImprovement(trained[:1], latency_ms[:1])
    mean, ms = np.array([0.2, 0.3, 0.35]), np.array([2.0, 0.5, 0.05])
    gain = acquisition.gain(mean, sd, ms, np.full(3, 0.05))
    chance = np.log(norm.cdf((limit - mean) / sd))
    assert gain == pytest.approx(plain.gain(mean, sd, ms, np.full(3, 0.05)) + chance)
    assert gain.argmax() == 0
    order = np.argsort(-acquisition.standing(np.array([0.2, 0.25, 0.31]), np.array([4.0, 4.0, 0.01])))
    assert order.tolist() == [0, 1, 2]


def test_the_area_ends_where_nothing_is_of_use():
    trained, latency_ms = np.array([0.2, 0.31]), np.array([4.0, 0.5])
    acquisition = HypervolumeImprovement(trained, latency_ms, useful_below=0.3)
    sd = np.full(2, 1e-6)
    useless, useful = acquisition.gain(np.array([0.301, 0.29]), sd, np.array([0.3, 0.3]), sd)
    assert useless == pytest.approx(0, abs=1e-6)
    # from 0.3 ms to the good one at 4 ms, and no further down than the limit
    assert useful == pytest.approx(0.01 * np.log2(4.0 / 0.3), rel=1e-3)


def test_quality_gains_by_si_rmse_alone():
    acquisition = MeritImprovement(np.array([0.25]), np.array([2.0]), goal=parse_goal("quality"))
    mean, sd = np.array([0.24, 0.24, 0.20]), np.full(3, 0.01)
    fast, slow, better = acquisition.gain(mean, sd, np.array([1.0, 9.0, 9.0]), np.full(3, 0.3))
    assert fast == slow < better
