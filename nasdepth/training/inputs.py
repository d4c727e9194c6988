"""From a batch of any kind to what its losses need: one pass of the network, and the batch's supervision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import nn

from nasdepth.errors import NasdepthError
from nasdepth.models import AnyNetwork
from nasdepth.models.blocks import upsample
from nasdepth.models.depthnet import PENULTIMATE, start_at_typical_depth
from nasdepth.training.batches import Batch
from nasdepth.training.losses.registry import LossInputs
from nasdepth.training.objective import Objective
from nasdepth.training.pose import PoseNet
from nasdepth.training.recipe import Recipe
from nasdepth.training.supervision import ordinal_inputs, relative_inputs, video_inputs

POSE, INTERMEDIATE = "pose", "intermediate"
"""Keys of the companions: `PoseNet`, and `IntermediateHeads`."""


class IntermediateHeads(nn.Module):
    """Depth from earlier decoder stages; it is trained beside the network, and so never exported.

    Args:
        channels: the number of channels of each of the network's feature layers, by name.
        count: how many stages; those next to the last one, the finest first.

    Raises:
        NasdepthError: the decoder has too few stages.
    """

    def __init__(self, channels: Mapping[str, int], count: int) -> None:
        super().__init__()
        strides = sorted(int(name.removeprefix("stride")) for name in channels if name.startswith("stride"))
        earlier = strides[1 : count + 1]
        if len(earlier) < count:
            raise NasdepthError(
                f"intermediate.weights: are for {count} earlier decoder stages, but this network has "
                f"{len(strides) - 1} before its last; give {len(strides)} weights or fewer"
            )
        self.layers = [f"stride{stride}" for stride in earlier]
        heads = {layer: nn.Conv2d(channels[layer], 1, 1) for layer in self.layers}
        for head in heads.values():
            start_at_typical_depth(head)
        self.heads = nn.ModuleDict(heads)

    def forward(
        self, features: Mapping[str, torch.Tensor], scale_mm: torch.Tensor, out_hw: tuple[int, int]
    ) -> list[torch.Tensor]:
        """(B, 1, *out_hw) depth in millimetres of each stage, bilinear."""
        coarse = (F.relu(self.heads[layer](features[layer].float())) * scale_mm for layer in self.layers)
        return [upsample(one, out_hw, "bilinear") for one in coarse]


class StepInputs:
    """Runs the network once on a batch and puts together what the objective may ask for.

    What a batch's kind does not give stays None; `Objective.fed` says which terms it feeds.

    Args:
        companions: trained along with the network: "pose" (a `PoseNet`) for video, "intermediate".
        compiled: run the network through `torch.compile`.
    """

    def __init__(
        self,
        model: AnyNetwork,
        recipe: Recipe,
        objective: Objective,
        companions: nn.ModuleDict,
        *,
        compiled: bool = False,
    ) -> None:
        self.model = model
        self.recipe = recipe
        self.needs = objective.needs
        self.companions = companions
        network = model.features if "features" in self.needs or INTERMEDIATE in companions else model.decode
        self._network = torch.compile(network) if compiled else network

    def __call__(
        self, batch: Batch, generator: torch.Generator | None = None
    ) -> tuple[LossInputs, list[torch.Tensor]]:
        """The inputs of the losses, and the predictions of earlier decoder stages.

        Everything is at `recipe.loss_hw`. The network runs in bfloat16 if the recipe says so for this kind of
        device; the head, the predictions and the losses are float32 anyway.

        Args:
            batch: on the network's device.
            generator: where the losses take their random numbers from.
        """
        device, loss_hw = batch.rgb.device, self.recipe.loss_hw
        bf16 = self.recipe.bf16 if device.type == "cuda" else self.recipe.cpu_bf16
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            output: Any = self._network(batch.rgb)
        features = output if isinstance(output, dict) else {PENULTIMATE: output}
        # millimetres do not fit into bfloat16's eight bits
        pred_mm = self.model.predict(features[PENULTIMATE].float(), loss_hw)
        intermediate_mm = []
        if INTERMEDIATE in self.companions:
            intermediate_mm = self.companions[INTERMEDIATE](features, self.model.scale_mm, loss_hw)
        given = {
            "pred_mm": pred_mm,
            "features": features,
            "teacher_mm": batch.teacher_mm,
            "teacher_features": batch.teacher_features,
            "labels": batch.labels,
            "generator": generator,
        }
        return LossInputs(**(given | self._supervision(batch, pred_mm))), intermediate_mm

    def _supervision(self, batch: Batch, pred_mm: torch.Tensor) -> dict[str, Any]:
        loss_hw = self.recipe.loss_hw
        if batch.kind == "video" and POSE in self.companions:
            return video_inputs(batch, pred_mm, cast(PoseNet, self.companions[POSE]), loss_hw)
        picture = {}
        if "rgb" in self.needs:
            small = F.interpolate(
                batch.rgb, size=loss_hw, mode="bilinear", antialias=True, align_corners=False
            )
            picture = {"rgb": small}
        match batch.kind:
            case "metric":
                dense = {"target_mm": batch.target, "mask": batch.mask, "intrinsics": batch.intrinsics}
                return picture | dense
            case "relative":
                return picture | relative_inputs(batch)
            case "ordinal":
                return picture | {"pairs": ordinal_inputs(batch, loss_hw)}
        return picture


def check_supply(inputs: StepInputs, objective: Objective, probes: Sequence[tuple[str, Batch]]) -> None:
    """Hold what the objective asks for against what each data set of a training gives.

    Args:
        probes: the name of each data set, and a batch of it.

    Raises:
        NasdepthError: a term that no data set feeds, or a data set that feeds no term; both are named.
    """
    supply = [(name, batch.kind, inputs(batch)[0]) for name, batch in probes]
    feeding = [objective.fed(given) for _, _, given in supply]
    shown = ", ".join(f"{name} ({kind})" for name, kind, _ in supply)
    for term, wanted in objective.terms.items():
        if not any(term in fed for fed in feeding):
            # of the data set that comes nearest
            absent = min((wanted.absent(given) for *_, given in supply), key=len)
            raise NasdepthError(
                f"loss.{term}: needs {', '.join(absent)}, which no data set of this training gives: {shown}; "
                f"{_mend(absent)}"
            )
    for (name, kind, _), fed in zip(supply, feeding, strict=True):
        if not fed:
            raise NasdepthError(
                f"mixture: {name} ({kind}) feeds none of the loss terms {', '.join(objective.terms)}; "
                "leave it out, or add a term for it to `loss`"
            )


def _mend(absent: Sequence[str]) -> str:
    hints = {
        "teacher_mm": "name a teacher (teacher.model, or `teacher`)",
        "teacher_features": "name a teacher (teacher.model, or `teacher`) and its layers (teacher.layers)",
        "poses": "give the recipe a `pose` section, and a video data set",
        "labels": "give a data set with labels",
        "pairs": "add a data set of ordinal pairs to `mixture`",
        "inverse": "add a data set of relative depth to `mixture`",
        "target_mm": "add a data set with metric depth to `mixture`",
        "intrinsics": "set the term's horizontal_fov_deg, or add a video data set",
    }
    fitting = [hint for field, hint in hints.items() if field in absent]
    return ", or ".join([*fitting[:1], "take the term out of the recipe"])
