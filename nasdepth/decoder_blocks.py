"""The registry of decoder blocks.

What an architecture needs to know of a block is data, so that architectures and search spaces are read
without torch. The blocks that come with nasdepth name their builder as text (`module:function`), which is
imported when the first such block is built. `register_block` adds a block of your own; it can be called at
any time before an architecture names the block.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from torch import nn

    BlockBuilder = Callable[[int, int, int, str], nn.Module]

Kernel = Literal[1, 3, 5]
KERNELS: tuple[Kernel, ...] = get_args(Kernel)
"""The sizes that a decoder block may come in."""


@dataclass(frozen=True)
class BlockKind:
    """A decoder block.

    Attributes:
        kernels: the sizes that it comes in, of `KERNELS`.
        summary: what it computes, in a line.
        source: where it was published.
        builder: builds it from (in_channels, out_channels, kernel, reparam), or says as `module:function`
            what does.
        upsamples: whether it takes its input at half the resolution and upsamples inside; a skip then
            joins after it.
    """

    kernels: tuple[Kernel, ...]
    summary: str
    source: str
    builder: BlockBuilder | str
    upsamples: bool = False

    def build(self, in_channels: int, out_channels: int, kernel: int, reparam: str = "none") -> nn.Module:
        """Build the block as a module; see `register_block` for the arguments."""
        builder = resolve_name(self.builder) if isinstance(self.builder, str) else self.builder
        return builder(in_channels, out_channels, kernel, reparam)


_HERE = "nasdepth.models.blocks"
BLOCKS: dict[str, BlockKind] = {
    "conv": BlockKind(
        (1, 3, 5), "convolution, batch norm, ReLU", "LiteDepth, arXiv:2209.00961", f"{_HERE}.plain:conv"
    ),
    "dsconv": BlockKind(
        (1, 3, 5),
        "depthwise and 1x1 convolution; NNConv5 at kernel 5",
        "FastDepth, arXiv:1903.03273",
        f"{_HERE}.plain:dsconv",
    ),
    "mbconv": BlockKind(
        (1, 3, 5),
        "inverted residual of expansion 4",
        "MobileNetV2, arXiv:1801.04381",
        f"{_HERE}.inverted:InvertedResidual",
    ),
    "lrconv": BlockKind(
        (1, 3, 5),
        "convolution, batch norm, LeakyReLU",
        "DenseDepth, arXiv:1812.11941",
        f"{_HERE}.plain:lrconv",
    ),
    "doubleconv": BlockKind(
        (3, 5), "two convolutions", "U-Net, arXiv:1505.04597", f"{_HERE}.plain:doubleconv"
    ),
    "ffm": BlockKind(
        (3, 5),
        "1x1 fusion, then a convolution",
        "Tencent GY-Lab, MAI 2021 report, arXiv:2105.08630",
        f"{_HERE}.fusion:feature_fusion",
    ),
    "rcu": BlockKind(
        (3,),
        "1x1 convolution, then two residual convolution units",
        "MiDaS, arXiv:1907.01341",
        f"{_HERE}.fusion:residual_units",
    ),
    "fbnet": BlockKind(
        (3, 5),
        "inverted residual of expansion 6 with the upsampling between expansion and depthwise",
        "FBNet, arXiv:1812.03443; Samsung's mobile depth",
        f"{_HERE}.inverted:UpsamplingInvertedResidual",
        upsamples=True,
    ),
    "rfdb": BlockKind(
        (3,),
        "residual feature distillation with spatial attention",
        "RFDN, arXiv:2009.11551",
        f"{_HERE}.rfdb:FeatureDistillation",
    ),
    "pydnet": BlockKind(
        (3,), "estimator of four convolutions", "PyDNet, arXiv:1806.11430", f"{_HERE}.pydnet:estimator"
    ),
    "ghost": BlockKind(
        (1, 3, 5),
        "half by 1x1, half by depthwise of it",
        "GhostNet, arXiv:1911.11907",
        f"{_HERE}.ghost:Ghost",
    ),
    "aspp": BlockKind(
        (3,), "densely connected dilated convolutions", "BTS, arXiv:1907.10326", f"{_HERE}.aspp:DenseASPP"
    ),
}


def register_block(
    name: str, *, kernels: Sequence[Kernel], summary: str, source: str = "", upsamples: bool = False
) -> Callable[[BlockBuilder], BlockBuilder]:
    """Add a decoder block: a decorator of a module class, or of a function that makes a module.

    What is decorated is called with (in_channels, out_channels, kernel, reparam). The module maps
    (B, in_channels, H, W) to (B, out_channels, H, W) for every H and W. One that upsamples is called with
    (x, out_hw, upsampling) and returns (B, out_channels, *out_hw).

    Args:
        name: how architectures and search spaces spell it; letters, digits and underscores.
        kernels: the sizes that it comes in, of `KERNELS`.
        summary: what it computes, in a line.
        source: where it was published.
        upsamples: see `BlockKind`.

    Raises:
        ValueError: the name is taken or cannot be spelt, or a size is not of `KERNELS`.
    """
    if not re.fullmatch(r"\w+", name):
        raise ValueError(f"decoder block {name!r}: a name has letters, digits and underscores only")
    if name in BLOCKS:
        raise ValueError(f"decoder block {name!r} is registered twice")
    if not kernels or not set(kernels) <= set(KERNELS):
        raise ValueError(f"decoder block {name!r}: kernels is {kernels!r}; it must hold some of {KERNELS}")

    def register(builder: BlockBuilder) -> BlockBuilder:
        BLOCKS[name] = BlockKind(tuple(sorted(kernels)), summary, source, builder, upsamples)
        return builder

    return register
