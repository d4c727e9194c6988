"""Tables for the terminal, at 80 columns."""

from nasdepth.architecture import Architecture
from nasdepth.report.terminal import trials_lines
from nasdepth.searching import Outcome, TrialRecord

LONG = Architecture.parse(
    "128x160,mobilenetv3_small_minimal@1:5,none-conv-k1-w72,concat-conv-k1-w24,concat-conv-k1-w8,"
    "concat-conv-k3-w24,up-bilinear-nearest"
)


def record(number, **fields):
    return TrialRecord(number, LONG, Outcome.TRAINED, start="random (no weights)", **fields)


def test_figures_fit_80_columns_and_architectures_stay_whole():
    best = record(1234, si_rmse=0.2, latency_ms=1234.5, estimated_latency_ms=1234.5).with_confirmation(0.19)
    other = record(7, si_rmse=0.31, latency_ms=0.5).with_measurement(0.5)
    title, heading, first, whole, second, _ = trials_lines("Front", [best, other], best)
    assert title == "Front" and max(map(len, (heading, first, second))) <= 80
    assert "★ 1234" in first and "~1234.500" in first and "0.1900" in first and "random" in first
    assert "★" not in second and "~" not in second and "0.500" in second
    assert str(LONG) in whole and "litedepth: " in whole
    assert f"{best.confirmed_score:.1f}" in first


def test_nothing_is_said_of_no_trials():
    assert list(trials_lines("Front", [])) == ["Front", "  none"]
