"""What a student learns from a teacher: its output, its features, how they relate, where they look.

Teachers are frozen: no gradient passes to them. All feature losses take an optional mask of positions and
average per image over what it keeps, then over the images that keep any.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

from nasdepth.training.losses._masks import batch_mean, full_precision, image_any, image_means
from nasdepth.training.losses.pointwise import l1_loss, mse_loss, rmse_loss
from nasdepth.training.losses.scale_invariant import sig_loss

# squared length below which a feature vector counts as 0
_DARK = 1e-16

OutputForm = Literal["sig", "l1", "mse", "rmse"]
_LINEAR = {"l1": l1_loss, "mse": mse_loss, "rmse": rmse_loss}
AffinityForm = Literal["smart", "liu", "litedepth"]


class Projection(nn.Conv2d):
    """A learned 1 x 1 convolution from a student's channels to a teacher's, thrown away after training."""

    def __init__(self, student_channels: int, teacher_channels: int) -> None:
        super().__init__(student_channels, teacher_channels, 1)


def output_distillation_loss(
    pred_mm: torch.Tensor,
    teacher_mm: torch.Tensor,
    mask: torch.Tensor,
    variance: float = 1.0,
    form: OutputForm = "sig",
) -> torch.Tensor:
    """Compare a prediction with a teacher's depth.

    Args:
        pred_mm, teacher_mm: (B, 1, H, W) depth in millimetres.
        mask: (B, 1, H, W) bool, True where the teacher counts.
        variance: of the form "sig"; at 1 the teacher's scale is free.
        form: "sig" is `sig_loss`, of ln depth; "l1", "mse" (Weichi, 2021) and "rmse" (Samsung, 2021) are of
            linear depth in metres.
    """
    teacher_mm = teacher_mm.detach()
    if form == "sig":
        return sig_loss(pred_mm, teacher_mm, mask, variance)
    return _LINEAR[form](pred_mm, teacher_mm, mask)


@full_precision
def feature_l2_loss(
    student: torch.Tensor, teacher: torch.Tensor, mask: torch.Tensor | None = None
) -> torch.Tensor:
    """Mean squared difference of (B, C, h, w) features, the student's already projected.

    The mean is over channels and positions in `mask`, (B, 1, h, w) bool.
    """
    _check_alike(student, teacher)
    mask = _positions(student, mask)
    student, teacher = (torch.where(mask, one, 0.0) for one in (student, teacher.detach()))
    return batch_mean(image_means((student - teacher).square().mean(1, keepdim=True), mask), image_any(mask))


@full_precision
def affinity_loss(
    student: torch.Tensor,
    teacher: torch.Tensor,
    mask: torch.Tensor | None = None,
    *,
    form: AffinityForm = "litedepth",
    patch: int = 1,
) -> torch.Tensor:
    """Pairwise affinity: squared difference of the cosines between all pairs of positions.

    Args:
        student, teacher: (B, Cs, h, w) and (B, Ct, h, w).
        mask: (B, 1, h, w) bool, positions that count.
        form: what the sum over all ordered pairs (i, j), i = j included, of an image is divided by. "smart":
            the number of positions n (SMART, 2021). "liu": n^2, and the features' norms pass no gradient
            (Liu et al. 2019, arXiv:1903.04197). "litedepth": the number of valid pairs, which is n^2
            too, norms with their gradient. n counts positions in the mask.
        patch: positions of patch x patch are max-pooled to one first, over those in the mask (Liu).
    """
    if student.shape[0] != teacher.shape[0] or student.shape[2:] != teacher.shape[2:]:
        raise ValueError(
            f"student features {tuple(student.shape)} and teacher features {tuple(teacher.shape)} differ in "
            "batch or size; resize the teacher's"
        )
    mask = _positions(student, mask)
    student, teacher = (
        _cosines(*_pooled(one, mask, patch), detached=form == "liu") for one in (student, teacher.detach())
    )
    kept = _pooled_mask(mask, patch).flatten(1)
    sums = (student - teacher).square().sum((1, 2))
    count = kept.sum(1).clamp_min(1)
    return batch_mean(sums / (count if form == "smart" else count**2), kept.any(1))


@full_precision
def channelwise_loss(
    student: torch.Tensor, teacher: torch.Tensor, mask: torch.Tensor | None = None, temperature: float = 4.0
) -> torch.Tensor:
    """Channel-wise distillation (Shu et al. 2021, arXiv:2011.13256).

    Each channel is a distribution over positions, softmax(x / tau); KL(teacher || student) tau^2 averaged
    over channels and images.

    Args:
        student, teacher: (B, C, h, w), the student's already projected.
        mask: (B, 1, h, w) bool, positions over which the distributions are taken.
    """
    _check_alike(student, teacher)
    mask = _positions(student, mask)
    known = image_any(mask)
    logs = []
    for one in (student, teacher.detach()):
        logits = torch.where(mask, one / temperature, -torch.inf)
        # an image without a position would be the softmax of nothing
        logits = torch.where(known[:, None, None, None], logits, 0.0)
        logs.append(F.log_softmax(logits.flatten(2), 2))
    student_log, teacher_log = logs
    kept = mask.flatten(2)
    # filled before the difference: -inf less -inf is NaN
    gap = torch.where(kept, teacher_log, 0.0) - torch.where(kept, student_log, 0.0)
    divergence = (teacher_log.exp() * gap).sum(2)
    return batch_mean(divergence.mean(1) * temperature**2, known)


def _check_alike(student: torch.Tensor, teacher: torch.Tensor) -> None:
    if student.shape != teacher.shape:
        raise ValueError(
            f"student features {tuple(student.shape)} and teacher features {tuple(teacher.shape)} differ; "
            "project the student's channels and resize the teacher's"
        )


def _positions(features: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    batch, _, height, width = features.shape
    if mask is None:
        return torch.ones(batch, 1, height, width, dtype=torch.bool, device=features.device)
    if mask.dtype != torch.bool or mask.shape != (batch, 1, height, width):
        raise ValueError(
            f"mask is {mask.dtype} {tuple(mask.shape)}; it must be torch.bool {(batch, 1, height, width)}"
        )
    return mask


def _pooled_mask(mask: torch.Tensor, patch: int) -> torch.Tensor:
    return F.max_pool2d(mask.float(), patch, ceil_mode=True) > 0 if patch > 1 else mask


def _pooled(features: torch.Tensor, mask: torch.Tensor, patch: int) -> tuple[torch.Tensor, torch.Tensor]:
    kept = _pooled_mask(mask, patch)
    if patch > 1:
        # finite, for max_pool2d's backward; patches of nothing but it are filled below
        lowest = torch.finfo(features.dtype).min
        features = F.max_pool2d(torch.where(mask, features, lowest), patch, ceil_mode=True)
    return torch.where(kept, features, 0.0), kept


def _cosines(features: torch.Tensor, kept: torch.Tensor, detached: bool) -> torch.Tensor:
    """(B, n, n) cosines between positions, 0 where one is left out."""
    vectors = features.flatten(2)
    squares = vectors.square().sum(1, keepdim=True)
    # a position whose ReLUs are all off has no direction: its cosines are 0, and pass no gradient
    lit = squares > _DARK
    norms = torch.where(lit, squares, 1.0).sqrt()
    unit = torch.where(lit, vectors / (norms.detach() if detached else norms), 0.0)
    return unit.transpose(1, 2) @ unit
