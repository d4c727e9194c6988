"""The challenge's metrics against plain loops over pixels."""

import math

import numpy as np
import pytest

from nasdepth.metrics import DepthMetrics, log10_error, rel_error, rmse_m, si_rmse


def known_pairs(pred, target):
    for row_p, row_t in zip(pred.tolist(), target.tolist(), strict=True):
        for p, t in zip(row_p, row_t, strict=True):
            if t > 1:
                yield max(float(p), 1.0), float(t)


def reference_si_rmse(pred, target):
    gaps = [math.log(p) - math.log(t) for p, t in known_pairs(pred, target)]
    mean = math.fsum(gaps) / len(gaps)
    return math.sqrt(math.fsum((gap - mean) ** 2 for gap in gaps) / len(gaps))


def reference_rmse_m(pred, target):
    squares = [((p - t) / 1000) ** 2 for p, t in known_pairs(pred, target)]
    return math.sqrt(math.fsum(squares) / len(squares))


def reference_log10(pred, target):
    gaps = [abs(math.log10(p / t)) for p, t in known_pairs(pred, target)]
    return math.fsum(gaps) / len(gaps)


def reference_rel(pred, target):
    gaps = [abs(p / t - 1) for p, t in known_pairs(pred, target)]
    return math.fsum(gaps) / len(gaps)


METRICS = [
    (si_rmse, reference_si_rmse, "si_rmse"),
    (rmse_m, reference_rmse_m, "rmse_m"),
    (log10_error, reference_log10, "log10"),
    (rel_error, reference_rel, "rel"),
]
EVERY = pytest.mark.parametrize(("metric", "reference", "name"), METRICS)


@pytest.fixture
def images():
    rng = np.random.default_rng(5)
    target = rng.integers(400, 40000, (3, 11, 13)).astype(np.uint16)
    target[rng.random(target.shape) < 0.3] = 0
    target[1, 0, 0] = 1  # the challenge masks out 1 as well
    pred = (target * rng.uniform(0.4, 2.1, target.shape) + 50).astype(np.float32)
    pred[0, :3] = 0.2  # below the clamp, and no less
    pred[2, 4] = -700
    return pred, target


@EVERY
def test_agrees_with_a_loop_over_pixels(metric, reference, name, images):
    pred, target = images
    expected = [reference(p, t) for p, t in zip(pred, target, strict=True)]
    assert metric(pred, target) == pytest.approx(expected, rel=1e-9)
    metrics = DepthMetrics()
    metrics.update(pred[:2], target[:2])
    metrics.update(pred[2:], target[2:])
    assert metrics.per_image[name] == pytest.approx(expected, rel=1e-9)
    assert metrics.compute()[name] == pytest.approx(sum(expected) / 3, rel=1e-9)


@EVERY
def test_holes_have_no_influence(metric, reference, name, images):
    pred, target = images
    before = metric(pred, target)
    changed = pred.copy()
    changed[target <= 1] = np.array([1e9, -3, np.nan, 7])[np.arange((target <= 1).sum()) % 4]
    assert np.array_equal(metric(changed, target), before)


@EVERY
def test_an_image_without_a_known_pixel_counts_for_nothing(metric, reference, name, images):
    pred, target = images
    target[1] = 0
    values = metric(pred, target)
    assert math.isnan(values[1]) and np.isfinite(values[[0, 2]]).all()
    metrics = DepthMetrics()
    metrics.update(pred, target)
    assert metrics.compute()[name] == pytest.approx((values[0] + values[2]) / 2)


@EVERY
def test_a_perfect_prediction_is_zero(metric, reference, name, images):
    _, target = images
    assert metric(target.astype(np.float32), target) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("factor", [0.25, 3.0])
def test_si_rmse_alone_ignores_scale(images, factor):
    pred, target = images
    pred = np.maximum(pred, 100)  # where the clamp does not act
    assert si_rmse(pred * factor, target) == pytest.approx(si_rmse(pred, target), rel=1e-6)
    assert not np.allclose(rel_error(pred * factor, target), rel_error(pred, target))


def test_predictions_are_clamped_at_one_millimetre():
    target = np.full((1, 2, 2), 1000)
    low, one = np.full((1, 2, 2), -5.0), np.full((1, 2, 2), 1.0)
    low[0, 0, 0] = one[0, 0, 0] = 900
    for metric, *_ in METRICS:
        assert metric(low, target) == metric(one, target)
    # 3 of 4 pixels are ln 1000 off, one ln 0.9
    gaps = [math.log(0.9), *[-math.log(1000)] * 3]
    expected = math.sqrt(sum(g * g for g in gaps) / 4 - (sum(gaps) / 4) ** 2)
    assert si_rmse(low, target)[0] == pytest.approx(expected)


def test_metres_are_not_millimetres():
    """The trap of the challenge: the clamp flattens a prediction in metres."""
    target = np.array([[[700.0, 2000, 4000]]])
    assert si_rmse(target, target)[0] == 0
    assert si_rmse(target / 1000, target)[0] > 0.1


def test_sums_are_in_double_precision():
    target = np.full((1, 480, 640), 30000, np.uint16)
    pred = np.full((1, 480, 640), 30003, np.float32)
    pred[0, ::2] = 30000
    assert si_rmse(pred, target)[0] == pytest.approx(math.log(1.0001) / 2, rel=1e-4)


@pytest.mark.parametrize(
    ("pred", "target"), [((2, 4, 4), (2, 4, 5)), ((4, 4), (4, 4)), ((1, 4, 4), (2, 4, 4))]
)
def test_shapes_must_fit(pred, target):
    with pytest.raises(ValueError, match=r"\(N, H, W\)"):
        si_rmse(np.ones(pred), np.ones(target))
