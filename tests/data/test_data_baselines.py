"""Predictions without a network, held against the metric and a network's own numbers."""

import math

import numpy as np
import pytest

from nasdepth.data import hold_out
from nasdepth.data.baselines import trivial_depth
from nasdepth.metrics import si_rmse


def of_one(pred_mm, truth_mm):
    return si_rmse(pred_mm[None], truth_mm[None])[0]


def test_constant_and_mean_map_score_what_the_metric_says(scenes):
    fit, held_out = hold_out(scenes, 0.2)
    found = trivial_depth(fit, held_out)
    truth = np.asarray(held_out.depth_mm)
    constant = np.nanmean([of_one(np.full_like(one, 3000, dtype=float), one) for one in truth])
    assert found.constant == pytest.approx(constant, rel=0.02)
    ln = np.log(np.where(np.asarray(fit.depth_mm) > 1, fit.depth_mm, np.nan).astype(float))
    mean_map = np.exp(np.nanmean(ln, axis=0))
    of_map = np.nanmean([of_one(np.nan_to_num(mean_map, nan=3000.0), one) for one in truth])
    assert found.mean_map == pytest.approx(of_map, rel=0.02)


def test_without_a_known_pixel_there_is_no_score(scenes):
    class Unknown:
        def __len__(self):
            return 2

        def depth_view(self, index):
            return np.zeros((480, 640), np.uint16)

    assert math.isnan(trivial_depth(scenes, Unknown()).constant)
    assert math.isnan(trivial_depth(Unknown(), Unknown()).mean_map)
    assert trivial_depth(Unknown(), scenes).constant == pytest.approx(
        trivial_depth(Unknown(), scenes).mean_map
    )
