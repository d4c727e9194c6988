"""What a search asks in a replay, in place of trainings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from nasdepth.architecture import Architecture
from nasdepth.errors import DataError
from nasdepth.latency import LatencyEstimate, architecture_kernels
from nasdepth.models.pretrained import Start
from nasdepth.recording import FIDELITIES, PROXY
from nasdepth.replay.world import World
from nasdepth.searching.objective import Rung
from nasdepth.training import Epoch, StepReport


@dataclass(frozen=True)
class ReplayObjective:
    """Answers as `nasdepth.searching.objective.ProxyObjective` does, from a world and without training.

    An epoch's seconds are those of the world's clock; only what is trained before a search stops costs any.

    Attributes:
        rungs: epochs after which a candidate is judged, rising. Empty for the proxy's own.
        continued: whether a rung goes on from the weights of the one before it, or starts again.
        ways: by rung, the recorded way of training that it stands for; found out by itself.

    Raises:
        DataError: such rungs were not recorded, or too rarely.
    """

    world: World
    rungs: tuple[int, ...] = ()
    continued: bool = True
    ways: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        rungs = self.rungs or (self.world.surrogate.epochs,)
        object.__setattr__(self, "rungs", rungs)
        if not self.ways:
            ways = tuple(self._way(rungs[: index + 1]) for index in range(len(rungs)))
            object.__setattr__(self, "ways", ways)

    def _way(self, rungs: Sequence[int]) -> str:
        """The recorded way of training that ends with the last of some rungs."""
        parts = tuple(after - before for before, after in pairwise((0, *rungs)))
        parts = parts if self.continued else (rungs[-1],)
        if parts == (self.world.surrogate.epochs,):
            return PROXY
        known = self.world.surrogate.fidelities
        found = next((name for name, one in FIDELITIES.items() if one.parts == parts and name in known), None)
        if found is None:
            raise DataError(
                f"rungs of {'+'.join(map(str, parts))} epochs: the records hold too few such trainings; they "
                f"have {', '.join((PROXY, *sorted(known)))}"
            )
        return found

    @property
    def mean_map_si_rmse(self) -> float | None:
        """What the mean depth map reached on the images of the records; None if it was not recorded."""
        return self.world.surrogate.records.card.mean_map_si_rmse

    @property
    def runtime(self) -> str:
        """Whose kernels the device executes."""
        return self.world.latencies.predictor.runtime

    def refusal(self, architecture: Architecture) -> str:
        """Which kernel the table's device cannot run and what its runtime says; empty if it runs all."""
        rejected = self.world.latencies.predictor.table.rejected
        if not rejected:
            return ""
        kernels = architecture_kernels(architecture, self.runtime)
        return next((f"{one}: {rejected[one]}" for one in kernels if one in rejected), "")

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

    def begin(self, architecture: Architecture) -> ReplayTraining:
        """A training that has not begun."""
        return ReplayTraining(self, architecture)

    def longer(self, epochs: int) -> ReplayObjective:
        """One rung of full training, whatever the epochs, where enough of it was recorded."""
        return replace(self, rungs=(epochs,), ways=(self.world.fully_trained,))


class ReplayTraining:
    """One candidate's training as a world has it, a rung at a time.

    Attributes:
        start: whether it was recorded or foretold.
    """

    def __init__(self, objective: ReplayObjective, architecture: Architecture) -> None:
        self._objective = objective
        world = objective.world
        self._trainings = [world.train(architecture, way) for way in objective.ways]
        source = "recorded" if self._trainings[0].recorded else "foretold"
        self.start = Start(source, objective.pretrained(architecture.encoder.family))

    def train_rung(
        self, index: int, on_epoch: Callable[[Epoch], None], on_step: Callable[[StepReport], None]
    ) -> Rung:
        """Tell the epochs of a rung; `on_epoch` may raise to stop. No step is ever told."""
        objective, training = self._objective, self._trainings[index]
        begun = objective.rungs[index - 1] if index and objective.continued else 0
        told = []
        for place in range(begun, len(training.si_rmse)):
            epoch = Epoch(place, float("nan"), training.si_rmse[place], training.seconds[place])
            told.append(epoch)
            on_epoch(epoch)
        return Rung(tuple(told), np.array(training.image_errors))
