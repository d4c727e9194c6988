"""Depth-to-segmentation supervision: depth must tell apart what a segmentation tells apart (X-Distill)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from nasdepth.errors import DataError
from nasdepth.training.losses._masks import batch_mean, full_precision, image_any, image_means
from nasdepth.training.losses.scale_invariant import log_depth


class DepthToSegmentation(nn.Module):
    """A small network from depth to class scores, trained along with the depth network, then thrown away.

    Cai et al. 2021, "X-Distill" (arXiv:2110.12516), has such a network between depth and a segmentation
    teacher's labels; two 3 x 3 convolutions and a 1 x 1 are this project's choice. It sees ln depth less its
    mean over the image, so that scale is free.
    """

    def __init__(self, classes: int, width: int = 32) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, classes, 1),
        )

    def forward(self, depth_mm: torch.Tensor) -> torch.Tensor:
        """(B, 1, H, W) depth in millimetres -> (B, classes, H, W) scores."""
        logs = log_depth(depth_mm.to(next(self.parameters()).dtype))
        return self.layers(logs - logs.mean((1, 2, 3), keepdim=True))


@full_precision
def segmentation_loss(scores: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross-entropy, averaged over an image's labelled pixels, then over the images that have any.

    Args:
        scores: (B, classes, H, W).
        labels: (B, 1, H, W) integer class of each pixel, negative where there is none.

    Raises:
        DataError: a class that the scores do not have (checked on the CPU only: a GPU would have to wait).
    """
    classes = scores.shape[1]
    if not labels.is_cuda and labels.numel() and labels.max() >= classes:
        raise DataError(
            f"segmentation labels hold class {labels.max().item()}, but the loss is for {classes} classes, "
            f"0 to {classes - 1}; set loss.terms.segmentation.classes, or mark what is no class with -1"
        )
    mask = labels >= 0
    scores = torch.where(mask, scores, 0.0)
    each = F.cross_entropy(scores, labels[:, 0].long().clamp_min(0), reduction="none")[:, None]
    return batch_mean(image_means(each, mask), image_any(mask))
