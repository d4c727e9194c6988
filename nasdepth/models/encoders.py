"""Encoders of any family at any width, fed with raw RGB."""

from __future__ import annotations

import re
from collections import OrderedDict

import torch
import torch.nn.functional as F
from timm.layers import get_act_layer, pad_same
from torch import nn

from nasdepth.architecture import Encoder
from nasdepth.families import INCEPTION as COORDINATES  # to -1 ... 1
from nasdepth.families import Family, get_family
from nasdepth.models.encoder_blocks import MobileOneBlock, build_encoder_block, norm_layer


class RawStem(nn.Module):
    """Convolution on raw RGB (0-255) with the normalisation inside its weights.

    conv((x - mean) / std) is written conv(x, W / std) - sum(W mean / std), so deployment pays nothing
    for it. The padding is zero in raw space, in training and in deployment alike, which makes the fold
    exact at the borders too (they see black where timm's models see the mean colour).

    Args:
        out_channels: the output channels of the convolution.
        normalisation: mean and standard deviation per RGB channel, on 0-1.
        kernel, stride: the kernel size and stride of the convolution; the padding is SAME.
        coordinates: two more input channels, the pixel's x and y on 0-255, normalised to -1 ... 1.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(
        self,
        out_channels: int,
        normalisation: tuple[tuple[float, ...], tuple[float, ...]],
        *,
        kernel: int = 3,
        stride: int = 2,
        coordinates: bool = False,
    ) -> None:
        super().__init__()
        if coordinates:
            mean_rgb, std_rgb = normalisation
            normalisation = (*mean_rgb, *COORDINATES[0][:2]), (*std_rgb, *COORDINATES[1][:2])
        self.stride = stride
        mean, std = (torch.tensor(values).view(1, -1, 1, 1) * 255 for values in normalisation)
        self.weight = nn.Parameter(torch.empty(out_channels, mean.shape[1], kernel, kernel))
        nn.init.kaiming_normal_(self.weight, mode="fan_out", nonlinearity="relu")
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)

    def folded(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Weight and bias of the same convolution without normalisation."""
        weight = self.weight / self.std
        return weight, -(weight * self.mean).sum((1, 2, 3))

    def forward(self, rgb: torch.Tensor) -> torch.Tensor:
        weight, bias = self.folded()
        padded = pad_same(rgb, list(weight.shape[-2:]), [self.stride] * 2)
        return F.conv2d(padded, weight, bias, stride=self.stride)


class AppendCoordinates(nn.Module):
    """(B, 3, H, W) -> (B, 5, H, W): every pixel's x and y on 0-255 behind its colours.

    Spelt as a 1x1 convolution that makes room, plus a constant: a concatenation with a constant converts to
    one between TRANSPOSEs.
    """

    room: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("room", torch.eye(5, 3)[..., None, None], persistent=False)

    def forward(self, rgb: torch.Tensor) -> torch.Tensor:
        height, width = int(rgb.shape[-2]), int(rgb.shape[-1])
        x = torch.linspace(0, 255, width, device=rgb.device).expand(height, width)
        y = torch.linspace(0, 255, height, device=rgb.device)[:, None].expand(height, width)
        none = torch.zeros_like(x)
        return F.conv2d(rgb, self.room) + torch.stack([none, none, none, x, y])[None]


def build_stem(family: Family, out_channels: int, coordinates: bool = False) -> nn.Sequential:
    """A family's stem on raw RGB, with `coordinates` on each pixel's place as well, up to its activation.

    Its children carry the names that they have in `EncoderNet`.
    """
    children: dict[str, nn.Module] = {"coordinates": AppendCoordinates()} if coordinates else {}
    norm, act = norm_layer(family), get_act_layer(family.activation)(inplace=True)

    def convolve(kernel: int) -> RawStem:
        return RawStem(
            out_channels,
            family.normalisation,
            kernel=kernel,
            stride=family.stem_stride,
            coordinates=coordinates,
        )

    if not family.stem_branches:
        children |= {"conv_stem": convolve(family.stem_kernel), "bn1": norm(out_channels), "act1": act}
        return nn.Sequential(OrderedDict(children))
    children["stem"] = MobileOneBlock(
        5 if coordinates else 3,
        out_channels,
        family.stem_kernel,
        stride=family.stem_stride,
        groups=1,
        branches=1,
        norm=norm,
        act=act,
        make=convolve,
    )
    return nn.Sequential(OrderedDict(children))


class EncoderNet(nn.Module):
    """The kept stages of a family. Parameter names are those of timm's networks (see `Family.timm_prefixes`).

    `channels` maps each stride to the channels of the feature map that `forward` returns for it. With
    `coordinates` the stem sees each pixel's x and y beside its colours.
    """

    def __init__(self, spec: Encoder, coordinates: bool = False) -> None:
        super().__init__()
        family = get_family(spec.family)
        channels = family.scaled(family.stem_channels, spec.width)
        self.channels = spec.channels
        stem = build_stem(family, channels, coordinates)
        self._stem = [name for name, _ in stem.named_children()]
        for name, module in stem.named_children():
            self.add_module(name, module)
        self.blocks = nn.Sequential()
        for stage in family.blocks()[: spec.stages]:
            blocks = nn.Sequential()
            for block in stage:
                inside = tuple(family.scaled(plain, spec.width) for plain in block.channels)
                blocks.append(build_encoder_block(block, channels, inside))
                channels = inside[-1]
            self.blocks.append(blocks)
        strides = family.stage_strides()[: spec.stages + 1]
        last_of_stride = {stride: index for index, stride in enumerate(strides)}
        self._emit = {index: stride for stride, index in last_of_stride.items()}
        for name, module in self.blocks.named_modules():
            if isinstance(module, nn.Conv2d) and not re.search(r"\bse\b", name):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, rgb: torch.Tensor) -> dict[int, torch.Tensor]:
        """(B, 3, H, W) float RGB on 0-255 -> {stride: (B, channels, H / stride, W / stride)}."""
        x = rgb
        for name in self._stem:
            x = getattr(self, name)(x)
        features = {self._emit[0]: x} if 0 in self._emit else {}
        for index, stage in enumerate(self.blocks, start=1):
            x = stage(x)
            if index in self._emit:
                features[self._emit[index]] = x
        return features
