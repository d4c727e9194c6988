"""What a search asks in a replay, in place of trainings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from nasdepth.architecture import Architecture
from nasdepth.latency import Kernel, LatencyEstimate, Predictor, architecture_kernels
from nasdepth.models.pretrained import Start
from nasdepth.recording import PROXY
from nasdepth.replay.world import World
from nasdepth.training import Epoch, Recipe, StepReport


@dataclass(frozen=True)
class ReplayObjective:
    """Answers as `nasdepth.search.ProxyObjective` does, from a world and without training.

    An epoch's seconds are those of the world's clock; only what is trained before a search stops costs any.

    Attributes:
        recipe: of the proxy, as the records were made.
    """

    world: World
    recipe: Recipe

    @property
    def predictor(self) -> Predictor:
        """What answers for latencies."""
        return self.world.latencies.predictor

    def refusal(self, architecture: Architecture) -> str:
        """Which kernel the table's device cannot run and what its runtime says; empty if it runs all."""
        rejected = self.predictor.table.rejected
        if not rejected:
            return ""
        return next((f"{one}: {rejected[one]}" for one in self.kernels(architecture) if one in rejected), "")

    def kernels(self, architecture: Architecture) -> tuple[Kernel, ...]:
        """What the table's runtime executes for an architecture, in order."""
        return architecture_kernels(architecture, self.predictor.runtime)

    def latency(self, architecture: Architecture) -> LatencyEstimate:
        """The table's estimate.

        Raises:
            UnknownKernelError: the table cannot answer for this architecture.
        """
        return self.world.latencies.of(architecture)

    def latencies(self, architectures: Sequence[Architecture]) -> list[LatencyEstimate | None]:
        """The table's estimates of many; None where it cannot answer."""
        return self.world.latencies.of_all(architectures)

    def pretrained(self, family: str) -> bool:
        """Whether a family started from ImageNet weights where the records were made."""
        return family in self.world.surrogate.pretrained

    def train(
        self,
        architecture: Architecture,
        on_start: Callable[[Start], None],
        on_epoch: Callable[[Epoch], None],
        on_step: Callable[[StepReport], None],
    ) -> list[Epoch]:
        """Tell the epochs of a training; `on_epoch` may raise to stop."""
        training = self.world.train(architecture, PROXY)
        on_start(
            Start(
                "recorded" if training.recorded else "foretold", self.pretrained(architecture.encoder.family)
            )
        )
        epochs = [
            Epoch(index, float("nan"), si_rmse, seconds)
            for index, (si_rmse, seconds) in enumerate(zip(training.si_rmse, training.seconds, strict=True))
        ]
        for epoch in epochs:
            on_epoch(epoch)
        return epochs
