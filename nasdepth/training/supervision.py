"""From a batch to what the losses of its kind need: ordinal pairs, relative depth, self-supervised video."""

from __future__ import annotations

from typing import Any

import torch

from nasdepth.training.batches import Batch
from nasdepth.training.losses.ordinal import OrdinalPairs
from nasdepth.training.losses.registry import given
from nasdepth.training.pose import PoseNet, invert_motion

# stored values reach up to here; losses take numbers of the order of 1
_STORED_MAX = torch.iinfo(torch.uint16).max


def ordinal_inputs(batch: Batch, loss_hw: tuple[int, int]) -> OrdinalPairs:
    """The pairs of an ordinal batch in pixels of the loss's resolution, the nearest one to each point.

    A pair whose ends fall on one pixel says nothing there, unless that they are equal; it is left out.

    Args:
        batch: a batch of kind "ordinal".
        loss_hw: height and width of the prediction.
    """
    points = given(batch.points)
    size = torch.tensor([*loss_hw, *loss_hw], device=points.device, dtype=torch.float64)
    pixels = (points.double() * size).long()
    first, second = pixels[..., :2], pixels[..., 2:]
    relation = given(batch.relation).long()
    apart = (first != second).any(2) | (relation == 0)
    return OrdinalPairs(first, second, relation, given(batch.pair_mask) & apart)


def relative_inputs(batch: Batch) -> dict[str, Any]:
    """Make `inverse`, `inverse_mask` and `space` of `LossInputs` from a batch of relative depth, on 0-1.

    Disparity up to scale and shift is compared with predicted inverse depth. Depth up to scale and *shift* is
    compared with predicted depth: 1 / (s d + t) with unknown t is no affine function of inverse depth, so
    there is nothing that could be inverted.

    Args:
        batch: a batch of kind "relative".
    """
    return {"inverse": given(batch.target) / _STORED_MAX, "inverse_mask": batch.mask, "space": batch.space}


def video_inputs(
    batch: Batch, pred_mm: torch.Tensor, pose_net: PoseNet, loss_hw: tuple[int, int]
) -> dict[str, torch.Tensor]:
    """Make `rgb`, `sources`, `poses` and `intrinsics` of `LossInputs` from a video batch, at the loss's size.

    The middle frame is the target, the one before and the one after are the sources. The pose network sees
    the frames in changed colours and in the order of time; the motion to the previous frame is the inverse of
    what it says (Monodepth2). The losses see true colours.

    Args:
        batch: a batch of kind "video".
        pred_mm: (B, 1, *loss_hw) the middle frames' predicted depth, whose unit the poses share.
        loss_hw: height and width of the prediction.

    Returns:
        rgb (B, 3, *loss_hw), sources (B, 2, 3, *loss_hw) on 0-255; poses (B, 2, 4, 4), translation in
        millimetres; intrinsics (B, 3, 3). All float32.
    """
    if tuple(pred_mm.shape[2:]) != tuple(loss_hw):
        raise ValueError(f"pred_mm is {tuple(pred_mm.shape[2:])}; it must be of the loss's size {loss_hw}")
    before, middle, after = given(batch.changed_frames).unbind(1)
    frames = given(batch.frames)
    # one pass of the network for both pairs
    there = pose_net(torch.cat([before, middle]), torch.cat([middle, after]))
    to_middle, to_after = there.chunk(2)
    return {
        "rgb": frames[:, 1],
        "sources": frames[:, [0, 2]],
        "poses": torch.stack([invert_motion(to_middle), to_after], 1),
        "intrinsics": given(batch.intrinsics),
    }
