"""PyDNet's estimator."""

from __future__ import annotations

from itertools import pairwise

from torch import nn

from nasdepth.models.blocks._layers import ConvNormAct, leaky_relu

INNER_WIDTHS = (96, 64, 32)


def estimator(in_channels: int, out_channels: int, kernel: int, reparam: str) -> nn.Module:
    """Four convolutions of 96, 64 and 32 channels and the width, which is 8 in PyDNet."""
    channels = [in_channels, *INNER_WIDTHS, out_channels]
    return nn.Sequential(
        *(
            ConvNormAct(into, out, kernel, act=leaky_relu(0.2), reparam=reparam)
            for into, out in pairwise(channels)
        )
    )
