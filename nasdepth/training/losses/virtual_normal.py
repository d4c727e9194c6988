"""Virtual normals: the planes through random triples of points must lie as the target's do."""

from __future__ import annotations

from typing import Literal

import torch

from nasdepth.training.losses._masks import batch_mean, check_maps, filled, full_precision, image_any
from nasdepth.training.losses.geometry import backproject

FilterOn = Literal["target", "prediction"]

_MM_PER_M = 1000.0
# square metres; keeps the normal of a triple that a prediction makes collinear differentiable
_AREA_EPSILON = 1e-6


@full_precision
def virtual_normal_loss(
    pred_mm: torch.Tensor,
    target_mm: torch.Tensor,
    mask: torch.Tensor,
    intrinsics: torch.Tensor,
    *,
    triples: float = 0.15,
    max_cosine: float = 0.867,
    min_edge_m: float = 0.1,
    drop: float = 0.25,
    filter_on: FilterOn = "target",
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    """Virtual normal loss (Yin et al. 2019, arXiv:1907.12209).

    Triples of known pixels are drawn at random. One is left out where any two of its edges are within
    acos(max_cosine), 30 degrees, of parallel, or an edge is shorter than `min_edge_m`. L1 between the unit
    normals, summed over x, y and z; per image the smallest `drop` of the triples' losses are left out and the
    rest averaged; then the mean over the images that have a triple left.

    Args:
        pred_mm, target_mm: (B, 1, H, W) depth in millimetres.
        mask: (B, 1, H, W) bool, True where the target is known.
        intrinsics: (B, 3, 3) in pixels of this resolution; see `geometry.rescale_intrinsics`.
        triples: how many are drawn per image, as a share of H * W.
        filter_on: where edges are judged: in the "target", so that what a prediction does cannot decide where
            it is judged; or in the "prediction", as LiteDepth (Li et al. 2022) does.
        generator: where randomness comes from; torch's own where None. As many numbers are drawn whatever the
            mask is.
    """
    check_maps(mask, pred_mm=pred_mm, target_mm=target_mm)
    pred_mm, target_mm = filled(mask, pred_mm, target_mm)
    count = max(1, round(triples * mask.shape[2] * mask.shape[3]))
    chosen = known_pixels(mask, 3 * count, generator)
    pred = _triples(pred_mm / _MM_PER_M, intrinsics, chosen)
    target = _triples(target_mm / _MM_PER_M, intrinsics, chosen)
    judged = target if filter_on == "target" else pred.detach()
    usable = _well_shaped(judged, max_cosine, min_edge_m) & image_any(mask)[:, None]
    per_triple = (_normals(pred) - _normals(target)).abs().sum(2)
    # what is not usable goes to the end of each image's row, the losses before it fall
    ordered, order = torch.where(usable, per_triple, -1.0).sort(1, descending=True)
    left = usable.sum(1)
    kept = torch.arange(count, device=left.device) < (left - (drop * left).floor().long())[:, None]
    kept = kept & usable.gather(1, order)
    per_image = torch.where(kept, ordered, 0.0).sum(1) / kept.sum(1).clamp_min(1)
    return batch_mean(per_image, left > 0)


def known_pixels(mask: torch.Tensor, count: int, generator: torch.Generator | None) -> torch.Tensor:
    """(B, count) flat indices of known pixels of (B, 1, H, W), drawn evenly with repetition.

    An image without a known pixel gets any index.
    """
    device = generator.device if generator is not None else "cpu"
    drawn = torch.rand(len(mask), count, generator=generator, device=device, dtype=torch.float64)
    running = mask.flatten(1).long().cumsum(1)
    known = running[:, -1:]
    # the n-th known pixel is the first at which the running count reaches n
    nth = (drawn.to(mask.device) * known).floor().long().clamp_max((known - 1).clamp_min(0)) + 1
    return torch.searchsorted(running, nth).clamp_max(running.shape[1] - 1)


def _triples(depth_m: torch.Tensor, intrinsics: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """(B, count, 3 coordinates, 3 points)."""
    points = backproject(depth_m, intrinsics).flatten(2)
    picked = points.gather(2, chosen[:, None].expand(-1, 3, -1))
    return picked.unflatten(2, (-1, 3)).transpose(1, 2)


def _edges(triples: torch.Tensor) -> torch.Tensor:
    """(B, count, 3 coordinates, 3 edges): first to second, first to third, second to third point."""
    return torch.stack(
        [
            triples[..., 1] - triples[..., 0],
            triples[..., 2] - triples[..., 0],
            triples[..., 2] - triples[..., 1],
        ],
        -1,
    )


def _well_shaped(triples: torch.Tensor, max_cosine: float, min_edge_m: float) -> torch.Tensor:
    edges = _edges(triples)
    lengths = edges.norm(dim=2)
    long_enough = (lengths >= min_edge_m).all(2)
    unit = edges / lengths.clamp_min(torch.finfo(edges.dtype).tiny)[:, :, None]
    cosines = [(unit[..., a] * unit[..., b]).sum(2).abs() for a, b in ((0, 1), (0, 2), (1, 2))]
    return long_enough & (torch.stack(cosines, 2) <= max_cosine).all(2)


def _normals(triples: torch.Tensor) -> torch.Tensor:
    edges = _edges(triples)
    normal = torch.linalg.cross(edges[..., 0], edges[..., 1], dim=2)
    return normal / (normal.square().sum(2, keepdim=True) + _AREA_EPSILON**2).sqrt()
