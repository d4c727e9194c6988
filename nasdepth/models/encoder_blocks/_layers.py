"""Layers of encoder blocks: SAME padding, operations that XNNPACK delegates, timm's parameter names."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from timm.layers import create_conv2d
from torch import nn

from nasdepth.families import Family


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
