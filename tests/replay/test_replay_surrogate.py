"""The surrogate foretells what it has not seen, and says honestly how well."""

from dataclasses import replace

import numpy as np
import pytest
from replay_formula import NOISE, OWN, TABLE, records_of, training, true_si_rmse

from nasdepth.errors import DataError, NasdepthError
from nasdepth.packs import load_predictor
from nasdepth.replay import REGRESSORS, Latencies, Surrogate, World


@pytest.fixture(scope="module")
def surrogate(records):
    return Surrogate(records)


@pytest.fixture(scope="module")
def world(surrogate):
    return World(surrogate, Latencies(load_predictor(TABLE)), seed=0)


def test_held_out_error_is_that_on_architectures_of_no_record(surrogate, drawn):
    unseen = drawn[60:]
    surrogate.prepare(unseen)
    foretold = np.array([np.exp(surrogate.predict(one).log_si_rmse) for one in unseen])
    true = np.array([true_si_rmse(one) for one in unseen])
    rmse = np.sqrt(np.mean((foretold - true) ** 2))
    assert surrogate.error.rmse == pytest.approx(rmse, rel=0.5)
    assert surrogate.error.kendall > 0.5
    # nothing that looks at the records alone comes near
    assert rmse < 0.6 * true.std()


def test_noise_is_that_between_seeds(surrogate):
    assert surrogate.noise == pytest.approx(NOISE, rel=0.4)
    assert surrogate.own >= OWN / 2


@pytest.mark.parametrize("name", REGRESSORS)
def test_every_regressor_learns(records, name):
    assert Surrogate(records, regressor=name).error.spearman > 0.7


def test_recorded_architectures_get_their_own_curves(world, records):
    one = records.trainings[30]
    told = world.train(one.architecture)
    assert told.recorded
    assert told.si_rmse == one.si_rmse
    assert told.seconds == one.seconds


def test_a_recorded_mean_is_drawn_towards_the_rest_as_far_as_noise_asks(surrogate, records):
    (one,) = {
        one.architecture: one for one in records.of("proxy") if one.architecture == drawn_last(records)
    }.values()
    said = surrogate.expected(one.architecture)[0]
    prior = surrogate._prior[one.architecture]
    own = np.log(one.final)
    assert min(prior, own) < said < max(prior, own)
    assert abs(said - own) < abs(said - prior)


def drawn_last(records):
    return records.of("proxy")[-1].architecture


def test_worlds_deviate_from_the_surrogate_alike_and_repeatably(surrogate, drawn):
    latencies = Latencies(load_predictor(TABLE))
    unseen = drawn[60:]
    surrogate.prepare(unseen)
    base = np.array([surrogate.predict(one).log_si_rmse for one in unseen])
    deviations = []
    for seed in (0, 1):
        world = World(surrogate, latencies, seed)
        values = np.log([world.si_rmse(one) for one in unseen])
        assert (values == np.log([World(surrogate, latencies, seed).si_rmse(one) for one in unseen])).all()
        deviations.append(values - base)
        assert deviations[-1].std() == pytest.approx(surrogate.own, rel=0.35)
    assert abs(np.corrcoef(*deviations)[0, 1]) < 0.3


def test_trainings_scatter_about_the_truth_by_the_noise(surrogate, drawn):
    latencies = Latencies(load_predictor(TABLE))
    world = World(surrogate, latencies, 0)
    unseen = drawn[60:]
    ratios = [np.log(world.train(one).si_rmse[-1] / world.si_rmse(one)) for one in unseen]
    assert np.std(ratios) == pytest.approx(surrogate.noise, rel=0.3)


def test_curves_fall_and_large_networks_take_longer(world, drawn):
    unseen = drawn[60:]
    tellings = {one: world.train(one) for one in unseen}
    assert all(told.si_rmse[0] > told.si_rmse[-1] for told in tellings.values())
    seconds = [sum(told.seconds) for told in tellings.values()]
    assert np.corrcoef(seconds, [sum(training(one).seconds) for one in unseen])[0, 1] > 0.9


def test_other_ways_of_training_follow_their_line(surrogate, drawn):
    assert set(surrogate.fidelities) == {"full", "epochs1", "epochs2", "random-start"}
    world = World(surrogate, Latencies(load_predictor(TABLE)), 0)
    unseen = drawn[60:]
    assert surrogate.fidelities["full"].slope < 0.9 < surrogate.fidelities["epochs2"].slope * 1.3
    full = np.array([world.si_rmse(one, "full") for one in unseen])
    true = np.array([true_si_rmse(one, "full") for one in unseen])
    assert np.abs(full - true).mean() < 0.02
    assert len(world.train(unseen[0], "full").si_rmse) == 30
    # one epoch is noisier, and cheaper by its epochs
    assert len(world.train(unseen[0], "epochs1").seconds) == 1


def test_seconds_of_another_machine_are_not_believed(records, drawn):
    other = [
        replace(one, machine="a GPU", seconds=tuple(second / 50 for second in one.seconds))
        if number % 3 == 0
        else one
        for number, one in enumerate(records.of("proxy"))
    ]
    surrogate = Surrogate(replace(records, trainings=tuple(other)))
    fast = other[0]
    told = World(surrogate, Latencies(load_predictor(TABLE)), 0).train(fast.architecture)
    assert told.si_rmse == fast.si_rmse
    assert sum(told.seconds) > 5 * sum(fast.seconds)


def test_trainings_that_diverged_are_left_out(records):
    bad = replace(records.trainings[0], outcome="diverged", si_rmse=(), loss=(), seconds=())
    surrogate = Surrogate(replace(records, trainings=(bad, *records.trainings[1:])))
    assert bad.architecture not in [
        one.architecture for one in surrogate.recorded(bad.architecture) if one.seed == 0
    ]
    assert np.isfinite(surrogate.error.rmse)


def test_too_few_records_and_unknown_worlds_are_named(records, drawn):
    few = records_of([training(one) for one in drawn[:5]])
    with pytest.raises(DataError, match=r"hold 5 architectures.*at least 20"):
        Surrogate(few)
    with pytest.raises(NasdepthError, match=r"extra-tree.*did you mean extra-trees"):
        Surrogate(records, regressor="extra-tree")
