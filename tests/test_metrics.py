"""The metrics against plain loops over pixels and pairs."""

import math
from functools import partial

import numpy as np
import pytest

from nasdepth.errors import DataError, NasdepthError
from nasdepth.metrics import (
    DepthMetrics,
    OrdinalMetrics,
    Protocol,
    align_scale_shift,
    aligned_rel_error,
    aligned_rmse,
    delta,
    log10_error,
    pair_disagrees,
    rel_error,
    rmse_log,
    rmse_m,
    sample_points,
    si_rmse,
    sq_rel_m,
    whdr,
)


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


def reference_sq_rel(pred, target):
    squares = [(p / 1000 - t / 1000) ** 2 / (t / 1000) for p, t in known_pairs(pred, target)]
    return math.fsum(squares) / len(squares)


def reference_rmse_log(pred, target):
    squares = [math.log(p / t) ** 2 for p, t in known_pairs(pred, target)]
    return math.sqrt(math.fsum(squares) / len(squares))


def reference_delta(power):
    def share(pred, target):
        near = [p / t < 1.25**power and t / p < 1.25**power for p, t in known_pairs(pred, target)]
        return sum(near) / len(near)

    return share


METRICS = [
    (si_rmse, reference_si_rmse, "si_rmse"),
    (rmse_m, reference_rmse_m, "rmse_m"),
    (log10_error, reference_log10, "log10"),
    (rel_error, reference_rel, "rel"),
    (sq_rel_m, reference_sq_rel, "sq_rel_m"),
    (rmse_log, reference_rmse_log, "rmse_log"),
    *((partial(delta, power=k), reference_delta(k), f"delta{k}") for k in (1, 2, 3)),
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
    metrics = DepthMetrics(eigen=True)
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
    metrics = DepthMetrics(eigen=True)
    metrics.update(pred, target)
    assert metrics.compute()[name] == pytest.approx((values[0] + values[2]) / 2)


@EVERY
def test_a_perfect_prediction_is_perfect(metric, reference, name, images):
    _, target = images
    best = 1 if name.startswith("delta") else 0
    assert metric(target.astype(np.float32), target) == pytest.approx(best, abs=1e-9)


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


# ordinal pairs, and scale and shift


def test_whdr_agrees_with_a_loop_over_pairs():
    rng = np.random.default_rng(8)
    pred = rng.uniform(500, 5000, (21, 34))
    points = rng.random((300, 4))
    relation = rng.integers(-1, 2, 300)
    weights = rng.random(300)
    for ratio in (0.0, 0.1, 1.5):
        wrong = []
        for (y_a, x_a, y_b, x_b), said in zip(points, relation, strict=True):
            a, b = pred[int(y_a * 21), int(x_a * 34)], pred[int(y_b * 21), int(x_b * 34)]
            farther = "A" if a / b > 1 + ratio else "B" if b / a > 1 + ratio else ""
            wrong.append(farther != {1: "A", -1: "B", 0: ""}[int(said)])
        disagrees = pair_disagrees(*sample_points(pred, points), relation, ratio)
        assert disagrees.tolist() == wrong
        assert whdr(disagrees) == pytest.approx(sum(wrong) / 300)
        expected = sum(w for w, bad in zip(weights, wrong, strict=True) if bad) / weights.sum()
        assert whdr(disagrees, weights) == pytest.approx(expected)
        metrics = OrdinalMetrics(equal_ratio=ratio)
        metrics.update(pred, points[:100], relation[:100])
        metrics.update(pred, points[100:], relation[100:])
        assert metrics.compute() == {"whdr": pytest.approx(sum(wrong) / 300), "pairs": 300}


def test_whdr_has_the_sign_of_the_data_set():
    """'>' is +1 and says that A is farther: true depth has no disagreement, and upside down has all."""
    truth = np.array([[1000.0, 2000.0], [3000.0, 4000.0]])
    points = np.array([[0.1, 0.6, 0.1, 0.1], [0.1, 0.1, 0.6, 0.6]])
    relation = np.array([1, -1])
    assert whdr(pair_disagrees(*sample_points(truth, points), relation)) == 0
    assert whdr(pair_disagrees(*sample_points(1 / truth, points), relation)) == 1
    flat = np.ones((2, 2))
    assert whdr(pair_disagrees(*sample_points(flat, points), relation)) == 1, "a tie is no answer"
    assert pair_disagrees(np.array([np.nan, 5.0]), np.array([1.0, np.inf]), np.array([0, -1])).all()
    assert math.isnan(OrdinalMetrics().compute()["whdr"])


def test_alignment_is_the_least_squares_solution(images):
    target = images[1][0].astype(float)
    matrix = np.stack([target.ravel(), np.ones(target.size)], axis=1)
    wanted = 3 * target + 40 + np.random.default_rng(0).normal(0, 900, target.shape)
    expected, *_ = np.linalg.lstsq(matrix, wanted.ravel(), rcond=None)
    assert align_scale_shift(target, wanted) == pytest.approx(expected)
    scale, shift = align_scale_shift(-target, wanted)
    assert (scale, shift) == (0, pytest.approx(wanted.mean())), "a wrong order must not be turned over"
    assert align_scale_shift(np.full(9, 4.0), np.arange(9)) == (0, 4)


@pytest.mark.parametrize("space", ["disparity", "depth"])
def test_aligned_rmse_sees_neither_scale_nor_shift(images, space):
    pred, target = images
    pred = np.maximum(pred, 300).astype(float)
    true = np.where(target > 1, target, 0).astype(float)
    inside = (1 / np.maximum(true, 1)) if space == "disparity" else true
    values = np.where(true > 0, inside * 1e6 + 17, 0)
    error = aligned_rmse(pred, values, space)
    assert error == pytest.approx(aligned_rmse(pred, np.where(true > 0, values * 9 + 3, 0), space))
    # what is left of a least-squares line is given by the correlation
    for p, v, e in zip(pred, values, error, strict=True):
        known = v > 0
        x = 1 / p[known] if space == "disparity" else p[known]
        assert e == pytest.approx(np.sqrt(1 - max(0, np.corrcoef(x, v[known])[0, 1]) ** 2))
    perfect = np.maximum(true, 1)
    assert aligned_rmse(perfect, values, space) == pytest.approx(0, abs=1e-6)
    assert aligned_rmse(np.full_like(true, 5), values, space) == pytest.approx(1)
    values[1] = 0
    assert np.isnan(aligned_rmse(pred, values, space)).tolist() == [False, True, False]


def test_aligned_rel_error_forgives_scale_and_shift_of_disparity(images):
    _, target = images
    true = target.astype(float)
    moved = 1 / (0.3 / np.maximum(true, 2) + 2e-5)
    assert aligned_rel_error(moved, target) == pytest.approx(0, abs=1e-9)
    assert aligned_rel_error(moved, target, "depth").min() > 0.05
    assert aligned_rel_error(true * 3 + 500, target, "depth") == pytest.approx(0, abs=1e-9)
    target[2] = 0
    assert np.isnan(aligned_rel_error(moved, target)).tolist() == [False, False, True]
    wild = aligned_rel_error(np.where(true % 7 < 1, 1e9, moved), target)
    assert np.isfinite(wild[:2]).all() and wild[:2].max() < 20
    with pytest.raises(ValueError, match="must be disparity or depth"):
        aligned_rmse(moved, target, "inverse")


@pytest.mark.parametrize("median_scaled", [False, True])
@pytest.mark.parametrize(("crop", "shares"), [
    ("garg", (0.40810811, 0.99189189, 0.03594771, 0.96405229)),
    ("eigen", (0.3324324, 0.91351351, 0.0359477, 0.96405229)),
])  # fmt: skip
def test_kittis_protocol_is_monodepth2s(crop, shares, median_scaled):
    """Mask by range and crop, scale by the medians, limit, and only then compare."""
    rng = np.random.default_rng(4)
    target_mm = rng.uniform(1000, 120_000, (2, 375, 500)) * (rng.random((2, 375, 500)) < 0.2)
    pred_mm = rng.uniform(300, 200_000, target_mm.shape)
    metrics = DepthMetrics(median_scaled, Protocol(80, crop), eigen=True)
    metrics.update(pred_mm, target_mm)
    expected = {"rel": [], "sq_rel_m": [], "rmse_m": [], "rmse_log": [], "delta1": []}
    for pred, true in zip(pred_mm / 1000, target_mm / 1000, strict=True):
        mask = np.logical_and(true > 1e-3, true < 80)
        top, bottom, left, right = (np.array(shares) * [375, 375, 500, 500]).astype(np.int32)
        inside = np.zeros(mask.shape)
        inside[top:bottom, left:right] = 1
        mask = np.logical_and(mask, inside)
        p, t = pred[mask], true[mask]
        if median_scaled:
            p = p * (np.median(t) / np.median(p))
        p = np.minimum(p, 80)
        expected["rel"].append(np.mean(np.abs(t - p) / t))
        expected["sq_rel_m"].append(np.mean((t - p) ** 2 / t))
        expected["rmse_m"].append(np.sqrt(((t - p) ** 2).mean()))
        expected["rmse_log"].append(np.sqrt(((np.log(t) - np.log(p)) ** 2).mean()))
        expected["delta1"].append((np.maximum(t / p, p / t) < 1.25).mean())
    computed = metrics.compute()
    for name, values in expected.items():
        assert computed[name] == pytest.approx(np.mean(values), rel=1e-9), name


def test_nyus_crop_is_eigens_in_whole_pixels():
    target_mm = np.full((1, 480, 640), 2000.0)
    judged = Protocol(crop="nyu").judged(target_mm)[0] > 0
    expected = np.zeros((480, 640), dtype=bool)
    expected[45:471, 41:601] = True
    assert np.array_equal(judged, expected) and (target_mm == 2000).all()


def test_a_protocol_says_what_it_cannot_be():
    with pytest.raises(NasdepthError, match="`cap_m` is -1; it must be a number of metres above 0"):
        Protocol(-1)
    with pytest.raises(NasdepthError, match="`crop` is 'girg'; it must be one of eigen, garg, nyu"):
        Protocol(crop="girg")
    metrics = DepthMetrics(protocol=Protocol(cap_m=1.0))
    metrics.update(np.full((1, 4, 4), 500.0), np.full((1, 4, 4), 3000.0))
    with pytest.raises(DataError, match=r"no image has a known depth that counts \(cap 1.0 m, crop None\)"):
        metrics.compute()


def test_eigens_metrics_come_where_they_are_asked_for():
    assert set(DepthMetrics().per_image) == {"si_rmse", "rmse_m", "log10", "rel"}
