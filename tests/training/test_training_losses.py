"""Losses against plain loops, and the promise that holes have no influence."""

import math

import pytest
import torch

from nasdepth.training.losses import gradient_matching_loss, log_depth, sig_loss


def reference_sig(pred, target, mask, variance):
    values = []
    for p, t, m in zip(pred.tolist(), target.tolist(), mask.tolist(), strict=True):
        gaps = [
            math.log(max(a, 1.0)) - math.log(max(b, 1.0))
            for row_a, row_b, row_m in zip(p[0], t[0], m[0], strict=True)
            for a, b, known in zip(row_a, row_b, row_m, strict=True)
            if known
        ]
        if gaps:
            mean = sum(gaps) / len(gaps)
            values.append(
                math.sqrt(max(0.0, sum(g * g for g in gaps) / len(gaps) - variance * mean**2) + 1e-6)
            )
    return sum(values) / len(values)


def reference_gradient(pred, target, mask, scales):
    total = 0.0
    for scale in range(scales):
        step, differences, count = 2**scale, 0.0, 0
        for p, t, m in zip(pred.tolist(), target.tolist(), mask.tolist(), strict=True):
            height, width = len(p[0]), len(p[0][0])

            def gap(y, x, p=p, t=t):
                return math.log(max(p[0][y][x], 1.0)) - math.log(max(t[0][y][x], 1.0))

            for y in range(0, height, step):
                for x in range(0, width, step):
                    if not m[0][y][x]:
                        continue
                    count += 1
                    for other_y, other_x in ((y, x + step), (y + step, x)):
                        if other_y < height and other_x < width and m[0][other_y][other_x]:
                            differences += abs(gap(other_y, other_x) - gap(y, x))
        total += differences / count
    return total / scales


LOSSES = {
    "sig": (lambda p, t, m: sig_loss(p, t, m, 0.85), lambda p, t, m: reference_sig(p, t, m, 0.85)),
    "si-RMSE": (lambda p, t, m: sig_loss(p, t, m, 1.0), lambda p, t, m: reference_sig(p, t, m, 1.0)),
    "gradient": (
        lambda p, t, m: gradient_matching_loss(p, t, m, 3),
        lambda p, t, m: reference_gradient(p, t, m, 3),
    ),
}
EVERY = pytest.mark.parametrize("name", LOSSES)


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    target = torch.rand(3, 1, 12, 16, generator=generator, dtype=torch.float64) * 9000 + 300
    target[torch.rand(target.shape, generator=generator) < 0.25] = 0
    noise = torch.rand(target.shape, generator=generator, dtype=torch.float64)
    pred = target.clamp_min(500) * (0.5 + noise)
    pred[0, 0, :2] = 0.1
    return pred, target, target > 1


@EVERY
def test_agrees_with_loops(name, batch):
    loss, reference = LOSSES[name]
    assert loss(*batch).item() == pytest.approx(reference(*batch), rel=1e-9)


@EVERY
def test_holes_have_no_influence(name, batch):
    loss, _ = LOSSES[name]
    pred, target, mask = batch
    answers = []
    for filler in (0.0, 1.0, 123456.0):
        inside = pred.clone()
        inside[~mask] = filler
        inside.requires_grad_()
        value = loss(inside, target, mask)
        (gradient,) = torch.autograd.grad(value, inside)
        assert (gradient[~mask] == 0).all() and (gradient[mask] != 0).any()
        answers.append((value.item(), gradient[mask]))
    for value, gradient in answers[1:]:
        assert value == answers[0][0] and torch.equal(gradient, answers[0][1])


@EVERY
def test_unknown_targets_have_no_influence(name, batch):
    loss, _ = LOSSES[name]
    pred, target, mask = batch
    other = target.clone()
    other[~mask] = 40000.0
    assert loss(pred, other, mask).item() == loss(pred, target, mask).item()


@EVERY
@pytest.mark.parametrize("case", ["perfect", "wrong by one factor", "nothing known", "one image unknown"])
def test_gradients_stay_finite(name, case, batch):
    loss, _ = LOSSES[name]
    pred, target, mask = (x.clone() for x in batch)
    target = target.clamp_min(300).float()
    match case:
        case "perfect":
            pred = target.clone()
        case "wrong by one factor":
            pred = target * 2
        case "nothing known":
            mask[:] = False
        case "one image unknown":
            mask[1] = False
    pred = pred.float().requires_grad_()
    value = loss(pred, target, mask)
    value.backward()
    assert value.isfinite() and pred.grad.isfinite().all()
    if case == "nothing known":
        assert value == 0 and (pred.grad == 0).all()
    if case == "perfect":
        assert value < 2e-3


def test_images_without_known_pixels_do_not_dilute_the_mean(batch):
    pred, target, mask = batch
    mask[1] = False
    assert sig_loss(pred, target, mask, 0.85).item() == pytest.approx(
        sig_loss(pred[[0, 2]], target[[0, 2]], mask[[0, 2]], 0.85).item()
    )


def test_variance_one_ignores_scale_and_less_does_not(batch):
    pred, target, mask = batch
    pred = pred.clamp_min(50)
    assert sig_loss(pred * 3, target, mask, 1).item() == pytest.approx(sig_loss(pred, target, mask, 1).item())
    assert sig_loss(target * 3 + 1e-9, target, mask, 0.85) > 0.1 > sig_loss(target * 3, target, mask, 1)


def test_log_depth_is_clamped_at_one_millimetre():
    assert log_depth(torch.tensor([-4.0, 0.0, 1.0])).tolist() == [0, 0, 0]
    assert log_depth(torch.tensor(math.e**3)).item() == pytest.approx(3)
