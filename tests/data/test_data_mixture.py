from collections import Counter

import numpy as np
import pytest

from nasdepth.data import Mixture, Portion
from nasdepth.data.store import ImageSplit
from nasdepth.errors import DataError


class Items(ImageSplit):
    """A split of which only the number of items and the fingerprint matter."""

    def __init__(self, count, name="items"):
        self.image_ids, self._rows = [str(i) for i in range(count)], np.arange(count)
        self.fingerprint, self.name = f"{name}{count}", name


A, B, C = Items(10, "a"), Items(7, "b"), Items(100, "c")


def mixed(seed=0, **arguments):
    return Mixture([Portion(A, 3), Portion(B, 2), Portion(C, 1)], 4, seed=seed, **arguments)


def plain(step):
    return step.epoch, step.step, step.portion, step.indices.tolist(), step.rng().random(3).tolist()


def steps(mixture, epochs):
    return [step for epoch in range(epochs) for step in mixture.epoch(epoch)]


def test_an_epoch_depends_on_seed_and_epoch_alone():
    mixture = mixed()
    assert mixture.steps_per_epoch == 4  # 10 // 4 whole batches of A are half of the steps
    expected = [plain(step) for step in steps(mixture, 5)]
    # resumed at any epoch, at any step, by an object that has never seen the steps before
    for epoch, first in ((3, 0), (2, 3), (4, 1)):
        resumed = [plain(step) for step in mixed().epoch(epoch, first)]
        assert resumed == expected[epoch * 4 + first : (epoch + 1) * 4]
    assert [plain(step) for step in steps(mixed(seed=1), 5)] != expected
    assert len({step[4][0] for step in expected}) == len(expected), "two steps augment alike"


@pytest.mark.parametrize("weights", [(3, 2, 1), (1, 1, 1), (0.1, 0.2, 0.7), (50, 1, 0.3)])
def test_portions_take_turns_as_evenly_as_their_weights_allow(weights):
    portions = [Portion(split, weight) for split, weight in zip((A, B, C), weights, strict=True)]
    turns = [step.portion for step in steps(Mixture(portions, 4, steps_per_epoch=50), 4)]
    shares = np.array(weights) / sum(weights)
    had = np.cumsum(np.array(turns)[:, None] == np.arange(3), axis=0)
    assert np.abs(had - shares * np.arange(1, 201)[:, None]).max() <= 1.5


def test_every_item_is_seen_before_any_is_seen_again():
    mixture = mixed()
    seen = {0: [], 1: [], 2: []}
    for step in steps(mixture, 30):
        seen[step.portion] += step.indices.tolist()
        assert step.split is (A, B, C)[step.portion] and len(step.indices) == 4
    for portion, items in seen.items():
        size = len((A, B, C)[portion])
        counts = Counter(items)
        assert set(counts) <= set(range(size)) and max(counts.values()) - min(counts.values()) <= 1
        if len(items) >= size:
            assert len(counts) == size
    first, second = (mixture.step(e, 0).indices.tolist() for e in (0, 5))
    assert first != second, "the order is the same in every epoch"


def test_a_data_set_smaller_than_a_batch_is_repeated_evenly():
    step = Mixture(Items(3), 8).step(0, 0)
    assert sorted(Counter(step.indices.tolist()).values()) == [2, 3, 3]


def test_one_data_set_needs_no_portion_and_is_seen_once_an_epoch():
    mixture = Mixture(C, 25)
    assert mixture.steps_per_epoch == 4
    for epoch in (0, 1):
        items = np.concatenate([step.indices for step in mixture.epoch(epoch)])
        assert sorted(items.tolist()) == list(range(100))


def test_the_fingerprint_tells_what_would_change_the_steps():
    prints = {
        mixed().fingerprint,
        mixed(steps_per_epoch=5).fingerprint,
        Mixture([Portion(A, 3), Portion(B, 2), Portion(C, 2)], 4).fingerprint,
        Mixture([Portion(A, 3), Portion(B, 2), Portion(Items(99, "c"), 1)], 4).fingerprint,
        Mixture([Portion(A, 3), Portion(B, 2), Portion(C, 1)], 5).fingerprint,
    }
    assert len(prints) == 5
    assert Mixture([Portion(A, 6), Portion(B, 4), Portion(C, 2)], 4).fingerprint == mixed().fingerprint


@pytest.mark.parametrize(
    ("portions", "arguments", "message"),
    [
        ([], {}, "has no data set"),
        ([Portion(A), Portion(B, 0, "streets")], {}, r"streets has weight 0; it must be above 0"),
        ([Portion(A, float("nan"))], {}, r"data set 1 has weight nan"),
        ([Portion(Items(0))], {}, r"data set 1 has no images"),
        ([Portion(A)], {"batch_size": 0}, r"batch_size 0 must be at least 1"),
        ([Portion(A)], {"steps_per_epoch": 0}, r"steps_per_epoch 0 must be"),
    ],
)
def test_impossible_mixtures_are_named(portions, arguments, message):
    with pytest.raises(DataError, match=message):
        Mixture(portions, **{"batch_size": 4} | arguments)
