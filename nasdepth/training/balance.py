"""How the terms of a loss are weighed against each other, and predictions against each other."""

from __future__ import annotations

import functools
import operator
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, field_validator
from torch import nn

# keeps L / 2p^2 finite where a learned p passes through 0; without effect at p = 1
_P_EPSILON = 1e-4


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Fixed(_Strict):
    """The recipe's weights throughout."""

    kind: Literal["fixed"] = "fixed"


class Dynamic(_Strict):
    """Learned weights; see `DynamicBalance`."""

    kind: Literal["dynamic"]


class Rebalance(_Strict):
    """Weights that follow how fast each term falls; see `RebalancingBalance`.

    Attributes:
        direction: which terms gain weight: "easy", those that fall faster than the total; "hard", those that
            fall more slowly; or from one to the other over the training, Samsung's being "hard_to_easy".
        strength: largest magnitude of lambda. Over a training that goes from one to the other lambda crosses
            0 half-way.
        updates_per_epoch: windows an epoch is divided into. Samsung: 5.
        initial_scaling: after the first window make all terms contribute alike, as Lee & Kim do; Samsung does
            not.
    """

    kind: Literal["rebalance"]
    direction: Literal["easy", "hard", "easy_to_hard", "hard_to_easy"] = "hard_to_easy"
    strength: float = Field(1.0, gt=0, allow_inf_nan=False)
    updates_per_epoch: int = Field(5, ge=1)
    initial_scaling: bool = False

    def strength_at(self, progress: float) -> float:
        """lambda at a share of the training in [0, 1]."""
        match self.direction:
            case "easy":
                return self.strength
            case "hard":
                return -self.strength
            case "easy_to_hard":
                return self.strength * (1 - 2 * progress)
            case "hard_to_easy":
                return -self.strength * (1 - 2 * progress)


BalanceRecipe = Annotated[Fixed | Dynamic | Rebalance, Field(discriminator="kind")]


class Intermediate(_Strict):
    """Settings for judging predictions of earlier decoder stages, which the export leaves out.

    Attributes:
        weights: how much the final prediction counts, then how much each of the others does, in the order in
            which they are given. Samsung has 0.5, 0.25, 0.25.
        wrap: let the balance see all intermediate predictions as one term of its own, "intermediate". Without
            it each term is the weighted sum over all predictions, whose weights the balance leaves alone, as
            in Samsung's eq. 4.
    """

    weights: Annotated[tuple[float, ...], Field(min_length=2)] = (0.5, 0.25, 0.25)
    wrap: bool = False

    @field_validator("weights")
    @classmethod
    def _weigh_something(cls, weights: tuple[float, ...]) -> tuple[float, ...]:
        if not all(0 <= weight < float("inf") for weight in weights) or weights[0] == 0:
            raise ValueError("weights must be finite and not negative, and the first, the final's, above 0")
        return weights

    def combine(
        self,
        final: Mapping[str, torch.Tensor],
        others: Sequence[Mapping[str, torch.Tensor]],
        term_weights: Mapping[str, float],
    ) -> dict[str, torch.Tensor]:
        """One value per term from the values of each prediction.

        Args:
            final: the value of the final prediction by each term.
            others: such values for each intermediate prediction; terms that do not judge a prediction are
                left out of these, and keep their full value.
            term_weights: the recipe's weights, with which terms are summed up to "intermediate".
        """
        shared = set().union(*others)
        values = {name: self.weights[0] * value if name in shared else value for name, value in final.items()}
        for weight, other in zip(self.weights[1:], others, strict=True):
            for name, value in other.items():
                into, factor = (WRAPPED, term_weights[name]) if self.wrap else (name, 1.0)
                values[into] = values.get(into, 0) + weight * factor * value
        return values


WRAPPED = "intermediate"
"""The term that stands for all intermediate predictions where they are wrapped."""


class Balance(nn.Module, ABC):
    """Weighs the terms of a loss; all its state is in `state_dict`, exactly."""

    def __init__(self, weights: Mapping[str, float]) -> None:
        super().__init__()
        self.names = tuple(weights)

    @abstractmethod
    def forward(self, values: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """The total of unweighted values; a term whose data a batch does not have may be left out."""

    @abstractmethod
    def current_weights(self) -> dict[str, float]:
        """The factor that each term has now."""

    def after_step(
        self, values: Mapping[str, torch.Tensor], step: int, steps_per_epoch: int, progress: float
    ) -> None:
        """Take note of a step's values (with several processes, their mean over the processes).

        Args:
            step: within the epoch, from 0.
            progress: share of the whole training that is done, in [0, 1].
        """


class FixedBalance(Balance):
    """The total is the sum of weight times value over the terms; the weights stay the recipe's."""

    def __init__(self, weights: Mapping[str, float]) -> None:
        super().__init__(weights)
        self.weights = dict(weights)

    def forward(self, values: Mapping[str, torch.Tensor]) -> torch.Tensor:
        return _sum(self.weights[name] * value for name, value in values.items())

    def current_weights(self) -> dict[str, float]:
        return dict(self.weights)


class DynamicBalance(Balance):
    """sum w_i L_i / (2 p_i^2) + ln(1 + p_i^2) with learned p_i = 1 to begin with.

    Kendall et al. 2018 (arXiv:1705.07115) in the form of Liebel & Koerner 2018 (arXiv:1805.06334), as
    LiteDepth uses it. The p_i are parameters: give them to the optimizer, without weight decay.
    """

    def __init__(self, weights: Mapping[str, float]) -> None:
        super().__init__(weights)
        self.weights = dict(weights)
        self.p = nn.Parameter(torch.ones(len(self.names)))

    def forward(self, values: Mapping[str, torch.Tensor]) -> torch.Tensor:
        squares = dict(zip(self.names, self.p.square(), strict=True))
        return _sum(
            self.weights[name] * value / (2 * (squares[name] + _P_EPSILON)) + squares[name].log1p()
            for name, value in values.items()
        )

    def current_weights(self) -> dict[str, float]:
        factors = 1 / (2 * (self.p.detach().square() + _P_EPSILON))
        return {name: self.weights[name] * f for name, f in zip(self.names, factors.tolist(), strict=True)}


class RebalancingBalance(Balance):
    """Lee & Kim 2020 (ECCV), "Multi-loss rebalancing algorithm for monocular depth estimation".

    Over a window of steps l_i is term i's mean and L = sum w_i l_i. At its end
    w_i <- w_i clip(1 + lambda ((L / L_prev) (l_prev_i / l_i) - 1), 1/2, 2): a lambda above 0 favours terms
    that fall faster than the total (easy ones), below 0 those that fall more slowly. A term that one of the
    two windows did not see, or whose mean is 0, keeps its weight and stays out of both totals.
    """

    weights: torch.Tensor
    sums: torch.Tensor
    counts: torch.Tensor
    previous_means: torch.Tensor
    previous_weights: torch.Tensor

    def __init__(self, weights: Mapping[str, float], recipe: Rebalance) -> None:
        super().__init__(weights)
        self.recipe = recipe
        start = torch.tensor(list(weights.values()), dtype=torch.float64)
        self.register_buffer("weights", start)
        self.register_buffer("sums", torch.zeros_like(start))
        self.register_buffer("counts", torch.zeros_like(start))
        self.register_buffer("previous_means", torch.zeros_like(start))
        self.register_buffer("previous_weights", torch.zeros_like(start))

    def forward(self, values: Mapping[str, torch.Tensor]) -> torch.Tensor:
        # cloned: an update in place must not reach a graph that is still to be differentiated
        weights = dict(zip(self.names, self.weights.clone(), strict=True))
        return _sum(weights[name].to(value.dtype) * value for name, value in values.items())

    def current_weights(self) -> dict[str, float]:
        return dict(zip(self.names, self.weights.tolist(), strict=True))

    @torch.no_grad()
    def after_step(
        self, values: Mapping[str, torch.Tensor], step: int, steps_per_epoch: int, progress: float
    ) -> None:
        for index, name in enumerate(self.names):
            if name in values:
                self.sums[index] += values[name].detach().double()
                self.counts[index] += 1
        windows = min(self.recipe.updates_per_epoch, steps_per_epoch)
        if (step + 1) * windows // steps_per_epoch > step * windows // steps_per_epoch:
            self._update(self.recipe.strength_at(progress))

    def _update(self, strength: float) -> None:
        means = self.sums / self.counts.clamp_min(1)
        seen = means > 0
        both = seen & (self.previous_means > 0)
        total = (self.weights * means)[both].sum()
        previous_total = (self.previous_weights * self.previous_means)[both].sum()
        pace = total / previous_total * self.previous_means / means
        factor = (1 + strength * (pace - 1)).clamp(0.5, 2)
        changed = torch.where(both & pace.isfinite(), self.weights * factor, self.weights)
        if self.recipe.initial_scaling and not (self.previous_means > 0).any():
            share = (self.weights * means).sum() / seen.sum()
            changed = torch.where(seen & (self.weights > 0), share / means, changed)
        self.previous_weights.copy_(torch.where(seen, self.weights, self.previous_weights))
        self.previous_means.copy_(torch.where(seen, means, self.previous_means))
        self.weights.copy_(changed)
        self.sums.zero_()
        self.counts.zero_()


def _sum(weighted: Iterable[torch.Tensor]) -> torch.Tensor:
    return functools.reduce(operator.add, weighted)


def build_balance(recipe: Fixed | Dynamic | Rebalance, weights: Mapping[str, float]) -> Balance:
    """The balance of a recipe for terms with these weights."""
    match recipe:
        case Fixed():
            return FixedBalance(weights)
        case Dynamic():
            return DynamicBalance(weights)
        case Rebalance():
            return RebalancingBalance(weights, recipe)
