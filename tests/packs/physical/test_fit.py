"""The regression finds what is there, keeps its prior where nothing is, and knows how far off it is."""

from dataclasses import replace

import numpy as np
import pytest

from nasdepth.packs import public_kernels, read_prior
from nasdepth.packs.anchors import Anchor
from nasdepth.packs.physical.calibrate import Seen, by_family, calibrated, folds, left_out
from nasdepth.packs.physical.coefficients import Roofline
from nasdepth.packs.physical.fit import Observations, fit, predict
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


def _one(kernels, belief):
    (answer,) = predict(Observations.of([kernels], [1.0], belief, "tflite"), belief)
    return answer


@pytest.fixture(scope="module")
def seen(prior, truth):
    """Networks measured on that device, with 2 % of noise."""
    rng = np.random.default_rng(8)
    anchors = []
    for name in NAMES:
        kernels = public_kernels(name)
        ms = _one(kernels, truth).latency_ms * np.exp(rng.normal(0, NOISE))
        anchors.append(Anchor(name, family_of(name), "float32", kernels, ms, name))
    return Seen.of(anchors, prior, "tflite")


def test_what_many_networks_show_is_found(prior, truth, seen):
    belief = fit(seen.observations, prior)
    for name in ("gemm_mmac", "dw_mmac"):
        index = belief.terms.index(name)
        sd = belief.covariance[index, index] ** 0.5
        assert sd < prior.covariance[index, index] ** 0.5
        assert abs(belief.mean[index] - truth.mean[index]) < 3 * sd
    predicted = [one.latency_ms for one in predict(seen.observations, belief)]
    errors = np.log(predicted / seen.observations.latency_ms)
    assert np.std(errors) < 1.5 * NOISE
    assert NOISE / 2 < belief.noise < 2 * NOISE


def test_what_no_network_has_keeps_its_prior(prior, seen):
    belief = fit(seen.observations, prior)
    index = belief.terms.index("resize_mvalues")
    assert belief.mean[index] == pytest.approx(prior.mean[index])
    assert belief.covariance[index, index] == pytest.approx(prior.covariance[index, index])
    assert "resize_mvalues" not in belief.anchored
    assert {"gemm_mmac", "hard_swish_mvalues"} <= belief.anchored


def test_of_two_terms_that_always_come_together_only_the_sum_is_known(prior, seen):
    belief = fit(seen.observations, prior)
    pair = replace(
        belief,
        covariance=np.diag(belief.unmeasured_sd**2),
    )
    first, second = pair.terms.index("gemm_mmac"), pair.terms.index("gemm_moutputs")
    variance = pair.covariance[first, first]
    covariance = pair.covariance.copy()
    covariance[second, second] = variance
    covariance[first, second] = covariance[second, first] = -0.9 * variance
    pair = replace(pair, covariance=covariance, unmeasured_sd=np.sqrt(np.diag(covariance)))
    parts = np.eye(len(pair.terms))
    assert not pair.informed(parts[first]) and not pair.informed(parts[second])
    assert pair.informed(parts[first] + parts[second])


def test_a_network_of_another_setting_counts_for_less(prior, seen):
    """One that took twice as long moves the fit the less, the more its setting may differ."""
    observations = seen.observations
    times = observations.latency_ms.copy()
    times[0] *= 2

    def moved(setting_sd):
        differs = np.zeros(len(times))
        differs[0] = setting_sd
        after = fit(replace(observations, latency_ms=times, setting_sd=differs), prior)
        before = fit(observations, prior)
        return abs(
            predict(observations, after)[0].latency_ms / predict(observations, before)[0].latency_ms - 1
        )

    assert moved(0.5) < 0.3 * moved(0.0)


def test_groups_stay_together_when_networks_are_left_out(seen):
    grouped = [replace(one, group=one.family) for one in seen.anchors]
    for part in folds(grouped):
        families = {grouped[index].family for index in part}
        assert len(part) == sum(one.family in families for one in grouped)


def test_a_search_that_begins_near_the_answer_finds_the_same(prior, seen):
    whole = fit(seen.observations, prior)
    again = fit(seen.observations, prior, whole)
    np.testing.assert_allclose(np.exp(again.mean), np.exp(whole.mean), rtol=0.02)
    assert again.noise == pytest.approx(whole.noise, rel=0.02)


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
    like = _one(public_kernels("mobilenet-v2-0.75-192"), belief)
    v3 = public_kernels("mobilenet-v3-large_224_1.0")
    swish = [kernel for kernel in v3 if kernel.op == "hard_swish"]
    unlike = _one([v3[0], *swish], belief)
    assert unlike.novelty > like.novelty + 0.1
    assert unlike.relative_sd(belief) > like.relative_sd(belief)


def test_no_time_is_below_the_roofline(prior, seen):
    slow = replace(prior, roofline=Roofline(gflops=0.5, bandwidth_gb_s=0.1))
    network = Observations.of([public_kernels("mobilenet-v1-1.0-224")], [1.0], slow, "tflite")
    belief = replace(fit(seen.observations, prior), roofline=slow.roofline)
    (floor_ms,) = network.counts @ network.floors_ms
    assert predict(network, belief)[0].latency_ms >= floor_ms >= 2 * 569 / 0.5


def test_another_board_is_learnt_from_ten_networks(prior, truth, seen):
    """A device that is 1.3 times slower, by kind of work a little more or less."""
    before = fit(seen.observations, prior)
    rng = np.random.default_rng(9)
    other = replace(truth, mean=truth.mean + np.log(1.3) + rng.normal(0, 0.05, len(truth.mean)))
    times = np.array([one.latency_ms for one in predict(seen.observations, other)])
    chosen = rng.permutation(len(times))[:10]
    measured = replace(seen.observations, latency_ms=times).chosen(chosen)
    adapted = fit(measured, before.loosened())
    rest = [index for index in range(len(times)) if index not in chosen]

    def mape(belief):
        predicted = np.array([one.latency_ms for one in predict(seen.observations, belief)])
        return np.mean(np.abs(predicted / times - 1)[rest])

    assert mape(adapted) < 0.04 < 0.15 < mape(before)
