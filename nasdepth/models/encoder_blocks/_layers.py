"""Layers of encoder blocks: SAME padding, operations that XNNPACK delegates, timm's parameter names."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from timm.layers import create_conv2d, get_act_layer, make_divisible
from torch import nn

from nasdepth.families import Excite, Family


def convolution(
    in_channels: int, out_channels: int, kernel: int | tuple[int, int], *, stride: int = 1, groups: int = 1
) -> nn.Conv2d:
    """A convolution with SAME padding and no bias; any other padding costs a PAD in a .tflite."""
    return create_conv2d(in_channels, out_channels, kernel, stride=stride, padding="same", groups=groups)


def norm_layer(family: Family) -> Callable[[int], nn.BatchNorm2d]:
    """Batch norms with the epsilon of a family's weights."""
    return partial(nn.BatchNorm2d, eps=family.norm_eps)


def same_max_pool(x: torch.Tensor, kernel: int) -> torch.Tensor:
    """Max pool of stride 2 with SAME padding, for even sizes: there all of it is below and on the right."""
    return F.max_pool2d(x, kernel, 2, ceil_mode=True)


class FamilyExcite(nn.Module):
    """A family's squeeze-and-excitation, written so that it converts to pool, two convolutions, gate, MUL.

    A hard sigmoid is relu6(z + 3) / 6 with the 3 in the convolution's bias and the 1/6 as a depthwise 1x1
    convolution; its direct spelling converts to operations outside XNNPACK, and a mean to TRANSPOSE and
    RESHAPE. Parameter names are timm's.
    """

    def __init__(self, channels: int, rd_ratio: float, *, kind: Excite, **_: object) -> None:
        super().__init__()
        wanted = channels * rd_ratio
        reduced = round(wanted) if kind.divisor == 1 else make_divisible(wanted, kind.divisor)
        self.conv_reduce = nn.Conv2d(channels, reduced, 1)
        self.act1 = get_act_layer(kind.activation)(inplace=True)
        self.conv_expand = nn.Conv2d(reduced, channels, 1)
        self.hard = kind.gate == "hard_sigmoid"
        if self.hard:
            self.register_buffer("sixth", torch.full((channels, 1, 1, 1), 1 / 6), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z = self.act1(self.conv_reduce(F.avg_pool2d(x, (int(x.shape[-2]), int(x.shape[-1])))))
        if not self.hard:
            return x * torch.sigmoid(self.conv_expand(z))
        gate = F.relu6(F.conv2d(z, self.conv_expand.weight, self.conv_expand.bias + 3))
        return x * F.conv2d(gate, self.sixth, groups=x.shape[1])
