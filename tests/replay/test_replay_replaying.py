"""Whole searches on a virtual clock: the real search, told by a world."""

import math
from dataclasses import replace

import numpy as np
import pytest
from replay_formula import TABLE

from nasdepth.errors import DataError, StudyError
from nasdepth.replay import (
    Replay,
    Setting,
    World,
    best_known,
    read_traces,
    regrets,
    replay_all,
    summaries,
    write_traces,
)
from nasdepth.replay.objective import ReplayObjective
from nasdepth.replay.oracle import best_of_space
from nasdepth.replay.replaying import Trace
from nasdepth.searching import Outcome
from nasdepth.space import SearchSpace

BUDGET = 12


@pytest.fixture(scope="module")
def setting():
    return Setting("quick", TABLE, world="support-vectors", budget=BUDGET)


@pytest.fixture(scope="module")
def replay(records, setting, in_module_cache):
    return Replay(records, setting)


@pytest.fixture(scope="module")
def in_module_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NASDEPTH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def trace(replay):
    return replay.run("random", 0)


def test_a_replay_repeats_itself(replay, trace):
    again = replay.run("random", 0)
    assert replace(again, proposal_s=0) == replace(trace, proposal_s=0)
    other = replay.run("random", 1)
    assert other.observed != trace.observed


def test_scores_are_bounded_by_what_was_found_and_by_the_best(trace):
    assert len(trace.observed) == len(trace.found) == len(trace.seconds) == BUDGET
    found, observed = np.array(trace.found), np.array(trace.observed)
    assert (observed <= found + 1e-9).all()
    assert (np.diff(found) >= 0).all()
    assert found[-1] <= trace.best_known
    assert (np.diff(trace.seconds) > 0).all()


def test_the_clock_counts_the_epochs_that_were_trained(replay):
    world = World(replay.surrogate, replay.latencies, 3)
    search = replay._search(ReplayObjective(world), "random", 3)
    records = search.run(30)
    pruned = [one for one in records if one.outcome is Outcome.PRUNED]
    trained = [one for one in records if one.outcome is Outcome.TRAINED]
    assert pruned and trained
    for one in pruned:
        whole = world.train(one.architecture)
        assert one.curve == whole.si_rmse[: len(one.curve)]
        assert one.training_s == pytest.approx(sum(whole.seconds[: len(one.curve)]))
        assert one.training_s < sum(whole.seconds)
    for one in trained:
        assert one.curve == world.train(one.architecture).si_rmse


SMALL = """\
name: small
input: {height: 128, width: [128, 160]}
encoder: {family: [mobilenetv3_small_minimal, efficientnet_lite0], width: [0.5, 1.0], stride: 32}
decoder: {skip: [none, concat], block: conv, kernel: 1, width: [8, 72], upsampling: nearest}
head: {stride: 8, upsampling: [nearest, bilinear]}
"""


def test_the_best_of_the_space_is_found(replay, tmp_path):
    (tmp_path / "small.yaml").write_text(SMALL)
    small = SearchSpace.load(tmp_path / "small.yaml")
    everything = list(small.architectures())
    assert len(everything) > 500
    replay.surrogate.prepare(everything)
    latencies = replay.latencies.of_all(everything)
    expected = [
        -20 * math.exp(replay.surrogate.expected(one)[0]) - math.log2(latency.latency_ms)
        for one, latency in zip(everything, latencies, strict=True)
    ]
    found = best_of_space(small, replay.surrogate, replay.latencies, pool=30)
    assert found[0] == everything[int(np.argmax(expected))]


def test_nothing_above_the_limit_is_trained(records, setting, in_module_cache):
    limit = 2.0
    limited = Replay(records, replace(setting, max_latency_ms=limit))
    world = World(limited.surrogate, limited.latencies, 0)
    search = limited._search(ReplayObjective(world), "random", 0)
    trained = [one for one in search.run(5) if one.outcome is Outcome.TRAINED]
    assert trained and all(one.latency_ms <= limit for one in trained)
    assert all(limited.latencies.of(one).latency_ms <= limit for one in limited.best)


def test_rungs_are_told_by_the_trainings_that_were_recorded_so(replay, drawn):
    world = World(replay.surrogate, replay.latencies, 0)
    objective = ReplayObjective(world, (1, 2, 4), continued=False)
    assert objective.ways == ("epochs1", "epochs2", "proxy")
    training = objective.begin(drawn[150])
    told = [training.train_rung(index, lambda _: None, lambda _: None) for index in range(3)]
    assert [len(rung.epochs) for rung in told] == [1, 2, 4]
    assert told[1].si_rmse == world.train(drawn[150], "epochs2").si_rmse[-1]
    assert told[0].si_rmse > told[2].si_rmse
    with pytest.raises(DataError, match=r"rungs of 1\+3 epochs.*epochs1"):
        ReplayObjective(world, (1, 4))


def test_a_longer_training_is_the_full_one(replay, drawn):
    world = World(replay.surrogate, replay.latencies, 0)
    longer = ReplayObjective(world).longer(12)
    rung = longer.begin(drawn[150]).train_rung(0, lambda _: None, lambda _: None)
    assert rung.si_rmse == world.train(drawn[150], "full").si_rmse[-1]


def test_an_unknown_sampler_is_named(replay):
    with pytest.raises(StudyError, match="randon"):
        replay.run("randon", 0)


@pytest.mark.slow
def test_two_processes_replay_what_one_does(replay, records, trace, in_module_cache, tmp_path, monkeypatch):
    """One of the searches is by a sampler of a plugin, which the processes must load themselves."""
    (tmp_path / "drawing.py").write_text(
        "from optuna.samplers import RandomSampler\n"
        "from nasdepth.searching.sampling import register_sampler\n"
        "@register_sampler('drawing')\n"
        "def drawing(context):\n"
        "    'Draws at random.'\n"
        "    return RandomSampler(seed=context.seed)\n"
    )
    monkeypatch.setenv("NASDEPTH_PLUGINS", str(tmp_path / "drawing.py"))
    many = {one.seed: one for one in replay_all(replay, records, [("random", 0), ("drawing", 1)], workers=2)}
    assert set(many) == {0, 1}
    assert replace(many[0], proposal_s=0) == replace(trace, proposal_s=0)


def test_files_of_traces_come_back(trace, tmp_path):
    path = tmp_path / "out.csv"
    assert read_traces(path) == []
    write_traces(path, [trace])
    (back,) = read_traces(path)
    assert back.observed == pytest.approx(trace.observed, rel=1e-4)
    assert (back.sampler, back.seed, back.setting) == ("random", 0, trace.setting)
    path.write_text("nothing,of,that\n1,2,3\n")
    with pytest.raises(DataError, match=r"out\.csv"):
        read_traces(path)


def made(sampler, seed, observed, final, best=10.0):
    count = len(observed)
    return Trace(
        "s", TABLE, "mixed", sampler, seed, best, tuple(observed), tuple(observed),
        tuple(10.0 * (one + 1) for one in range(count)), (observed[-1],), final, 0, 1.0, "abc",
    )  # fmt: skip


def test_summaries_of_made_up_searches():
    slow = [made("random", seed, [5.0] * 5 + [6.0] * 5, 7.0 + seed) for seed in (0, 1)]
    quick = [made("ours", seed, [5.0, 6.0 + seed] + [8.0] * 8, 8.0 + seed) for seed in (0, 1)]
    random, ours = summaries([*slow, *quick])
    assert random.observed[10].value == 4
    assert ours.observed[10].value == 2
    assert ours.reaches_random == 2
    assert random.reaches_random == 6
    assert ours.worth_random.value == 1
    assert ours.worth_random.error == 0
    assert ours.worth_tpe is None
    assert ours.final.value == 8.5
    assert ours.final.error == pytest.approx(0.5)
    # after half of the time: five trials of ten seconds
    assert random.by_seconds[50.0].value == 5
    assert ours.by_seconds[50.0].value == 2
    # a better one that any search found is what all are measured by
    better = [*slow, *quick, made("other", 1, [11.0] * 10, 9.0, best=11.0)]
    best = best_known(better)
    assert best == {0: 10.0, 1: 11.0}
    assert regrets([one for one in better if one.seed == 1], best)[0, -1] == 5
    # a search that ended early keeps its last value
    assert regrets([*slow, made("short", 0, [7.0], 7.0)], best)[-1].tolist() == [3.0] * 10
