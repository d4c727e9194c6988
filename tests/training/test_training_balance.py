"""Balancing: the rules against plain arithmetic, both directions, and state that comes back exactly."""

import io
import math

import numpy as np
import pytest
import torch
from pydantic import BaseModel, ValidationError

from nasdepth.training.balance import (
    BalanceRecipe,
    Dynamic,
    Fixed,
    Intermediate,
    Rebalance,
    build_balance,
)

WEIGHTS = {"sig": 1.0, "gradient": 0.25, "ssim": 2.0}


def values(*numbers, names=WEIGHTS):
    return {name: torch.tensor(number) for name, number in zip(names, numbers, strict=False)}


def restored(balance, into):
    """Through a file, as a checkpoint holds it."""
    file = io.BytesIO()
    torch.save(balance.state_dict(), file)
    into.load_state_dict(torch.load(io.BytesIO(file.getvalue()), weights_only=True))
    return into


def test_fixed_is_the_weighted_sum():
    balance = build_balance(Fixed(), WEIGHTS)
    assert balance(values(0.5, 4.0, 0.125)).item() == 0.5 + 1.0 + 0.25
    assert balance(values(0.5)).item() == 0.5
    balance.after_step(values(1.0, 1.0, 1.0), 0, 1, 0.5)
    assert balance.current_weights() == WEIGHTS


def test_dynamic_is_liebels_sum():
    balance = build_balance(Dynamic(kind="dynamic"), WEIGHTS)
    assert list(balance.state_dict()) == ["p"]
    balance.p.data = torch.tensor([0.5, 1.0, -2.0])
    expected = sum(
        w * v / (2 * p * p) + math.log(1 + p * p)
        for w, v, p in zip(WEIGHTS.values(), (0.5, 4.0, 0.125), (0.5, 1, -2), strict=True)
    )
    assert balance(values(0.5, 4.0, 0.125)).item() == pytest.approx(expected, rel=1e-3)
    assert balance(values(0.5)).item() == pytest.approx(0.5 / 0.5 + math.log(1.25), rel=1e-3)


def test_dynamic_starts_at_half_the_recipe():
    balance = build_balance(Dynamic(kind="dynamic"), WEIGHTS)
    for name, weight in balance.current_weights().items():
        assert weight == pytest.approx(WEIGHTS[name] / 2, rel=2e-4)


def test_dynamic_learns_to_weigh_small_losses_more():
    """At the optimum p^4 / (1 + p^2) = L / 2, whatever the start."""
    balance = build_balance(Dynamic(kind="dynamic"), {"big": 1.0, "small": 1.0})
    optimizer = torch.optim.Adam(balance.parameters(), lr=0.05)
    losses = {"big": torch.tensor(3.0), "small": torch.tensor(0.2)}
    for _ in range(400):
        optimizer.zero_grad()
        balance(losses).backward()
        optimizer.step()
    for name, p in zip(losses, balance.p.tolist(), strict=True):
        assert p**4 / (1 + p**2) == pytest.approx(losses[name].item() / 2, rel=5e-3)
    weights = balance.current_weights()
    assert weights["small"] > 3 * weights["big"]


@pytest.mark.parametrize("p", [0.0, 1e-8, -1e-8])
def test_dynamic_stays_finite_where_p_passes_zero(p):
    balance = build_balance(Dynamic(kind="dynamic"), WEIGHTS)
    balance.p.data.fill_(p)
    total = balance(values(0.5, 4.0, 0.125))
    total.backward()
    assert total.isfinite() and balance.p.grad.isfinite().all()


def reference_rebalancing(windows, weights, strengths, initial_scaling=False):
    """Lee & Kim over a list of window means per term."""
    weights, history = np.array(weights), []
    previous = previous_total = None
    for means, strength in zip(np.array(windows), strengths, strict=True):
        total = (weights * means).sum()
        if previous is not None:
            pace = total / previous_total * previous / means
            next_weights = weights * np.clip(1 + strength * (pace - 1), 0.5, 2)
        else:
            next_weights = total / len(means) / means if initial_scaling else weights
        previous, previous_total, weights = means, total, next_weights
        history.append(weights.copy())
    return history


@pytest.mark.parametrize("initial_scaling", [False, True])
@pytest.mark.parametrize("direction", ["easy", "hard", "easy_to_hard", "hard_to_easy"])
def test_rebalancing_agrees_with_the_rule(direction, initial_scaling):
    recipe = Rebalance(kind="rebalance", direction=direction, strength=2.0, updates_per_epoch=2,
                       initial_scaling=initial_scaling)  # fmt: skip
    balance = build_balance(recipe, WEIGHTS)
    rng = np.random.default_rng(0)
    steps, epochs = 7, 4
    losses = rng.uniform(0.2, 2, (epochs, steps, 3)) * np.array([1, 5, 0.1])
    windows, strengths, found = [], [], []
    for epoch in range(epochs):
        # seven steps in two windows: four, then three
        windows += [losses[epoch, :4].mean(0), losses[epoch, 4:].mean(0)]
        for step in range(steps):
            progress = (epoch * steps + step + 1) / (epochs * steps)
            before = balance.current_weights()
            balance.after_step(values(*losses[epoch, step]), step, steps, progress)
            if step in (3, 6):
                strengths.append({"easy": 2, "hard": -2, "easy_to_hard": 2 - 4 * progress,
                                  "hard_to_easy": 4 * progress - 2}[direction])  # fmt: skip
                found.append(list(balance.current_weights().values()))
            else:
                assert balance.current_weights() == before
    expected = reference_rebalancing(windows, list(WEIGHTS.values()), strengths, initial_scaling)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def two_terms(direction, **named):
    recipe = Rebalance(kind="rebalance", direction=direction, updates_per_epoch=1, **named)
    return build_balance(recipe, {"fast": 1.0, "slow": 1.0})


def test_easy_and_hard_are_what_they_say():
    for direction, favoured in (("easy", "fast"), ("hard", "slow")):
        balance = two_terms(direction)
        for fast, slow in ((1.0, 1.0), (0.5, 0.95)):
            balance.after_step(values(fast, slow, names=["fast", "slow"]), 0, 1, 0.5)
        weights = balance.current_weights()
        assert max(weights, key=weights.get) == favoured and weights[favoured] > 1 > min(weights.values())


def test_samsung_goes_from_hard_to_easy():
    recipe = Rebalance(kind="rebalance")
    assert recipe.direction == "hard_to_easy" and not recipe.initial_scaling and recipe.updates_per_epoch == 5
    assert recipe.strength_at(0) == -recipe.strength and recipe.strength_at(1) == recipe.strength
    reverse = Rebalance(kind="rebalance", direction="easy_to_hard")
    assert [reverse.strength_at(x) for x in (0, 0.5, 1)] == [1, 0, -1]


def test_initial_scaling_makes_terms_contribute_alike_and_keeps_the_total():
    balance = two_terms("easy", initial_scaling=True)
    first = values(8.0, 0.5, names=["fast", "slow"])
    balance.after_step(first, 0, 1, 0.1)
    weights = balance.current_weights()
    assert weights["fast"] * 8 == pytest.approx(weights["slow"] * 0.5) == pytest.approx(4.25)
    assert balance(first).item() == pytest.approx(8.5)


def test_a_change_is_at_most_twofold():
    balance = two_terms("easy", strength=100.0)
    for fast, slow in ((1.0, 1.0), (1e-4, 1.0)):
        balance.after_step(values(fast, slow, names=["fast", "slow"]), 0, 1, 0.5)
    assert balance.current_weights() == {"fast": 2.0, "slow": 0.5}


def test_terms_without_data_or_loss_keep_their_weight():
    """A mixture's batch may lack a supervision; a perfect term has no pace."""
    balance = two_terms("easy")
    sequence = [(1.0, 1.0), (0.5, None), (0.4, 0.2), (0.0, 0.1), (0.0, 0.1)]
    seen = []
    for fast, slow in sequence:
        given = {"fast": fast} | ({"slow": slow} if slow is not None else {})
        balance.after_step({name: torch.tensor(v) for name, v in given.items()}, 0, 1, 0.5)
        seen.append(balance.current_weights())
    assert seen[1]["slow"] == seen[0]["slow"] == 1  # not seen in the second window
    assert seen[1]["fast"] == 1  # alone it falls as fast as the total
    assert seen[3]["fast"] == seen[2]["fast"]
    assert all(math.isfinite(w) and w > 0 for one in seen for w in one.values())


def test_weights_that_change_do_not_break_a_graph():
    balance = two_terms("easy")
    # the weights' own precision, in which nothing has to be copied to be multiplied
    x = torch.ones(2, dtype=torch.float64, requires_grad=True)
    given = {"fast": x[0] * 2, "slow": x[1]}
    total = balance(given)
    for _ in range(2):
        balance.after_step(given, 0, 1, 0.5)
    total.backward()
    assert x.grad.tolist() == [2.0, 1.0]


@pytest.mark.parametrize("stop", [1, 3, 4, 10])
def test_rebalancing_resumes_exactly_also_within_a_window(stop):
    recipe = Rebalance(kind="rebalance", updates_per_epoch=3, strength=3.0)
    losses = np.random.default_rng(1).uniform(0.1, 1, (16, 3))

    def advance(balance, steps):
        for step in steps:
            balance.after_step(values(*losses[step]), step % 8, 8, step / 16)
        return balance

    straight = advance(build_balance(recipe, WEIGHTS), range(16))
    half = advance(build_balance(recipe, WEIGHTS), range(stop))
    resumed = advance(restored(half, build_balance(recipe, WEIGHTS)), range(stop, 16))
    assert straight.current_weights() == resumed.current_weights() != WEIGHTS
    for name, tensor in straight.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name])


def test_dynamic_resumes_exactly():
    balance = build_balance(Dynamic(kind="dynamic"), WEIGHTS)
    balance.p.data = torch.tensor([0.1, 1 / 3, 7.0])
    other = restored(balance, build_balance(Dynamic(kind="dynamic"), WEIGHTS))
    assert torch.equal(balance.p, other.p)


class Holder(BaseModel):
    balance: BalanceRecipe


@pytest.mark.parametrize("listed", [
    {"kind": "fixed"}, {"kind": "dynamic"}, {"kind": "rebalance", "direction": "hard", "strength": 2},
])  # fmt: skip
def test_recipes_survive_writing_and_reading(listed):
    holder = Holder(balance=listed)
    assert Holder.model_validate_json(holder.model_dump_json()) == holder
    assert holder.balance.kind == listed["kind"]


@pytest.mark.parametrize(("listed", "field"), [
    ({"kind": "magic"}, "balance"),
    ({"kind": "fixed", "strength": 1}, "strength"),
    ({"kind": "rebalance", "direction": "up"}, "direction"),
    ({"kind": "rebalance", "updates_per_epoch": 0}, "updates_per_epoch"),
    ({"kind": "rebalance", "strength": -1}, "strength"),
])  # fmt: skip
def test_wrong_recipes_are_refused(listed, field):
    with pytest.raises(ValidationError) as error:
        Holder(balance=listed)
    assert error.value.errors()[0]["loc"][-1] == field


FINAL, SECOND, THIRD = values(1.0, 2.0), values(3.0, 5.0), values(7.0, 11.0)


def test_intermediate_predictions_are_weighed():
    combined = Intermediate().combine(FINAL, [SECOND, THIRD], WEIGHTS)
    assert {k: v.item() for k, v in combined.items()} == {
        "sig": 0.5 * 1 + 0.25 * 3 + 0.25 * 7,
        "gradient": 0.5 * 2 + 0.25 * 5 + 0.25 * 11,
    }


def test_wrapped_intermediate_predictions_are_a_term_with_the_same_total():
    plain = Intermediate().combine(FINAL, [SECOND, THIRD], WEIGHTS)
    wrapped = Intermediate(wrap=True).combine(FINAL, [SECOND, THIRD], WEIGHTS)
    assert list(wrapped) == ["sig", "gradient", "intermediate"] and wrapped["sig"] == 0.5
    total = build_balance(Fixed(), WEIGHTS | {"intermediate": 1.0})
    assert total(wrapped).item() == pytest.approx(total(plain).item())


def test_terms_that_judge_no_prediction_keep_their_value():
    final = FINAL | {"features": torch.tensor(4.0)}
    assert Intermediate().combine(final, [SECOND, THIRD], WEIGHTS)["features"] == 4


@pytest.mark.parametrize("weights", [(1.0,), (0.0, 1.0), (1.0, -0.5), (1.0, math.inf), (math.nan, 1.0)])
def test_weights_of_predictions_that_make_no_sense_are_refused(weights):
    with pytest.raises(ValidationError) as error:
        Intermediate(weights=weights)
    assert error.value.errors()[0]["loc"][0] == "weights"
