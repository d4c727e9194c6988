"""The regression finds what is there, keeps its prior where nothing is, and knows how far off it is."""

from dataclasses import replace

import numpy as np
import pytest

from nasdepth.packs import public_kernels, read_prior
from nasdepth.packs.anchors import Anchor
from nasdepth.packs.physical.calibrate import Seen, by_family, calibrated, folds, left_out
from nasdepth.packs.physical.coefficients import Roofline
from nasdepth.packs.physical.fit import Observation, fit, predict
from nasdepth.packs.public_models import family_of

NAMES = [
    *(f"mobilenet-v1-{width}-{size}" for width in (0.25, 0.5, 0.75, 1.0) for size in (128, 192, 224)),
    *(f"mobilenet-v2-{width}-{size}" for width in (0.35, 0.5, 1.0, 1.4) for size in (96, 160, 224)),
    *(f"mobilenet-v3-{kind}_224_1.0" for kind in ("large", "small", "large-minimalistic")),
    *(f"efficientnet-lite{variant}" for variant in range(4)),
    "resnet50",
]
NOISE = 0.02


@pytest.fixture(scope="module")
def prior():
    return read_prior("cortex-a72-ruy").precisions["float32"].belief()


@pytest.fixture(scope="module")
def truth(prior):
    """A device drawn from the prior."""
    rng = np.random.default_rng(7)
    return replace(prior, mean=rng.multivariate_normal(prior.mean, prior.covariance / 4))


@pytest.fixture(scope="module")
def seen(prior, truth):
    """Networks measured on that device, with 2 % of noise."""
    rng = np.random.default_rng(8)
    anchors = []
    for name in NAMES:
        kernels = public_kernels(name)
        ms = predict(Observation.of(kernels, 1.0, prior, "tflite"), truth).latency_ms
        anchors.append(Anchor(name, family_of(name), "float32", kernels, ms * np.exp(rng.normal(0, NOISE))))
    return Seen.of(anchors, prior, "tflite")


def test_what_many_networks_show_is_found(prior, truth, seen):
    belief = fit(seen.observations, prior)
    for name in ("gemm_mmac", "dw_mmac"):
        index = belief.terms.index(name)
        sd = belief.covariance[index, index] ** 0.5
        assert sd < prior.covariance[index, index] ** 0.5
        assert abs(belief.mean[index] - truth.mean[index]) < 3 * sd
    errors = [np.log(predict(one, belief).latency_ms / one.latency_ms) for one in seen.observations]
    assert np.std(errors) < 1.5 * NOISE
    assert NOISE / 2 < belief.noise < 2 * NOISE


def test_what_no_network_has_keeps_its_prior(prior, seen):
    belief = fit(seen.observations, prior)
    index = belief.terms.index("resize_mvalues")
    assert belief.mean[index] == pytest.approx(prior.mean[index])
    assert belief.covariance[index, index] == pytest.approx(prior.covariance[index, index])
    assert "resize_mvalues" not in belief.anchored
    assert {"gemm_mmac", "dw_mmac", "hard_swish_mvalues", "op"} <= belief.anchored


def test_left_out_networks_lie_in_their_intervals(prior, seen):
    checked = left_out(seen, prior, folds(seen.anchors))
    assert len(checked) == len(NAMES)
    assert np.mean([abs(one.error) for one in checked]) < 2 * NOISE
    assert 0.8 <= np.mean([one.inside for one in checked]) <= 1


def test_a_family_is_left_out_as_a_whole_and_folds_deal_every_network_once(seen):
    parts = by_family(seen.anchors)
    assert {tuple({seen.anchors[index].family for index in part}) for part in parts} == {
        (name,) for name in {one.family for one in seen.anchors}
    }
    dealt = sorted(index for part in folds(seen.anchors) for index in part)
    assert dealt == list(range(len(NAMES)))
    assert folds(seen.anchors) == folds(seen.anchors)


def test_a_network_unlike_the_anchors_is_less_certain(prior, seen):
    belief = calibrated(seen, prior)
    like = predict(Observation.of(public_kernels("mobilenet-v2-0.75-192"), 1.0, prior, "tflite"), belief)
    v3 = public_kernels("mobilenet-v3-large_224_1.0")
    swish = [kernel for kernel in v3 if kernel.op == "hard_swish"]
    unlike = predict(Observation.of([v3[0], *swish], 1.0, prior, "tflite"), belief)
    assert unlike.novelty > like.novelty + 0.1
    assert unlike.relative_sd(belief) > like.relative_sd(belief)


def test_no_time_is_below_the_roofline(prior, seen):
    slow = replace(prior, roofline=Roofline(gflops=0.5, bandwidth_gb_s=0.1))
    network = Observation.of(public_kernels("mobilenet-v1-1.0-224"), 1.0, slow, "tflite")
    belief = replace(fit(seen.observations, prior), roofline=slow.roofline)
    assert predict(network, belief).latency_ms >= network.floors_ms.sum()
    assert network.floors_ms.sum() >= 2 * 569 / 0.5


def test_another_board_is_learnt_from_ten_networks(prior, truth, seen):
    """A device that is 1.3 times slower, by kind of work a little more or less."""
    before = fit(seen.observations, prior)
    rng = np.random.default_rng(9)
    other = replace(truth, mean=truth.mean + np.log(1.3) + rng.normal(0, 0.05, len(truth.mean)))
    times = [predict(one, other).latency_ms for one in seen.observations]
    chosen = rng.permutation(len(times))[:10]
    measured = [replace(seen.observations[index], latency_ms=times[index]) for index in chosen]
    adapted = fit(measured, before.loosened())
    rest = [index for index in range(len(times)) if index not in chosen]

    def mape(belief):
        return np.mean([abs(predict(seen.observations[i], belief).latency_ms / times[i] - 1) for i in rest])

    assert mape(adapted) < 0.04 < 0.15 < mape(before)
