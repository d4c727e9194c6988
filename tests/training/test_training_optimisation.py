"""Learning rates and parameter groups."""

import math

import pytest
import torch
from torch import nn

from nasdepth.architecture import Architecture
from nasdepth.errors import NasdepthError
from nasdepth.models import build
from nasdepth.training import Recipe
from nasdepth.training.objective import Objective
from nasdepth.training.optimisation import build_optimizer, rate_factor, set_learning_rate
from nasdepth.training.recipe import ScheduleRecipe, load_recipe

SMALL = Architecture.parse(
    "64x96,mobilenetv3_small_minimal@0.5:3,none-conv-k1-w16,concat-conv-k3-w16,up-nearest-bilinear"
)


@pytest.mark.parametrize("warmup", [0.0, 0.2])
@pytest.mark.parametrize("name", ["one_cycle", "cosine", "poly", "constant"])
@pytest.mark.parametrize("floor", [0.0, 0.25])
def test_schedules_rise_and_fall_as_their_formulas_say(name, warmup, floor):
    schedule = ScheduleRecipe(name=name, warmup=warmup, power=2, floor=floor)
    factors = [rate_factor(schedule, step, 100) for step in range(100)]
    warm = round(100 * warmup)
    assert factors[:warm] == pytest.approx([(step + 1) / 20 for step in range(warm)])
    t = [step / (100 - warm) for step in range(100 - warm)]
    fall = {
        "constant": [1.0 for _ in t],
        "poly": [(1 - x) ** 2 for x in t],
        "cosine": [(1 + math.cos(math.pi * x)) / 2 for x in t],
    }
    expected = fall.get(name, fall["cosine"])
    assert factors[warm:] == pytest.approx([floor + (1 - floor) * factor for factor in expected])


def test_steps_fall_at_the_ends_of_epochs():
    """30 epochs of 7 steps, as torch's StepLR, MultiStepLR and ExponentialLR have them."""

    def factors(**fields):
        schedule = ScheduleRecipe(warmup=0, **fields)
        return [rate_factor(schedule, step, 210, 30) for step in range(210)]

    def of_torch(scheduler, **named):
        optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
        schedule, rates = scheduler(optimizer, **named), []
        for _ in range(30):
            rates += [optimizer.param_groups[0]["lr"]] * 7
            optimizer.step()
            schedule.step()
        return rates

    schedulers = torch.optim.lr_scheduler
    assert factors(name="step", gamma=0.1, every_epochs=10) == pytest.approx(
        of_torch(schedulers.StepLR, step_size=10, gamma=0.1)
    )
    assert factors(name="step", gamma=0.1, at_epochs=[20, 25]) == pytest.approx(
        of_torch(schedulers.MultiStepLR, milestones=[20, 25], gamma=0.1)
    )
    gradual = factors(name="exponential", gamma=0.9, every_epochs=1)
    assert gradual[::7] == pytest.approx(of_torch(schedulers.ExponentialLR, gamma=0.9)[::7])
    assert gradual == pytest.approx([0.9 ** (step / 7) for step in range(210)])
    late = ScheduleRecipe(name="step", warmup=0.1, gamma=0.5, every_epochs=3)
    assert rate_factor(late, 20, 210, 30) == 1.0 and rate_factor(late, 21, 210, 30) == 0.5


@pytest.mark.parametrize(("fields", "said"), [
    ({"name": "step"}, "step needs one of every_epochs, as in 10, and at_epochs"),
    ({"name": "step", "every_epochs": 3, "at_epochs": [4]}, "step needs one of"),
    ({"name": "exponential"}, "exponential needs every_epochs"),
    ({"name": "poly", "every_epochs": 3}, "poly has no every_epochs"),
    ({"name": "step", "every_epochs": 0}, "greater than or equal to 1"),
    ({"name": "poly", "floor": 1}, "less than 1"),
    ({"name": "exponential", "every_epochs": 1, "gamma": 0}, "greater than 0"),
])  # fmt: skip
def test_a_schedule_says_what_it_needs(fields, said):
    with pytest.raises(NasdepthError, match=rf"recipe default: schedule.*{said}.*value: "):
        load_recipe("default", {f"schedule.{name}": value for name, value in fields.items()})


def learned(recipe):
    module = nn.Module()
    module.model = build(SMALL)
    module.companions = nn.ModuleDict({"pose": nn.Linear(2, 2), "intermediate": nn.Linear(3, 1)})
    module.objective = Objective(recipe.loss_recipe)
    return module


@pytest.mark.parametrize("pretrained", [True, False])
def test_every_parameter_has_the_rate_and_decay_that_its_place_asks_for(pretrained):
    recipe = Recipe(
        balance={"kind": "dynamic"},
        pose={"learning_rate_ratio": 0.5},
        optimizer={"learning_rate": 0.01, "encoder_lr_ratio": 0.25, "weight_decay": 0.1},
    )
    module = learned(recipe)
    optimizer = build_optimizer(module, recipe, pretrained=pretrained)
    assert set_learning_rate(optimizer, recipe, 50, 100) == pytest.approx(
        0.01 * rate_factor(recipe.schedule, 50, 100)
    )
    rate = set_learning_rate(optimizer, recipe, 14, 100)
    assert rate == pytest.approx(0.01)
    place = {id(one): group for group in optimizer.param_groups for one in group["params"]}
    assert len(place) == sum(len(group["params"]) for group in optimizer.param_groups)
    for name, parameter in module.named_parameters():
        ratio = 0.25 if pretrained and name.startswith("model.encoder.") else 1.0
        ratio = 0.5 if name.startswith("companions.pose") else ratio
        group = place.pop(id(parameter))
        assert group["lr"] == pytest.approx(0.01 * ratio), name
        assert group["weight_decay"] == (0.1 if parameter.dim() > 1 else 0.0), name
    assert not place


@pytest.mark.parametrize(("name", "kind"), [("adamw", torch.optim.AdamW), ("adam", torch.optim.Adam)])
def test_the_recipe_names_the_optimizer(name, kind):
    recipe = Recipe(optimizer={"name": name})
    assert type(build_optimizer(learned(recipe), recipe, pretrained=False)) is kind


def test_momentum_and_eps_reach_the_optimizer():
    sgd = Recipe(optimizer={"name": "sgd", "momentum": 0.9, "weight_decay": 1e-4})
    optimizer = build_optimizer(learned(sgd), sgd, pretrained=False)
    assert type(optimizer) is torch.optim.SGD
    assert {group["momentum"] for group in optimizer.param_groups} == {0.9}
    assert {group["weight_decay"] for group in optimizer.param_groups} == {0.0, 1e-4}
    for name in ("adam", "adamw"):
        adam = Recipe(optimizer={"name": name, "eps": 1e-3})
        groups = build_optimizer(learned(adam), adam, pretrained=False).param_groups
        assert {group["eps"] for group in groups} == {1e-3}
    with pytest.raises(NasdepthError, match=r"momentum is 0\.9, which adamw does not have"):
        load_recipe("default", {"optimizer.momentum": 0.9})
