"""The one training loop, for proxies and for full training."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from nasdepth.data.mixture import Mixture
from nasdepth.data.store import DepthSplit, ImageSplit, cpu_workers
from nasdepth.errors import DivergedError, NasdepthError
from nasdepth.models import DepthNet
from nasdepth.models.depthnet import DEFAULT_SCALE_MM
from nasdepth.training.batches import Batch, Extra, batches
from nasdepth.training.checkpoint import read_resumable, save_checkpoint
from nasdepth.training.distributed import Processes, join
from nasdepth.training.ema import Ema
from nasdepth.training.learner import build_learner, recipe_extras
from nasdepth.training.logs import Epoch, Logs
from nasdepth.training.memory import freed_memory_kept
from nasdepth.training.optimisation import build_optimizer, set_learning_rate
from nasdepth.training.readings import GRADIENT, TOTAL, Readings
from nasdepth.training.recipe import Recipe
from nasdepth.training.resident import resident_portions
from nasdepth.training.validation import validate


@dataclass(frozen=True)
class StepReport:
    """Progress inside an epoch."""

    epoch: int
    step: int
    steps_per_epoch: int
    loss: float


def train(
    model: DepthNet,
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
    """Train a network in place; it ends with the weights to deploy (the average, the best epoch's).

    The order of the data and every random number of an epoch depend on (seed, epoch) alone, so a run
    that is interrupted and resumed from `checkpoint` ends bitwise where an uninterrupted one ends (CPU).
    Under torchrun each process takes its part of every batch, and the first one writes and reports.

    Args:
        data: one data set, or a mixture of several, whose batch size and seed then count.
        validation: images held out of the training split, judged after every epoch.
        pretrained: whether the encoder starts from ImageNet weights, and so learns more slowly.
        extras: what batches get besides: a teacher's outputs, labels.
        checkpoint: written after every epoch; resumed from where it exists.
        folder: gets `log.csv`, `samples/epoch-*.jpg` and TensorBoard's events.
        on_epoch: called after each epoch; may raise to stop the training.
        on_step: called after each step, on a GPU one step late and not after the last.
        on_validation: called before `on_epoch` with the si-RMSE of every validation image, (N,) float64.
        resident: keep images with metric depth on the device and make their batches there, for this training
            and all later ones with the same data; by default on a GPU. What does not fit is logged and read
            from the disk.

    Returns:
        Every epoch's report, resumed ones included.

    Raises:
        CheckpointError: `checkpoint` is damaged or belongs to another run.
        DivergedError: a loss is not finite; names step, epoch and term. The last good checkpoint is kept.
        NasdepthError: the recipe asks for what data, teacher or network do not give.
    """
    if recipe.early_stop_epochs is not None and validation is None:
        raise NasdepthError(
            f"early_stop_epochs: no validation images are held out to judge by (value: "
            f"{recipe.early_stop_epochs}); hold some out, or set it to null"
        )
    mixture = _as_mixture(data, recipe, seed)
    processes = join(device)
    processes.check(mixture.batch_size)
    device = processes.device
    resident = device.type == "cuda" if resident is None else resident
    judged = _own_part(validation, processes)
    extras = [*recipe_extras(recipe), *extras]
    with _own_randomness(device), freed_memory_kept(device):
        torch.manual_seed(seed)
        learner = build_learner(model, recipe, mixture, extras, device)
        if model.scale_mm.item() == DEFAULT_SCALE_MM:  # a network that was trained before keeps its own
            model.scale_mm.fill_(_median_depth_mm(mixture))
        optimizer = build_optimizer(learner, recipe, pretrained=pretrained)
        ema = Ema(model, recipe.ema_decay) if recipe.ema_decay is not None else None
        latest = ema.model if ema else model
        parts = {"training_model": model, "objective": learner.objective, "companions": learner.companions}
        if ema:
            parts["ema"] = ema.model
        identity = {
            "recipe": recipe.fingerprint,
            "seed": seed,
            "data": f"{mixture.fingerprint} {mixture.seed}",
            "teacher or labels": [getattr(extra, "fingerprint", "") for extra in extras],
        }
        history, kept = [], {}
        resumed = read_resumable(checkpoint, model, identity) if checkpoint else None
        if resumed:
            for name, part in parts.items():
                part.load_state_dict(resumed[name])
            optimizer.load_state_dict(resumed["optimizer"])
            history = [Epoch(**one) for one in json.loads(resumed["history"])]
            kept = resumed["model"]
        processes.check_resumed(len(history), checkpoint)

        parallel = processes.wrapped(learner, changing=len(mixture.portions) > 1)
        parameters = [parameter for parameter in learner.parameters() if parameter.requires_grad]
        steps_per_epoch = mixture.steps_per_epoch
        all_steps = recipe.epochs * steps_per_epoch
        shown = validation or mixture.portions[0].split
        logs = Logs(folder if processes.first else None, shown, len(history) * steps_per_epoch)
        generator = torch.Generator(device)
        residents = resident_portions(mixture, device) if resident else {}
        advice = f"lower the learning rate ({recipe.optimizer.learning_rate:g}) or look at the data"

        for epoch in range(len(history), recipe.epochs):
            if _is_stale(history, recipe.early_stop_epochs):
                break
            started, waited = time.perf_counter(), 0.0
            kept_where = f". {checkpoint} holds the last good epoch ({epoch})" if checkpoint and epoch else ""
            readings = Readings(device, epoch, advice + kept_where)

            # dropout and its like draw from torch's own generator
            torch.manual_seed(_seed(seed, epoch, processes.rank))
            learner.train()
            steps = map(processes.part, mixture.epoch(epoch))
            feed = _timed(
                batches(
                    steps,
                    recipe.augmentation,
                    tuple(model.input_hw),
                    recipe.loss_hw,
                    extras=extras,
                    residents=residents,
                    workers=_workers(processes, mixture, residents),
                    device=device,
                )
            )
            for step, (batch, seconds) in enumerate(feed):
                waited += seconds
                overall = epoch * steps_per_epoch + step
                rate = set_learning_rate(optimizer, recipe, overall, all_steps)
                generator.manual_seed(_seed(seed, epoch, step, processes.rank))
                total, values = parallel(batch, generator)
                optimizer.zero_grad(set_to_none=True)
                total.backward()
                numbers = {TOTAL: total.detach(), **values}
                if recipe.gradient_clip is not None:
                    numbers[GRADIENT] = torch.nn.utils.clip_grad_norm_(parameters, recipe.gradient_clip)
                means = processes.mean(torch.stack([number.float() for number in numbers.values()]))
                # before the optimizer's step: on a CPU nothing that is not finite reaches the weights
                read = readings.add(step, list(numbers), means)
                optimizer.step()
                shared = dict(zip(numbers, means, strict=True))
                learner.objective.after_step(
                    {name: shared[name] for name in values}, step, steps_per_epoch, (overall + 1) / all_steps
                )
                processes.average_buffers(model)
                if ema:
                    ema.update(overall)
                if read and processes.first:
                    logs.step(epoch * steps_per_epoch + read[0], read[1])
                    on_step(StepReport(epoch, read[0], steps_per_epoch, read[1]))
            readings.finish()

            si_rmse = None
            if validation is not None:
                per_image = _validate_together(latest, judged, len(validation), processes, resident)
                si_rmse = _mean_of_known(per_image)
                if not math.isfinite(si_rmse):  # the last step of an epoch can be the one that breaks it
                    raise DivergedError(
                        f"the si-RMSE is {si_rmse} after epoch {epoch + 1}; {advice}{kept_where}"
                    )
            means = readings.means()
            history.append(
                Epoch(
                    epoch,
                    means.pop(TOTAL),
                    si_rmse,
                    time.perf_counter() - started,
                    rate,
                    waited,
                    means,
                    learner.objective.balance.current_weights(),
                )
            )
            if recipe.early_stop_epochs is None:
                kept = latest.state_dict()
            elif _best_epoch(history) == epoch:
                kept = deepcopy(latest.state_dict())
            if processes.first:
                if checkpoint is not None:
                    save_checkpoint(
                        checkpoint,
                        model,
                        weights=kept,
                        optimizer=optimizer.state_dict(),
                        identity=identity,
                        recipe=recipe.model_dump_json(),
                        history=json.dumps([asdict(one) for one in history]),
                        **{name: part.state_dict() for name, part in parts.items()},
                    )
                logs.epoch(history, latest)
                if validation is not None:
                    on_validation(per_image)
                on_epoch(history[-1])
        logs.close()
        model.load_state_dict(kept)
        processes.wait()  # whoever reads the checkpoint next finds the last epoch in it
    return history


def _own_part(split: DepthSplit | None, processes: Processes) -> DepthSplit | None:
    """The images that this process judges: one object for all epochs, which is copied to a device once."""
    if split is None or processes.count == 1:
        return split
    return split.subset(np.arange(processes.rank, len(split), processes.count))


def _validate_together(
    model: DepthNet, own_part: DepthSplit, count: int, processes: Processes, resident: bool
) -> np.ndarray:
    """si-RMSE per image, as `validate`, each process judging its share of `count` images."""
    scores = validate(model, own_part, device=processes.device, resident=resident)
    own = range(processes.rank, count, processes.count)
    return processes.gathered(dict(zip(own, scores.tolist(), strict=True)), count)


def _mean_of_known(scores: np.ndarray) -> float:
    known = scores[~np.isnan(scores)]
    return float(known.mean()) if len(known) else math.nan


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
    return min(history, key=lambda one: one.si_rmse).epoch


def _is_stale(history: Sequence[Epoch], patience: int | None) -> bool:
    """Whether so many epochs have not improved on the best one."""
    return patience is not None and bool(history) and history[-1].epoch - _best_epoch(history) >= patience


def _median_depth_mm(mixture: Mixture) -> float:
    """Median known depth of up to 64 images spread over the first data set with metric depth."""
    split = next((p.split for p in mixture.portions if isinstance(p.split, DepthSplit)), None)
    if split is None:
        return DEFAULT_SCALE_MM
    chosen = np.unique(np.linspace(0, len(split) - 1, min(64, len(split))).astype(int))
    depth_mm = [split.depth_view(index) for index in chosen]
    sampled = np.stack([one[::8, ::8] for one in depth_mm])
    known = sampled[sampled > 1]
    if not known.size:
        known = np.concatenate([one[one > 1] for one in depth_mm])
    return float(np.median(known))
