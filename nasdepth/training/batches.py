"""Batches of every kind of supervision, made from a mixture's steps by threads ahead of the training."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from functools import partial
from itertools import islice
from typing import Any, Protocol

import numpy as np
import torch

from nasdepth.data.mixture import Step
from nasdepth.data.splits import OrdinalSplit, RelativeSplit, VideoSplit
from nasdepth.data.store import DepthSplit, ImageSplit
from nasdepth.training.augment import (
    Augmentation,
    change_colours,
    change_colours_on_device,
    cut_depth,
    disturb,
    draw_views,
)
from nasdepth.training.geometry import (
    View,
    move_pairs,
    sample_nearest,
    sample_rgb,
    sample_smooth,
    sample_sparse,
    view_intrinsics,
)
from nasdepth.training.resident import ResidentSplit


@dataclass(frozen=True)
class Batch:
    """One augmented batch; what its `kind` does not have is None.

    Attributes:
        kind: "metric", "ordinal", "relative" or "video".
        step: its place in the training and its data set.
        rgb: (B, 3, *input_hw) float32 on 0-255, channels last; for video the middle frames.
        target: metric: depth in mm, relative: disparity or depth up to scale and shift; (B, 1, *loss_hw)
            float32, 0 where unknown.
        mask: (B, 1, *loss_hw) bool, where `target` is known.
        space: relative only, "disparity" (larger is nearer) or "depth".
        points: ordinal, (B, P, 4) float32, y_A x_A y_B x_B as shares of height and width.
        relation: ordinal, (B, P) float32, +1 where A is farther, -1 where it is nearer, 0 for equal.
        pair_mask: ordinal, (B, P) bool; the rest is padding, or left the crop.
        frames: video, (B, 3, 3, *loss_hw) float32: previous, middle, next, in true colours (for the loss).
        changed_frames: video, (B, 3, 3, *input_hw), in changed colours (for the pose network).
        intrinsics: video, and metric where an `Extra` knows the camera: (B, 3, 3) float32 in pixels of
            loss_hw, first centre at (0, 0).
        teacher_mm: (B, 1, *loss_hw) float32, a teacher's depth in mm.
        teacher_features: a teacher's features of the same views by layer, each (B, C, h, w).
        labels: (B, 1, *loss_hw) int64, segmentation classes, negative where unknown.
    """

    kind: str
    step: Step
    rgb: torch.Tensor
    target: torch.Tensor | None = None
    mask: torch.Tensor | None = None
    space: str | None = None
    points: torch.Tensor | None = None
    relation: torch.Tensor | None = None
    pair_mask: torch.Tensor | None = None
    frames: torch.Tensor | None = None
    changed_frames: torch.Tensor | None = None
    intrinsics: torch.Tensor | None = None
    teacher_mm: torch.Tensor | None = None
    teacher_features: Mapping[str, torch.Tensor] | None = None
    labels: torch.Tensor | None = None

    def to(self, device: torch.device | str) -> Batch:
        """Copy the batch to another device; copies from pinned memory overlap with computation."""
        return self._mapped(lambda tensor: tensor.to(device, non_blocking=True))

    def pin(self) -> Batch:
        """Copy the batch into page-locked memory; what is on a GPU already stays there."""
        return self._mapped(lambda tensor: tensor if tensor.is_cuda else tensor.pin_memory())

    def _mapped(self, function: Callable[[torch.Tensor], torch.Tensor]) -> Batch:
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        mapped: dict[str, Any] = {n: function(v) for n, v in values.items() if isinstance(v, torch.Tensor)}
        if self.teacher_features is not None:
            mapped["teacher_features"] = {n: function(v) for n, v in self.teacher_features.items()}
        return replace(self, **mapped)


class Extra(Protocol):
    """A source of what batches get besides images and depth: a teacher's outputs, labels, a camera.

    One that can change under the same recipe has a `fingerprint`, which a resumed training compares.
    """

    def __call__(
        self, split: ImageSplit, indices: np.ndarray, views: list[View], loss_hw: tuple[int, int]
    ) -> Mapping[str, Any]:
        """Fields of `Batch` for these items, seen in the same views as their images; empty for a split that
        it has nothing for. Called in several threads at once."""


def make_batch(
    step: Step,
    augmentation: Augmentation,
    input_hw: tuple[int, int],
    loss_hw: tuple[int, int],
    extras: Sequence[Extra] = (),
    residents: Mapping[ImageSplit, ResidentSplit] | None = None,
) -> Batch:
    """Load and augment one step's images: a function of its arguments alone, safe in any thread.

    Args:
        input_hw: the network's input size; the loop need not resize again.
        loss_hw: the height and width at which prediction and target are compared.
        extras: what else goes into the batch; they are asked one after the other.
        residents: splits whose pixels are on a device, where a batch of theirs is then made. It shows the
            same views in the same colours; `ResidentSplit.sample_rgb` says in what its pixels differ.
    """
    split, indices, rng = step.split, step.indices, step.rng()
    if isinstance(split, VideoSplit):
        # photometric matching needs an upright camera
        augmentation = augmentation.model_copy(update={"rotation_degrees": 0.0})
    views = draw_views(split.hw, len(indices), augmentation, rng)
    resident = (residents or {}).get(split)
    if resident is not None:
        batch = _resident_batch(resident, step, views, augmentation, input_hw, loss_hw, rng)
    else:
        make = _video_batch if isinstance(split, VideoSplit) else _image_batch
        batch = make(step, views, augmentation, input_hw, loss_hw, rng)
    for extra in extras:
        batch = replace(batch, **extra(split, indices, views, loss_hw))
    return batch


def batches(
    steps: Iterable[Step],
    augmentation: Augmentation,
    input_hw: tuple[int, int],
    loss_hw: tuple[int, int],
    *,
    extras: Sequence[Extra] = (),
    residents: Mapping[ImageSplit, ResidentSplit] | None = None,
    workers: int = 0,
    device: torch.device | str = "cpu",
) -> Iterator[Batch]:
    """Batches of `steps` in their order, the same ones whatever the number of workers.

    Args:
        residents: the splits whose pixels are on the device; see `make_batch`.
        workers: threads that work ahead (two batches each); 0 makes each batch when it is asked for, which is
            right where the training itself keeps every core busy.
        device: the device that the batches end on; those for a GPU pass through pinned memory.
    """
    device = torch.device(device)
    make = partial(_make_for, device, augmentation, input_hw, loss_hw, extras, residents or {})
    if workers == 0:
        for step in steps:
            yield make(step).to(device)
        return
    steps = iter(steps)
    with ThreadPoolExecutor(workers, thread_name_prefix="batches") as pool:
        waiting = deque(pool.submit(make, step) for step in islice(steps, 2 * workers))
        try:
            while waiting:
                ready = waiting.popleft().result()
                waiting.extend(pool.submit(make, step) for step in islice(steps, 1))
                yield ready.to(device)
        finally:
            for future in waiting:
                future.cancel()


def _make_for(
    device: torch.device,
    augmentation: Augmentation,
    input_hw: tuple[int, int],
    loss_hw: tuple[int, int],
    extras: Sequence[Extra],
    residents: Mapping[ImageSplit, ResidentSplit],
    step: Step,
) -> Batch:
    batch = make_batch(step, augmentation, input_hw, loss_hw, extras, residents)
    return batch.pin() if device.type == "cuda" else batch


def _image_batch(
    step: Step,
    views: list[View],
    augmentation: Augmentation,
    input_hw: tuple[int, int],
    loss_hw: tuple[int, int],
    rng: np.random.Generator,
) -> Batch:
    split, indices = step.split, step.indices
    rgb = _sampled([split.rgb_view(index) for index in indices], views, input_hw)
    rgb = disturb(change_colours(rgb, augmentation, rng), augmentation, rng)
    if isinstance(split, OrdinalSplit):
        return Batch(split.kind, step, rgb, **_pairs(split, indices, views))
    target = torch.from_numpy(_targets(split, indices, views, loss_hw))
    rgb = cut_depth(rgb, target, augmentation, rng)
    return Batch(split.kind, step, rgb, target, _known(split, target), getattr(split, "space", None))


def _resident_batch(
    resident: ResidentSplit,
    step: Step,
    views: list[View],
    augmentation: Augmentation,
    input_hw: tuple[int, int],
    loss_hw: tuple[int, int],
    rng: np.random.Generator,
) -> Batch:
    rgb = resident.sample_rgb(step.indices, views, input_hw)
    rgb = disturb(change_colours_on_device(rgb, augmentation, rng), augmentation, rng)
    target = resident.sample_depth(step.indices, views, loss_hw)
    rgb = cut_depth(rgb, target, augmentation, rng)
    return Batch(step.split.kind, step, rgb, target, _known(step.split, target))


def _known(split: ImageSplit, target: torch.Tensor) -> torch.Tensor:
    # the challenge counts 1 mm as unknown
    return target > (1 if split.kind == "metric" else 0)


def _sampled(
    images: list[np.ndarray],
    views: list[View],
    hw: tuple[int, int],
    sample: Callable[[np.ndarray, View, tuple[int, int]], np.ndarray] = sample_rgb,
) -> torch.Tensor:
    """uint8 (N, 3, *hw), channels last."""
    rgb = np.empty((len(images), *hw, 3), np.uint8)
    for place, (image, view) in enumerate(zip(images, views, strict=True)):
        rgb[place] = sample(image, view, hw)
    return torch.from_numpy(rgb).permute(0, 3, 1, 2)


def _targets(
    split: ImageSplit, indices: np.ndarray, views: list[View], loss_hw: tuple[int, int]
) -> np.ndarray:
    targets = np.empty((len(indices), 1, *loss_hw), np.float32)
    for place, (index, view) in enumerate(zip(indices, views, strict=True)):
        if isinstance(split, RelativeSplit):
            targets[place, 0] = sample_nearest(split.value_view(index), view, loss_hw)
        else:
            assert isinstance(split, DepthSplit)
            sample = sample_sparse if split.sparse else sample_nearest
            targets[place, 0] = sample(split.depth_view(index), view, loss_hw)
    return targets


def _pairs(split: OrdinalSplit, indices: np.ndarray, views: list[View]) -> dict[str, Any]:
    of_images = [split.pairs(index) for index in indices]
    most = max(len(pairs.relation) for pairs in of_images)
    points = np.zeros((len(indices), most, 4), np.float32)
    relation = np.zeros((len(indices), most), np.float32)
    inside = np.zeros((len(indices), most), dtype=bool)
    for place, (pairs, view) in enumerate(zip(of_images, views, strict=True)):
        own = slice(len(pairs.relation))
        points[place, own], inside[place, own] = move_pairs(pairs.points, view)
        relation[place, own] = pairs.relation
    points[~inside] = 0
    return {
        "points": torch.from_numpy(points),
        "relation": torch.from_numpy(relation),
        "pair_mask": torch.from_numpy(inside),
    }


def _video_batch(
    step: Step,
    views: list[View],
    augmentation: Augmentation,
    input_hw: tuple[int, int],
    loss_hw: tuple[int, int],
    rng: np.random.Generator,
) -> Batch:
    split, indices = step.split, step.indices
    assert isinstance(split, VideoSplit)
    frames = [frame for index in indices for frame in split.frame_views(index)]
    cameras = [
        view_intrinsics(split.intrinsics(index), view, loss_hw)
        for index, view in zip(indices, views, strict=True)
    ]
    of_frames = [view for view in views for _ in range(3)]
    # what is matched is low-passed, what becomes depth is sampled as the deployed network samples
    smooth = _sampled(frames, of_frames, input_hw, sample_smooth).unflatten(0, (-1, 3))
    plain = _sampled(frames[1::3], views, input_hw)
    changed = torch.cat([smooth, plain[:, None]], 1).flatten(0, 1)
    changed = changed.contiguous(memory_format=torch.channels_last)
    changed = disturb(change_colours(changed, augmentation, rng, frames=4), augmentation, rng)
    changed = changed.unflatten(0, (-1, 4))
    return Batch(
        split.kind,
        step,
        changed[:, 3].contiguous(memory_format=torch.channels_last),
        frames=_sampled(frames, of_frames, loss_hw, sample_smooth).float().unflatten(0, (-1, 3)),
        changed_frames=changed[:, :3],
        intrinsics=torch.from_numpy(np.stack(cameras)),
    )
