import numpy as np
import pytest

from nasdepth.searching.sampling.features import feature_names, groups
from nasdepth.searching.sampling.latency_aware import default_surrogate
from nasdepth.searching.sampling.surrogates import BayesianLinear, GaussianProcess, MeanOf

WIDTH = 8
GROUPS = [[0, 1], [2], [3, 4, 5], [6, 7]]


def make(name):
    linear, gp = BayesianLinear([(0, 1), (2, 2)]), GaussianProcess(GROUPS)
    return {"linear": linear, "gp": gp, "mean": MeanOf(linear, gp)}[name]


ALL = pytest.mark.parametrize("name", ["linear", "gp", "mean"])


def data(count, seed=0, noise=0.002):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, WIDTH)) * 0.7
    truth = 0.25 + 0.02 * x[:, 0] - 0.015 * x[:, 2] + 0.01 * x[:, 0] * x[:, 1]
    return x, truth, truth + noise * rng.normal(size=count)


@ALL
def test_it_predicts_what_it_has_not_seen(name):
    x, _, observed = data(80)
    surrogate = make(name)
    surrogate.fit(x, observed, np.ones(80))
    new, truth, _ = data(300, seed=1)
    mean, sd = surrogate.predict(new)
    assert np.sqrt(((mean - truth) ** 2).mean()) < 0.3 * truth.std()
    # as sure as it may be: nine in ten within the 90 % interval, neither far more nor far fewer
    inside = (np.abs(mean - truth) < 1.645 * sd).mean()
    assert 0.75 < inside <= 1.0


@ALL
def test_it_is_surer_of_what_it_has_seen_and_of_what_is_near(name):
    x, _, observed = data(60)
    surrogate = make(name)
    surrogate.fit(x, observed, np.ones(60))
    seen, near, far = (surrogate.predict(x * scale)[1].mean() for scale in (1.0, 1.2, 4.0))
    assert seen < near < far


@ALL
def test_noisy_targets_weigh_less(name):
    x, _, observed = data(60)
    new, new_truth, _ = data(200, seed=1)
    wrong = observed.copy()
    wrong[:20] += 0.1
    noise = np.where(np.arange(60) < 20, 20.0, 1.0)
    surrogate = make(name)
    errors = []
    for relative in (noise, np.ones(60)):
        surrogate.fit(x, wrong, relative)
        errors.append(np.abs(surrogate.predict(new)[0] - new_truth).mean())
    assert errors[0] < errors[1]


@ALL
@pytest.mark.parametrize("case", ["four", "constant columns", "duplicates", "flat", "outlier"])
def test_awkward_data_give_finite_answers(name, case):
    x, _, y = data(40)
    if case == "four":
        x, y = x[:4], y[:4]
    elif case == "constant columns":
        x[:, :6] = 1.0
    elif case == "duplicates":
        x, y = np.repeat(x[:10], 4, axis=0), np.repeat(y[:10], 4)
    elif case == "flat":
        y = np.full(40, 0.3)
    else:
        y[0] = 1.5
    surrogate = make(name)
    surrogate.fit(x, y, np.ones(len(y)))
    mean, sd = surrogate.predict(data(50, seed=2)[0])
    assert np.isfinite(mean).all() and np.isfinite(sd).all() and (sd > 0).all()
    assert np.abs(mean - y.mean()).max() < 10 * max(np.ptp(y), 0.01)
    if case == "flat":
        assert mean == pytest.approx(np.full(50, 0.3), abs=1e-6)


@ALL
def test_units_do_not_matter(name):
    x, _, y = data(40)
    noise, new = np.ones(40), data(20, seed=3)[0]
    surrogate = make(name)
    surrogate.fit(x, y, noise)
    mean, sd = surrogate.predict(new)
    surrogate.fit(x, 1000 * y - 50, noise)
    in_others = surrogate.predict(new)
    assert in_others[0] == pytest.approx(1000 * mean - 50, rel=1e-3, abs=0.05)
    assert in_others[1] == pytest.approx(1000 * sd, rel=1e-2)


def test_a_long_study_is_learnt_from_in_part():
    x, _, y = data(500)
    surrogate = GaussianProcess(GROUPS, learn_from=60)
    surrogate.fit(x, y, np.ones(500))
    new, truth, _ = data(200, seed=1)
    assert np.sqrt(((surrogate.predict(new)[0] - truth) ** 2).mean()) < 0.2 * truth.std()


def test_the_mean_is_unsure_where_its_members_disagree():
    x, _, y = data(30)
    both = make("mean")
    both.fit(x, y, np.ones(30))
    members = [member.predict(4 * x) for member in both._members]
    mean, sd = both.predict(4 * x)
    assert mean == pytest.approx((members[0][0] + members[1][0]) / 2)
    apart = (members[0][0] - members[1][0]) ** 2 / 4
    assert sd**2 == pytest.approx((members[0][1] ** 2 + members[1][1] ** 2) / 2 + apart)


def test_a_gradient_is_the_slope_of_the_loss(monkeypatch):
    """The hyperparameters are found by gradients; a wrong one would only make them worse."""
    from scipy.optimize import check_grad

    import nasdepth.searching.sampling.surrogates as module

    taken = {}

    def keep(loss, start, **_):
        taken["loss"], taken["start"] = loss, start
        return type("Found", (), {"x": start})

    monkeypatch.setattr(module, "minimize", keep)
    x, _, y = data(25)
    GaussianProcess(GROUPS).fit(x, y, np.linspace(1, 3, 25))
    loss = taken["loss"]
    for shift in (0.0, 0.4, -0.7):
        theta = taken["start"] + shift
        size = np.abs(loss(theta)[1]).max()
        assert check_grad(lambda t: loss(t)[0], lambda t: loss(t)[1], theta) < 1e-4 * max(size, 1)


def test_the_default_takes_the_features_there_are():
    rng = np.random.default_rng(0)
    x = rng.random((12, len(feature_names())))
    surrogate = default_surrogate()
    surrogate.fit(x, x[:, 0], np.ones(12))
    assert surrogate.predict(x)[0].shape == (12,) and groups()
