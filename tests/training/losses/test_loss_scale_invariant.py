"""SigLoss in its variants against plain loops."""

import math

import numpy as np
import pytest
import torch

from nasdepth.training.losses import log_depth, sig_loss


def gaps_per_image(pred, target, mask):
    for p, t, m in zip(pred.tolist(), target.tolist(), mask.tolist(), strict=True):
        yield [
            (a, b)
            for row_a, row_b, row_m in zip(p[0], t[0], m[0], strict=True)
            for a, b, known in zip(row_a, row_b, row_m, strict=True)
            if known
        ]


def reference_sig(pred, target, mask, variance, root=True):
    values = []
    for pixels in gaps_per_image(pred, target, mask):
        gaps = [math.log(max(a, 1.0)) - math.log(max(b, 1.0)) for a, b in pixels]
        if gaps:
            mean = sum(gaps) / len(gaps)
            value = max(0.0, sum(g * g for g in gaps) / len(gaps) - variance * mean**2)
            values.append(math.sqrt(value + 1e-6) if root else value)
    return sum(values) / len(values)


def reference_litedepth(pred, target, mask):
    values = []
    for pixels in gaps_per_image(pred, target, mask):
        # metres, with its epsilon of 1e-3 inside both logarithms
        g = np.array([math.log(a / 1000 + 1e-3) - math.log(b / 1000 + 1e-3) for a, b in pixels])
        values.append(math.sqrt(np.var(g, ddof=1) + 0.15 * np.mean(g) ** 2 + 1e-6))
    return sum(values) / len(values)


@pytest.mark.parametrize("variance", [0.0, 0.85, 1.0])
@pytest.mark.parametrize("form", ["root", "square"])
def test_agrees_with_loops(form, variance, batch):
    expected = reference_sig(*batch, variance, root=form == "root")
    assert sig_loss(*batch, variance, form).item() == pytest.approx(expected, rel=1e-9)


def test_litedepths_form_agrees_with_numpy(batch):
    assert sig_loss(*batch, 0.85, "unbiased").item() == pytest.approx(reference_litedepth(*batch), rel=1e-9)


def test_a_large_error_of_scale_does_not_cancel_in_float32():
    """mean g^2 - mean^2 g as it stands loses a spread of 0.01 beside a mean of 9."""
    g = torch.linspace(-0.01, 0.01, 101, dtype=torch.float64)
    target = torch.full((1, 1, 1, 101), 5.0)
    pred = (target.double() * (g + 9).exp()).float()
    value = sig_loss(pred, target, torch.ones_like(target, dtype=torch.bool), 1.0)
    assert value.item() == pytest.approx(math.sqrt(g.var(correction=0).item() + 1e-6), rel=2e-3)


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
