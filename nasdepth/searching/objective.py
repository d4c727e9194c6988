"""Scoring one candidate: latency from the table first, then a short proxy training in rungs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, Protocol

import numpy as np
import torch

from nasdepth.architecture import Architecture
from nasdepth.data import DepthSplit, hold_out
from nasdepth.data.baselines import TrivialDepth, trivial_depth
from nasdepth.errors import UnknownKernelError
from nasdepth.kernels.precision import Precision
from nasdepth.latency import Kernel, LatencyEstimate, Predictor, architecture_kernels
from nasdepth.models import build
from nasdepth.models.pretrained import Start, load_pretrained, weights_here
from nasdepth.training import Epoch, Recipe, StepReport, train

_HELD_OUT_SHARE = 0.1
_HELD_OUT_AT_MOST = 80
# a later rung must not see an earlier one's order of images again
SEEDS_BETWEEN_RUNGS = 1000


def hold_out_validation(split: DepthSplit) -> tuple[DepthSplit, DepthSplit]:
    """Divide a training split into the images that candidates train on and those that judge them."""
    return hold_out(split, _HELD_OUT_SHARE, _HELD_OUT_AT_MOST, seed=0)


@dataclass(frozen=True)
class Rung:
    """What a candidate reached in one rung.

    Attributes:
        epochs: of the whole training so far, counted from the candidate's first one.
        image_errors: si-RMSE of every held-out image, (N,) float64.
    """

    epochs: tuple[Epoch, ...]
    image_errors: np.ndarray

    @property
    def si_rmse(self) -> float:
        """Mean over the held-out images at the end of the rung."""
        return self.epochs[-1].validated


class CandidateTraining(Protocol):
    """One candidate's training, a rung at a time."""

    start: Start

    def train_rung(
        self, index: int, on_epoch: Callable[[Epoch], None], on_step: Callable[[StepReport], None]
    ) -> Rung:
        """Train the next rung; `on_epoch` may raise to stop.

        Raises:
            DivergedError: a loss is not finite.
        """


class Objective(Protocol):
    """What a search asks of a candidate: its latency for nothing, its si-RMSE for a training."""

    @property
    def rungs(self) -> tuple[int, ...]:
        """Epochs after which a candidate is judged, rising; the last ends its training."""

    @property
    def mean_map_si_rmse(self) -> float | None:
        """What the mean depth map of the training images reaches on those that judge; None if unknown."""

    @property
    def runtime(self) -> str:
        """Whose kernels the device executes, as `nasdepth.latency.architecture_kernels` takes it."""

    def refusal(self, architecture: Architecture) -> str:
        """Why the device cannot run it; empty if it can."""

    def latency(self, architecture: Architecture) -> LatencyEstimate:
        """The predicted latency."""

    def latencies(self, architectures: Sequence[Architecture]) -> list[LatencyEstimate | None]:
        """The predicted latencies of many; None where the table cannot answer."""

    def pretrained(self, family: str) -> bool:
        """Whether an encoder family starts from ImageNet weights."""

    def begin(self, architecture: Architecture) -> CandidateTraining:
        """Build a candidate to be trained."""

    def longer(self, epochs: int) -> Objective:
        """The same with one rung of so many epochs, and another seed."""


@dataclass(frozen=True)
class ProxyObjective:
    """Judges architectures alike: same images, same recipe, same seed, same latency table.

    Attributes:
        rungs: epochs after which a candidate is judged, rising; the last one is the recipe's. The learning
            rate is annealed fully within every rung. Empty for the recipe's epochs alone.
        continued: whether a rung goes on from the weights of the one before it, or starts again.
        precision: of the deployed files whose latency counts; `auto` takes the faster of float32 and int8.
        rejected: kernels that the table's device cannot run, with the runtime's own words.
    """

    fit: DepthSplit
    validation: DepthSplit
    recipe: Recipe
    predictor: Predictor
    seed: int = 0
    rejected: Mapping[Kernel, str] = field(default_factory=dict)
    rungs: tuple[int, ...] = ()
    continued: bool = True
    precision: Literal["float32", "int8", "auto"] = "float32"

    def __post_init__(self) -> None:
        if not self.rungs:
            object.__setattr__(self, "rungs", (self.recipe.epochs,))

    @classmethod
    def on(cls, split: DepthSplit, recipe: Recipe, predictor: Predictor, **options: Any) -> ProxyObjective:
        """Hold the validation images out of a training split.

        Args:
            options: the other attributes.
        """
        fit, validation = hold_out_validation(split)
        return cls(fit, validation, recipe, predictor, **options)

    @cached_property
    def trivial(self) -> TrivialDepth:
        """What predictions reach that need no network."""
        return trivial_depth(self.fit, self.validation)

    @property
    def mean_map_si_rmse(self) -> float | None:
        """What the mean depth map of the training images reaches; None without a known pixel."""
        return self.trivial.mean_map if math.isfinite(self.trivial.mean_map) else None

    @property
    def runtime(self) -> str:
        """Whose kernels the table's device executes."""
        return self.predictor.runtime

    def refusal(self, architecture: Architecture) -> str:
        """Which kernel the table's device cannot run and what its runtime says; empty if it runs all."""
        if not self.rejected:
            return ""
        found = ""
        for precision in self._precisions:
            refused = (one for one in self.kernels(architecture, precision) if one in self.rejected)
            found = next((f"{kernel}: {self.rejected[kernel]}" for kernel in refused), "")
            if not found:
                break
        return found

    @property
    def _precisions(self) -> tuple[Precision, ...]:
        return ("float32", "int8") if self.precision == "auto" else (self.precision,)

    def kernels(self, architecture: Architecture, precision: Precision = "float32") -> tuple[Kernel, ...]:
        """What the table's runtime executes for an architecture, in order."""
        return architecture_kernels(architecture, self.predictor.runtime, precision)

    def latency(self, architecture: Architecture) -> LatencyEstimate:
        """The table's estimate, of the faster precision where both may be; costs milliseconds.

        Raises:
            UnknownKernelError: the table cannot answer for this architecture in any of the precisions.
        """
        found: list[LatencyEstimate] = []
        for precision in self._precisions:
            try:
                estimate = self.predictor.estimate(self.kernels(architecture, precision))
            except UnknownKernelError:
                if precision == self._precisions[-1] and not found:
                    raise
            else:
                found.append(replace(estimate, precision=precision))
        return min(found, key=lambda one: one.latency_ms)

    def latencies(self, architectures: Sequence[Architecture]) -> list[LatencyEstimate | None]:
        """The table's estimates of many at once, which is faster; None where it cannot answer."""
        if self.precision == "auto":
            return [self._latency_if_known(one) for one in architectures]
        kernels = [self.kernels(one, self.precision) for one in architectures]
        try:
            estimates = self.predictor.estimate_all(kernels)
        except UnknownKernelError:
            return [self._latency_if_known(one) for one in architectures]
        return [replace(one, precision=self.precision) for one in estimates]

    def _latency_if_known(self, architecture: Architecture) -> LatencyEstimate | None:
        try:
            return self.latency(architecture)
        except UnknownKernelError:
            return None

    def pretrained(self, family: str) -> bool:
        """Whether the ImageNet weights of an encoder family are at hand."""
        return weights_here(family).pretrained

    def begin(self, architecture: Architecture) -> ProxyTraining:
        """Build a candidate, with its first weights."""
        return ProxyTraining(self, architecture)

    def longer(self, epochs: int) -> ProxyObjective:
        """The same with one rung of so many epochs, and another seed."""
        recipe = self.recipe.with_(epochs=epochs)
        return replace(self, recipe=recipe, seed=self.seed + 1, rungs=(epochs,))


class ProxyTraining:
    """One candidate's training by the proxy, a rung at a time.

    Attributes:
        start: where the first weights came from.
    """

    def __init__(self, objective: ProxyObjective, architecture: Architecture) -> None:
        self._objective = objective
        self._architecture = architecture
        self._build()

    def _build(self) -> None:
        torch.manual_seed(self._objective.seed)
        self.model = build(self._architecture)
        self.start = load_pretrained(self.model.encoder, self._architecture.encoder)

    def train_rung(
        self,
        index: int,
        on_epoch: Callable[[Epoch], None] = lambda _: None,
        on_step: Callable[[StepReport], None] = lambda _: None,
    ) -> Rung:
        """Train a rung, from the weights of the rung before it or anew; see `CandidateTraining`."""
        objective = self._objective
        before = objective.rungs[index - 1] if index else 0
        if index and not objective.continued:
            self._build()
            before = 0
        epochs = objective.rungs[index] - before
        finished: list[Epoch] = []
        errors: list[np.ndarray] = []

        def ended(epoch: Epoch) -> None:
            finished.append(replace(epoch, epoch=before + epoch.epoch))
            on_epoch(finished[-1])

        train(
            self.model,
            objective.fit,
            objective.recipe.with_(epochs=epochs),
            seed=objective.seed + SEEDS_BETWEEN_RUNGS * index,
            validation=objective.validation,
            pretrained=self.start.pretrained,
            on_epoch=ended,
            on_step=on_step,
            on_validation=errors.append,
        )
        return Rung(tuple(finished), errors[-1])
