from math import log2

import pytest
from optuna.samplers import RandomSampler

from nasdepth.searching import Outcome, TrialRecord
from nasdepth.searching.goals import parse_goal
from nasdepth.searching.records import pareto_front
from nasdepth.searching.sampling import LatencyAwareSampler
from nasdepth.searching.sampling.latency_aware import columns_of
from nasdepth.searching.sampling.observations import observe
from nasdepth.space import SearchSpace

TRIALS = 20


def started(world, mode="score", count=12, **changes):
    """A study with some trainings, and a sampler for it."""
    study = world.study(mode)
    world.add(study, *(world.record(number, one) for number, one in enumerate(world.sample(count))))
    study.sampler = LatencyAwareSampler(world.context(goal=parse_goal(mode), **changes))
    return study


@pytest.fixture(scope="module")
def searched(world):
    study = world.study()
    study.sampler = LatencyAwareSampler(world.context(seed=3))
    return study, world.search(study, TRIALS)


def test_it_beats_as_many_random_trials_by_far(world, searched):
    _, proposed = searched
    random = sorted((world.score(one) for one in world.sample(150, seed=9)), reverse=True)
    found = max(world.score(one) for one in proposed)
    assert found > random[0]
    # once it has learnt, even its average is among the best of random ones
    late = [world.score(one) for one in proposed[-8:]]
    assert sum(late) / len(late) > random[15]


def test_what_it_proposes_is_new_and_in_the_space(world, searched):
    study, proposed = searched
    assert len(set(proposed)) == TRIALS and all(world.space.contains(one) for one in proposed)
    for trial, architecture in zip(study.trials, proposed, strict=True):
        assert trial.params == world.space.parameters(architecture)
        assert trial.distributions == world.space.distributions(architecture)


def test_it_starts_among_the_fast_with_unlike_ones(world, searched):
    _, proposed = searched
    begin = proposed[:5]
    half = sorted(world.latency_ms(one) for one in world.sample(200, seed=5))[100]
    assert all(world.latency_ms(one) < half * 1.1 for one in begin)
    assert len({one.encoder.family for one in begin}) >= 4


def test_a_seed_and_the_trials_decide(world, searched):
    _, proposed = searched
    again = world.study()
    again.sampler = LatencyAwareSampler(world.context(seed=3))
    assert world.search(again, 9) == proposed[:9]
    # resumed: another process, the same trials before
    again.sampler = LatencyAwareSampler(world.context(seed=3, trials=9))
    assert world.search(again, 3) == proposed[9:12]
    other = world.study()
    other.sampler = LatencyAwareSampler(world.context(seed=4))
    assert world.search(other, 3) != proposed[:3]


def test_workers_of_one_study_do_not_propose_alike(world):
    study = started(world)
    trials = [study.ask() for _ in range(4)]
    proposed = []
    for trial in trials:  # asked at once: none has ended when the next decides
        proposed.append(world.space.suggest(trial))
    assert len(set(proposed)) == 4


def test_nothing_slower_than_the_limit_is_proposed(world):
    limit = sorted(world.latency_ms(one) for one in world.sample(200, seed=5))[20]
    study = world.study()
    study.sampler = LatencyAwareSampler(world.context(max_latency_ms=limit))
    assert all(world.latency_ms(one) <= limit for one in world.search(study, 9))


def test_a_limit_that_hardly_anything_meets_is_met(world):
    fastest = min(world.latency_ms(one) for one in world.sample(1500, seed=5))
    study = world.study()
    study.sampler = LatencyAwareSampler(world.context(max_latency_ms=0.93 * fastest))
    assert all(world.latency_ms(one) <= 0.93 * fastest for one in world.search(study, 7))


def test_what_the_device_refuses_is_not_proposed(world):
    def refusal(architecture):
        return "" if architecture.encoder.family == "mobilenetv2" else "no"

    study = started(world, refusal=refusal)
    assert {one.encoder.family for one in world.search(study, 4)} == {"mobilenetv2"}


def test_what_the_table_cannot_answer_is_not_proposed(world):
    known = world.context().latencies

    def latencies(architectures):
        answers = known(architectures)
        return [a if one.head_stride == 4 else None for one, a in zip(architectures, answers, strict=True)]

    study = started(world, latencies=latencies)
    assert {one.head_stride for one in world.search(study, 4)} == {4}


def test_what_would_not_be_trained_is_not_proposed(world):
    asked = []

    def too_slow(latency_ms):
        asked.append(latency_ms)
        return "too slow" if latency_ms > 1.2 else ""

    study = started(world, too_slow=too_slow)
    assert all(world.latency_ms(one) <= 1.2 for one in world.search(study, 4)) and asked


def test_a_queued_trial_is_run_as_it_is(world):
    study = started(world)
    wanted = world.sample(1, seed=77)[0]
    study.enqueue_trial(world.space.parameters(wanted))
    world.asked = 0
    assert world.search(study, 1) == [wanted]
    assert world.asked == 0  # and nothing is pondered for it
    study.enqueue_trial({"family": "lcnet"})  # the rest is the sampler's
    assert world.search(study, 1)[0].encoder.family == "lcnet"


def test_a_lucky_training_is_not_the_best_that_is_believed(world):
    """One number out of line lowers what the others have to beat by little."""
    study = started(world, count=30)
    sampler = study.sampler
    lucky = world.sample(1, seed=55)[0]
    record = world.record(30, lucky, (0.3, 0.02))
    world.add(study, record)
    trial = study.ask()
    seen = observe(study, world.space, trial.number)
    rows, has = sampler.candidates.features(seen.architectures)
    acquisition, _ = sampler._believe(seen, rows, has)
    assert acquisition._best < record.log2_score - 1


def test_earlier_trainings_spare_the_start(world):
    earlier = tuple(world.record(number, one) for number, one in enumerate(world.sample(60, seed=21)))
    study = world.study()
    study.sampler = LatencyAwareSampler(world.context(earlier=earlier))
    proposed = world.search(study, 3)
    # nobody trained them here, so they are not what has to be beaten; but they tell good from bad at once
    typical = sorted(world.score(one) for one in world.sample(150, seed=9))
    assert max(world.score(one) for one in proposed) > typical[140]


def test_the_front_grows_faster_than_by_chance(world):
    def area(study):
        """Dominated by the front up to 8 ms and si-RMSE 0.35, in octaves times si-RMSE."""
        records = [TrialRecord.from_trial(trial) for trial in study.trials]
        front = [one for one in pareto_front(records) if one.latency_ms < 8]
        ends = [*(one.latency_ms for one in front[1:]), 8]
        return sum(
            max(0.35 - one.si_rmse, 0) * log2(end / one.latency_ms)
            for one, end in zip(front, ends, strict=True)
        )

    aware = started(world, "pareto", max_latency_ms=8.0)
    chance = started(world, "pareto")
    chance.sampler = RandomSampler(seed=0)
    before = area(aware)
    proposed = world.search(aware, 12)
    world.search(chance, 12)
    assert area(aware) - before > 2 * (area(chance) - before) >= 0
    assert len({round(world.latency_ms(one), 1) for one in proposed}) > 4  # not all at one end


def test_a_space_that_is_used_up_repeats(tmp_path, world):
    path = tmp_path / "two.yaml"
    path.write_text(
        "name: two\ninput: {height: 64, width: 64}\n"
        "encoder: {family: mobilenetv2, width: 0.5, stride: 8}\n"
        "decoder: {skip: none, block: conv, kernel: 1, width: [8, 16], upsampling: nearest}\n"
        "head: {stride: 8, upsampling: nearest}\n"
    )
    small = type(world)(SearchSpace.load(path), world.predictor)
    study = small.study()
    study.sampler = LatencyAwareSampler(small.context())
    assert len(set(small.search(study, 8))) == 2


def test_pruned_and_failed_trainings_are_learnt_from(world):
    study = started(world, count=8)
    pruned, diverged = world.sample(2, seed=31)
    world.add(
        study,
        world.record(8, pruned, (0.6,), Outcome.PRUNED),
        world.record(9, diverged, (), Outcome.DIVERGED),
    )
    proposed = world.search(study, 2)
    assert not {pruned, diverged} & set(proposed)


def test_columns_by_group():
    assert len(columns_of("size")) == 4 and set(columns_of("size")) < set(columns_of("family", "size"))
