"""Plans from a device's pace."""

import math

import pytest

from nasdepth.errors import NasdepthError
from nasdepth.latency.measure.pace import Pace, expected_error_percent


def paced(kernel_s: float, slot_s: float) -> Pace:
    pace = Pace()
    pace.saw_kernels(100, 100 * kernel_s)
    pace.saw_networks(6, 10 * slot_s, writing_s=0.6)
    pace.saw_fit(2.0)
    return pace


def test_a_third_of_the_time_is_for_networks_until_there_are_enough():
    pace = paced(0.05, 1.0)
    assert pace.plan(600, 10**5, 129, True).networks == 129
    short, slow = pace.plan(120, 10**5, 129, True), paced(0.5, 10.0).plan(120, 10**5, 129, True)
    assert 20 <= short.networks <= 40 and short.kernels * 0.05 == pytest.approx(0.65 * 116, rel=0.05)
    assert slow.networks == 12
    assert short.minutes == pytest.approx(2, rel=0.02) and short.writing_seconds == pytest.approx(0.1)


def test_few_kernels_leave_time_for_networks_and_no_limit_measures_all():
    pace = paced(0.05, 1.0)
    few = pace.plan(600, 100, 500, True)
    assert few.kernels == 100 and few.networks > 300
    everything = pace.plan(math.inf, 5000, 129, True, done=(10, 1))
    assert (everything.kernels, everything.networks) == (5010, 130)


def test_what_slows_down_gets_less():
    pace = paced(0.05, 1.0)
    before = pace.plan(600, 10**5, 129, True).kernels
    pace.saw_kernels(100, 100 * 0.5)
    assert pace.plan(600, 10**5, 129, True).kernels < before / 3


def test_too_little_names_the_least():
    pace = paced(1.0, 10.0)
    plan = pace.plan(60, 10**5, 129, True)
    with pytest.raises(NasdepthError, match=r"1 minutes are too few .* take [\d.]+ minutes"):
        pace.require_enough(1, 30, plan, (60, 12))
    pace.require_enough(10, 30, pace.plan(570, 10**5, 129, True), (60, 12))


def test_more_kernels_and_other_devices_are_expected_to_help():
    assert expected_error_percent(30, 20, True) is None and expected_error_percent(500, 3, True) is None
    errors = [expected_error_percent(count, 20, True) for count in (60, 300, 1000, 5000, 10**6)]
    assert errors == sorted(errors, reverse=True)
    assert expected_error_percent(500, 20, False) > expected_error_percent(500, 20, True)
