"""The objective: terms, balance and intermediate predictions together, on a network that learns by it."""

import pytest
import torch

from nasdepth.errors import NasdepthError
from nasdepth.training.losses import LossInputs, gradient_matching_loss, sig_loss
from nasdepth.training.objective import LossRecipe, Objective

TERMS = {"sig": {"weight": 2}, "gradient": {"weight": 0.5, "scales": 2}}


@pytest.fixture
def inputs():
    generator = torch.Generator().manual_seed(0)
    target = torch.rand(2, 1, 12, 16, generator=generator) * 4000 + 500
    target[:, :, :3, :4] = 0
    pred = target.clamp_min(500) * (0.7 + 0.6 * torch.rand(target.shape, generator=generator))
    return LossInputs(pred, target, target > 1)


def objective(channels=None, **recipe):
    return Objective(LossRecipe(**({"terms": TERMS} | recipe)), channels)


def test_the_total_is_the_weighted_sum_of_the_values(inputs):
    total, values = objective()(inputs)
    args = inputs.pred_mm, inputs.target_mm, inputs.mask
    assert values == {"sig": sig_loss(*args), "gradient": gradient_matching_loss(*args, 2)}
    assert total.item() == pytest.approx(2 * values["sig"].item() + 0.5 * values["gradient"].item())


def test_a_weight_of_0_leaves_a_term_out(inputs):
    # virtual_normal would ask for intrinsics
    one = objective(terms=TERMS | {"virtual_normal": {"weight": 0}})
    assert list(one(inputs)[1]) == ["sig", "gradient"] and one.needs == {"target_mm", "mask"}
    with pytest.raises(NasdepthError, match=r"loss\.terms: all weights are 0 \(value: sig\)"):
        objective(terms={"sig": {"weight": 0}})


def test_values_are_detached_and_the_total_is_not(inputs):
    pred = inputs.pred_mm.requires_grad_()
    total, values = objective()(inputs)
    assert not any(value.requires_grad for value in values.values())
    total.backward()
    assert (pred.grad != 0).any() and (pred.grad[~inputs.mask] == 0).all()


def test_what_the_data_does_not_give_is_named(inputs):
    one = objective(terms=TERMS | {"virtual_normal": {}})
    assert one.needs == {"target_mm", "mask", "intrinsics"}
    with pytest.raises(NasdepthError, match="loss term virtual_normal needs intrinsics"):
        one(inputs)


def test_intermediate_predictions_are_judged_by_the_same_terms(inputs):
    others = [inputs.pred_mm * 1.3, inputs.pred_mm.flip(3)]
    total, values = objective(intermediate={"weights": [0.5, 0.3, 0.2]})(inputs, others)
    each = [objective()(LossInputs(p, inputs.target_mm, inputs.mask))[1] for p in (inputs.pred_mm, *others)]
    for name in TERMS:
        expected = sum(w * one[name].item() for w, one in zip((0.5, 0.3, 0.2), each, strict=True))
        assert values[name].item() == pytest.approx(expected)
    wrapped, split = objective(intermediate={"weights": [0.5, 0.3, 0.2], "wrap": True})(inputs, others)
    assert wrapped.item() == pytest.approx(total.item()) and list(split)[-1] == "intermediate"


@pytest.mark.parametrize("given", [0, 1, 3])
def test_another_number_of_intermediate_predictions_is_refused(inputs, given):
    one = objective(intermediate={})
    with pytest.raises(
        NasdepthError, match=f"are for 2 intermediate predictions, but the network gives {given}"
    ):
        one(inputs, [inputs.pred_mm] * given)
    with pytest.raises(NasdepthError, match="are for 0 intermediate predictions, but the network gives 1"):
        objective()(inputs, [inputs.pred_mm])


@pytest.mark.parametrize("balance", ["fixed", "dynamic", "rebalance"])
def test_a_training_by_it_learns_and_resumes_exactly(inputs, balance):
    """Depth, projections and balance are all restored from state dicts."""
    generator = torch.Generator().manual_seed(3)
    student = {"last": torch.randn(2, 3, 6, 8, generator=generator)}
    teacher = {"last": torch.randn(2, 5, 6, 8, generator=generator)}
    terms = TERMS | {"distill_features": {"weight": 0.1, "layers": ["last"]}}

    def begin():
        torch.manual_seed(5)
        one = objective({"last": (3, 5)}, terms=terms, balance={"kind": balance})
        logs = torch.nn.Parameter(inputs.pred_mm.log())
        return one, logs, torch.optim.Adam([logs, *one.parameters()], lr=0.02)

    def advance(state, steps):
        one, logs, optimizer = state
        for step in steps:
            given = LossInputs(logs.exp(), inputs.target_mm, inputs.mask, features=student,
                               teacher_features=teacher)  # fmt: skip
            total, values = one(given)
            optimizer.zero_grad()
            total.backward()
            optimizer.step()
            one.after_step(values, step % 10, 10, step / 40)
        return values

    straight = begin()
    first, last = advance(straight, range(1)), advance(straight, range(1, 40))
    assert all(last[name] < 0.9 * first[name] for name in terms)
    half, resumed = begin(), begin()
    advance(half, range(23))
    resumed[0].load_state_dict(half[0].state_dict())
    resumed[1].data.copy_(half[1].data)
    resumed[2].load_state_dict(half[2].state_dict())
    advance(resumed, range(23, 40))
    assert torch.equal(straight[1], resumed[1])
    assert straight[0].balance.current_weights() == resumed[0].balance.current_weights()
    for name, tensor in straight[0].state_dict().items():
        assert torch.equal(tensor, resumed[0].state_dict()[name])


def test_a_loss_recipe_survives_writing_and_reading():
    recipe = LossRecipe(
        terms={"robust": {"alpha": float("-inf")}, "sig": None},
        balance={"kind": "rebalance"},
        intermediate={"weights": [0.6, 0.4]},
    )
    assert LossRecipe.model_validate_json(recipe.model_dump_json()) == recipe


def test_an_unknown_term_is_named_through_a_recipe():
    with pytest.raises(NasdepthError, match=r"loss\.terms\.sgi: unknown loss term"):
        LossRecipe(terms={"sgi": {}})
