"""Numbers of channels inside a piece, found out from traces."""

import pytest
from timm.layers import make_divisible

from nasdepth.latency.extract.channel_formulas import Exact, Rounded, distinct, evaluate, fit, symbols

PROBES = ((16, 8), (56, 32), (96, 104), (268, 524))
MORE = ((8, 16), (24, 48), (40, 24))


def _squeeze(in_channels, out_channels):
    inside = make_divisible(in_channels * 3.67)
    return inside, make_divisible(inside * 0.25), in_channels + out_channels, 2 * out_channels


def _fit(function, equal=(0, 1)):
    seen = [(one, function(*one)) for one in (tuple(probe[index] for index in equal) for probe in PROBES)]
    return fit(function(*symbols(equal)), equal, seen, MORE, lambda channels: function(*channels))


@pytest.mark.parametrize("equal", [(0, 1), (0, 0)])
def test_sums_and_roundings_are_found_out_and_hold_elsewhere(equal):
    amounts = _fit(_squeeze, equal)
    for size in range(8, 1000, 8):
        channels = tuple((size, 1008 - size)[index] for index in equal)
        assert evaluate(amounts, channels)[2:] == list(_squeeze(*channels)), channels


def test_a_rounding_that_is_not_known_is_not_taken_for_another():
    assert _fit(lambda first, second: (first // 16 * 8 + 8,)) is None
    assert _fit(lambda first, second: (first * second,)) is None


def test_a_fraction_is_no_amount():
    (half,) = _fit(lambda first, second: (first // 2,))
    assert isinstance(half, Exact)
    with pytest.raises(Rounded):
        half.at((9, 8))


def test_what_is_the_same_stands_once():
    amounts = _fit(lambda first, second: (second, 3 * first, make_divisible(3.67 * first), 3 * first))
    left, places = distinct(amounts, 2)
    assert len(left) == 2
    assert places == [0, 1, 1, 2, 3, 2]
