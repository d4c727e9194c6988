"""Inverted residuals."""

from __future__ import annotations

import torch
from torch import nn

from nasdepth.models.blocks._layers import ConvNormAct, upsample

MBCONV_EXPANSION = 4
FBNET_EXPANSION = 6


class InvertedResidual(nn.Module):
    """1x1 expansion, depthwise (left out at kernel 1), linear 1x1; a residual where channels allow."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, reparam: str = "none") -> None:
        super().__init__()
        hidden = in_channels * MBCONV_EXPANSION
        layers = [ConvNormAct(in_channels, hidden, 1, reparam=reparam)]
        if kernel > 1:
            layers.append(ConvNormAct(hidden, hidden, kernel, groups=hidden, reparam=reparam))
        layers.append(ConvNormAct(hidden, out_channels, 1, act=None, reparam=reparam))
        self.layers = nn.Sequential(*layers)
        self.residual = in_channels == out_channels

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.layers(x) if self.residual else self.layers(x)


class UpsamplingInvertedResidual(nn.Module):
    """1x1 expansion, upsampling, depthwise, linear 1x1: (B, in, H, W) -> (B, out, *out_hw).

    FBNet's block with its stride turned into an upsampling (arXiv:1812.03443), as in Samsung's mobile depth
    network. Like FBNet's it has a residual only where the resolution stays, so here never.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: int, reparam: str = "none") -> None:
        super().__init__()
        hidden = in_channels * FBNET_EXPANSION
        self.expand = ConvNormAct(in_channels, hidden, 1, reparam=reparam)
        self.depthwise = ConvNormAct(hidden, hidden, kernel, groups=hidden, reparam=reparam)
        self.project = ConvNormAct(hidden, out_channels, 1, act=None, reparam=reparam)

    def forward(self, x: torch.Tensor, out_hw: tuple[int, int], upsampling: str = "nearest") -> torch.Tensor:
        return self.project(self.depthwise(upsample(self.expand(x), out_hw, upsampling)))
