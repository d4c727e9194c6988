"""The blocks that timm builds from its own notation."""

from __future__ import annotations

from functools import partial

from timm.layers import get_act_layer
from timm.models._efficientnet_builder import EfficientNetBuilder, decode_arch_def
from torch import nn

from nasdepth.families import BlockSpec, Family
from nasdepth.models.blocks import SqueezeExcite
from nasdepth.models.encoder_blocks._layers import norm_layer
from nasdepth.models.encoder_blocks._registry import register_encoder_block


@register_encoder_block("ds", "dsa", "ir", "er", "cn", "uir")
def timm_block(family: Family, block: BlockSpec, in_channels: int, channels: tuple[int, ...]) -> nn.Module:
    """A block of timm's, with the family's activation, norm and excitation."""
    builder = EfficientNetBuilder(
        # SAME padding is what .tflite convolutions do by themselves; any other costs a PAD
        pad_type="same",
        round_chs_fn=lambda _: channels[-1],
        act_layer=get_act_layer(family.activation),
        norm_layer=norm_layer(family),
        se_layer=partial(SqueezeExcite, kind=family.excite),
        se_from_exp=not family.excite.of_input,
    )
    ((built,),) = builder(in_channels, decode_arch_def([[block.notation]]))
    return built
