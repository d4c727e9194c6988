"""The one training loop, for proxies and for full training."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from nasdepth.data.mixture import Mixture
from nasdepth.data.store import DepthSplit, ImageSplit, cpu_workers
from nasdepth.errors import DivergedError, NasdepthError
from nasdepth.models import AnyNetwork
from nasdepth.models.depthnet import DEFAULT_SCALE_MM
from nasdepth.training.batches import Batch, Extra, batches
from nasdepth.training.checkpoint import read_resumable, save_checkpoint, usable_parts
from nasdepth.training.distributed import Processes, join
from nasdepth.training.ema import Ema
from nasdepth.training.learner import build_learner, median_depth_mm, recipe_extras
from nasdepth.training.logs import Epoch, Logs
from nasdepth.training.memory import freed_memory_kept
from nasdepth.training.optimisation import build_optimizer, set_learning_rate
from nasdepth.training.readings import GRADIENT, TOTAL, Readings
from nasdepth.training.recipe import Recipe
from nasdepth.training.resident import resident_portions
from nasdepth.training.validation import HeldOut


@dataclass(frozen=True)
class StepReport:
    """How far an epoch has come: its steps count from 0, `loss` is the total of the step."""

    epoch: int
    step: int
    steps_per_epoch: int
    loss: float


def train(
    model: AnyNetwork,
    data: ImageSplit | Mixture,
    recipe: Recipe,
    *,
    seed: int = 0,
    validation: DepthSplit | None = None,
    pretrained: bool = False,
    extras: Sequence[Extra] = (),
    checkpoint: Path | None = None,
    folder: Path | None = None,
    on_epoch: Callable[[Epoch], None] = lambda _: None,
    on_step: Callable[[StepReport], None] = lambda _: None,
    on_validation: Callable[[np.ndarray], None] = lambda _: None,
    device: torch.device | None = None,
    resident: bool | None = None,
) -> list[Epoch]:
    """Train a network in place.

    The network ends with the weights to deploy: the last epoch's, the average over the steps where the recipe
    asks for one, and the best epoch's where it stops early.

    The order of the data and every random number of an epoch depend on (seed, epoch) alone, so a run
    that is interrupted and resumed from `checkpoint` ends bitwise where an uninterrupted one ends (CPU).
    Under torchrun each process takes its part of every batch, and the first one writes and reports.

    Args:
        model: the network, trained in place.
        data: one data set, or a mixture of several, whose batch size and seed then count.
        recipe: says how to train.
        seed: the seed of every random number and of the order of the data.
        validation: images held out of the training split, judged after every epoch.
        pretrained: whether the encoder starts from ImageNet weights, and so learns more slowly.
        extras: what each batch gets besides images and depth, such as a teacher's outputs or labels.
        checkpoint: written after every epoch; resumed from where it exists.
        folder: gets `log.csv`, `samples/epoch-*.jpg` and TensorBoard's events.
        on_epoch: called after each epoch; may raise to stop the training.
        on_step: called after each step, on a GPU one step late and not after the last.
        on_validation: called before `on_epoch` with the si-RMSE of every validation image, (N,) float64.
        device: the device to train on; by default the GPU where there is one.
        resident: whether images with metric depth are kept on the device, where their batches are then made,
            for this training and all later ones with the same data; by default on a GPU. What does not fit is
            logged and read from the disk.

    Returns:
        Every epoch's report, resumed ones included.

    Raises:
        CheckpointError: `checkpoint` is damaged or belongs to another run.
        DivergedError: a loss is not finite; names step, epoch and term. The last good checkpoint is kept.
        NasdepthError: the recipe asks for what data, teacher or network do not give.
    """
    _check_early_stop(recipe, validation)
    mixture = _as_mixture(data, recipe, seed)
    processes = join(device)
    processes.check(mixture.batch_size)
    device = processes.device
    resident = device.type == "cuda" if resident is None else resident
    with _own_randomness(device), freed_memory_kept(device):
        torch.manual_seed(seed)
        training = _Training(
            model,
            mixture,
            recipe,
            processes,
            seed=seed,
            pretrained=pretrained,
            extras=[*recipe_extras(recipe), *extras],
            checkpoint=checkpoint,
            held_out=HeldOut(validation, processes, resident) if validation is not None else None,
            calls=_Calls(on_epoch, on_step, on_validation),
        )
        training.resume()
        training.prepare(folder, resident)
        while not training.is_over:
            training.run_epoch()
        training.finish()
    return training.history


@dataclass(frozen=True)
class _Calls:
    """The functions that the caller of `train` wants called."""

    on_epoch: Callable[[Epoch], None]
    on_step: Callable[[StepReport], None]
    on_validation: Callable[[np.ndarray], None]


class _Training:
    """One training: what learns, how it learns and what has come of it so far.

    Attributes:
        history: the report of every finished epoch, those of a resumed checkpoint included.
    """

    def __init__(
        self,
        model: AnyNetwork,
        mixture: Mixture,
        recipe: Recipe,
        processes: Processes,
        *,
        seed: int,
        pretrained: bool,
        extras: Sequence[Extra],
        checkpoint: Path | None,
        held_out: HeldOut | None,
        calls: _Calls,
    ) -> None:
        self.history: list[Epoch] = []
        self._model, self._mixture, self._recipe, self._processes = model, mixture, recipe, processes
        self._seed, self._extras, self._checkpoint = seed, extras, checkpoint
        self._held_out, self._calls = held_out, calls
        self._learner = build_learner(model, recipe, mixture, extras, processes.device)
        if model.scale_mm.item() == DEFAULT_SCALE_MM:  # a network that was trained before keeps its own
            model.scale_mm.fill_(median_depth_mm(mixture))
        self._optimizer = build_optimizer(self._learner, recipe, pretrained=pretrained)
        self._ema = Ema(model, recipe.ema_decay) if recipe.ema_decay is not None else None
        self._latest = self._ema.model if self._ema else model
        self._kept: Mapping[str, torch.Tensor] = {}
        self._identity = {
            "recipe": recipe.fingerprint,
            "seed": seed,
            "data": f"{mixture.fingerprint} {mixture.seed}",
            "teacher or labels": [getattr(extra, "fingerprint", "") for extra in extras],
        }

    @property
    def is_over(self) -> bool:
        """Whether no epoch is left, or too many have not improved on the best."""
        patience = self._recipe.early_stop_epochs
        return len(self.history) >= self._recipe.epochs or _is_stale(self.history, patience)

    def resume(self) -> None:
        """Take up the state of the checkpoint, where there is one."""
        saved = read_resumable(self._checkpoint, self._model, self._identity) if self._checkpoint else None
        if saved and self._checkpoint:
            with usable_parts(self._checkpoint):
                for name, part in self._parts().items():
                    part.load_state_dict(saved[name])
                self._optimizer.load_state_dict(saved["optimizer"])
                self.history = [Epoch(**one) for one in json.loads(saved["history"])]
                self._kept = saved["model"]
        self._processes.check_resumed(len(self.history), self._checkpoint)

    def prepare(self, folder: Path | None, resident: bool) -> None:
        """Set up what the steps need besides the state: the other processes, the logs, the data.

        Args:
            folder: gets the logs of the first process.
            resident: whether images are kept on the device.
        """
        device, portions = self._processes.device, self._mixture.portions
        self._parallel = self._processes.wrapped(self._learner, changing=len(portions) > 1)
        self._clipped = [one for one in self._learner.parameters() if one.requires_grad]
        shown = self._held_out.split if self._held_out else portions[0].split
        first_step = len(self.history) * self._mixture.steps_per_epoch
        self._logs = Logs(folder if self._processes.first else None, shown, first_step)
        self._generator = torch.Generator(device)
        self._residents = resident_portions(self._mixture, device) if resident else {}

    def run_epoch(self) -> None:
        """Train one epoch, judge the network, save everything, and report."""
        epoch = len(self.history)
        started = time.perf_counter()
        readings = Readings(self._processes.device, epoch, self._advice(epoch))
        learning_rate, data_seconds = self._run_steps(epoch, readings)
        scores = self._held_out.scores(self._latest) if self._held_out else None
        si_rmse = self._finite_mean(scores, epoch) if scores is not None else None
        means = readings.means()
        report = Epoch(
            epoch=epoch,
            loss=means.pop(TOTAL),
            si_rmse=si_rmse,
            seconds=time.perf_counter() - started,
            learning_rate=learning_rate,
            data_seconds=data_seconds,
            terms=means,
            weights=self._learner.objective.balance.current_weights(),
        )
        self.history.append(report)
        self._keep_weights(epoch)
        if self._processes.first:
            self._save()
            self._logs.epoch(self.history, self._latest)
            if scores is not None:
                self._calls.on_validation(scores)
            self._calls.on_epoch(report)

    def finish(self) -> None:
        """Leave the network with the weights to deploy."""
        self._logs.close()
        self._model.load_state_dict(self._kept)
        self._processes.wait()  # whoever reads the checkpoint next finds the last epoch in it

    def _run_steps(self, epoch: int, readings: Readings) -> tuple[float, float]:
        """Take the steps of an epoch.

        Returns:
            The learning rate of the last step, and for how many seconds batches were waited for.
        """
        # dropout and its like draw from torch's own generator
        torch.manual_seed(_seed(self._seed, epoch, self._processes.rank))
        self._learner.train()
        learning_rate = data_seconds = 0.0
        for step, (batch, seconds) in enumerate(_timed(self._batches(epoch))):
            data_seconds += seconds
            learning_rate = self._run_step(epoch, step, batch, readings)
        readings.finish()
        return learning_rate, data_seconds

    def _run_step(self, epoch: int, step: int, batch: Batch, readings: Readings) -> float:
        """Take one step of the optimizer; returns its learning rate."""
        recipe, processes = self._recipe, self._processes
        steps_per_epoch = self._mixture.steps_per_epoch
        overall, all_steps = epoch * steps_per_epoch + step, recipe.epochs * steps_per_epoch
        learning_rate = set_learning_rate(self._optimizer, recipe, overall, all_steps)
        self._generator.manual_seed(_seed(self._seed, epoch, step, processes.rank))
        total, values = self._parallel(batch, self._generator)
        self._optimizer.zero_grad(set_to_none=True)
        total.backward()
        numbers = {TOTAL: total.detach(), **values}
        if recipe.gradient_clip is not None:
            numbers[GRADIENT] = torch.nn.utils.clip_grad_norm_(self._clipped, recipe.gradient_clip)
        means = processes.mean(torch.stack([number.float() for number in numbers.values()]))
        # before the optimizer's step: on a CPU nothing that is not finite reaches the weights
        read = readings.add(step, list(numbers), means)
        self._optimizer.step()
        shared = dict(zip(numbers, means, strict=True))
        self._learner.objective.after_step(
            {name: shared[name] for name in values}, step, steps_per_epoch, (overall + 1) / all_steps
        )
        processes.average_buffers(self._model)
        if self._ema:
            self._ema.update(overall)
        if read and processes.first:
            step_read, loss = read
            self._logs.step(epoch * steps_per_epoch + step_read, loss)
            self._calls.on_step(StepReport(epoch, step_read, steps_per_epoch, loss))
        return learning_rate

    def _batches(self, epoch: int) -> Iterator[Batch]:
        """This process's part of every batch of an epoch."""
        return batches(
            map(self._processes.part, self._mixture.epoch(epoch)),
            self._recipe.augmentation,
            self._model.input_hw,
            self._recipe.loss_hw,
            extras=self._extras,
            residents=self._residents,
            workers=_workers(self._processes, self._mixture, self._residents),
            device=self._processes.device,
        )

    def _finite_mean(self, scores: np.ndarray, epoch: int) -> float:
        """The mean of the images whose depth is known in part."""
        known = scores[~np.isnan(scores)]
        si_rmse = float(known.mean()) if len(known) else math.nan
        if not math.isfinite(si_rmse):  # the last step of an epoch can be the one that breaks it
            raise DivergedError(f"the si-RMSE is {si_rmse} after epoch {epoch + 1}; {self._advice(epoch)}")
        return si_rmse

    def _advice(self, epoch: int) -> str:
        """What to do where a number of this epoch is not finite."""
        rate = self._recipe.optimizer.learning_rate
        kept = (
            f". {self._checkpoint} holds the last good epoch ({epoch})" if self._checkpoint and epoch else ""
        )
        return f"lower the learning rate ({rate:g}) or look at the data{kept}"

    def _keep_weights(self, epoch: int) -> None:
        """Choose the weights that would be deployed if the training ended now."""
        if self._recipe.early_stop_epochs is None:
            self._kept = self._latest.state_dict()
        elif _best_epoch(self.history) == epoch:
            self._kept = deepcopy(self._latest.state_dict())

    def _save(self) -> None:
        if self._checkpoint is not None:
            save_checkpoint(
                self._checkpoint,
                self._model,
                weights=self._kept,
                optimizer=self._optimizer.state_dict(),
                identity=self._identity,
                recipe=self._recipe.model_dump_json(),
                history=json.dumps([asdict(one) for one in self.history]),
                **{name: part.state_dict() for name, part in self._parts().items()},
            )

    def _parts(self) -> dict[str, nn.Module]:
        """By name in the checkpoint, the modules whose state a resume needs."""
        learner = self._learner
        parts: dict[str, nn.Module] = {
            "training_model": self._model,
            "objective": learner.objective,
            "companions": learner.companions,
        }
        return parts | ({"ema": self._ema.model} if self._ema else {})


def _check_early_stop(recipe: Recipe, validation: DepthSplit | None) -> None:
    if recipe.early_stop_epochs is not None and validation is None:
        raise NasdepthError(
            f"early_stop_epochs: no validation images are held out to judge by (value: "
            f"{recipe.early_stop_epochs}); hold some out, or set it to null"
        )


def _as_mixture(data: ImageSplit | Mixture, recipe: Recipe, seed: int) -> Mixture:
    if isinstance(data, Mixture):
        return data
    return Mixture(data, recipe.batch_size, seed=seed, steps_per_epoch=recipe.steps_per_epoch)


@contextmanager
def _own_randomness(device: torch.device) -> Iterator[None]:
    """Leave torch's global random numbers as they were, however the training ends."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        yield


def _seed(*place: int) -> int:
    return int(np.random.SeedSequence(place).generate_state(1)[0])


def _workers(processes: Processes, mixture: Mixture, residents: Collection[ImageSplit]) -> int:
    """Threads that make batches: none beside a training that keeps every core busy itself."""
    if processes.device.type != "cuda":
        return 0
    if all(portion.split in residents for portion in mixture.portions):
        return 1  # it only tells the GPU what to do
    on_this_machine = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return max(1, cpu_workers() // on_this_machine)


def _timed(feed: Iterator[Batch]) -> Iterator[tuple[Batch, float]]:
    """Each batch with the seconds it was waited for."""
    while True:
        started = time.perf_counter()
        batch = next(feed, None)
        if batch is None:
            return
        yield batch, time.perf_counter() - started


def _best_epoch(history: Sequence[Epoch]) -> int:
    return min(history, key=lambda epoch: epoch.validated).epoch


def _is_stale(history: Sequence[Epoch], patience: int | None) -> bool:
    """Whether so many epochs have not improved on the best one."""
    return patience is not None and bool(history) and history[-1].epoch - _best_epoch(history) >= patience
