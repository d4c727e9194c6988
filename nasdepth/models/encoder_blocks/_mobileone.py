"""MobileOne's block: parallel branches in training, one convolution in deployment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from timm.layers import create_conv2d, get_act_layer, pad_same
from torch import nn

from nasdepth.families import BlockSpec, Family
from nasdepth.models.encoder_blocks._layers import convolution, norm_layer
from nasdepth.models.encoder_blocks._registry import register_encoder_block
from nasdepth.models.reparam import fold_norm, identity_kernel, pad_kernel


class Branch(nn.Module):
    """Convolution and batch norm; a 1x1 one reads the pixels in the middle of the block's windows."""

    def __init__(self, conv: Any, norm: nn.BatchNorm2d, window: int, stride: int) -> None:
        super().__init__()
        self.conv, self.bn = conv, norm
        self.window, self.stride = window, stride
        self.shifted = stride > 1 and conv.weight.shape[-1] < window

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.shifted:
            edge = self.window // 2
            x = pad_same(x, [self.window] * 2, [self.stride] * 2)[..., edge:-edge, edge:-edge]
        return self.bn(self.conv(x))

    def folded(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Weight, padded to the window, and bias of the branch in evaluation mode."""
        conv: Any = self.conv
        weight, bias = conv.folded() if hasattr(conv, "folded") else (conv.weight, None)
        weight, bias = fold_norm(weight, bias, self.bn)
        return pad_kernel(weight, self.window), bias


class MobileOneBlock(nn.Module):
    """Sum of kernel x kernel branches, a 1x1 branch and, where it fits, the identity (arXiv:2206.04040).

    Args:
        make: the convolution of a branch from its kernel size.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        *,
        stride: int,
        groups: int,
        branches: int,
        norm: Callable[[int], nn.BatchNorm2d],
        act: nn.Module,
        make: Callable[[int], nn.Module],
    ) -> None:
        super().__init__()
        self.in_channels, self.groups, self.stride = in_channels, groups, stride
        self.identity = norm(out_channels) if in_channels == out_channels and stride == 1 else None
        self.conv_kxk = nn.ModuleList(
            Branch(make(kernel), norm(out_channels), kernel, stride) for _ in range(branches)
        )
        self.conv_scale = None
        if kernel > 1:
            self.conv_scale = Branch(make(1), norm(out_channels), kernel, stride)
        self.act = act

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = sum(branch(x) for branch in self.branches())
        return self.act(y if self.identity is None else y + self.identity(x))

    def branches(self) -> list[Branch]:
        """All but the identity."""
        return [*self.conv_kxk, *([] if self.conv_scale is None else [self.conv_scale])]

    def collapsed(self) -> nn.Sequential:
        """One convolution with a bias, and the activation."""
        folded = [branch.folded() for branch in self.branches()]
        like = folded[0][0]
        out_channels, _, kernel, _ = like.shape
        if self.identity is not None:
            unit = identity_kernel(out_channels, self.groups, like)
            weight, bias = fold_norm(unit, None, self.identity)
            folded.append((pad_kernel(weight, kernel), bias))
        plain = create_conv2d(
            self.in_channels,
            out_channels,
            kernel,
            stride=self.stride,
            padding="same",
            groups=self.groups,
            bias=True,
        ).to(like.device)
        with torch.no_grad():
            plain.weight.copy_(sum(weight for weight, _ in folded))
            plain.bias.copy_(sum(bias for _, bias in folded))
        return nn.Sequential(plain, self.act)


@register_encoder_block("onedw", "onepw")
def mobileone_block(
    family: Family, block: BlockSpec, in_channels: int, channels: tuple[int, ...]
) -> nn.Module:
    """One of a MobileOne stage's convolutions, depthwise or 1x1."""
    (out_channels,) = channels
    depthwise = block.kind == "onedw"
    groups = in_channels if depthwise else 1
    if depthwise and in_channels != out_channels:
        raise ValueError(
            f"{block.notation}: a depthwise block of {in_channels} channels gives {out_channels}"
        )
    return MobileOneBlock(
        in_channels,
        out_channels,
        int(block.options.get("k", 1)),
        stride=block.stride,
        groups=groups,
        branches=int(block.options["b"]),
        norm=norm_layer(family),
        act=get_act_layer(family.activation)(inplace=True),
        make=lambda kernel: convolution(
            in_channels, out_channels, kernel, stride=block.stride, groups=groups
        ),
    )
