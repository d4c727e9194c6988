"""Residual feature distillation with enhanced spatial attention (RFDN, arXiv:2009.11551)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from timm.layers import pad_same
from torch import nn

from nasdepth.models.blocks._layers import ConvNormAct, hw_of, leaky_relu, upsample

POOL = 7
POOL_STRIDE = 3
STAGES = 3


class SpatialAttention(nn.Module):
    """ESA (RFDN, figure 2): x times a gate of every pixel and channel from a wide, coarse look at x.

    1x1 to a quarter of the channels, 3x3 of stride 2, 7x7 max pooling of stride 3, three 3x3, bilinear back,
    plus a 1x1 of the first, 1x1, sigmoid. Where the strided map is smaller than the pooling window, the
    window is the map.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        few = -(-channels // 4)
        self.reduce = nn.Conv2d(channels, few, 1)
        self.shortcut = nn.Conv2d(few, few, 1)
        self.strided = nn.Conv2d(few, few, 3, stride=2)
        self.coarse = nn.Sequential(
            nn.Conv2d(few, few, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(few, few, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(few, few, 3, padding=1),
        )
        self.expand = nn.Conv2d(few, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        reduced = self.reduce(x)
        y = self.strided(pad_same(reduced, [3, 3], [2, 2]))
        window = tuple(min(POOL, size) for size in hw_of(y))
        # XNNPACK runs no pool that strides farther than its window; one as large as the map never strides
        y = F.max_pool2d(y, window, tuple(min(POOL_STRIDE, size) for size in window))
        y = upsample(self.coarse(y), hw_of(x), "bilinear")
        return x * torch.sigmoid(self.expand(y + self.shortcut(reduced)))


class FeatureDistillation(nn.Module):
    """RFDB: three stages that each keep half the channels by 1x1 and pass on a residual 3x3, then ESA.

    Works on the output's channels; where the input has others, a 1x1 convolution comes first. Batch norm is
    added after every convolution outside ESA (it folds away).
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: int, reparam: str = "none") -> None:
        super().__init__()

        def conv(into: int, out: int, size: int, *, act: bool = False) -> nn.Module:
            return ConvNormAct(into, out, size, act=leaky_relu(0.05) if act else None, reparam=reparam)

        half = -(-out_channels // 2)
        self.enter = nn.Identity() if in_channels == out_channels else conv(in_channels, out_channels, 1)
        self.act = nn.LeakyReLU(0.05)
        self.distil = nn.ModuleList(conv(out_channels, half, 1, act=True) for _ in range(STAGES))
        self.refine = nn.ModuleList(conv(out_channels, out_channels, kernel) for _ in range(STAGES))
        self.last = conv(out_channels, half, kernel, act=True)
        self.fuse = conv((STAGES + 1) * half, out_channels, 1)
        self.attention = SpatialAttention(out_channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.enter(x)
        distilled = []
        for distil, refine in zip(self.distil, self.refine, strict=True):
            distilled.append(distil(x))
            x = self.act(refine(x) + x)
        return self.attention(self.fuse(torch.cat([*distilled, self.last(x)], 1)))
