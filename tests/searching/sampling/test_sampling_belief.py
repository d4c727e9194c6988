"""Belief keeps what is a candidate's own, and takes out what luck alone explains."""

import math

import numpy as np
import pytest

from nasdepth.searching.sampling import believed_si_rmse
from nasdepth.searching.sampling.surrogates import GaussianProcess


def test_leaving_one_out_is_fitting_without_it():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(20, 4))
    targets = features @ [0.02, -0.01, 0.0, 0.005] + 0.25 + rng.normal(0, 0.003, 20)
    noise = np.ones(20)
    whole = GaussianProcess([[0, 1], [2, 3]])
    whole.fit(features, targets, noise)
    mean, variance = whole.leave_one_out()
    # the same hyperparameters, by the covariance itself
    x = features - whole._centre
    precision = np.linalg.inv(_covariance_of(whole, x))
    for left_out in range(20):
        kept = np.delete(np.arange(20), left_out)
        covariance = np.linalg.inv(precision)
        y = (targets - whole._mean) / whole._spread
        weights = np.linalg.solve(covariance[np.ix_(kept, kept)], covariance[kept, left_out])
        assert mean[left_out] == pytest.approx(whole._mean + whole._spread * weights @ y[kept], abs=1e-9)
        rest = covariance[left_out, left_out] - weights @ covariance[kept, left_out]
        assert variance[left_out] == pytest.approx(whole._spread**2 * rest, rel=1e-6)


def _covariance_of(process, x):
    lower = np.tril(process._factor[0])
    assert len(lower) == len(x)
    return lower @ lower.T


def believed(world, architectures, si_rmse):
    study = world.study()
    pairs = zip(architectures, si_rmse, strict=True)
    world.add(study, *(world.record(n, one, (value + 0.1, value)) for n, (one, value) in enumerate(pairs)))
    return believed_si_rmse(study, world.context())


def test_a_result_is_drawn_to_its_likes_as_far_as_luck_goes(world):
    architectures = list(dict.fromkeys(world.sample(60, seed=3)))
    features = [math.log2(one.input_height * one.input_width) for one in architectures]
    rng = np.random.default_rng(0)
    plain = 0.4 - 0.01 * np.array(features) + rng.normal(0, 0.0035, len(features))
    found = believed(world, architectures, plain)
    assert set(found) == set(architectures)
    # where features explain all but the luck, most of what is left is taken for luck
    explained = 0.4 - 0.01 * np.array(features)
    drawn = np.array([found[one] for one in architectures])
    assert np.abs(drawn - explained).mean() < 0.8 * np.abs(plain - explained).mean()
    # where architectures differ by much more than luck does, results stand as they are
    own = plain + rng.normal(0, 0.03, len(features))
    found = believed(world, architectures, own)
    assert max(abs(found[one] - value) for one, value in zip(architectures, own, strict=True)) < 0.005


def test_a_few_results_are_taken_as_they_are(world):
    architectures = world.sample(6, seed=3)
    assert believed(world, architectures, [0.25] * 6) == {}
