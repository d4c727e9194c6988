"""A table says when it is bad, by its own figures."""

import pytest

from nasdepth.latency import LatencyTable, load_table, shipped_tables

GOOD = "x86-64-xnnpack-1t"


def with_figures(factors=None, **validation):
    table = LatencyTable.load(GOOD)
    calibration = table.card.calibration.model_copy(update={"factors": factors} if factors else {})
    return table.with_card(
        calibration=calibration, validation=table.card.validation.model_copy(update=validation)
    )


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"factors": {"conv1x1": 0.4, "add": 1.0, "mul": 2.5}}, "2 of 3 calibration factors"),
        ({"spearman": 0.73}, "ranks networks badly (Spearman 0.73, at least 0.95)"),
        ({"mape_percent": 53.0}, "off by 53 % on average"),
        ({"interval_90_coverage_percent": 62.5}, "only 62.5 % lie in their 90 % intervals"),
    ],
)
def test_what_is_bad_is_said_in_one_sentence_with_its_mend(table, words):
    doubt = with_figures(**table).doubt
    assert words in doubt and doubt.startswith(f"do not search with {GOOD}: ")
    assert "build it again with more minutes" in doubt and "\n" not in doubt


def test_chance_is_no_reason():
    assert not with_figures(models=24, interval_90_coverage_percent=79.2).doubt
    assert not with_figures(models=3, spearman=0.5).doubt


@pytest.mark.parametrize("name", [name for name in shipped_tables() if name.endswith(("-1t", "-2t"))])
def test_measured_tables_that_ship_are_good(name):
    table = load_table(name)
    assert table.card.kind != "measured" or not table.doubt
