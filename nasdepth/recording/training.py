"""One recorded training, from an architecture and a fidelity to what it reached."""

from __future__ import annotations

import platform
import subprocess
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nasdepth import __version__
from nasdepth.architecture import Architecture
from nasdepth.data import DepthSplit
from nasdepth.devices.runner import cpu_name
from nasdepth.errors import DivergedError, brief
from nasdepth.models import build
from nasdepth.models.pretrained import Start, load_pretrained
from nasdepth.recording.fidelities import Fidelity
from nasdepth.searching.objective import SEEDS_BETWEEN_RUNGS
from nasdepth.training import Epoch, StepReport, train

TRAINED, DIVERGED = "trained", "diverged"
_PACKAGE = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class TrainingRecord:
    """What one training came to.

    Attributes:
        architecture: as it is deployed; a fidelity may train it at another input size.
        fidelity: name of the way of training.
        seed: random seed of the first weights and of the order of the images.
        outcome: "trained" or "diverged".
        pretrained: whether the encoder started from ImageNet weights.
        start: where the first weights came from.
        si_rmse: mean over the held-out images after every epoch, all parts in one row.
        loss: mean training loss of every epoch.
        seconds: of every epoch, validation included, that `machine` was busy with it: processor seconds of
            all threads, which other processes on the machine do not lengthen; on a GPU seconds of the clock.
        image_errors: si-RMSE of every held-out image after the last epoch.
        machine: processor or GPU that trained.
        commit: of nasdepth, or its version where there is no git.
    """

    architecture: Architecture
    fidelity: str
    seed: int
    outcome: str
    pretrained: bool
    start: str
    si_rmse: tuple[float, ...]
    loss: tuple[float, ...]
    seconds: tuple[float, ...]
    image_errors: tuple[float, ...]
    machine: str
    threads: int
    commit: str

    @property
    def final(self) -> float:
        """si-RMSE at the end; infinite if it diverged."""
        return self.si_rmse[-1] if self.outcome == TRAINED else float("inf")

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as JSON keeps them."""
        return asdict(self) | {"architecture": str(self.architecture)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TrainingRecord:
        """The inverse of `to_dict`."""
        if unknown := set(values) - {one.name for one in fields(cls)}:
            raise ValueError(f"unknown field {brief(sorted(map(str, unknown))[0])}")
        readers: dict[Any, Callable[[Any], Any]] = {
            "int": int,
            "str": str,
            "bool": _flag,
            "Architecture": Architecture.parse,
        }
        return cls(**{one.name: readers.get(one.type, _numbers)(values[one.name]) for one in fields(cls)})


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"pretrained is {brief(value)}; it must be true or false")
    return value


def _numbers(values: Any) -> tuple[float, ...]:
    if not isinstance(values, (list, tuple)):
        raise ValueError(f"{brief(values)} must be a list of numbers")
    return tuple(map(float, values))


def record_training(
    architecture: Architecture,
    name: str,
    fidelity: Fidelity,
    fit: DepthSplit,
    validation: DepthSplit,
    seed: int,
    *,
    checkpoint: Path | None = None,
    on_step: Callable[[StepReport], None] = lambda _: None,
) -> TrainingRecord:
    """Train an architecture in one way, and note everything that a later analysis may ask.

    Args:
        name: of the fidelity.
        checkpoint: an interrupted training of one part goes on from it.

    Raises:
        CheckpointError: the checkpoint belongs to another training.
    """
    torch.manual_seed(seed)
    trained = fidelity.trained(architecture)
    model = build(trained)
    recipes = fidelity.recipes()
    start = Start("random (asked for)", pretrained=False)
    if recipes[0].pretrained:
        start = load_pretrained(model.encoder, trained.encoder)
    if fidelity.images < 1:
        count = max(1, round(fidelity.images * len(fit)))
        fit = fit.subset(np.linspace(0, len(fit) - 1, count).round().astype(int))
    history: list[Epoch] = []
    errors: list[np.ndarray] = []
    outcome = TRAINED
    for part, recipe in enumerate(recipes):
        busy = _BusySeconds()
        try:
            epochs = train(
                model,
                fit,
                recipe,
                seed=seed + SEEDS_BETWEEN_RUNGS * part,
                validation=validation,
                pretrained=start.pretrained,
                checkpoint=checkpoint if len(recipes) == 1 else None,
                on_validation=errors.append,
                on_epoch=busy,
                on_step=on_step,
            )
        except DivergedError:
            outcome, epochs = DIVERGED, busy.epochs
        # what an interrupted training had done before is known by the clock only
        history += [*epochs[: len(epochs) - len(busy.epochs)], *busy.epochs]
        if outcome == DIVERGED:
            break
    return TrainingRecord(
        architecture,
        name,
        seed,
        outcome,
        start.pretrained,
        start.source,
        tuple(round(epoch.validated, 5) for epoch in history),
        tuple(round(epoch.loss, 5) for epoch in history),
        tuple(round(epoch.seconds, 2) for epoch in history),
        tuple(round(float(error), 4) for error in errors[-1]) if errors else (),
        machine_name(),
        torch.get_num_threads(),
        commit(),
    )


class _BusySeconds:
    """Collects epochs, with the processor's seconds in place of the clock's where a processor trains."""

    def __init__(self) -> None:
        self.epochs: list[Epoch] = []
        self._before = time.process_time()

    def __call__(self, epoch: Epoch) -> None:
        now = time.process_time()
        if not torch.cuda.is_available():
            epoch = replace(epoch, seconds=now - self._before)
        self._before = now
        self.epochs.append(epoch)


@cache
def machine_name() -> str:
    """The GPU's name, or the processor's."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return cpu_name() or platform.machine()


@cache
def commit() -> str:
    """The checkout's commit, short; the version of an installed package."""
    command = ["git", "-C", str(_PACKAGE), "rev-parse", "--short=10", "HEAD"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return __version__
    return found.stdout.strip()
