"""The pieces that depth networks are made of, each built by the code that builds the network itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import nn

from nasdepth.architecture import OUTPUT_HW, Architecture, DecoderStage, Encoder
from nasdepth.families import BlockSpec, get_family
from nasdepth.models.blocks import PlanarGuidance, PlaneMap, build_attention, build_block
from nasdepth.models.depthnet import DepthNet, Stage
from nasdepth.models.encoder_blocks import build_encoder_block
from nasdepth.models.encoders import build_stem
from nasdepth.models.reparam import collapse_in_place

Shape = tuple[int, int, int]


class Piece:
    """A part of a network whose structure does not depend on its sizes. Pieces are hashable.

    Attributes:
        sized: whether what is built is for one height and width.
    """

    sized = False

    def build(self, channels: tuple[int, ...], hw: tuple[int, int] | None) -> Callable[..., torch.Tensor]:
        """The piece at the given channels and input height and width; None where it is not `sized`."""
        raise NotImplementedError

    def inputs(self, channels: tuple[int, ...], hw: tuple[int, int]) -> list[Shape]:
        """(C, H, W) of what it reads."""
        return [(channels[0], *hw)]


@dataclass(frozen=True)
class Stem(Piece):
    """A family's stem. Channels: (out,)."""

    family: str
    coordinates: bool

    def build(self, channels, hw):
        return collapse_in_place(build_stem(get_family(self.family), channels[0], self.coordinates).eval())

    def inputs(self, channels, hw):
        return [(3, *hw)]


@dataclass(frozen=True)
class EncoderBlock(Piece):
    """A block of a family. Channels: (in, those inside that the block is told..., out)."""

    block: BlockSpec

    @classmethod
    @lru_cache(maxsize=4096)
    def like(cls, block: BlockSpec) -> EncoderBlock:
        """The piece of all blocks that differ in nothing but how many channels they have at width 1."""
        return cls(block.of_channels(8))

    def build(self, channels, hw):
        return collapse_in_place(build_encoder_block(self.block, channels[0], channels[1:]).eval())


@dataclass(frozen=True)
class DecoderBlock(Piece):
    """A registered decoder block that does not upsample. Channels: (in, out)."""

    block: str
    kernel: int

    def build(self, channels, hw):
        return build_block(self.block, *channels, self.kernel).eval()


@dataclass(frozen=True)
class Attention(Piece):
    """What stands behind a stage's block. Channels: (width,)."""

    attention: str

    def build(self, channels, hw):
        return build_attention(self.attention, channels[0]).eval()


@dataclass(frozen=True)
class Merge(Piece):
    """A decoder stage up to its block. Channels: (in, skip), or (in,) without a skip.

    Attributes:
        odd: how many rows and columns fewer than twice its input's it gives.
    """

    skip: str
    upsampling: str
    odd: tuple[int, int] = (0, 0)
    sized = True

    def build(self, channels, hw):
        stage = _stage(
            DecoderStage(self.skip, "conv", 1, 1),
            channels[0],
            channels[1:],
            _doubled(hw, self.odd),
            self.upsampling,
        )
        return stage.merge if channels[1:] else lambda x: stage.merge(x, None)

    def inputs(self, channels, hw):
        return [(channels[0], *hw), *((skip, *_doubled(hw, self.odd)) for skip in channels[1:])]


@dataclass(frozen=True)
class UpsamplingStage(Piece):
    """A decoder stage whose block upsamples, up to its attention. Channels: (in, out[, skip]).

    Attributes:
        odd: as of `Merge`.
    """

    block: str
    kernel: int
    skip: str
    upsampling: str
    odd: tuple[int, int] = (0, 0)
    sized = True

    def build(self, channels, hw):
        stage = _of_any_width(DecoderStage(self.skip, self.block, self.kernel, 1), channels[1])
        out_hw = _doubled(hw, self.odd)
        built = _stage(stage, channels[0], channels[2:], out_hw, self.upsampling)
        return built if channels[2:] else lambda x: built(x, None)

    def inputs(self, channels, hw):
        return [(channels[0], *hw), *((skip, *_doubled(hw, self.odd)) for skip in channels[2:])]


def _doubled(hw: tuple[int, int], odd: tuple[int, int]) -> tuple[int, int]:
    return 2 * hw[0] - odd[0], 2 * hw[1] - odd[1]


def _stage(
    stage: DecoderStage, in_channels: int, skip: tuple[int, ...], out_hw: tuple[int, int], upsampling: str
) -> Stage:
    return Stage(stage, in_channels, sum(skip), out_hw, upsampling).eval()


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


@dataclass(frozen=True)
class Plane(Piece):
    """A plane map of local planar guidance. Channels: (in,)."""

    stride: int

    def build(self, channels, hw):
        return PlaneMap(channels[0], self.stride).eval()


@dataclass(frozen=True)
class GuidedHead(Piece):
    """From plane maps and the last features to depth at 480x640. Channels: (in,).

    Attributes:
        strides: of the plane maps.
        last: stride of the last features.
    """

    strides: tuple[int, ...]
    last: int
    sized = True

    def build(self, channels, hw):
        by_stride = dict.fromkeys((*self.strides, self.last), channels[0])
        guidance = PlanarGuidance(by_stride, self._whole(hw)).eval()
        # at stride 2, where it ends, the frame has a plane map of its own
        net = _frame((32, 32), guidance.out_channels - 1, "lpg")
        return lambda last, *maps: net.predict(guidance.join(maps, last), OUTPUT_HW)

    def inputs(self, channels, hw):
        return [(channels[0], *hw), *((1, *self._whole(hw)) for _ in self.strides)]

    def _whole(self, hw: tuple[int, int]) -> tuple[int, int]:
        return self.last * hw[0], self.last * hw[1]


class _NoEncoder(nn.Module):
    channels = Encoder("mobilenetv1", 1.0, 1).channels


def _frame(input_hw: tuple[int, int], width: int, upsampling: str) -> DepthNet:
    """A network of no depth, for what surrounds encoder and decoder."""
    encoder = Encoder("mobilenetv1", 1.0, 1)
    decoder = (_of_any_width(DecoderStage("none", "conv", 1, 1), width),)
    architecture = Architecture(*input_hw, encoder, decoder, head_upsampling=upsampling)
    return DepthNet(architecture, _NoEncoder()).eval()


def _of_any_width(stage: DecoderStage, width: int) -> DecoderStage:
    """A stage of more channels than architectures may have: symbols stand for them."""
    object.__setattr__(stage, "width", width)
    return stage
