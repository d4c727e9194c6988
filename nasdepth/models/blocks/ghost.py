"""Ghost modules."""

from __future__ import annotations

import torch
from torch import nn

from nasdepth.models.blocks._layers import ConvNormAct


class Ghost(nn.Module):
    """Half of the output by a 1x1 convolution, the other half by a depthwise convolution of the first.

    An odd number of channels rounds the half up and leaves the last one out, as in GhostNet.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: int, reparam: str = "none") -> None:
        super().__init__()
        half = -(-out_channels // 2)
        self.out_channels = out_channels
        self.primary = ConvNormAct(in_channels, half, 1, reparam=reparam)
        self.cheap = ConvNormAct(half, half, kernel, groups=half, reparam=reparam)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.primary(x)
        both = torch.cat([x, self.cheap(x)], 1)
        # slicing off nothing would be a copy in the .tflite
        return both if both.shape[1] == self.out_channels else both[:, : self.out_channels]
