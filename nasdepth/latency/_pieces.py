"""The pieces that depth networks are made of, each built by the code that builds the network itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import nn

from nasdepth.architecture import OUTPUT_HW, Architecture, DecoderStage, Encoder
from nasdepth.families import get_family
from nasdepth.models.blocks import build_block
from nasdepth.models.depthnet import DepthNet, Stage
from nasdepth.models.encoders import block_arguments, block_builder, build_stem

Shape = tuple[int, int, int]


class Piece:
    """A part of a network whose structure does not depend on its sizes. Pieces are hashable."""

    def build(self, channels: tuple[int, ...], hw: tuple[int, int]) -> Callable[..., torch.Tensor]:
        """The piece at the given channels and input height and width."""
        raise NotImplementedError

    def inputs(self, channels: tuple[int, ...], hw: tuple[int, int]) -> list[Shape]:
        """(C, H, W) of what it reads."""
        return [(channels[0], *hw)]


@dataclass(frozen=True)
class Stem(Piece):
    """A family's stem. Channels: (out,)."""

    family: str

    def build(self, channels, hw):
        return build_stem(get_family(self.family), channels[0]).eval()

    def inputs(self, channels, hw):
        return [(3, *hw)]


@dataclass(frozen=True)
class EncoderBlock(Piece):
    """A block of a family, by timm's arguments. Channels: (in, out)."""

    family: str
    arguments: tuple[tuple[str, object], ...]

    def build(self, channels, hw):
        builder = block_builder(get_family(self.family), lambda _: channels[1])
        return nn.Sequential(*builder(channels[0], [[dict(self.arguments)]])).eval()


@dataclass(frozen=True)
class DecoderBlock(Piece):
    """A registered decoder block. Channels: (in, out)."""

    block: str
    kernel: int

    def build(self, channels, hw):
        return build_block(self.block, *channels, self.kernel).eval()


@dataclass(frozen=True)
class Merge(Piece):
    """A decoder stage up to its block. Channels: (in, skip), or (in,) without a skip."""

    skip: str
    upsampling: str

    def build(self, channels, hw):
        skip_channels = sum(channels[1:])
        out_hw = (2 * hw[0], 2 * hw[1])
        stage = Stage(
            DecoderStage(self.skip, "conv", 1, 1), channels[0], skip_channels, out_hw, self.upsampling
        )
        return stage.merge if skip_channels else lambda x: stage.merge(x, None)

    def inputs(self, channels, hw):
        return [(channels[0], *hw), *((skip, 2 * hw[0], 2 * hw[1]) for skip in channels[1:])]


@dataclass(frozen=True)
class Resize(Piece):
    """The image to the network's input size. Channels: (). Its input is always 480x640."""

    input_hw: tuple[int, int]

    def build(self, channels, hw):
        return _frame(self.input_hw, 1, "nearest").resize

    def inputs(self, channels, hw):
        return [(3, *hw)]


@dataclass(frozen=True)
class Head(Piece):
    """From decoder features to depth at 480x640. Channels: (in,)."""

    upsampling: str

    def build(self, channels, hw):
        net = _frame((32, 32), channels[0], self.upsampling)
        return lambda decoded: net.predict(decoded, OUTPUT_HW)


class _NoEncoder(nn.Module):
    channels = Encoder("mobilenetv1", 1.0, 1).channels


def _frame(input_hw: tuple[int, int], width: int, upsampling: str) -> DepthNet:
    """A network of no depth, for what surrounds encoder and decoder."""
    encoder = Encoder("mobilenetv1", 1.0, 1)
    decoder = (DecoderStage("none", "conv", 1, width),)
    architecture = Architecture(*input_hw, encoder, decoder, head_upsampling=upsampling)
    return DepthNet(architecture, _NoEncoder())


@lru_cache
def encoder_blocks(family: str) -> tuple[tuple[tuple[EncoderBlock, int], ...], ...]:
    """Every block of every stage of a family, with its output channels at width 1."""
    stages = []
    for stage in block_arguments(get_family(family)):
        blocks = []
        for index, arguments in enumerate(stage):
            first = {"stride": 1} if index else {}  # timm strides the first block of a stage only
            key = tuple(sorted({**arguments, **first}.items()))
            blocks.append((EncoderBlock(family, key), arguments["out_chs"]))
        stages.append(tuple(blocks))
    return tuple(stages)
