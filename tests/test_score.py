"""The published score tables, row by row."""

import math

import pytest

from nasdepth.score import C_PER_MS, log2_score, score, si_rmse_worth

# (team, si-RMSE as printed, ms on the Raspberry Pi 4 as printed, score as printed)
# Ignatov et al. 2021, Mobile AI 2021 depth challenge report, table 1. CFL2's runtime is 772 ms in the
# report and 2531 ms in SMART's paper; only the latter fits its score. The last two are from SMART's table.
MAI_2021 = [
    ("Tencent GY-Lab", "0.2836", "97", "129.41"),
    ("SMART", "0.2602", "1197", "14.51"),
    ("Airia-Team1", "0.2408", "1933", "11.75"),
    ("YTL", "0.2902", "1275", "8.98"),
    ("CFL2", "0.2761", "2531", "5.5"),
    ("HIT-AIIA", "0.2332", "6146", "4.11"),
    ("weichi", "0.4659", "582", "1.72"),
    ("MonoVision Palace", "0.3543", "3466", "1.36"),
    ("3dv oppo", "0.2678", "26494", "0.59"),
    ("MegaUe", "0.3737", "9392", "0.38"),
    ("root12321", "0.2449", "2130", "10.08"),
    ("helloworld3", "0.3128", "958", "8.74"),
]
# Ignatov et al. 2022, Mobile AI & AIM 2022 depth challenge report, table 1; four digits of si-RMSE where they
# were published elsewhere.
MAI_2022 = [
    ("TCL", "0.2773", "46", "297.79"),
    ("AIIA HIT (LiteDepth)", "0.311", "37", "232.04"),
    ("MiAIgo", "0.299", "54", "187.77"),
    ("Tencent GY-Lab", "0.303", "68", "141.07"),
    ("SmartLab", "0.3296", "65", "102.07"),
    ("JMU-CVLab", "0.3498", "139", "36.07"),
    ("ICL", "0.338", "142", "41.58"),
]


def half_digit(printed: str) -> float:
    """The most that rounding can have moved a printed number by."""
    decimals = len(printed.partition(".")[2])
    return 0.5 * 10**-decimals


@pytest.mark.parametrize(("team", "si_rmse", "ms", "published"), MAI_2021 + MAI_2022)
def test_a_published_score_follows_from_its_row(team, si_rmse, ms, published):
    lowest = score(float(si_rmse) + half_digit(si_rmse), float(ms) + half_digit(ms))
    highest = score(float(si_rmse) - half_digit(si_rmse), float(ms) - half_digit(ms))
    slack = half_digit(published)
    assert lowest - slack <= float(published) <= highest + slack, f"{team}: {lowest} to {highest}"


def test_the_runtime_in_the_2021_report_does_not_fit_cfl2():
    assert score(0.2761, 772) == pytest.approx(18.04, abs=0.01)


@pytest.mark.parametrize(("si_rmse", "ms"), [(0.0, 1.0), (0.3, 37.0), (1.2, 0.004)])
def test_log2_score_is_the_logarithm_and_additive(si_rmse, ms):
    assert math.log2(score(si_rmse, ms)) == pytest.approx(log2_score(si_rmse, ms), rel=1e-12)
    assert log2_score(si_rmse, ms) == pytest.approx(19.2877 - 20 * si_rmse - math.log2(ms), abs=1e-4)


def test_score_of_nothing_is_the_constant():
    assert score(0, 1) == pytest.approx(1 / C_PER_MS) == pytest.approx(640_000)


@pytest.mark.parametrize(
    ("ratio", "si_rmse"), [(2, 0.05), (0.5, -0.05), (1.1, 0.006875), (2 ** (20 * 0.01), 0.01), (1, 0)]
)
def test_exchange_rates(ratio, si_rmse):
    assert si_rmse_worth(ratio) == pytest.approx(si_rmse, abs=1e-6)
    # slower by the ratio and better by its worth is the same score
    assert score(0.3 - si_rmse_worth(ratio), 10 * ratio) == pytest.approx(score(0.3, 10))


def test_a_hundredth_of_si_rmse_is_worth_an_eighth_of_the_score():
    assert score(0.29, 10) / score(0.30, 10) == pytest.approx(1.1487, abs=1e-4)


@pytest.mark.parametrize(
    ("si_rmse", "ms", "words"),
    [
        (0.3, 0, "latency_ms is 0"),
        (0.3, -2.5, "latency_ms is -2.5"),
        (0.3, math.nan, "latency_ms is nan"),
        (-0.1, 5, "si_rmse is -0.1"),
        (math.nan, 5, "si_rmse is nan"),
    ],
)
@pytest.mark.parametrize("function", [score, log2_score])
def test_impossible_terms_are_named(function, si_rmse, ms, words):
    with pytest.raises(ValueError, match=words):
        function(si_rmse, ms)
