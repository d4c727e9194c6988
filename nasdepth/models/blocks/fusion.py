"""Blocks that fuse what a skip has joined."""

from __future__ import annotations

import torch
from torch import nn

from nasdepth.models.blocks._layers import ConvNormAct


def feature_fusion(in_channels: int, out_channels: int, kernel: int, reparam: str) -> nn.Module:
    return nn.Sequential(
        ConvNormAct(in_channels, out_channels, 1, reparam=reparam),
        ConvNormAct(out_channels, out_channels, kernel, reparam=reparam),
    )


class ResidualUnit(nn.Module):
    """x + conv(ReLU(conv(ReLU(x)))), MiDaS's residual convolution unit with batch norm."""

    def __init__(self, channels: int, kernel: int, reparam: str = "none") -> None:
        super().__init__()
        self.act = nn.ReLU()
        self.conv1 = ConvNormAct(channels, channels, kernel, reparam=reparam)
        self.conv2 = ConvNormAct(channels, channels, kernel, act=None, reparam=reparam)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.conv2(self.conv1(self.act(x)))


def residual_units(in_channels: int, out_channels: int, kernel: int, reparam: str) -> nn.Module:
    return nn.Sequential(
        ConvNormAct(in_channels, out_channels, 1, act=None, reparam=reparam),
        ResidualUnit(out_channels, kernel, reparam),
        ResidualUnit(out_channels, kernel, reparam),
    )
