"""Scoring one candidate: latency from the table first, then a short proxy training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch

from nasdepth.architecture import Architecture
from nasdepth.data import DepthSplit, hold_out
from nasdepth.errors import UnknownKernelError
from nasdepth.latency import Kernel, LatencyEstimate, Predictor, architecture_kernels
from nasdepth.models import build
from nasdepth.models.pretrained import Start, load_pretrained
from nasdepth.training import Epoch, Recipe, StepReport, train

HELD_OUT_SHARE = 0.1
HELD_OUT_AT_MOST = 80


@dataclass(frozen=True)
class ProxyObjective:
    """Judges architectures alike: same images, same recipe, same seed, same latency table.

    Attributes:
        rejected: kernels that the table's device cannot run, with the runtime's own words.
    """

    fit: DepthSplit
    validation: DepthSplit
    recipe: Recipe
    predictor: Predictor
    seed: int = 0
    rejected: Mapping[Kernel, str] = field(default_factory=dict)

    @classmethod
    def on(
        cls,
        split: DepthSplit,
        recipe: Recipe,
        predictor: Predictor,
        seed: int,
        rejected: Mapping[Kernel, str],
    ) -> ProxyObjective:
        """Hold the validation images out of a training split."""
        fit, validation = hold_out(split, HELD_OUT_SHARE, HELD_OUT_AT_MOST, seed=0)
        return cls(fit, validation, recipe, predictor, seed, rejected)

    def refusal(self, architecture: Architecture) -> str:
        """Which kernel the table's device cannot run and what its runtime says; empty if it runs all."""
        if not self.rejected:
            return ""
        refused = (kernel for kernel in self.kernels(architecture) if kernel in self.rejected)
        return next((f"{kernel}: {self.rejected[kernel]}" for kernel in refused), "")

    def kernels(self, architecture: Architecture) -> tuple[Kernel, ...]:
        """What the table's runtime executes for an architecture, in order."""
        return architecture_kernels(architecture, self.predictor.runtime)

    def latency(self, architecture: Architecture) -> LatencyEstimate:
        """The table's estimate; costs milliseconds.

        Raises:
            UnknownKernelError: the table cannot answer for this architecture.
        """
        return self.predictor.estimate(self.kernels(architecture))

    def latencies(self, architectures: Sequence[Architecture]) -> list[LatencyEstimate | None]:
        """The table's estimates of many at once, which is faster; None where it cannot answer."""
        kernels = [self.kernels(one) for one in architectures]
        try:
            return list(self.predictor.estimate_all(kernels))
        except UnknownKernelError:
            return [self._latency_if_known(one) for one in kernels]

    def _latency_if_known(self, kernels: Sequence[Kernel]) -> LatencyEstimate | None:
        try:
            return self.predictor.estimate(kernels)
        except UnknownKernelError:
            return None

    def train(
        self,
        architecture: Architecture,
        on_start: Callable[[Start], None],
        on_epoch: Callable[[Epoch], None],
        on_step: Callable[[StepReport], None],
    ) -> list[Epoch]:
        """Train under the proxy; `on_epoch` may raise to stop."""
        torch.manual_seed(self.seed)
        model = build(architecture)
        start = load_pretrained(model.encoder, architecture.encoder)
        on_start(start)
        return train(
            model,
            self.fit,
            self.recipe,
            seed=self.seed,
            validation=self.validation,
            pretrained=start.pretrained,
            on_epoch=on_epoch,
            on_step=on_step,
        )
