"""The one training loop, for proxies and for full training."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from nasdepth.data.store import DepthSplit
from nasdepth.errors import CheckpointError, DivergedError
from nasdepth.models import DepthNet
from nasdepth.training.augment import photometric, training_batch
from nasdepth.training.checkpoint import read_checkpoint, save_checkpoint
from nasdepth.training.losses import gradient_matching_loss, log_depth, sig_loss
from nasdepth.training.recipe import Recipe

VALIDATION_BATCH = 8


@dataclass(frozen=True)
class Epoch:
    """What one epoch came to; `si_rmse` is the mean over the validation images, None without them."""

    epoch: int
    loss: float
    si_rmse: float | None
    seconds: float


@dataclass(frozen=True)
class StepReport:
    """Progress inside an epoch."""

    epoch: int
    step: int
    steps_per_epoch: int
    loss: float


def default_device() -> torch.device:
    """The GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def train(
    model: DepthNet,
    split: DepthSplit,
    recipe: Recipe,
    *,
    seed: int = 0,
    validation: DepthSplit | None = None,
    pretrained: bool = False,
    checkpoint: Path | None = None,
    on_epoch: Callable[[Epoch], None] = lambda _: None,
    on_step: Callable[[StepReport], None] = lambda _: None,
    device: torch.device | None = None,
) -> list[Epoch]:
    """Train a network in place.

    The order of the data and every random number of an epoch depend on (seed, epoch) alone, so a run
    that is interrupted and resumed from `checkpoint` ends bitwise where an uninterrupted one ends (CPU).

    Args:
        validation: images held out of the training split, judged after every epoch.
        pretrained: whether the encoder starts from ImageNet weights, and so learns more slowly.
        checkpoint: written after every epoch; resumed from where it exists.
        on_epoch: called after each epoch; may raise to stop the training.

    Returns:
        Every epoch's report, resumed ones included.

    Raises:
        CheckpointError: `checkpoint` is damaged or belongs to another run.
        DivergedError: the loss is not finite; the last good checkpoint is kept.
    """
    device = device or default_device()
    model.to(device, memory_format=torch.channels_last)
    steps_per_epoch = max(1, len(split) // recipe.batch_size)
    optimizer = _optimizer(model, recipe, recipe.encoder_lr_ratio if pretrained else 1.0)
    identity = {
        "recipe": recipe.model_dump_json(),
        "seed": seed,
        "data": split.fingerprint,
        "images": len(split),
    }
    history = _resume(checkpoint, model, optimizer, identity)
    if not history:
        model.scale_mm.fill_(_median_depth_mm(split))
    for epoch in range(len(history), recipe.epochs):
        started = time.perf_counter()
        rng = np.random.default_rng((seed, epoch))
        model.train()
        losses = []
        for step, indices in enumerate(_batches(len(split), recipe.batch_size, steps_per_epoch, rng)):
            _set_learning_rate(
                optimizer, recipe, epoch * steps_per_epoch + step, recipe.epochs * steps_per_epoch
            )
            loss = _step(model, split, indices, recipe, rng, optimizer, device)
            if not math.isfinite(loss):
                raise DivergedError(
                    f"the loss is {loss} at epoch {epoch + 1}, step {step + 1}; lower the learning rate "
                    f"({recipe.learning_rate:g})"
                    + (f". {checkpoint} holds the last good epoch" if history and checkpoint else "")
                )
            losses.append(loss)
            on_step(StepReport(epoch, step, steps_per_epoch, loss))
        si_rmse = None
        if validation is not None:
            si_rmse = float(np.nanmean(validate(model, validation, device=device)))
            if not math.isfinite(si_rmse):  # the last step of an epoch can be the one that breaks it
                raise DivergedError(
                    f"the si-RMSE is {si_rmse} after epoch {epoch + 1}; lower the learning rate "
                    f"({recipe.learning_rate:g})"
                )
        history.append(Epoch(epoch, float(np.mean(losses)), si_rmse, time.perf_counter() - started))
        if checkpoint is not None:
            save_checkpoint(
                checkpoint,
                model,
                optimizer=optimizer.state_dict(),
                identity=identity,
                history=json.dumps([asdict(one) for one in history]),
            )
        on_epoch(history[-1])
    return history


@torch.no_grad()
def validate(model: DepthNet, split: DepthSplit, *, device: torch.device | None = None) -> np.ndarray:
    """si-RMSE per image of a network, at full resolution: (N,) float64, NaN without a known pixel.

    The challenge's definition (`nasdepth.metrics`) in float32 logarithms on the device that trains: several
    times faster, and the same to five digits. What is deployed is scored by `evaluate_tflite`.
    """
    device = device or default_device()
    model.to(device).eval()
    per_image = []
    for start in range(0, len(split), VALIDATION_BATCH):
        rgb, depth_mm = split.batch(np.arange(start, min(start + VALIDATION_BATCH, len(split))))
        pixels = torch.from_numpy(rgb).to(device).permute(0, 3, 1, 2).float()
        target_mm = torch.from_numpy(depth_mm.astype(np.float32)).to(device)
        for pred, target in zip(model(pixels)[:, 0].float(), target_mm, strict=True):
            known = target > 1
            g = (log_depth(pred[known]) - target[known].log()).double()
            per_image.append(g.var(correction=0).sqrt().item() if g.numel() else math.nan)
    return np.array(per_image)


def _step(model, split, indices, recipe, rng, optimizer, device) -> float:
    rgb, target_mm = training_batch(split, indices, recipe, rng)
    rgb = rgb.to(device, memory_format=torch.channels_last, non_blocking=True)
    target_mm = target_mm.to(device, non_blocking=True)
    mask = target_mm > 1
    resized = photometric(model.resize(rgb), recipe.photometric, rng)
    with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
        decoded = model.decode(resized)
    # millimetres do not fit into bfloat16's eight bits
    pred_mm = model.predict(decoded.float(), recipe.loss_hw)
    loss = sig_loss(pred_mm, target_mm, mask, recipe.sig_variance)
    if recipe.gradient_weight:
        loss = loss + recipe.gradient_weight * gradient_matching_loss(
            pred_mm, target_mm, mask, recipe.gradient_scales
        )
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.gradient_clip)
    value = loss.item()
    if math.isfinite(value):
        optimizer.step()
    return value


def _batches(count: int, batch_size: int, steps: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    order = rng.permutation(count)
    for step in range(steps):
        yield np.sort(order[step * batch_size : (step + 1) * batch_size])


def _optimizer(model: DepthNet, recipe: Recipe, encoder_ratio: float) -> torch.optim.Optimizer:
    groups = []
    for inside, ratio in ((True, encoder_ratio), (False, 1.0)):
        named = [p for name, p in model.named_parameters() if name.startswith("encoder.") == inside]
        for decay in (True, False):
            # norms and biases are not decayed
            parameters = [p for p in named if (p.dim() > 1) == decay]
            groups.append(
                {"params": parameters, "ratio": ratio, "weight_decay": recipe.weight_decay if decay else 0.0}
            )
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, fused=True)


def _set_learning_rate(optimizer: torch.optim.Optimizer, recipe: Recipe, step: int, steps: int) -> None:
    """Computed from the step alone, so that a resume needs no scheduler state."""
    warm = max(1, round(recipe.warmup * steps))
    if step < warm:
        factor = (step + 1) / warm
    else:
        left = 1 - (step - warm) / max(1, steps - warm)
        factor = left**0.9 if recipe.schedule == "poly" else 0.5 * (1 - math.cos(math.pi * left))
    for group in optimizer.param_groups:
        group["lr"] = recipe.learning_rate * group["ratio"] * factor


def _median_depth_mm(split: DepthSplit) -> float:
    """Median known depth of up to 64 images spread over the split."""
    chosen = np.unique(np.linspace(0, len(split) - 1, min(64, len(split))).astype(int))
    _, depth_mm = split.batch(chosen)
    sampled = depth_mm[:, ::8, ::8]
    known = sampled[sampled > 1]
    return float(np.median(known)) if known.size else float(np.median(depth_mm[depth_mm > 1]))


def _resume(checkpoint, model, optimizer, identity) -> list[Epoch]:
    if checkpoint is None or not Path(checkpoint).exists():
        return []
    content = read_checkpoint(checkpoint)
    if content["architecture"] != str(model.architecture):
        raise CheckpointError(f"{checkpoint}: holds {content['architecture']}, not {model.architecture}")
    different = [name for name in identity if content["identity"].get(name) != identity[name]]
    if different:
        raise CheckpointError(
            f"{checkpoint}: was trained with another {' and '.join(different)}; choose another output folder "
            "or delete it"
        )
    model.load_state_dict(content["model"])
    optimizer.load_state_dict(content["optimizer"])
    return [Epoch(**one) for one in json.loads(content["history"])]
