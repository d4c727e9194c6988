"""L1, berHu and Barron's loss against loops and against the special cases' own formulas."""

import math

import numpy as np
import pytest
import torch

from nasdepth.training.losses import barron, berhu_loss, l1_loss, mse_loss, rmse_loss, robust_loss


def reference(pred, target, mask, function, space="metres"):
    """Mean over each image's known pixels, then over the images."""
    images = []
    for p, t, m in zip(pred.numpy(), target.numpy(), mask.numpy(), strict=True):
        values = []
        for a, b in zip(p[m].tolist(), t[m].tolist(), strict=True):
            values.append(function((a - b) / 1000 if space == "metres" else math.log(max(a, 1) / max(b, 1))))
        images.append(sum(values) / len(values))
    return sum(images) / len(images)


@pytest.mark.parametrize("space", ["metres", "log"])
def test_l1_agrees_with_loops(space, batch):
    assert l1_loss(*batch, space).item() == pytest.approx(reference(*batch, abs, space), rel=1e-9)


@pytest.mark.parametrize("space", ["metres", "log"])
def test_the_mean_square_and_its_root_agree_with_loops(space, batch):
    expected = reference(*batch, lambda x: x * x, space)
    assert mse_loss(*batch, space).item() == pytest.approx(expected, rel=1e-9)
    alone = (tuple(one[image : image + 1] for one in batch) for image in range(3))
    roots = [math.sqrt(reference(*one, lambda x: x * x, space) + 1e-6) for one in alone]
    assert rmse_loss(*batch, space).item() == pytest.approx(sum(roots) / 3, rel=1e-9)


@pytest.mark.parametrize("space", ["metres", "log"])
def test_berhu_agrees_with_loops(space, batch):
    pred, target, mask = batch
    largest = []
    reference(pred, target, mask, lambda x: largest.append(abs(x)) or 0.0, space)
    c = 0.2 * max(largest)
    expected = reference(*batch, lambda x: abs(x) if abs(x) <= c else (x * x + c * c) / (2 * c), space)
    assert berhu_loss(*batch, space).item() == pytest.approx(expected, rel=1e-9)


def test_berhus_threshold_is_of_known_pixels(batch):
    pred, target, mask = batch
    wild = torch.where(mask, pred, 1e7)
    assert berhu_loss(wild, target, mask) == berhu_loss(pred, target, mask)


def by_the_equation(x, alpha, c):
    z = (x / c) ** 2
    if alpha == 0:
        return math.log(z / 2 + 1)
    if alpha == 2:
        return z / 2
    if alpha == -math.inf:
        return 1 - math.exp(-z / 2)
    if alpha == math.inf:
        return math.exp(z / 2) - 1
    return abs(alpha - 2) / alpha * ((z / abs(alpha - 2) + 1) ** (alpha / 2) - 1)


ALPHAS = [-math.inf, -50.0, -2.0, 0.0, 0.5, 1.0, 2.0, 3.0, math.inf]


@pytest.mark.parametrize("alpha", ALPHAS)
def test_barron_agrees_with_the_equation(alpha, batch):
    expected = reference(*batch, lambda x: by_the_equation(x, alpha, 4.0))
    assert robust_loss(*batch, alpha, 4.0).item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("alpha", ALPHAS)
def test_barron_is_a_parabola_near_zero(alpha):
    """Its second derivative at 0 is 1 / c^2 whatever alpha is."""
    x = torch.tensor(1e-3, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(barron(x, alpha, 0.5), x)
    assert slope.item() == pytest.approx(1e-3 / 0.25, rel=1e-4)


@pytest.mark.parametrize("near", [0.0, 2.0])
@pytest.mark.parametrize("off", [-1e-3, -1e-5, -1e-7, 1e-7, 1e-5, 1e-3])
def test_barron_runs_into_its_limits_without_a_jump(near, off):
    """In float32, where (..)^(a/2) - 1 as written would leave nothing but rounding."""
    x = torch.linspace(0.01, 8, 40, requires_grad=True)
    limit, value = barron(x, near, 2.0), barron(x, near + off, 2.0)
    slopes = [torch.autograd.grad(one.sum(), x)[0] for one in (limit, value)]
    # how fast the loss changes with alpha around here, with margin
    bound = dict(rtol=20 * abs(off) + 2e-5, atol=1e-7)
    assert torch.allclose(value, limit, **bound) and torch.allclose(*slopes, **bound)


@pytest.mark.parametrize(("alpha", "limit"), [(-1e7, -math.inf), (1e7, math.inf)])
def test_barron_runs_into_infinity(alpha, limit):
    x = torch.linspace(0, 2, 20, dtype=torch.float64)
    np.testing.assert_allclose(barron(x, alpha, 1.0), barron(x, limit, 1.0), rtol=1e-5)


def test_a_robust_loss_forgives_outliers(batch):
    _, target, mask = batch
    pred = target.clone()
    pred[0, 0][mask[0, 0]] += 50_000
    welsch, charbonnier, square = (robust_loss(pred, target, mask, a).item() for a in (-math.inf, 1.0, 2.0))
    assert welsch <= 1 < charbonnier < square
