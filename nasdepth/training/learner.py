"""Everything that a training learns, as one module: the network, its companions and its objective."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import nn

from nasdepth.data.mixture import Mixture, Step
from nasdepth.data.store import DepthSplit
from nasdepth.models import AnyNetwork
from nasdepth.models.depthnet import DEFAULT_SCALE_MM
from nasdepth.training.augment import NO_AUGMENTATION
from nasdepth.training.batches import Batch, Extra, make_batch
from nasdepth.training.cameras import FieldOfView
from nasdepth.training.inputs import INTERMEDIATE, POSE, IntermediateHeads, StepInputs, check_supply
from nasdepth.training.objective import Objective
from nasdepth.training.pose import PoseNet
from nasdepth.training.recipe import Recipe


class Learner(nn.Module):
    """The network, what is trained beside it and what it is trained by.

    Attributes:
        companions: what is trained beside the network and not exported; `StepInputs` names them.
    """

    def __init__(
        self, model: AnyNetwork, objective: Objective, companions: nn.ModuleDict, inputs: StepInputs
    ) -> None:
        super().__init__()
        self.model = model
        self.objective = objective
        self.companions = companions
        self.inputs = inputs

    def forward(
        self, batch: Batch, generator: torch.Generator | None = None
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The total to minimise, and by term its unweighted value, detached."""
        inputs, intermediate_mm = self.inputs(batch, generator)
        return self.objective(inputs, intermediate_mm, self.objective.fed(inputs))


def build_learner(
    model: AnyNetwork, recipe: Recipe, mixture: Mixture, extras: Sequence[Extra], device: torch.device
) -> Learner:
    """The learner of a recipe on `device`, tried out on one image of every data set.

    What is new starts from torch's random numbers.

    Raises:
        NasdepthError: the recipe asks for what the data, the teacher or the network do not give.
    """
    model.to(device)
    probes = []
    for number, portion in enumerate(mixture.portions):
        step = Step(0, 0, number, portion.split, np.array([0]), (mixture.seed,))
        batch = make_batch(step, NO_AUGMENTATION, model.input_hw, recipe.loss_hw, extras)
        probes.append(batch.to(device))
    model.eval()
    with torch.no_grad():
        channels = {name: one.shape[1] for name, one in model.features(probes[0].rgb).items()}
    companions = nn.ModuleDict()
    if recipe.pose is not None:
        companions[POSE] = PoseNet(recipe.pose.encoder, recipe.pose.width, recipe.pose.pretrained)
    if recipe.intermediate is not None:
        companions[INTERMEDIATE] = IntermediateHeads(channels, len(recipe.intermediate.weights) - 1)
    objective = Objective(recipe.loss_recipe, _shared_channels(channels, probes))
    compiled = recipe.compile and device.type == "cuda"
    inputs = StepInputs(model, recipe, objective, companions, compiled=compiled)
    learner = Learner(model, objective, companions, inputs).to(device).eval()
    with torch.no_grad():
        plain = StepInputs(model, recipe, objective, companions)
        names = [one.name or f"data set {n}" for n, one in enumerate(mixture.portions, 1)]
        check_supply(plain, objective, list(zip(names, probes, strict=True)))
    if recipe.channels_last:
        learner.to(memory_format=torch.channels_last)
    return learner.train()


def median_depth_mm(mixture: Mixture) -> float:
    """The median known depth of up to 64 images spread over the first data set with metric depth.

    Without such a data set it is the scale that a new network has.
    """
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


def recipe_extras(recipe: Recipe) -> list[Extra]:
    """List what the recipe itself adds to batches: cameras for terms that state a field of view."""
    angles = [getattr(term, "horizontal_fov_deg", None) for term in recipe.loss.values() if term.weight > 0]
    return [FieldOfView(angle) for angle in angles if angle is not None]


def _shared_channels(channels: Mapping[str, int], probes: Sequence[Batch]) -> dict[str, tuple[int, int]]:
    """By feature layer that a teacher gives too, the channels of both."""
    taught = {name: one for batch in probes for name, one in (batch.teacher_features or {}).items()}
    return {name: (channels[name], one.shape[1]) for name, one in taught.items() if name in channels}
