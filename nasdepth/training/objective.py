"""What a training minimises: loss terms, their balance and intermediate predictions, as one module."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import cast

import torch
from pydantic import BaseModel, ConfigDict
from torch import nn

from nasdepth.errors import NasdepthError
from nasdepth.training.balance import WRAPPED, BalanceRecipe, Fixed, Intermediate, build_balance
from nasdepth.training.losses.registry import LossInputs, LossTerms


class LossRecipe(BaseModel):
    """The part of a recipe that says what is minimised.

    Attributes:
        terms: loss terms by name; see `parse_terms`.
        balance: how the terms are weighed against each other.
        intermediate: None where only the final prediction is judged.
    """

    # infinity is a value of the robust loss's alpha; JSON has no other spelling for it
    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="strings")

    terms: LossTerms
    balance: BalanceRecipe = Fixed()
    intermediate: Intermediate | None = None


class Objective(nn.Module):
    """The loss of a training, with whatever it learns along with the network.

    Its parameters (dynamic weights, projections) go to the optimizer, its `state_dict` to the checkpoint.

    Args:
        channels: the channels of the student and of the teacher by feature layer, for terms that project.

    Raises:
        NasdepthError: every term has weight 0, or a term names a layer that is not in `channels`.
    """

    def __init__(self, recipe: LossRecipe, channels: Mapping[str, tuple[int, int]] | None = None) -> None:
        super().__init__()
        self.terms = {name: term for name, term in recipe.terms.items() if term.weight > 0}
        if not self.terms:
            raise NasdepthError(
                f"loss.terms: all weights are 0 (value: {', '.join(recipe.terms)}); give one a weight"
            )
        self.intermediate = recipe.intermediate
        # a module of its own per term, empty or not: an index into this dict never depends on the kind
        self.learned = nn.ModuleDict(
            {name: term.modules(channels or {}) for name, term in self.terms.items()}
        )
        weights = {name: term.weight for name, term in self.terms.items()}
        if self.intermediate is not None and self.intermediate.wrap:
            weights[WRAPPED] = 1.0
        self.balance = build_balance(recipe.balance, weights)

    @property
    def needs(self) -> frozenset[str]:
        """Fields of `LossInputs` that a step must give, besides `pred_mm`."""
        return frozenset().union(*(term.needs for term in self.terms.values()))

    def fed(self, inputs: LossInputs) -> tuple[str, ...]:
        """The terms that have all they need in `inputs`: in a mixture, those of a batch's kind."""
        return tuple(name for name, term in self.terms.items() if not term.absent(inputs))

    def forward(
        self,
        inputs: LossInputs,
        intermediate_mm: Sequence[torch.Tensor] = (),
        names: Sequence[str] | None = None,
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The total to minimise, and by term its unweighted value, detached.

        Args:
            intermediate_mm: predictions of earlier decoder stages, (B, 1, H, W) in millimetres, resized to
                the final one's size.
            names: the terms to take; all of them unless given.

        Raises:
            NasdepthError: a term needs what `inputs` does not have, or the number of intermediate predictions
                is not the recipe's.
        """
        expected = len(self.intermediate.weights) - 1 if self.intermediate is not None else 0
        if len(intermediate_mm) != expected:
            raise NasdepthError(
                f"loss.intermediate.weights: are for {expected} intermediate predictions, but the network "
                f"gives {len(intermediate_mm)}; give one weight to the final prediction and one to each other"
            )
        names = tuple(self.terms) if names is None else names
        values = {name: self._value(name, inputs) for name in names}
        if self.intermediate is not None:
            others = []
            for pred_mm in intermediate_mm:
                replaced = dataclasses.replace(inputs, pred_mm=pred_mm)
                judged = (name for name in names if self.terms[name].of_prediction)
                others.append({name: self._value(name, replaced) for name in judged})
            weights = {name: term.weight for name, term in self.terms.items()}
            values = self.intermediate.combine(values, others, weights)
        return self.balance(values), {name: value.detach() for name, value in values.items()}

    def after_step(
        self, values: Mapping[str, torch.Tensor], step: int, steps_per_epoch: int, progress: float
    ) -> None:
        """Let the balance take note of a step's values; see `Balance.after_step`."""
        self.balance.after_step(values, step, steps_per_epoch, progress)

    def _value(self, name: str, inputs: LossInputs) -> torch.Tensor:
        term = self.terms[name]
        term.require(inputs)
        return term.value(inputs, cast(nn.ModuleDict, self.learned[name]))
