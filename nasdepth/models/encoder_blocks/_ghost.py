"""Bottlenecks of GhostNet, GhostNetV2 and RepGhostNet."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
import torch.nn.functional as F
from timm.layers import get_act_layer
from torch import nn

from nasdepth.families import BlockSpec, Family
from nasdepth.models.blocks import SqueezeExcite, upsample
from nasdepth.models.encoder_blocks._layers import convolution, norm_layer
from nasdepth.models.encoder_blocks._registry import register_encoder_block
from nasdepth.models.reparam import fold_norm, pad_kernel, plain_convolution

Norm = Callable[[int], nn.BatchNorm2d]
Act = Callable[[], nn.Module]


def _conv_norm(
    in_channels: int, out_channels: int, kernel: int | tuple[int, int], norm: Norm, *, groups: int = 1
) -> tuple[nn.Module, nn.Module]:
    return convolution(in_channels, out_channels, kernel, groups=groups), norm(out_channels)


class GhostModule(nn.Module):
    """Half of the channels by a 1x1 convolution, half by a depthwise one of them (arXiv:1911.11907).

    With `attention`, GhostNetV2's decoupled fully connected attention (arXiv:2211.12905): the input, averaged
    to half the resolution, through a 1x1, a 1x5 and a 5x1 convolution to a sigmoid, bilinear back as the
    paper has it (its code, and timm's, repeats pixels, which XNNPACK does not delegate).
    """

    def __init__(
        self, in_channels: int, out_channels: int, norm: Norm, act: Act, *, attention: bool = False
    ) -> None:
        super().__init__()
        if out_channels % 2:
            raise ValueError(f"a ghost module has an even number of output channels, not {out_channels}")
        half = out_channels // 2
        self.primary_conv = nn.Sequential(*_conv_norm(in_channels, half, 1, norm), act())
        self.cheap_operation = nn.Sequential(*_conv_norm(half, half, 3, norm, groups=half), act())
        self.short_conv = None
        if attention:
            self.short_conv = nn.Sequential(
                *_conv_norm(in_channels, out_channels, 1, norm),
                *_conv_norm(out_channels, out_channels, (1, 5), norm, groups=out_channels),
                *_conv_norm(out_channels, out_channels, (5, 1), norm, groups=out_channels),
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        primary = self.primary_conv(x)
        y = torch.cat([primary, self.cheap_operation(primary)], 1)
        if self.short_conv is None:
            return y
        height, width = int(x.shape[-2]), int(x.shape[-1])
        gate = self.short_conv(F.avg_pool2d(x, (min(2, height), min(2, width))))
        return y * upsample(torch.sigmoid(gate), (height, width), "bilinear")


class RepGhostModule(nn.Module):
    """A 1x1 convolution, then a depthwise one plus the batch-normalised identity (arXiv:2211.06088)."""

    def __init__(self, in_channels: int, out_channels: int, norm: Norm, act: Act) -> None:
        super().__init__()
        self.primary_conv = nn.Sequential(*_conv_norm(in_channels, out_channels, 1, norm), act())
        self.fusion_bn = nn.Sequential(norm(out_channels))
        self.cheap_operation = nn.Sequential(
            *_conv_norm(out_channels, out_channels, 3, norm, groups=out_channels)
        )
        self.relu = act()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.primary_conv(x)
        return self.relu(self.cheap_operation(x) + self.fusion_bn(x))

    def collapsed(self) -> nn.Sequential:
        """The depthwise convolution with the identity in its middle."""
        depthwise, norm = cast(tuple[nn.Conv2d, nn.BatchNorm2d], tuple(self.cheap_operation))
        weight, bias = fold_norm(depthwise.weight, None, norm)
        (fusion,) = cast(tuple[nn.BatchNorm2d], tuple(self.fusion_bn))
        identity, shift = fold_norm(torch.ones_like(weight[:, :, :1, :1]), None, fusion)
        weight = weight + pad_kernel(identity, depthwise.kernel_size[0])
        plain = plain_convolution(weight, bias + shift, groups=depthwise.groups)
        return nn.Sequential(self.primary_conv, plain, self.relu)


@register_encoder_block("ghost", "repghost")
class GhostBottleneck(nn.Module):
    """Two ghost modules, between them a strided depthwise convolution and excitation where asked for."""

    def __init__(self, family: Family, block: BlockSpec, in_channels: int, channels: tuple[int, ...]) -> None:
        super().__init__()
        inside, out_channels = channels
        options = block.options
        kernel, norm, act = int(options["k"]), norm_layer(family), get_act_layer(family.activation)
        self.ghost1: GhostModule | RepGhostModule
        self.ghost2: GhostModule | RepGhostModule
        if block.kind == "repghost":
            self.ghost1 = RepGhostModule(in_channels, inside, norm, act)
            self.ghost2 = RepGhostModule(inside, out_channels, norm, nn.Identity)
        else:
            self.ghost1 = GhostModule(in_channels, inside, norm, act, attention="dfc" in options)
            self.ghost2 = GhostModule(inside, out_channels, norm, nn.Identity)
        self.conv_dw = self.bn_dw = self.se = None
        if block.stride > 1:
            self.conv_dw = convolution(inside, inside, kernel, stride=block.stride, groups=inside)
            self.bn_dw = norm(inside)
        if "se" in options:
            self.se = SqueezeExcite(inside, options["se"], kind=family.excite)
        self.shortcut = nn.Sequential()
        if block.stride > 1 or in_channels != out_channels:
            self.shortcut = nn.Sequential(
                convolution(in_channels, in_channels, kernel, stride=block.stride, groups=in_channels),
                norm(in_channels),
                *_conv_norm(in_channels, out_channels, 1, norm),
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.ghost1(x)
        if self.conv_dw is not None:
            assert self.bn_dw is not None
            y = self.bn_dw(self.conv_dw(y))
        if self.se is not None:
            y = self.se(y)
        return self.ghost2(y) + self.shortcut(x)
