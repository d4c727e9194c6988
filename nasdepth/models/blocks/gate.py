"""The gate that a skip passes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from nasdepth.models.blocks._layers import ConvNormAct, Sixth, bias_of

_SLOPE = 0.2


class SkipGate(nn.Module):
    """skip * hardsigmoid(psi(ReLU(Wx skip + Wg x))): the decoder's attention to the encoder's features.

    Attention U-Net's additive gate (arXiv:1804.03999, equations 1 and 2) with both inputs at one resolution
    and a hard sigmoid. With `leaky` a LeakyReLU stands for the ReLU, as in MonoVision Palace's network (MAI
    2021, arXiv:2105.08630); its slope is not published, and is 0.2 here as in the block `lrconv`. Wx and Wg
    are 1x1 convolutions with batch norm to half the skip's channels, psi is one to a single channel.

    (B, skip_channels, H, W) and (B, channels, H, W) -> (B, skip_channels, H, W).
    """

    def __init__(self, skip_channels: int, channels: int, *, leaky: bool = False) -> None:
        super().__init__()
        self.act = nn.LeakyReLU(_SLOPE) if leaky else nn.ReLU()
        hidden = -(-skip_channels // 2)
        self.from_skip = ConvNormAct(skip_channels, hidden, 1, act=None)
        self.from_decoder = ConvNormAct(channels, hidden, 1, act=None)
        self.psi = nn.Conv2d(hidden, 1, 1)
        self.sixth = Sixth(1)

    def forward(self, skip: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        gate = self.act(self.from_skip(skip) + self.from_decoder(x))
        gate = F.relu6(F.conv2d(gate, self.psi.weight, bias_of(self.psi) + 3))
        return skip * self.sixth(gate)
