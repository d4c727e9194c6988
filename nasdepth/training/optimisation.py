"""The optimizer's parameter groups, and the learning rate as a function of the step alone."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from nasdepth.training.recipe import OptimizerRecipe, Recipe, ScheduleRecipe


def build_optimizer(learned: nn.Module, recipe: Recipe, *, pretrained: bool) -> torch.optim.Optimizer:
    """The recipe's optimizer of all parameters.

    Norms, biases and learned loss weights are not decayed.

    Args:
        learned: a `Learner`: `model` with its `encoder`, `companions` and `objective`.
        pretrained: the encoder starts from learned weights, and so learns more slowly.
    """
    ratios = {
        "model.encoder.": recipe.optimizer.encoder_lr_ratio if pretrained else 1.0,
        "companions.pose.": recipe.pose.learning_rate_ratio if recipe.pose else 1.0,
        "": 1.0,
    }
    groups: dict[tuple[str, bool], list[nn.Parameter]] = {}
    for name, parameter in learned.named_parameters():
        if parameter.requires_grad:
            prefix = next(prefix for prefix in ratios if name.startswith(prefix))
            groups.setdefault((prefix, parameter.dim() > 1), []).append(parameter)
    listed = [
        {
            "params": parameters,
            "ratio": ratios[prefix],
            "weight_decay": recipe.optimizer.weight_decay * decays,
        }
        for (prefix, decays), parameters in groups.items()
    ]
    return _optimizer(recipe.optimizer, listed)


def _optimizer(recipe: OptimizerRecipe, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    match recipe.name:
        case "sgd":
            return torch.optim.SGD(groups, lr=recipe.learning_rate, momentum=recipe.momentum, fused=True)
        case "adam":
            return torch.optim.Adam(groups, lr=recipe.learning_rate, eps=recipe.eps, fused=True)
        case "adamw":
            return torch.optim.AdamW(groups, lr=recipe.learning_rate, eps=recipe.eps, fused=True)


def rate_factor(schedule: ScheduleRecipe, step: int, steps: int, epochs: int = 1) -> float:
    """The learning rate of a step relative to its peak.

    Args:
        step: the step of the whole training, from 0.
        steps: how many steps there are.
        epochs: how many epochs these are.
    """
    warm = round(schedule.warmup * steps)
    if step < warm:
        return (step + 1) / warm
    fall = _fall(schedule, 1 - (step - warm) / max(1, steps - warm), step * epochs / steps)
    return schedule.floor + (1 - schedule.floor) * fall


def _fall(schedule: ScheduleRecipe, left: float, epoch: float) -> float:
    """What the formula of a schedule says.

    Args:
        left: share of the steps after the warm-up that is left.
        epoch: how many epochs are over, warm-up included.
    """
    match schedule.name:
        case "constant":
            return 1.0
        case "poly":
            return left**schedule.power
        case "exponential":
            return schedule.gamma ** (epoch / (schedule.every_epochs or 1))
        case "step" if schedule.every_epochs is not None:
            return schedule.gamma ** (math.floor(epoch) // schedule.every_epochs)
        case "step":
            return schedule.gamma ** sum(epoch >= one for one in schedule.at_epochs)
        case _:
            return 0.5 * (1 - math.cos(math.pi * left))


def set_learning_rate(optimizer: torch.optim.Optimizer, recipe: Recipe, step: int, steps: int) -> float:
    """Set the rate of every group for a step; a resume needs no scheduler state.

    Returns:
        The rate of a group of ratio 1.
    """
    rate = recipe.optimizer.learning_rate * rate_factor(recipe.schedule, step, steps, recipe.epochs)
    for group in optimizer.param_groups:
        group["lr"] = rate * group["ratio"]
    return rate
