"""Decoder blocks of one or two convolutions."""

from __future__ import annotations

from torch import nn

from nasdepth.models.blocks._layers import ConvNormAct, leaky_relu


def conv(in_channels: int, out_channels: int, kernel: int, reparam: str) -> nn.Module:
    return ConvNormAct(in_channels, out_channels, kernel, reparam=reparam)


def lrconv(in_channels: int, out_channels: int, kernel: int, reparam: str) -> nn.Module:
    return ConvNormAct(in_channels, out_channels, kernel, act=leaky_relu(0.2), reparam=reparam)


def dsconv(in_channels: int, out_channels: int, kernel: int, reparam: str) -> nn.Module:
    return nn.Sequential(
        ConvNormAct(in_channels, in_channels, kernel, groups=in_channels, reparam=reparam),
        ConvNormAct(in_channels, out_channels, 1, reparam=reparam),
    )


def doubleconv(in_channels: int, out_channels: int, kernel: int, reparam: str) -> nn.Module:
    return nn.Sequential(
        ConvNormAct(in_channels, out_channels, kernel, reparam=reparam),
        ConvNormAct(out_channels, out_channels, kernel, reparam=reparam),
    )
