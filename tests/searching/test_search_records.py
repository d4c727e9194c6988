"""The order of a search's results."""

from dataclasses import replace

import pytest

from nasdepth.models import resolve
from nasdepth.searching import Outcome, TrialRecord, best, pareto_front
from nasdepth.searching.records import constraints, leader, ranked

FAST, GOOD, SLOW = (resolve(name) for name in ("litedepth", "tcl2022", "lite0-plain"))


def trained(number, architecture, si_rmse, latency_ms, **changes):
    return TrialRecord(
        number,
        architecture,
        Outcome.TRAINED,
        si_rmse=si_rmse,
        latency_ms=latency_ms,
        mean_map_si_rmse=0.3,
        **changes,
    )


def test_what_has_learnt_nothing_never_wins_however_fast():
    garbage, good = trained(0, FAST, 0.301, 0.01), trained(1, GOOD, 0.2, 5.0)
    assert garbage.score > 10 * good.score
    assert best([garbage, good]) == leader([garbage, good]) == good
    assert ranked([garbage, good]) == [good, garbage] and pareto_front([garbage, good]) == [good]
    # it is shown where there is nothing else, but does not lead: nothing is too slow beside it
    assert best([garbage]) == garbage and leader([garbage]) is None and pareto_front([garbage]) == [garbage]


def test_a_longer_training_decides_whether_it_has_learnt():
    lucky = trained(0, FAST, 0.299, 0.1, confirmed_si_rmse=0.31)
    good = trained(1, GOOD, 0.2, 5.0, confirmed_si_rmse=0.21)
    late = trained(2, SLOW, 0.31, 5.0, confirmed_si_rmse=0.25)
    assert [one.useful for one in (lucky, good, late)] == [False, True, True]
    assert best([lucky, late]) == late and best([lucky, late, good]) == good


def test_without_a_mean_map_all_count():
    records = [replace(trained(0, FAST, 0.301, 0.01), mean_map_si_rmse=None), trained(1, GOOD, 0.2, 5.0)]
    assert best(records) == records[0] and not constraints(records[0])


@pytest.mark.parametrize(("si_rmse", "feasible"), [(0.29, True), (0.3, False), (0.31, False)])
def test_optuna_is_told(si_rmse, feasible):
    record = trained(0, FAST, si_rmse, 1.0)
    assert record.useful == feasible
    assert all(excess <= 0 for excess in constraints(record).values()) == feasible
