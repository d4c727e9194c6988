"""Building blocks that deploy clean: SAME padding, no TRANSPOSE, operations of XNNPACK where there are any.

Every decoder block is registered under the name that architectures spell and keeps one contract
(`nasdepth.decoder_blocks.register_block`).
"""

from torch import nn

from nasdepth.decoder_blocks import BLOCKS, register_block
from nasdepth.models.blocks._layers import ConvNormAct, bias_of, hw_of, upsample
from nasdepth.models.blocks.attention import (
    CoordinateAttention,
    NonLocal,
    SqueezeExcite,
    build_attention,
)
from nasdepth.models.blocks.gate import SkipGate
from nasdepth.models.blocks.planar import PlanarGuidance, PlaneMap

__all__ = [
    "ConvNormAct",
    "CoordinateAttention",
    "NonLocal",
    "PlanarGuidance",
    "PlaneMap",
    "SkipGate",
    "SqueezeExcite",
    "bias_of",
    "build_attention",
    "build_block",
    "hw_of",
    "register_block",
    "upsample",
]


def build_block(
    name: str, in_channels: int, out_channels: int, kernel: int, reparam: str = "none"
) -> nn.Module:
    """Build a registered decoder block.

    Args:
        name: a name of `nasdepth.decoder_blocks.BLOCKS`.
        in_channels, out_channels: channels of its input and of its output.
        kernel: one of the sizes that the block comes in.
        reparam: how its convolutions are over-parameterised in training: `none`, or a name of
            `nasdepth.models.reparam.REPARAMETERISED`.
    """
    return BLOCKS[name].build(in_channels, out_channels, kernel, reparam)
