"""A world: what every training would come to, if the records were the whole truth. It depends on a seed."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from nasdepth.architecture import Architecture
from nasdepth.errors import UnknownKernelError
from nasdepth.latency import Kernel, LatencyEstimate, Predictor, architecture_kernels
from nasdepth.recording import FULL, PROXY
from nasdepth.replay.surrogate import Surrogate
from nasdepth.score import log2_score

_USELESS_OCTAVES = 3.0


@dataclass(frozen=True)
class Training:
    """One training as a world has it.

    Attributes:
        si_rmse: after every epoch.
        seconds: of every epoch.
        recorded: whether it happened, and was not foretold.
        image_errors: si-RMSE of every held-out image at the end; empty where it was foretold.
    """

    si_rmse: tuple[float, ...]
    seconds: tuple[float, ...]
    recorded: bool
    image_errors: tuple[float, ...] = ()


class Latencies:
    """A table's estimates, each asked for once."""

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor
        self._known: dict[Architecture, LatencyEstimate | None] = {}

    def of(self, architecture: Architecture) -> LatencyEstimate:
        """The estimate of one architecture.

        Raises:
            UnknownKernelError: the table cannot answer for it.
        """
        found = self.of_all([architecture])[0]
        # once more, so that the error says why
        return found or self.predictor.estimate(self._kernels(architecture))

    def of_all(self, architectures: Sequence[Architecture]) -> list[LatencyEstimate | None]:
        """The estimates of many, faster than one after another; None where the table cannot answer."""
        new = [one for one in dict.fromkeys(architectures) if one not in self._known]
        if new:
            kernels = [self._kernels(one) for one in new]
            answers: Sequence[LatencyEstimate | None]
            try:
                answers = self.predictor.estimate_all(kernels)
            except UnknownKernelError:
                answers = [self._if_known(one) for one in kernels]
            for one, answer in zip(new, answers, strict=True):
                # the kernels of thousands of networks would fill the memory
                self._known[one] = answer and replace(answer, kernels=())
        return [self._known[one] for one in architectures]

    def _kernels(self, architecture: Architecture) -> tuple[Kernel, ...]:
        return architecture_kernels(architecture, self.predictor.runtime)

    def _if_known(self, kernels: Sequence[Kernel]) -> LatencyEstimate | None:
        try:
            return self.predictor.estimate(kernels)
        except UnknownKernelError:
            return None


class World:
    """What trainings come to, under one seed.

    An architecture that was recorded gets its own curve. Any other one gets what the surrogate says, and a
    deviation of its own: that of a recorded architecture, drawn by the architecture's key and the world's
    seed, from those that the surrogate did not foretell. So the landscape is not smoother than the real one.
    Noise of training comes on top.

    Args:
        surrogate: fitted to records.
        latencies: of the table whose scores are judged.
        seed: another seed is another world that agrees with the same records.
    """

    def __init__(self, surrogate: Surrogate, latencies: Latencies, seed: int = 0) -> None:
        self.surrogate, self.latencies, self.seed = surrogate, latencies, seed

    def si_rmse(self, architecture: Architecture, fidelity: str = PROXY) -> float:
        """The noise-free si-RMSE after the last epoch.

        Raises:
            KeyError: too few architectures were recorded in this way of training.
        """
        return math.exp(self._log(architecture, fidelity))

    def log2_score(self, architecture: Architecture, fidelity: str = PROXY) -> float:
        """log2 of the noise-free score, with the table's latency.

        What is no better than the mean depth map counts as if it were eight times as slow: a search that
        takes it for the best has found nothing.
        """
        si_rmse = self.si_rmse(architecture, fidelity)
        worth = log2_score(si_rmse, self.latencies.of(architecture).latency_ms)
        return worth if si_rmse < self.surrogate.useful_below else worth - _USELESS_OCTAVES

    def train(self, architecture: Architecture, fidelity: str = PROXY) -> Training:
        """What a training would show."""
        records = self.surrogate.recorded(architecture, fidelity)
        if records:
            one = records[self._index(architecture, "seed", len(records))]
            known = self.surrogate.on_machine(one)
            seconds = one.seconds if known else self._seconds(architecture, fidelity, len(one.si_rmse))
            return Training(one.si_rmse, seconds, recorded=True, image_errors=one.image_errors)
        shape = self._shape(architecture, fidelity)
        noise = self.surrogate.noise if fidelity == PROXY else self.surrogate.fidelities[fidelity].noise
        final = self._log(architecture, fidelity) + noise * self._normal(architecture, f"noise {fidelity}")
        curve = tuple(np.exp(final + shape).tolist())
        return Training(curve, self._seconds(architecture, fidelity, len(shape)), recorded=False)

    def _log(self, architecture: Architecture, fidelity: str) -> float:
        surrogate = self.surrogate
        proxy, _ = surrogate.expected(architecture)
        if not surrogate.recorded(architecture):
            proxy += self._deviation(architecture)[0]
        if fidelity == PROXY:
            return proxy
        value, recorded = surrogate.expected_under(fidelity, architecture, proxy)
        if recorded:
            return value
        deviations = surrogate.fidelities[fidelity].deviations
        return value + float(deviations[self._index(architecture, "donor", len(deviations))])

    def _shape(self, architecture: Architecture, fidelity: str) -> np.ndarray:
        if fidelity == PROXY:
            shape = self.surrogate.predict(architecture).shape.copy()
            shape[:-1] += self._deviation(architecture)[1:-1]
            return shape
        shapes = self.surrogate.fidelities[fidelity].shapes
        return shapes[self._index(architecture, "donor", len(shapes))]

    def _seconds(self, architecture: Architecture, fidelity: str, epochs: int) -> tuple[float, ...]:
        each = self.surrogate.predict(architecture).epoch_seconds
        if fidelity != PROXY:
            each *= self.surrogate.fidelities[fidelity].epoch_seconds
        return (each,) * epochs

    def _deviation(self, architecture: Architecture) -> np.ndarray:
        deviations = self.surrogate.deviations
        return deviations[self._index(architecture, "own", len(deviations))]

    def _draws(self, architecture: Architecture, what: str) -> np.random.Generator:
        text = f"{architecture.key} {self.seed} {what}"
        return np.random.default_rng(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]))

    def _index(self, architecture: Architecture, what: str, count: int) -> int:
        return int(self._draws(architecture, what).integers(count))

    def _normal(self, architecture: Architecture, what: str) -> float:
        return float(self._draws(architecture, what).standard_normal())

    @property
    def fully_trained(self) -> str:
        """The way of training that decides in the end: full training where enough of it was recorded."""
        return FULL if FULL in self.surrogate.fidelities else PROXY
