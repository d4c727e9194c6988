"""A decoder block of your own: ConvNeXt's, with batch normalisation and ReLU as mobile runtimes like them.

The block is registered under the name that architectures and search spaces spell. `ConvNormAct` also serves
over-parameterised training (`reparam`); a block of plain torch modules may ignore that argument.
"""

import torch
from torch import nn

from nasdepth.decoder_blocks import register_block
from nasdepth.models.blocks import ConvNormAct

EXPANSION = 4


@register_block(
    "convnext",
    kernels=(3, 5),
    summary="depthwise convolution, then an inverted bottleneck of expansion 4, with a residual",
    source="Liu et al. 2022, arXiv:2201.03545",
)
class ConvNeXtBlock(nn.Module):
    """(B, in_channels, H, W) -> (B, out_channels, H, W)."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, reparam: str = "none") -> None:
        super().__init__()
        self.residual = in_channels == out_channels
        self.body = nn.Sequential(
            ConvNormAct(in_channels, in_channels, kernel, groups=in_channels, act=None, reparam=reparam),
            ConvNormAct(in_channels, EXPANSION * in_channels, 1, reparam=reparam),
            ConvNormAct(EXPANSION * in_channels, out_channels, 1, act=None, reparam=reparam),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.body(x)
        return x + y if self.residual else y
