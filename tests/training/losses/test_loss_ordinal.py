"""Ranking: its sign, its loops, ReDWeb's pairs and what is dropped of them."""

import math

import pytest
import torch

from nasdepth.errors import DataError
from nasdepth.training.losses import (
    CLOSER,
    EQUAL,
    FARTHER,
    OrdinalPairs,
    pairs_from_depth,
    pairs_from_relative,
    ranking_loss,
)


def pairs_of(*rows, known=None):
    """Pairs of one image from ((row, column), (row, column), relation)."""
    first, second, relation = zip(*rows, strict=True)
    known = torch.ones(1, len(rows), dtype=torch.bool) if known is None else torch.tensor([known])
    return OrdinalPairs(torch.tensor([first]), torch.tensor([second]), torch.tensor([relation]), known)


def random_pairs(batch=3, count=40, hw=(12, 16), seed=0):
    generator = torch.Generator().manual_seed(seed)

    def points():
        return torch.stack([torch.randint(n, (batch, count), generator=generator) for n in hw], 2)

    relation = torch.randint(-1, 2, (batch, count), generator=generator)
    return OrdinalPairs(points(), points(), relation, torch.rand(batch, count, generator=generator) > 0.2)


def reference(pred, pairs, drop):
    images = []
    for b in range(len(pred)):
        equal, unequal = [], []
        for k in range(pairs.known.shape[1]):
            if not pairs.known[b, k]:
                continue
            (i, j), (m, n) = pairs.first[b, k].tolist(), pairs.second[b, k].tolist()
            gap = math.log(max(pred[b, 0, i, j].item(), 1)) - math.log(max(pred[b, 0, m, n].item(), 1))
            r = pairs.relation[b, k].item()
            if r == 0:
                equal.append(gap**2)
            else:
                unequal.append(math.log(1 + math.exp(-r * gap)))
        unequal = sorted(unequal)[int(drop * len(unequal)) :]
        images.append(sum(equal + unequal) / len(equal + unequal))
    return sum(images) / len(images)


@pytest.mark.parametrize("drop", [0.0, 0.25])
def test_agrees_with_loops(drop, batch):
    pairs = random_pairs()
    expected = reference(batch[0], pairs, drop)
    assert ranking_loss(batch[0], pairs, drop=drop).item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("relation", "right", "wrong"), [
    (FARTHER, (5000.0, 2000.0), (2000.0, 5000.0)),
    (CLOSER, (2000.0, 5000.0), (5000.0, 2000.0)),
    (EQUAL, (3000.0, 3000.0), (3000.0, 5000.0)),
])  # fmt: skip
def test_the_sign_depth_in_millimetres_and_farther_is_deeper(relation, right, wrong):
    pairs = pairs_of(((0, 0), (1, 2), relation))

    def loss(a, b):
        pred = torch.full((1, 1, 2, 3), 1000.0)
        pred[0, 0, 0, 0], pred[0, 0, 1, 2] = a, b
        return ranking_loss(pred, pairs).item()

    assert loss(*right) < loss(*wrong)
    assert loss(*right) < math.log(2)


@pytest.mark.parametrize("relation", [FARTHER, CLOSER, EQUAL])
def test_descending_the_loss_puts_points_in_order(relation):
    logs = torch.tensor([[[[7.0, 7.8, 7.4]]]], requires_grad=True)
    pairs = pairs_of(((0, 0), (0, 1), relation))
    for _ in range(200):
        (gradient,) = torch.autograd.grad(ranking_loss(logs.exp(), pairs), logs)
        logs.data -= 0.1 * gradient
    first, second, untouched = logs.flatten().tolist()
    assert untouched == pytest.approx(7.4)
    match relation:
        case 1:
            assert first > second + 0.5
        case -1:
            assert second > first + 0.8
        case 0:
            assert first == pytest.approx(second, abs=1e-3)


def test_scale_is_free(batch):
    pred = batch[0].clamp_min(100)
    pairs = random_pairs()
    assert ranking_loss(3 * pred, pairs).item() == pytest.approx(ranking_loss(pred, pairs).item())


def test_padding_pairs_may_point_anywhere(batch):
    pred = batch[0][:1]
    real = ((1, 2), (3, 4), FARTHER)
    padded = pairs_of(real, ((-1, 900), (77, -5), 9), known=[True, False])
    assert ranking_loss(pred, padded) == ranking_loss(pred, pairs_of(real))


@pytest.mark.parametrize(("row", "words"), [
    (((0, 16), (3, 4), 1), r"image 0, pair 1: the first point \(row, column\) \(0, 16\) is outside of"),
    (((0, 0), (12, 4), 1), r"image 0, pair 1: the second point \(row, column\) \(12, 4\) is outside"),
    (((0, 0), (-1, 4), 1), r"the second point \(row, column\) \(-1, 4\) is outside"),
    (((0, 0), (1, 4), 2), r"image 0, pair 1: relation 2 is none of -1 \(first is closer\)"),
])  # fmt: skip
def test_pairs_outside_of_the_image_are_named(row, words, batch):
    with pytest.raises(DataError, match=words):
        ranking_loss(batch[0][:1], pairs_of(((1, 1), (2, 2), -1), row))


def test_pairs_from_depth_have_the_ratios_order():
    target = torch.tensor([[[[1000.0, 1019.0, 1021.0, 0.0]]]])
    pairs = pairs_from_depth(target, target > 1, 200, ratio=0.02, generator=torch.Generator().manual_seed(0))
    assert pairs.first.shape == pairs.second.shape == (1, 200, 2)
    seen = set()
    for a, b, relation, known in zip(
        pairs.first[0], pairs.second[0], pairs.relation[0], pairs.known[0], strict=True
    ):
        (row_a, a), (row_b, b) = a.tolist(), b.tolist()
        assert row_a == row_b == 0 and a < 3 and b < 3  # never the unknown one
        assert known == (a != b)
        if known:
            first, second = target[0, 0, 0, a].item(), target[0, 0, 0, b].item()
            expected = 1 if first / second >= 1.02 else -1 if second / first >= 1.02 else 0
            assert relation == expected
            seen.add((a, b))
    assert len(seen) == 6


def test_pairs_of_an_unknown_image_are_not_known():
    target = torch.zeros(2, 1, 4, 4)
    target[0] = 1000
    pairs = pairs_from_depth(target, target > 1, 50)
    assert pairs.known[0].any() and not pairs.known[1].any()


def test_dropping_is_of_the_easiest_unequal_pairs():
    pred = torch.tensor([[[[1000.0, 2000.0, 4000.0, 8000.0]]]])
    easy, hard = ((0, 3), (0, 0), FARTHER), ((0, 0), (0, 3), FARTHER)
    middle, even = ((0, 1), (0, 0), FARTHER), ((0, 0), (0, 0), EQUAL)
    every = ranking_loss(pred, pairs_of(easy, hard, middle, middle, even), drop=0.25)
    assert every.item() == pytest.approx(ranking_loss(pred, pairs_of(hard, middle, middle, even)).item())


@pytest.mark.parametrize("gap", [-3.0, -0.1, 0.0, 0.2, 0.25, 0.26, 1.0, 5.0])
@pytest.mark.parametrize("relation", [FARTHER, CLOSER])
def test_the_robust_form_is_megadepths_equation_6(gap, relation):
    """P = -r (L_i - L_j): ln(1 + exp(P)) up to 0.25; beyond, of its root, plus what makes the two meet."""
    pred = torch.tensor([[[[3000 * math.exp(-relation * gap), 3000.0]]]], dtype=torch.float64)
    value = ranking_loss(pred, pairs_of(((0, 0), (0, 1), relation)), form="robust").item()
    step = math.log(1 + math.exp(0.25)) - math.log(1 + math.exp(0.5))
    expected = math.log(1 + math.exp(math.sqrt(gap))) + step if gap > 0.25 else math.log(1 + math.exp(gap))
    assert value == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("space", ["disparity", "depth"])
def test_pairs_of_relative_maps_have_the_order_of_the_scene(space, batch):
    _, target, mask = batch
    values = torch.where(mask, 1 / target.clamp_min(1) if space == "disparity" else target / 10_000, 0)
    named = dict(ratio=0.05, generator=torch.Generator().manual_seed(2))
    got = pairs_from_relative(values, mask, 500, space=space, **named)
    same = pairs_from_depth(target, mask, 500, ratio=0.05, generator=torch.Generator().manual_seed(2))
    for field in ("first", "second", "relation", "known"):
        assert torch.equal(getattr(got, field), getattr(same, field)), field
    assert {-1, 0, 1} == set(got.relation[got.known].tolist())
    got.check((12, 16))


def test_a_relative_map_without_a_known_pixel_gives_no_pair():
    values = torch.full((1, 1, 4, 6), float("nan"))
    pairs = pairs_from_relative(values, torch.zeros(1, 1, 4, 6, dtype=torch.bool), 9, space="disparity")
    assert not pairs.known.any()
