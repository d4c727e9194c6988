"""PyDNet's estimator."""

from __future__ import annotations

from itertools import pairwise

from torch import nn

from nasdepth.models.blocks._layers import ConvNormAct, leaky_relu
from nasdepth.models.blocks._registry import register_block

WIDTHS = (12, 8, 4, 1)


@register_block("pydnet")
def _estimator(in_channels: int, out_channels: int, kernel: int, reparam: str) -> nn.Module:
    """Four convolutions of 12, 8, 4 and 1 times the width: PyDNet's 96, 64, 32, 8 at width 8."""
    channels = [in_channels, *(factor * out_channels for factor in WIDTHS)]
    return nn.Sequential(
        *(
            ConvNormAct(into, out, kernel, act=leaky_relu(0.2), reparam=reparam)
            for into, out in pairwise(channels)
        )
    )
