"""Gradient matching and LiteDepth's gradient loss against plain loops."""

import math

import numpy as np
import pytest
import torch

from nasdepth.training.losses import gradient_matching_loss, masked_gradient_loss


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


@pytest.mark.parametrize("scales", [1, 3, 5])
def test_gradient_matching_agrees_with_loops(scales, batch):
    expected = reference_gradient(*batch, scales)
    assert gradient_matching_loss(*batch, scales).item() == pytest.approx(expected, rel=1e-9)


def reference_masked_gradient(pred, target, mask, scales):
    """NaN for the unknown, cells averaged by numpy's nanmean, differences kept where they are finite."""
    per_image = []
    for p, t, m in zip(pred.numpy()[:, 0], target.numpy()[:, 0], mask.numpy()[:, 0], strict=True):
        total = 0.0
        for scale in range(scales):
            step = 2**scale
            rows, columns = math.ceil(p.shape[0] / step), math.ceil(p.shape[1] / step)
            coarse = np.full((2, rows, columns), np.nan)
            for i in range(rows):
                for j in range(columns):
                    cell = np.s_[i * step : (i + 1) * step, j * step : (j + 1) * step]
                    if m[cell].any():
                        coarse[:, i, j] = p[cell][m[cell]].mean(), t[cell][m[cell]].mean()
            gaps = [np.diff(coarse[0], axis=a) - np.diff(coarse[1], axis=a) for a in (0, 1)]
            gaps = np.concatenate([g[np.isfinite(g)] for g in gaps])
            total += np.abs(gaps).mean() / 1000 if gaps.size else 0.0
        per_image.append(total / scales)
    return np.mean(per_image)


def test_smarts_gradients_are_of_metres_and_summed(batch):
    pred, target, mask = batch
    at_scale = []
    for scale in range(3):
        gap = ((pred - target) / 1000)[..., :: 2**scale, :: 2**scale]
        known = mask[..., :: 2**scale, :: 2**scale]
        across = gap.diff(dim=3).abs()[known[..., 1:] & known[..., :-1]].sum()
        down = gap.diff(dim=2).abs()[known[..., 1:, :] & known[..., :-1, :]].sum()
        at_scale.append((across + down) / known.sum())
    got = gradient_matching_loss(*batch, 3, space="metres", reduce="sum")
    assert got.item() == pytest.approx(sum(at_scale).item(), rel=1e-9)


@pytest.mark.parametrize("scales", [1, 2, 4])
def test_the_masked_gradient_agrees_with_nan_arithmetic(scales, batch):
    pred, target, mask = (x[..., :11, :13] for x in batch)
    expected = reference_masked_gradient(pred, target, mask, scales)
    assert masked_gradient_loss(pred, target, mask, scales).item() == pytest.approx(expected, rel=1e-9)


def test_a_hole_does_not_pull_its_neighbours():
    """LiteDepth's bug: filled with 0, a hole would ask for a cliff of the depth's size at its rim."""
    target = torch.full((1, 1, 9, 9), 4000.0)
    target[0, 0, 3:6, 3:6] = 0
    mask = target > 1
    pred = torch.full_like(target, 4000.0)
    pred[0, 0, 3:6, 3:6] = 1234.0
    pred.requires_grad_()
    loss = masked_gradient_loss(pred, target, mask, 3)
    loss.backward()
    assert loss == 0 and (pred.grad == 0).all()


def test_a_constant_offset_is_no_gradient(batch):
    _, target, mask = batch
    assert masked_gradient_loss(target + 700, target, mask, 4).item() == pytest.approx(0, abs=1e-9)
    assert gradient_matching_loss(target.clamp_min(300) * 3, target, mask, 4).item() < 1e-9
