"""Masked SSIM against loops over windows, and against scipy's Gaussian filter."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from nasdepth.training.losses import ssim_loss
from nasdepth.training.losses.structure import ssim_map

C1, C2 = 0.01**2, 0.03**2


def similarity(mean_x, mean_y, var_x, var_y, cov):
    return (2 * mean_x * mean_y + C1) * (2 * cov + C2) / ((mean_x**2 + mean_y**2 + C1) * (var_x + var_y + C2))


def reference(pred, target, mask, range_mm):
    images = []
    for p, t, m in zip(pred.numpy()[:, 0], target.numpy()[:, 0], mask.numpy()[:, 0], strict=True):
        values = []
        for i, j in np.argwhere(m):
            weights, x, y = [], [], []
            for a in range(max(0, i - 5), min(m.shape[0], i + 6)):
                for b in range(max(0, j - 5), min(m.shape[1], j + 6)):
                    if m[a, b]:
                        weights.append(np.exp(-((a - i) ** 2 + (b - j) ** 2) / (2 * 1.5**2)))
                        x.append(p[a, b] / range_mm)
                        y.append(t[a, b] / range_mm)
            mean_x, mean_y = np.average(x, weights=weights), np.average(y, weights=weights)
            x, y = np.array(x) - mean_x, np.array(y) - mean_y
            moments = (np.average(one, weights=weights) for one in (x * x, y * y, x * y))
            values.append((1 - similarity(mean_x, mean_y, *moments)) / 2)
        images.append(np.mean(values))
    return np.mean(images)


def test_agrees_with_loops_over_known_pixels(batch):
    assert ssim_loss(*batch, 8000.0).item() == pytest.approx(reference(*batch, 8000.0), rel=1e-9)


def test_agrees_with_scipy_where_nothing_is_missing():
    rng = np.random.default_rng(0)
    x, y = rng.uniform(0, 1, (2, 40, 40))
    y = 0.6 * x + 0.4 * y

    def blurred(image):
        return gaussian_filter(image, 1.5, truncate=5 / 1.5)

    mean_x, mean_y = blurred(x), blurred(y)
    expected = similarity(
        mean_x,
        mean_y,
        blurred(x * x) - mean_x**2,
        blurred(y * y) - mean_y**2,
        blurred(x * y) - mean_x * mean_y,
    )[10:30, 10:30]
    everywhere = torch.ones(1, 1, 40, 40, dtype=torch.bool)
    window = torch.tensor([np.exp(-(k**2) / (2 * 1.5**2)) for k in range(-5, 6)])
    found = ssim_map(torch.tensor(x)[None, None], torch.tensor(y)[None, None], everywhere, window)[
        0, 0, 10:30, 10:30
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_like_is_0_and_opposite_is_more_than_half():
    ramp = torch.linspace(0, 10_000, 32).expand(1, 1, 32, 32)
    mask = torch.ones_like(ramp, dtype=torch.bool)
    noise = torch.rand(ramp.shape, generator=torch.Generator().manual_seed(0)) * 10_000
    assert ssim_loss(ramp, ramp, mask) == 0
    assert ssim_loss(10_000 - noise, noise, mask) > 0.5
