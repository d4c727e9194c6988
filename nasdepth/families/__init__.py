"""Encoder families as compact data: what an architecture needs to know of them, without torch.

A family is a stem and a list of stages in timm's block notation (`ir_r2_k3_s2_e6_c24` is two inverted
residuals, kernel 3, stride 2, expansion 6, 24 channels). `nasdepth.models.encoder_blocks` builds modules
from the same strings, so adding a family of known blocks is one `register_family` call. Blocks that timm's
notation does not have:

=========  ==================================================================================================
basic      ResNet's basic block; `pool`: a max pool in front strides, not the convolution
bottle     ResNet's bottleneck, `t` channels in its middle; `pool` likewise
double     U-Net's two 3x3 convolutions; a 2x2 max pool in front strides
onedw      MobileOne's depthwise convolution, `b4`: of four branches in training
onepw      MobileOne's 1x1 convolution
ghost      GhostNet's bottleneck, `t` channels between its two ghost modules; `dfc`: GhostNetV2's attention
repghost   RepGhostNet's bottleneck, likewise
=========  ==================================================================================================
"""

from nasdepth.families import _efficientnets, _mobilenets, _others
from nasdepth.families._family import (
    IMAGENET,
    INCEPTION,
    MAX_WIDTH,
    MIN_WIDTH,
    BlockSpec,
    Excite,
    Family,
    canonical_width,
    families,
    get_family,
    register_family,
    round_channels,
)

__all__ = [
    "IMAGENET",
    "INCEPTION",
    "MAX_WIDTH",
    "MIN_WIDTH",
    "BlockSpec",
    "Excite",
    "Family",
    "canonical_width",
    "families",
    "get_family",
    "register_family",
    "round_channels",
]

for _shipped in (*_mobilenets.FAMILIES, *_efficientnets.FAMILIES, *_others.FAMILIES):
    register_family(_shipped)
