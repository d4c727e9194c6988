"""Blocks of encoder families, built from the notation that families are written in.

Every kind of block is registered under the word that its notation starts with and keeps one contract:
(B, in_channels, H, W) -> (B, channels[-1], H / stride, W / stride). Parameter names are timm's.
"""

from nasdepth.models.encoder_blocks._efficientnet import timm_block
from nasdepth.models.encoder_blocks._ghost import GhostBottleneck, GhostModule, RepGhostModule
from nasdepth.models.encoder_blocks._layers import norm_layer
from nasdepth.models.encoder_blocks._mobileone import MobileOneBlock, mobileone_block
from nasdepth.models.encoder_blocks._plain import BasicBlock, BottleneckBlock, DoubleConv
from nasdepth.models.encoder_blocks._registry import build_encoder_block, register_encoder_block

__all__ = [
    "BasicBlock",
    "BottleneckBlock",
    "DoubleConv",
    "GhostBottleneck",
    "GhostModule",
    "MobileOneBlock",
    "RepGhostModule",
    "build_encoder_block",
    "mobileone_block",
    "norm_layer",
    "register_encoder_block",
    "timm_block",
]
