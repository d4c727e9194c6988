"""What blocks are made of."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from nasdepth.models.reparam import REPARAMETERISED, same_size

Activation = Callable[[], nn.Module]


def leaky_relu(slope: float) -> Activation:
    """LeakyReLU of a negative slope."""
    return partial(nn.LeakyReLU, slope)


class ConvNormAct(nn.Sequential):
    """Convolution of stride 1, batch normalisation and, unless `act` is None, an activation.

    `reparam` names what the first two train as (`nasdepth.models.reparam`).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        *,
        groups: int = 1,
        dilation: int = 1,
        act: Activation | None = nn.ReLU,
        reparam: str = "none",
    ) -> None:
        if reparam == "none":
            layers = [
                same_size(in_channels, out_channels, kernel, groups=groups, dilation=dilation),
                nn.BatchNorm2d(out_channels),
            ]
        else:
            over = REPARAMETERISED[reparam]
            layers = [over(in_channels, out_channels, kernel, groups=groups, dilation=dilation)]
        super().__init__(*layers, *([act()] if act else []))


class Sixth(nn.Module):
    """A sixth of its input, as a depthwise 1x1 convolution.

    It makes a hard sigmoid of relu6(z + 3). The direct spelling converts to RELU_0_TO_1 between TRANSPOSEs,
    which cut the XNNPACK partition to pieces.
    """

    weight: torch.Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.full((channels, 1, 1, 1), 1 / 6), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.conv2d(x, self.weight, groups=len(self.weight))


def bias_of(layer: nn.Conv2d) -> torch.Tensor:
    """The bias of a convolution that was built with one."""
    assert layer.bias is not None
    return layer.bias


def hw_of(x: torch.Tensor) -> tuple[int, int]:
    """Height and width as constants: as tensors they would end up in the exported graph."""
    return int(x.shape[-2]), int(x.shape[-1])


def upsample(x: torch.Tensor, out_hw: tuple[int, int], mode: str) -> torch.Tensor:
    """(B, C, H, W) -> (B, C, *out_hw), `nearest` or `bilinear` with half-pixel centres.

    What has that size already is returned as it is: a runtime would copy it pixel by pixel.
    """
    if hw_of(x) == tuple(out_hw):
        return x
    return F.interpolate(x, size=out_hw, mode=mode, align_corners=False if mode == "bilinear" else None)
