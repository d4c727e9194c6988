"""Dense atrous spatial pyramid pooling."""

from __future__ import annotations

import torch
from torch import nn

from nasdepth.models.blocks._layers import ConvNormAct

DILATIONS = (3, 6, 12, 18, 24)


class DenseASPP(nn.Module):
    """BTS's dense ASPP (arXiv:1907.10326, figure 2): every dilated convolution sees all before it.

    A 3x3 to 2w channels; then per dilation a 1x1 to 2w and a dilated 3x3 to w, the first on that, the others
    on the block's input and all the results so far; a 3x3 of everything to w. Batch norm and ReLU follow
    every convolution, where BTS has them precede: in front, on concatenations, they could not be folded.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: int, reparam: str = "none") -> None:
        super().__init__()
        double = 2 * out_channels
        self.enter = ConvNormAct(in_channels, double, kernel, reparam=reparam)
        self.pyramid = nn.ModuleList()
        for index, dilation in enumerate(DILATIONS):
            seen = in_channels + index * out_channels if index else double
            self.pyramid.append(
                nn.Sequential(
                    ConvNormAct(seen, double, 1, reparam=reparam),
                    ConvNormAct(double, out_channels, kernel, dilation=dilation, reparam=reparam),
                )
            )
        self.fuse = ConvNormAct(double + len(DILATIONS) * out_channels, out_channels, kernel, reparam=reparam)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        entered = self.enter(x)
        found: list[torch.Tensor] = []
        for branch in self.pyramid:
            found.append(branch(torch.cat([x, *found], 1) if found else entered))
        # six inputs, of which XNNPACK takes five: the runtime concatenates. In two steps it would not be
        # better: the converter makes one of them, or does not follow the layout any more
        return self.fuse(torch.cat([entered, *found], 1))
