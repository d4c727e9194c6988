"""Times transferred from other devices: what is learnt of a new one from a few of its kernels."""

import math

import numpy as np
import pytest

from nasdepth.latency import Kernel, LatencyTable, TablePredictor, load_predictor
from nasdepth.latency.measure.random_kernels import random_kernels
from nasdepth.latency.predict.transfer import Sources, Transfer


@pytest.fixture(scope="module")
def sources():
    return Sources({"x86-64-xnnpack-1t": load_predictor("x86-64-xnnpack-1t")})


@pytest.fixture(scope="module")
def kernels():
    return [one for one in random_kernels() if one.op in ("conv2d", "add") and one.precision == "float32"]


def another_device(sources, kernels):
    """Three times slower, convolutions once more twice, and large ones more so."""
    log_ms = sources.log_ms(kernels)[:, 0]
    factors = [6 * one.macs**0.05 if one.op == "conv2d" else 3 for one in kernels]
    return dict(zip(kernels, np.exp(log_ms) * factors, strict=True))


def test_nothing_measured_is_what_the_sources_say_and_not_sure(sources, kernels):
    belief = Transfer(sources, {}).believe(kernels)
    np.testing.assert_allclose(np.log(belief.latency_ms), sources.log_ms(kernels)[:, 0])
    assert (belief.relative_sd > 1).all()


def test_few_kernels_tell_factors_and_what_size_does(sources, kernels):
    true_ms = another_device(sources, kernels)
    some = dict(list(true_ms.items())[:60])
    rest = [kernel for kernel in kernels if kernel not in some]
    belief = Transfer(sources, some).believe(rest)
    off = np.log(belief.latency_ms / [true_ms[kernel] for kernel in rest])
    assert np.sqrt((off**2).mean()) < 0.05
    assert (np.abs(off) < 1.645 * belief.relative_sd).mean() > 0.85
    known_ms = {kernel: math.exp(sources.log_ms([kernel])[0, 0]) for kernel in kernels}
    one_factor = np.median([true_ms[kernel] / known_ms[kernel] for kernel in some])
    plain = np.log([one_factor * known_ms[kernel] / true_ms[kernel] for kernel in rest])
    assert (off**2).mean() < 0.05 * (plain**2).mean()


def test_what_is_measured_nearby_makes_surer(sources, kernels):
    true_ms = another_device(sources, kernels)
    few = Transfer(sources, dict(list(true_ms.items())[:15])).believe(kernels).relative_sd
    many = Transfer(sources, dict(list(true_ms.items())[:150])).believe(kernels).relative_sd
    assert np.median(many) < np.median(few)


def test_what_no_source_knows_has_no_answer(sources):
    table = LatencyTable.load("x86-64-xnnpack-1t")
    unknown = Kernel("gelu", 8, 8, 8, 8, 8, 8, precision="int8")
    assert not TablePredictor(table).knows(unknown)
    belief = Transfer(sources, {}).believe([unknown])
    assert np.isnan(belief.latency_ms).all() and np.isnan(belief.relative_sd).all()
