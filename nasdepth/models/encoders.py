"""Encoders of any family at any width, from timm's building blocks, fed with raw RGB."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from timm.layers import get_act_layer, pad_same
from timm.models._efficientnet_builder import EfficientNetBuilder, decode_arch_def
from torch import nn

from nasdepth.architecture import Encoder
from nasdepth.families import Family, get_family, round_channels
from nasdepth.models.blocks import SqueezeExcite


class RawStem(nn.Module):
    """3x3 stride-2 convolution on raw RGB (0-255) with the normalisation inside its weights.

    conv((x - mean) / std) is written conv(x, W / std) - sum(W mean / std), so deployment pays nothing
    for it. The padding is zero in raw space, in training and in deployment alike, which makes the fold
    exact at the borders too (they see black where timm's models see the mean colour).
    """

    def __init__(self, out_channels: int, normalisation: tuple[tuple[float, ...], tuple[float, ...]]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_channels, 3, 3, 3))
        nn.init.kaiming_normal_(self.weight, mode="fan_out", nonlinearity="relu")
        mean, std = (torch.tensor(values).view(1, 3, 1, 1) * 255 for values in normalisation)
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)

    def forward(self, rgb: torch.Tensor) -> torch.Tensor:
        weight = self.weight / self.std
        bias = -(weight * self.mean).sum((1, 2, 3))
        return F.conv2d(pad_same(rgb, [3, 3], [2, 2]), weight, bias, stride=2)


def build_stem(family: Family, out_channels: int) -> nn.Sequential:
    """Stem convolution, batch normalisation and activation of a family."""
    return nn.Sequential(
        RawStem(out_channels, family.normalisation),
        nn.BatchNorm2d(out_channels, eps=family.norm_eps),
        get_act_layer(family.activation)(inplace=True),
    )


def block_arguments(family: Family) -> list[list[dict]]:
    """timm's arguments of every block of every stage of a family at width 1."""
    return decode_arch_def([list(stage) for stage in family.stages])


def block_builder(family: Family, round_channels: Callable[[float], int]) -> EfficientNetBuilder:
    """timm's builder of a family's blocks; `round_channels` gives the channels for those of width 1."""
    return EfficientNetBuilder(
        # SAME padding is what .tflite convolutions do by themselves; any other costs a PAD
        pad_type="same",
        round_chs_fn=round_channels,
        act_layer=get_act_layer(family.activation),
        norm_layer=partial(nn.BatchNorm2d, eps=family.norm_eps),
        se_layer=SqueezeExcite,
        se_from_exp=True,  # as MobileNetV3 does: a quarter of the expanded channels
    )


class EncoderNet(nn.Module):
    """The kept stages of a family. Parameter names are timm's (`conv_stem`, `bn1`, `blocks.I.J...`).

    `channels` maps each stride to the channels of the feature map that `forward` returns for it.
    """

    def __init__(self, spec: Encoder) -> None:
        super().__init__()
        family = get_family(spec.family)
        stage_channels = family.stage_channels(spec.width)
        self.channels = spec.channels
        self.conv_stem, self.bn1, self.act1 = build_stem(family, stage_channels[0])
        builder = block_builder(family, lambda channels: round_channels(channels * spec.width))
        self.blocks = nn.Sequential(*builder(stage_channels[0], block_arguments(family)[: spec.stages]))
        strides = family.stage_strides()[: spec.stages + 1]
        last_of_stride = {stride: index for index, stride in enumerate(strides)}
        self._emit = {index: stride for stride, index in last_of_stride.items()}
        for name, module in self.blocks.named_modules():
            if isinstance(module, nn.Conv2d) and not re.search(r"\bse\b", name):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, rgb: torch.Tensor) -> dict[int, torch.Tensor]:
        """(B, 3, H, W) float RGB on 0-255 -> {stride: (B, channels, H / stride, W / stride)}."""
        x = self.act1(self.bn1(self.conv_stem(rgb)))
        features = {self._emit[0]: x} if 0 in self._emit else {}
        for index, stage in enumerate(self.blocks, start=1):
            x = stage(x)
            if index in self._emit:
                features[self._emit[index]] = x
        return features
