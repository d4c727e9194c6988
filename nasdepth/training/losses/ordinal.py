"""Ranking losses: which of two points is farther away."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F

from nasdepth.errors import DataError
from nasdepth.training.losses._masks import batch_mean, check_maps, filled, full_precision
from nasdepth.training.losses.scale_invariant import log_depth
from nasdepth.training.losses.virtual_normal import known_pixels

Space = Literal["disparity", "depth"]
RankingForm = Literal["logistic", "robust"]

_TAU = 0.25
"""MegaDepth's tau: from this much of a wrong order on, the robust form grows with its root."""

FARTHER, EQUAL, CLOSER = 1, 0, -1
"""The first point of a pair is deeper than the second, as deep, or less deep."""


@dataclass(frozen=True)
class OrdinalPairs:
    """Pairs of points (A, B) with their order in depth.

    Attributes:
        first, second: (B, K, 2) int64 row and column of A and of B.
        relation: (B, K) integer: FARTHER (1) where A is deeper than B, CLOSER (-1) where B is, EQUAL (0).
        known: (B, K) bool, False where a row is padding; its points may be anything.
    """

    first: torch.Tensor
    second: torch.Tensor
    relation: torch.Tensor
    known: torch.Tensor

    def to(self, device: torch.device | str) -> OrdinalPairs:
        """The pairs on another device."""
        return OrdinalPairs(*(getattr(self, name).to(device) for name in self.__dataclass_fields__))

    def check(self, hw: tuple[int, int]) -> None:
        """Raise DataError, naming image, pair and point, where a known pair is outside of (height, width).

        Meant for where pairs are read: on a GPU it waits for the device.
        """
        size = torch.tensor(hw, device=self.first.device)
        for name in ("first", "second"):
            points = getattr(self, name)
            outside = self.known & ((points < 0) | (points >= size)).any(2)
            if outside.any():
                image, pair = outside.nonzero()[0].tolist()
                raise DataError(
                    f"image {image}, pair {pair}: the {name} point (row, column) "
                    f"{tuple(points[image, pair].tolist())} is outside of the {hw[0]}x{hw[1]} image"
                )
        odd = self.known & (self.relation.abs() > 1)
        if odd.any():
            image, pair = odd.nonzero()[0].tolist()
            raise DataError(
                f"image {image}, pair {pair}: relation {self.relation[image, pair].item()} is none of "
                f"{CLOSER} (first is closer), {EQUAL}, {FARTHER} (first is farther)"
            )


@full_precision
def ranking_loss(
    pred_mm: torch.Tensor, pairs: OrdinalPairs, *, drop: float = 0.0, form: RankingForm = "logistic"
) -> torch.Tensor:
    """Ranking loss of z = ln depth (Chen et al. 2016, "Depth in the Wild", arXiv:1604.03901).

    ln(1 + exp(-r (z_A - z_B))) for r = 1 (A is farther) or -1 (A is closer), (z_A - z_B)^2 for r = 0. The
    paper writes r = 1 for a *closer* A, which fits a z that grows towards the camera; here z is ln depth, and
    r = 1 makes z_A grow. ln depth makes the loss independent of the depth's unit and scale.

    Per image the mean over known pairs; then over the images that have any.

    Args:
        pred_mm: (B, 1, H, W) depth in millimetres; pixels of no pair have no influence.
        drop: share of each image's unequal pairs, those with the smallest loss, that is left out. ReDWeb
            (Xian et al. 2018): 0.25 (recalled).
        form: "logistic" is the above. "robust" is MegaDepth's ordinal loss (Li & Snavely 2018,
            arXiv:1804.00607, eq. 6): with P = -r (z_A - z_B) it is ln(1 + exp(P)) up to P = 0.25, and
            ln(1 + exp(sqrt(P))) beyond, less what makes the two meet there, so that wrong labels pull less.
    """
    if not pairs.known.is_cuda:
        pairs.check((pred_mm.shape[2], pred_mm.shape[3]))
    gap = _sampled(pred_mm, pairs.first, pairs.known) - _sampled(pred_mm, pairs.second, pairs.known)
    relation = torch.where(pairs.known, pairs.relation, 0)
    penalty = F.softplus if form == "logistic" else _robust
    per_pair = torch.where(relation == 0, gap**2, penalty(-relation * gap))
    counted = pairs.known
    if drop:
        unequal = counted & (relation != 0)
        rank = torch.where(unequal, per_pair.detach(), torch.inf).argsort(1).argsort(1)
        easiest = rank < (drop * unequal.sum(1)).floor()[:, None]
        counted = counted & ~(easiest & unequal)
    per_image = torch.where(counted, per_pair, 0.0).sum(1) / counted.sum(1).clamp_min(1)
    return batch_mean(per_image, pairs.known.any(1))


def _robust(wrong: torch.Tensor) -> torch.Tensor:
    """MegaDepth's penalty of P = -r (z_A - z_B)."""
    beyond = wrong > _TAU
    # the branch not taken is kept where its root has a finite gradient: 0 * infinity is NaN
    root = torch.where(beyond, wrong, _TAU).sqrt()
    step = math.log1p(math.exp(_TAU)) - math.log1p(math.exp(math.sqrt(_TAU)))
    return torch.where(beyond, F.softplus(root) + step, F.softplus(wrong))


@full_precision
def pairs_from_depth(
    target_mm: torch.Tensor,
    mask: torch.Tensor,
    count: int,
    *,
    ratio: float = 0.02,
    generator: torch.Generator | None = None,
) -> OrdinalPairs:
    """Random pairs with their order, from depth (ReDWeb, Xian et al. 2018).

    A is farther where d_A / d_B >= 1 + ratio, closer where d_B / d_A is; equal in between. Pairs of one pixel
    with itself, and those of images without a known pixel, are marked as not known.

    Args:
        target_mm: (B, 1, H, W) depth in millimetres, at least 1 where known.
        mask: (B, 1, H, W) bool, True where the target is known.
        count: pairs per image.
    """
    check_maps(mask, target_mm=target_mm)
    (target_mm,) = filled(mask, target_mm)
    return _drawn_pairs(log_depth(target_mm), mask, count, ratio, generator)


@full_precision
def pairs_from_relative(
    values: torch.Tensor,
    mask: torch.Tensor,
    count: int,
    *,
    space: Space,
    ratio: float = 0.02,
    generator: torch.Generator | None = None,
) -> OrdinalPairs:
    """Random pairs with their order, from maps of unknown scale and shift (ReDWeb, Xian et al. 2018).

    The order is that of the values' ratio, as in `pairs_from_depth`, and reversed for disparity. The ratio is
    of the values as they are stored, which begin just above 0 in every image: with an unknown shift it is
    ReDWeb's convention for what counts as equal, no property of the scene.

    Args:
        values: (B, 1, H, W) disparity or depth, above 0 where known.
        mask: (B, 1, H, W) bool, True where the value is known.
        count: pairs per image. ReDWeb: 3000.
        space: which of the two `values` are.
        ratio: how many times larger, less 1, one value must be than the other not to count as equal.
    """
    check_maps(mask, values=values)
    (values,) = filled(mask, values)
    logs = values.clamp_min(torch.finfo(values.dtype).tiny).log()
    return _drawn_pairs(logs if space == "depth" else -logs, mask, count, ratio, generator)


def _drawn_pairs(
    logs: torch.Tensor, mask: torch.Tensor, count: int, ratio: float, generator: torch.Generator | None
) -> OrdinalPairs:
    """Pairs of known pixels; the first is farther where its `logs` exceeds the second's by ln(1 + ratio)."""
    first, second = known_pixels(mask, 2 * count, generator).chunk(2, 1)
    logs = logs.flatten(1)
    gap = logs.gather(1, first) - logs.gather(1, second)
    bound = torch.tensor(1 + ratio, dtype=gap.dtype).log().item()
    relation = (gap >= bound).long() - (gap <= -bound).long()
    width = mask.shape[3]
    return OrdinalPairs(
        torch.stack([first // width, first % width], 2),
        torch.stack([second // width, second % width], 2),
        relation,
        (first != second) & mask.flatten(1).any(1, keepdim=True),
    )


def _sampled(depth_mm: torch.Tensor, points: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    flat = torch.where(known, points[..., 0] * depth_mm.shape[3] + points[..., 1], 0)
    picked = depth_mm.flatten(1).gather(1, flat)
    return log_depth(torch.where(known, picked, 1.0))
