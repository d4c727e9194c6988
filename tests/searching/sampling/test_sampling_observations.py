from dataclasses import replace

import numpy as np
import optuna
import pytest

from nasdepth.devices import Measurement
from nasdepth.searching import Outcome
from nasdepth.searching.measure import keep_measurement
from nasdepth.searching.sampling.observations import final_values, observe

ENDS = np.linspace(0.2, 0.3, 12)


def curves(jitter=0.0, seed=0):
    """Whole curves of three values that go down by 0.1, then by 0.02."""
    rng = np.random.default_rng(seed)
    return [(end + 0.12 + jitter * rng.normal(), end + 0.02, end) for end in ENDS]


def test_whole_curves_are_taken_as_they_are():
    values, noise = final_values(curves(), [True] * 12)
    assert values == pytest.approx(ENDS) and (noise == 1).all()


def test_a_curve_that_ends_early_goes_on_as_others_did():
    given = [*curves(), (0.25 + 0.12,), (0.25 + 0.12, 0.27)]
    values, noise = final_values(given, [True] * 12 + [False] * 2)
    assert values[-2:] == pytest.approx([0.25, 0.25], abs=1e-3)
    assert (noise[-2:] < 1.5).all()  # these curves foretell their ends exactly


def test_the_earlier_it_ends_the_less_it_says():
    given = [*curves(jitter=0.02), (0.25 + 0.12,), (0.25 + 0.12, 0.27)]
    _, noise = final_values(given, [True] * 12 + [False] * 2)
    assert 1 <= noise[-1] < noise[-2]


def test_rungs_that_few_reach_are_reached_by_steps():
    """Most end on the first rung, some on the second, three on the third."""
    given, whole = [], []
    for place, (first, second, third) in enumerate(curves()):
        reached = 3 if place % 4 == 0 else 2 if place % 2 == 0 else 1
        given.append((first, second, third)[:reached])
        whole.append(reached == 3)
    values, noise = final_values(given, whole)
    assert values == pytest.approx(ENDS, abs=0.01)
    assert (noise[[1, 2]] > 1).all()


def test_what_failed_is_bad_but_not_worse_than_bad():
    given = [*curves(), (), (1.9, 1.8, 1.7)]
    values, noise = final_values(given, [True] * 12 + [False, True])
    assert max(ENDS) < values[-1] < 0.6
    assert values[-2] == values.max() and noise[-2] > 1


@pytest.mark.parametrize(
    ("given", "whole"),
    [
        ([], []),
        ([()], [False]),
        ([(0.4,)], [False]),
        ([(0.4, 0.3)], [True]),
        ([(0.4, 0.3), (0.5,)], [True, False]),
    ],
)
def test_little_is_enough(given, whole):
    values, noise = final_values(given, whole)
    assert len(values) == len(noise) == len(given)
    assert np.isfinite(values).all() and (noise >= 1).all()


def test_a_study_is_read(world):
    first, second, third, fourth, fifth, sixth, queued, running = world.sample(8)
    study = world.study()
    world.add(
        study,
        world.record(0, first),
        world.record(1, second, (0.5,), Outcome.PRUNED),
        world.record(2, third, (0.3,), Outcome.DIVERGED),
        world.record(3, fourth, (), Outcome.TOO_SLOW),
        world.record(4, fifth, (), Outcome.REFUSED),
        world.record(5, sixth, (), Outcome.INTERRUPTED),
    )
    study.enqueue_trial(world.space.parameters(running))
    assert world.space.suggest(study.ask()) == running
    study.enqueue_trial(world.space.parameters(queued))
    asking = 1000
    seen = observe(study, world.space, asking)
    assert seen.architectures == (first, second, third)
    assert list(seen.whole) == [True, False, False]
    assert seen.si_rmse[2] == seen.si_rmse.max()
    assert seen.latency_ms[0] == pytest.approx(world.latency_ms(first))
    assert set(seen.pending) == {queued, running}
    assert seen.known == {first, second, third, fifth, queued, running}


def test_a_trial_that_has_only_begun_to_ask_is_passed_over(world):
    study = world.study()
    study.ask().suggest_int("input_height", 64, 224, step=32)
    assert observe(study, world.space, 5).pending == ()


def test_what_the_device_says_counts(world):
    quick, broken = world.sample(2)
    study = world.study()
    world.add(study, world.record(0, quick))
    keep_measurement(study, quick, Measurement("x", latency_ms=1.25))
    keep_measurement(study, broken, Measurement("y", error="no such operation"))
    seen = observe(study, world.space, 9)
    assert seen.latency_ms[0] == 1.25 and broken in seen.known


def test_earlier_trainings_stand_in_front(world):
    here, both, there = world.sample(3)
    study = world.study()
    world.add(study, world.record(0, here), world.record(1, both))
    earlier = [world.record(7, both, (0.9, 0.8)), world.record(8, there, (0.4, 0.33))]
    earlier.append(replace(earlier[0], outcome=Outcome.FAILED))
    seen = observe(study, world.space, 9, earlier)
    assert seen.architectures == (there, here, both)
    assert np.isnan(seen.latency_ms[0]) and np.isfinite(seen.latency_ms[1:]).all()
    assert seen.si_rmse[0] == pytest.approx(0.33) and there not in seen.known
    assert optuna.trial.TrialState.COMPLETE in {trial.state for trial in study.trials}
