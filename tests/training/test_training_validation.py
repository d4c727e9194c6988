"""si-RMSE of whole batches against the metric, image by image."""

import math

import numpy as np
import pytest
import torch

from nasdepth.metrics import si_rmse
from nasdepth.training.losses import log_depth
from nasdepth.training.validation import si_rmse_of_images


def image_by_image(pred_mm, target_mm):
    """The same with only the known pixels picked out, and everything after the logarithms in float64."""
    scores = []
    for pred, target in zip(pred_mm, target_mm, strict=True):
        known = target > 1
        g = (log_depth(pred[known]) - target[known].log()).double()
        scores.append(g.var(correction=0).sqrt().item() if g.numel() else math.nan)
    return np.array(scores)


@pytest.fixture
def maps():
    rng = np.random.default_rng(2)
    target = rng.uniform(400, 9000, (6, 60, 80)).astype(np.float32)
    pred = target * np.exp(rng.normal(0, 0.2, target.shape)).astype(np.float32)
    target[rng.random(target.shape) < 0.3] = 0
    target[1, :30] = 1  # the challenge's unknown
    target[2] = 0
    return torch.from_numpy(pred), torch.from_numpy(target)


@pytest.mark.parametrize("scale", [1.0, 1e-2, 3e4])
def test_it_is_the_metric(maps, scale):
    """However far the scale is off, of which the metric knows nothing; some predictions fall below 1 mm."""
    pred, target = maps[0] * scale, maps[1]
    pred[3, :4] = 0.3
    pred[4, 5] = -7
    got = si_rmse_of_images(pred, target)
    assert got.dtype == torch.float64 and torch.isnan(got).tolist() == [
        False,
        False,
        True,
        False,
        False,
        False,
    ]
    assert got.numpy() == pytest.approx(image_by_image(pred, target), abs=1e-6, nan_ok=True)
    assert got.numpy() == pytest.approx(si_rmse(pred.numpy(), target.numpy()), abs=1e-6, nan_ok=True)


def test_a_perfect_prediction_is_0(maps):
    _, target = maps
    assert si_rmse_of_images(target * 3, target)[0] < 1e-6


def test_what_is_not_finite_is_seen_unless_it_is_where_nothing_is_known(maps):
    pred, target = maps
    unknown = torch.nonzero(target[0] == 0)[0]
    known = torch.nonzero(target[0] > 1)[0]
    before = si_rmse_of_images(pred, target)
    pred[0, *unknown] = math.nan
    assert torch.equal(si_rmse_of_images(pred, target)[0], before[0])
    for broken in (math.nan, math.inf):
        pred[0, *known] = broken
        assert torch.isnan(si_rmse_of_images(pred, target)[0])
