"""Records that a formula stands for."""

import random

import pytest
from replay_formula import records_of, training

from nasdepth.space import SearchSpace


@pytest.fixture(scope="session")
def quick():
    return SearchSpace.load("quick")


@pytest.fixture(scope="session")
def drawn(quick):
    """Architectures of the quick space, the first of which are recorded."""
    rng = random.Random(0)
    return list(dict.fromkeys(quick.sample(rng) for _ in range(400)))[:200]


@pytest.fixture(scope="session")
def records(drawn):
    known = drawn[:60]
    trainings = [training(one) for one in known]
    trainings += [training(one, seed=1) for one in known[:20]]
    trainings += [training(one, name) for name in ("full", "epochs1", "epochs2") for one in known[:24]]
    trainings += [training(one, "full", 1) for one in known[:8]]
    trainings += [
        training(one, "random-start") for one in known if one.encoder.family == "efficientnet_lite0"
    ]
    return records_of(trainings)
