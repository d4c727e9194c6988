"""Blocks of plain convolutions: ResNet's and U-Net's."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from timm.layers import get_act_layer
from torch import nn

from nasdepth.families import BlockSpec, Family
from nasdepth.models.encoder_blocks._layers import convolution, norm_layer, same_max_pool
from nasdepth.models.encoder_blocks._registry import register_encoder_block


def _shortcut(family: Family, in_channels: int, out_channels: int, stride: int) -> nn.Sequential | None:
    """What a ResNet block's input passes on its way to the sum; None where it is added as it is."""
    if stride == 1 and in_channels == out_channels:
        return None
    # SAME padding gives a 1x1 convolution the first pixel of a window, not the middle of conv1's
    shortcut = convolution(in_channels, out_channels, 1, stride=stride)
    return nn.Sequential(shortcut, norm_layer(family)(out_channels))


@register_encoder_block("basic")
class BasicBlock(nn.Module):
    """ResNet's block of two 3x3 convolutions (arXiv:1512.03385), behind a max pool where it has `pool`."""

    def __init__(self, family: Family, block: BlockSpec, in_channels: int, channels: tuple[int, ...]) -> None:
        super().__init__()
        (out_channels,) = channels
        norm, act = norm_layer(family), get_act_layer(family.activation)
        self.pool = "pool" in block.options
        stride = 1 if self.pool else block.stride
        self.conv1 = convolution(in_channels, out_channels, 3, stride=stride)
        self.bn1 = norm(out_channels)
        self.act1 = act(inplace=True)
        self.conv2 = convolution(out_channels, out_channels, 3)
        self.bn2 = norm(out_channels)
        self.act2 = act(inplace=True)
        self.downsample = _shortcut(family, in_channels, out_channels, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.pool:
            x = same_max_pool(x, 3)
        y = self.bn2(self.conv2(self.act1(self.bn1(self.conv1(x)))))
        return self.act2(y + (x if self.downsample is None else self.downsample(x)))


@register_encoder_block("bottle")
class BottleneckBlock(nn.Module):
    """ResNet's block of a 1x1, a 3x3 and a 1x1 convolution (arXiv:1512.03385), the 3x3 one of which strides.

    It stands behind a max pool where it has `pool`. Parameter names are timm's.
    """

    def __init__(self, family: Family, block: BlockSpec, in_channels: int, channels: tuple[int, ...]) -> None:
        super().__init__()
        inside, out_channels = channels
        norm, act = norm_layer(family), get_act_layer(family.activation)
        self.pool = "pool" in block.options
        stride = 1 if self.pool else block.stride
        self.conv1 = convolution(in_channels, inside, 1)
        self.bn1 = norm(inside)
        self.act1 = act(inplace=True)
        self.conv2 = convolution(inside, inside, 3, stride=stride)
        self.bn2 = norm(inside)
        self.act2 = act(inplace=True)
        self.conv3 = convolution(inside, out_channels, 1)
        self.bn3 = norm(out_channels)
        self.act3 = act(inplace=True)
        self.downsample = _shortcut(family, in_channels, out_channels, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.pool:
            x = same_max_pool(x, 3)
        y = self.act1(self.bn1(self.conv1(x)))
        y = self.bn3(self.conv3(self.act2(self.bn2(self.conv2(y)))))
        return self.act3(y + (x if self.downsample is None else self.downsample(x)))


@register_encoder_block("double")
class DoubleConv(nn.Module):
    """U-Net's two 3x3 convolutions (arXiv:1505.04597), behind a 2x2 max pool where they stride."""

    def __init__(self, family: Family, block: BlockSpec, in_channels: int, channels: tuple[int, ...]) -> None:
        super().__init__()
        (out_channels,) = channels
        norm, act = norm_layer(family), get_act_layer(family.activation)
        self.stride = block.stride
        self.conv1 = convolution(in_channels, out_channels, 3)
        self.bn1 = norm(out_channels)
        self.act1 = act(inplace=True)
        self.conv2 = convolution(out_channels, out_channels, 3)
        self.bn2 = norm(out_channels)
        self.act2 = act(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.stride > 1:
            x = F.max_pool2d(x, self.stride)
        return self.act2(self.bn2(self.conv2(self.act1(self.bn1(self.conv1(x))))))
