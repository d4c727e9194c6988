"""Which validation may replace which."""

import datetime
import subprocess

import pytest

from nasdepth.latency import Validation
from nasdepth.latency.measure.validate import worse_than
from nasdepth.latency.predict.files import find_table, is_kept


def validation(mape_percent, models=24, drift=1.0):
    shares = dict.fromkeys(("within_5_percent", "within_10_percent", "within_15_percent"), 50.0)
    return Validation(
        date=datetime.date(2026, 1, 1),
        models=models,
        mape_percent=mape_percent,
        bias_percent=0.0,
        spearman=1.0,
        interval_90_coverage_percent=90.0,
        drift=drift,
        **shares,
    )


@pytest.mark.parametrize(
    ("now", "words"),
    [
        (validation(29.0, drift=2.9), "drift was 2.9, outside of 0.9 to 1.1"),
        (validation(5.0, drift=0.85), "drift was 0.85"),
        (validation(5.0, models=10), "10 models ran, and 24 did then"),
        (validation(5.0), ""),
        (validation(4.0, models=10, drift=1.2), ""),
    ],
)
def test_a_worse_run_does_not_replace_a_better_one(now, words):
    assert (words in worse_than(now, validation(4.6))) if words else worse_than(now, validation(4.6)) == ""
    assert worse_than(now, None) == ""


def test_what_others_have_too_is_kept(tmp_path):
    assert is_kept(find_table("zen4-xnnpack-1t"))
    mine = tmp_path / "mine.csv"
    mine.write_text("")
    assert not is_kept(mine)
    git = ["git", "-C", str(tmp_path)]
    subprocess.run([*git, "init", "-q"], check=True)
    assert not is_kept(mine)
    subprocess.run([*git, "add", "mine.csv"], check=True)
    assert is_kept(mine)
