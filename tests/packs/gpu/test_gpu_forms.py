"""Forms of kernels: physical amounts, and fits that find a law."""

import numpy as np
import pytest
from gpu_samples import BASE_US, INFLATION, convolution_us, depthwise_us, fully_connected_us

from nasdepth.errors import TableError
from nasdepth.latency import Kernel
from nasdepth.latency.accuracy import interval_90
from nasdepth.packs.gpu.delegate import load_delegate, load_delegates
from nasdepth.packs.gpu.fit import fit_both, fit_operations, timed_operations
from nasdepth.packs.gpu.network_time import GROUP_NAMES, add_up, fit_network, from_card
from nasdepth.packs.gpu.published_families import family_of, names_by_family
from nasdepth.packs.gpu.terms import FORMS
from nasdepth.packs.gpu.validation import folds
from nasdepth.testing.predictors import enlarged

SAMPLES = [
    Kernel("conv2d", 14, 18, 24, 14, 18, 40, kernel_height=3, kernel_width=3, padding="same"),
    Kernel("conv2d", 7, 9, 100, 7, 9, 6, padding="same", operand="tensor"),
    Kernel("depthwise_conv2d", 14, 18, 24, 7, 9, 24, groups=24, kernel_height=5, kernel_width=5,
           stride_height=2, stride_width=2, padding="same"),
    Kernel("transpose_conv2d", 7, 9, 16, 14, 18, 8, kernel_height=2, kernel_width=2,
           stride_height=2, stride_width=2, padding="same"),
    Kernel("fully_connected", 1, 1, 96, 1, 1, 1000, in_shape=(1, 96), out_shape=(1, 1000)),
    Kernel("mean", 7, 9, 40, 1, 1, 40),
    Kernel("max_pool2d", 14, 18, 24, 7, 9, 24, kernel_height=2, kernel_width=2,
           stride_height=2, stride_width=2, padding="same"),
    Kernel("concat", 14, 18, 24, 14, 18, 40, other_channels=(16,)),
    Kernel("resize_bilinear", 14, 18, 24, 28, 36, 24, sampling="half_pixel"),
    Kernel("mul", 14, 18, 24, 14, 18, 24, operand="gate"),
]  # fmt: skip


@pytest.mark.parametrize("family", load_delegates())
@pytest.mark.parametrize("form", FORMS)
def test_no_amount_falls_when_a_kernel_grows(form, family):
    delegate, names = load_delegate(family), tuple(FORMS[form].terms)
    compared = 0
    for kernel in SAMPLES:
        amounts = FORMS[form].amounts([kernel], delegate, names)
        assert np.all(amounts >= 0) and np.all(np.isfinite(amounts)), kernel
        for _, larger in enlarged(kernel):
            more = FORMS[form].amounts([larger], delegate, names)
            fallen = [name for name, less in zip(names, (more < amounts)[0], strict=True) if less]
            assert not fallen, f"{fallen} of {kernel} -> {larger}"
            compared += 1
    assert compared > 20


@pytest.fixture(scope="module")
def fitted(invented):
    return fit_both(*invented, "adreno640", load_delegate("adreno6xx"))


def _error(operations, kernel, us):
    return float(operations.answer([kernel]).latency_ms[0] / us * 1000 - 1)


def test_a_fit_finds_the_law_of_kernels_that_it_has_not_seen(fitted):
    operations, _ = fitted
    for size, ins, outs in ((56, 100, 52), (14, 140, 148), (7, 300, 60), (28, 44, 188)):
        for window in (1, 3):
            kernel = Kernel(
                "conv2d", size, size, ins, size, size, outs,
                kernel_height=window, kernel_width=window, padding="same", activation="relu",
            )  # fmt: skip
            assert operations.delegate.choose(kernel) == "generic"
            assert abs(_error(operations, kernel, convolution_us(size, ins, outs, window))) < 0.1, kernel
    layer = Kernel("fully_connected", 1, 1, 200, 1, 1, 1000, in_shape=(1, 200), out_shape=(1, 1000))
    assert abs(_error(operations, layer, fully_connected_us(200, 1000))) < 0.05
    deep = Kernel(
        "depthwise_conv2d", 28, 28, 100, 28, 28, 100,
        kernel_height=5, kernel_width=5, groups=100, padding="same",
    )  # fmt: skip
    assert abs(_error(operations, deep, depthwise_us(28, 100, 5))) < 0.05


def test_coefficients_are_positive_and_kinds_never_seen_are_a_guess(fitted):
    operations, _ = fitted
    assert all(value > 0 for form in operations.forms.values() for value in form.ms.values())
    assert set(operations.forms) == set(FORMS)
    resize = Kernel("resize_bilinear", 28, 28, 40, 56, 56, 40, sampling="half_pixel")
    far = Kernel("conv2d", 56, 56, 4096, 56, 56, 4096, padding="same")
    near = Kernel("conv2d", 56, 56, 64, 56, 56, 64, padding="same")
    answers = operations.answer([resize, far, near])
    assert answers.known.tolist() == [False, False, True]
    assert answers.relative_sd[0] > 0.3 and answers.relative_sd[1] > 1.5 * answers.relative_sd[2]


def test_networks_are_kernels_and_a_base(fitted):
    _, network = fitted
    assert network.weights[0] == pytest.approx(BASE_US / 1000, rel=0.15)
    factors = network.factors.values
    assert factors["convolution"] == pytest.approx(INFLATION, rel=0.05)
    assert all(0 <= factors[name] < 2 for name in GROUP_NAMES)


def test_a_step_to_networks_survives_its_card(fitted):
    _, network = fitted
    again = from_card(network.to_card())
    sums = add_up(["generic", "depthwise"], [1.0, 0.2], [0.1, 0.02], [True, True])
    assert again.predict(sums) == pytest.approx(network.predict(sums), rel=1e-3)
    low_ms, high_ms = interval_90(*again.predict(sums))
    assert 0 <= low_ms < again.predict(sums)[0] < high_ms


def test_intervals_hold_nine_in_ten_of_networks_to_come():
    """Networks whose error is partly a share and partly so many ms, whatever their size."""
    rng = np.random.default_rng(0)

    def draw(count):
        sums = [
            add_up(["generic"] * 30, np.full(30, 0.5 * rng.uniform(0.05, 1)), np.zeros(30), [True] * 30)
            for _ in range(count)
        ]
        plain = np.array([3 + 1.1 * one.row[2] for one in sums])
        return sums, plain * rng.normal(1, 0.03, count) + rng.normal(0, 0.3, count)

    network = fit_network(*draw(60))
    inside = []
    for sums, measured in zip(*draw(2000), strict=True):
        low_ms, high_ms = interval_90(*network.predict(sums))
        inside.append(low_ms <= measured <= high_ms)
    assert 0.85 < np.mean(inside) < 0.96


def test_too_little_is_said_by_name(invented):
    models, latencies = invented
    delegate = load_delegate("adreno6xx")
    with pytest.raises(TableError, match="no operation has a time on 'mali'"):
        fit_both(models, latencies, "mali", delegate)
    few = {name: latencies[name] for name in list(models)[:3]}
    with pytest.raises(TableError, match="3 networks; a step from kernels to networks needs 6"):
        fit_both(models, few, "adreno640", delegate)
    no_concat = [one for one in timed_operations(models, "adreno640") if one.kernel.op != "concat"]
    with pytest.raises(TableError, match="0 operations run as concat"):
        fit_operations(no_concat, delegate)


def test_folds_and_families_part_every_model_once():
    names = [f"net{index}" for index in range(23)]
    assert sorted(name for part in folds(names) for name in part) == sorted(names)
    assert family_of("sepreresnet16") == family_of("resnet18_wd2") != family_of("resnext14_16x4d")
    assert family_of("mobilenetv2b_w1") != family_of("mobilenetb_wd2") == family_of("fdmobilenet_w1")
    assert names_by_family(["bagnet9", "resnet10", "resnet12"]) == {
        "bagnet9": ["bagnet9"],
        "resnet": ["resnet10", "resnet12"],
    }
