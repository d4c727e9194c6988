import warnings

import optuna
import pytest

from nasdepth.errors import StudyError
from nasdepth.searching import Outcome
from nasdepth.searching.goals import parse_goal
from nasdepth.searching.sampling import (
    DEFAULT_SAMPLER,
    SAMPLERS,
    RegularisedEvolutionSampler,
    check_sampler,
    make_sampler,
    register_sampler,
)

CASES = [(name, mode) for name, entry in SAMPLERS.items() for mode in entry.modes]


@pytest.mark.parametrize(("name", "mode"), CASES)
def test_every_sampler_searches_the_full_space(world, name, mode):
    study = world.study(mode)
    world.add(study, *(world.record(number, one) for number, one in enumerate(world.sample(11))))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing that Optuna would say on stderr
        study.sampler = make_sampler(name, world.context(goal=parse_goal(mode), trials=11))
        proposed = world.search(study, 3)
    assert len(set(proposed)) == 3 and all(world.space.contains(one) for one in proposed)


@pytest.mark.parametrize("name", sorted(SAMPLERS))
def test_a_resumed_one_does_not_repeat_the_first_draws(world, name):
    mode = SAMPLERS[name].modes[0]
    study = world.study(mode)
    study.sampler = make_sampler(name, world.context(goal=parse_goal(mode), seed=5))
    first = world.search(study, 2)
    study.sampler = make_sampler(name, world.context(goal=parse_goal(mode), seed=5, trials=2))
    assert not set(first) & set(world.search(study, 2))


def test_the_warning_filters_stay_as_they_were(world):
    before = list(warnings.filters)
    for name, mode in CASES:
        make_sampler(name, world.context(goal=parse_goal(mode)))
    assert warnings.filters == before


def test_what_there_is_not_is_named():
    with pytest.raises(StudyError, match=r"`sampler` is 'magic'; it must be one of latency-aware, tpe"):
        check_sampler("magic", parse_goal("score"))
    with pytest.raises(StudyError, match=r"evolution cannot search with `objective` pareto; these can: lat"):
        check_sampler("evolution", parse_goal("pareto"))
    with pytest.raises(StudyError, match="nsga2 cannot search with `objective` score") as error:
        check_sampler("nsga2", parse_goal("score"))
    assert "nsga2" not in str(error.value).partition("these can")[2]
    check_sampler(DEFAULT_SAMPLER, parse_goal("score"))
    check_sampler(DEFAULT_SAMPLER, parse_goal("pareto"))


def test_another_can_be_registered(world, monkeypatch):
    monkeypatch.setattr("nasdepth.searching.sampling.registry.SAMPLERS", dict(SAMPLERS))

    @register_sampler("grid", "score")
    def grid(context):
        """Goes through everything.

        In an order.
        """
        return optuna.samplers.BruteForceSampler(seed=context.seed)

    from nasdepth.searching.sampling.registry import SAMPLERS as there

    assert there["grid"].summary == "Goes through everything." and there["grid"].modes == ("score",)
    with pytest.raises(ValueError, match="'grid' is registered twice"):
        register_sampler("grid")(grid)


def test_evolution_breeds_from_the_best_of_the_young(world):
    study = world.study()
    architectures = world.sample(40)
    world.add(study, *(world.record(number, one) for number, one in enumerate(architectures)))
    sampler = RegularisedEvolutionSampler(world.context(), population=10, tournament=10)
    study.sampler = sampler
    parent = max(architectures[-10:], key=world.score)
    wanted = world.space.parameters(parent)
    for child in world.search(study, 3)[:1]:
        parameters = world.space.parameters(child)
        changed = [name for name in wanted if parameters.get(name, wanted[name]) != wanted[name]]
        assert child != parent and len(changed) <= 2


def test_evolution_begins_at_random_and_keeps_the_limit(world):
    limit = sorted(world.latency_ms(one) for one in world.sample(200, seed=5))[60]
    study = world.study()
    study.sampler = RegularisedEvolutionSampler(world.context(max_latency_ms=limit), 4, 2)
    proposed = world.search(study, 8)
    assert len(set(proposed)) == 8 and all(world.latency_ms(one) <= limit for one in proposed)


def test_evolution_does_not_breed_from_the_dead(world):
    study = world.study()
    world.add(study, *(world.record(n, one, (), Outcome.REFUSED) for n, one in enumerate(world.sample(30))))
    study.sampler = RegularisedEvolutionSampler(world.context(), population=5)
    assert world.search(study, 1)  # nothing was trained, so it draws
