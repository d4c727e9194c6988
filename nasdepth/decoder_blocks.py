"""Decoder blocks as data: what an architecture needs to know of them, without torch.

`nasdepth.models.blocks` builds modules under the same names.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class BlockKind:
    """A decoder block.

    Attributes:
        kernels: sizes that it comes in.
        summary: what it computes, in a line.
        source: where it was published.
        upsamples: it takes its input at half the resolution and upsamples inside; a skip joins after it.
    """

    kernels: tuple[int, ...]
    summary: str
    source: str
    upsamples: bool = False


BLOCKS = {
    "conv": BlockKind((1, 3, 5), "convolution, batch norm, ReLU", "LiteDepth, arXiv:2209.00961"),
    "dsconv": BlockKind(
        (1, 3, 5), "depthwise and 1x1 convolution; NNConv5 at kernel 5", "FastDepth, arXiv:1903.03273"
    ),
    "mbconv": BlockKind((1, 3, 5), "inverted residual of expansion 4", "MobileNetV2, arXiv:1801.04381"),
    "lrconv": BlockKind((1, 3, 5), "convolution, batch norm, LeakyReLU", "DenseDepth, arXiv:1812.11941"),
    "doubleconv": BlockKind((3, 5), "two convolutions", "U-Net, arXiv:1505.04597"),
    "ffm": BlockKind(
        (3, 5), "1x1 fusion, then a convolution", "Tencent GY-Lab, MAI 2021 report, arXiv:2105.08630"
    ),
    "rcu": BlockKind((3,), "1x1 convolution, then two residual convolution units", "MiDaS, arXiv:1907.01341"),
    "fbnet": BlockKind(
        (3, 5),
        "inverted residual of expansion 6 with the upsampling between expansion and depthwise",
        "FBNet, arXiv:1812.03443; Samsung's mobile depth",
        upsamples=True,
    ),
    "rfdb": BlockKind((3,), "residual feature distillation with spatial attention", "RFDN, arXiv:2009.11551"),
    "pydnet": BlockKind((3,), "estimator of four convolutions", "PyDNet, arXiv:1806.11430"),
    "ghost": BlockKind((1, 3, 5), "half by 1x1, half by depthwise of it", "GhostNet, arXiv:1911.11907"),
    "aspp": BlockKind((3,), "densely connected dilated convolutions", "BTS, arXiv:1907.10326"),
}
