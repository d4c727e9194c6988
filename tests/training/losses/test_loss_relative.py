"""Scale- and shift-invariant losses against numpy and scipy."""

import numpy as np
import pytest
import torch
from scipy.stats import linregress

from nasdepth.training.losses import relative_loss
from nasdepth.training.losses.relative import fitted, masked_median


@pytest.fixture
def inverse_batch(batch):
    pred, target, mask = batch
    return 1000 / pred.clamp_min(150), torch.where(mask, 1000 / target.clamp_min(1), 0.0), mask


def gradients(residual, known, scales):
    total = 0.0
    for scale in range(scales):
        r = np.where(known, residual, np.nan)[:: 2**scale, :: 2**scale]
        total += sum(np.nansum(np.abs(np.diff(r, axis=axis))) for axis in (0, 1)) / np.isfinite(r).sum()
    return total


def reference(pred, target, mask, form, trim, gradient):
    images = []
    for p, t, m in zip(pred.numpy()[:, 0], target.numpy()[:, 0], mask.numpy()[:, 0], strict=True):
        if form == "trimmed":
            p, t = ((x - np.median(x[m])) / np.mean(np.abs(x[m] - np.median(x[m]))) for x in (p, t))
            ordered = np.sort(np.abs((p - t)[m]))
            value = ordered[: len(ordered) - int(trim * len(ordered))].sum() / (2 * m.sum())
        else:
            line = linregress(p[m], t[m])
            p = line.slope * p + line.intercept
            value = ((p - t)[m] ** 2).sum() / (2 * m.sum())
        images.append(value + gradient * gradients(p - t, m, 4))
    return np.mean(images)


@pytest.mark.parametrize("form", ["trimmed", "least_squares"])
@pytest.mark.parametrize(("trim", "gradient"), [(0.2, 0.0), (0.0, 0.5), (0.2, 0.5)])
def test_agrees_with_numpy(form, trim, gradient, inverse_batch):
    expected = reference(*inverse_batch, form, trim, gradient)
    loss = relative_loss(*inverse_batch, form=form, trim=trim, gradient=gradient)
    assert loss.item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("form", ["trimmed", "least_squares"])
def test_scale_and_shift_are_free(form, inverse_batch):
    pred, target, mask = inverse_batch
    loss = relative_loss(pred, target, mask, form=form).item()
    assert relative_loss(7 * pred + 3, target, mask, form=form).item() == pytest.approx(loss)
    assert relative_loss(0.2 * target + 5, target, mask, form=form).item() == pytest.approx(0, abs=1e-9)
    if form == "trimmed":
        assert relative_loss(pred, 0.1 * target - 4, mask).item() == pytest.approx(loss)
        assert relative_loss(-pred, target, mask).item() > loss  # upside down is no scale
    else:
        assert relative_loss(pred, 2 * target, mask, form=form, gradient=0).item() == pytest.approx(
            4 * relative_loss(pred, target, mask, form=form, gradient=0).item()
        )


def test_trimming_ignores_wrong_targets(inverse_batch):
    _, target, mask = inverse_batch
    wrong = target.clone()
    for image in range(3):
        rows, columns = mask[image, 0].nonzero(as_tuple=True)
        wrong[image, 0, rows[:10], columns[:10]] += 40.0
    trimmed, whole = (relative_loss(target, wrong, mask, trim=t, gradient=0).item() for t in (0.2, 0.0))
    assert trimmed < 0.2 * whole


@pytest.mark.parametrize("count", [0, 1, 2, 7, 8, 192])
def test_the_median_of_known_pixels_is_numpys(count, batch):
    pred, _, _ = batch
    mask = torch.zeros(1, 192, dtype=torch.bool)
    mask[0, torch.randperm(192, generator=torch.Generator().manual_seed(1))[:count]] = True
    mask = mask.view(1, 1, 12, 16)
    expected = np.median(pred[:1][mask].numpy()) if count else 0.0
    assert masked_median(pred[:1], mask).item() == pytest.approx(expected)


def test_a_constant_prediction_is_fitted_by_the_mean(inverse_batch):
    _, target, mask = inverse_batch
    constant = torch.full_like(target, 0.3)
    means = torch.stack([t[m].mean() for t, m in zip(target, mask, strict=True)])
    found = fitted(constant, target, mask)[:, 0, 0, 0]
    assert torch.allclose(found, means)
