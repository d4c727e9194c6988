"""Learning rates and parameter groups."""

import math

import pytest
import torch
from torch import nn

from nasdepth.architecture import Architecture
from nasdepth.models import build
from nasdepth.training import Recipe
from nasdepth.training.objective import Objective
from nasdepth.training.optimisation import build_optimizer, rate_factor, set_learning_rate
from nasdepth.training.recipe import ScheduleRecipe

SMALL = Architecture.parse(
    "64x96,mobilenetv3_small_minimal@0.5:3,none-conv-k1-w16,concat-conv-k3-w16,up-nearest-bilinear"
)


@pytest.mark.parametrize("warmup", [0.0, 0.2])
@pytest.mark.parametrize("name", ["one_cycle", "cosine", "poly", "constant"])
def test_schedules_rise_and_fall_as_their_formulas_say(name, warmup):
    schedule = ScheduleRecipe(name=name, warmup=warmup, power=2)
    factors = [rate_factor(schedule, step, 100) for step in range(100)]
    warm = round(100 * warmup)
    assert factors[:warm] == pytest.approx([(step + 1) / 20 for step in range(warm)])
    t = [step / (100 - warm) for step in range(100 - warm)]
    fall = {
        "constant": [1.0 for _ in t],
        "poly": [(1 - x) ** 2 for x in t],
        "cosine": [(1 + math.cos(math.pi * x)) / 2 for x in t],
    }
    assert factors[warm:] == pytest.approx(fall.get(name, fall["cosine"]))


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
