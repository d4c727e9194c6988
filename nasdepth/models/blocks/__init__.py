"""Building blocks that deploy clean: SAME padding, no TRANSPOSE, operations of XNNPACK where there are any.

Every decoder block is registered under the name that architectures spell (`nasdepth.decoder_blocks`) and
keeps one contract: (B, in_channels, H, W) -> (B, out_channels, H, W). A block that upsamples takes
`block(x, out_hw, upsampling)` and returns (B, out_channels, *out_hw).
"""

from nasdepth.decoder_blocks import BLOCKS
from nasdepth.models.blocks import aspp, fusion, ghost, inverted, plain, pydnet, rfdb  # noqa: F401 (they register)
from nasdepth.models.blocks._layers import hw_of, upsample
from nasdepth.models.blocks._registry import block_names, build_block, register_block
from nasdepth.models.blocks.attention import (
    CoordinateAttention,
    NonLocal,
    SqueezeExcite,
    build_attention,
)
from nasdepth.models.blocks.gate import SkipGate
from nasdepth.models.blocks.planar import PlanarGuidance, PlaneMap

assert set(block_names()) == set(BLOCKS), set(block_names()) ^ set(BLOCKS)

__all__ = [
    "CoordinateAttention",
    "NonLocal",
    "PlanarGuidance",
    "PlaneMap",
    "SkipGate",
    "SqueezeExcite",
    "block_names",
    "build_attention",
    "build_block",
    "hw_of",
    "register_block",
    "upsample",
]
