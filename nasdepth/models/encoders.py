"""Encoders of any family at any width, from timm's building blocks, fed with raw RGB."""

from __future__ import annotations

import re
from functools import partial

import torch
import torch.nn.functional as F
from timm.layers import get_act_layer, pad_same
from timm.models._efficientnet_builder import EfficientNetBuilder, decode_arch_def
from torch import nn

from nasdepth.architecture import Encoder
from nasdepth.families import get_family, round_channels
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


class EncoderNet(nn.Module):
    """The kept stages of a family. Parameter names are timm's (`conv_stem`, `bn1`, `blocks.I.J...`).

    `channels` maps each stride to the channels of the feature map that `forward` returns for it.
    """

    def __init__(self, spec: Encoder) -> None:
        super().__init__()
        family = get_family(spec.family)
        activation = get_act_layer(family.activation)
        stage_channels = family.stage_channels(spec.width)
        self.channels = spec.channels
        self.conv_stem = RawStem(stage_channels[0], family.normalisation)
        norm = partial(nn.BatchNorm2d, eps=family.norm_eps)
        self.bn1 = norm(stage_channels[0])
        self.act1 = activation(inplace=True)
        builder = EfficientNetBuilder(
            # SAME padding is what .tflite convolutions do by themselves; any other costs a PAD
            pad_type="same",
            round_chs_fn=lambda channels: round_channels(channels * spec.width),
            act_layer=activation,
            norm_layer=norm,
            se_layer=SqueezeExcite,
            se_from_exp=True,  # as MobileNetV3 does: a quarter of the expanded channels
        )
        blocks = decode_arch_def([list(stage) for stage in family.stages[: spec.stages]])
        self.blocks = nn.Sequential(*builder(stage_channels[0], blocks))
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
