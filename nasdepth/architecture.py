"""`Architecture`: one depth network as a frozen, hashable, canonical value.

The string form is exact and safe in a shell::

    128x160,mobilenetv3_small_minimal@1:5,none-conv-k1-w72,concat-conv-k1-w24,up-bilinear-nearest
    |       |                         | | |                |                  |  |        prediction to output
    |       family             width -' | |                |                  '- between decoder stages
    input height x width      stages ---' '----------------'-- decoder stages, deepest first

`240x320xy` gives the encoder the pixel coordinates as two more channels, `concat-conv-k3-w24-se` puts an
attention behind a stage, and a last part `reparam-linear` or `reparam-rep` over-parameterises the decoder in
training; the deployed graph is the same.

Construction canonicalises: two spellings of one graph compare, hash and print alike.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, get_args

from nasdepth.decoder_blocks import BLOCKS, Kernel
from nasdepth.errors import SpaceError
from nasdepth.families import MAX_WIDTH, MIN_WIDTH, canonical_width, get_family

Skip = Literal["none", "add", "concat", "gate", "lrgate"]
JOINING: tuple[Skip, ...] = ("concat", "gate", "lrgate")
"""Skips whose channels come beside the decoder's."""
Attention = Literal["none", "se", "ca", "nonlocal"]
Upsampling = Literal["nearest", "bilinear"]
HeadUpsampling = Literal["nearest", "bilinear", "lpg"]
Reparam = Literal["none", "rep", "linear"]

OUTPUT_HW = (480, 640)
# Strides whose decoder stages give local planar guidance a plane map
GUIDED_STRIDES = (2, 4, 8)
MAX_INPUT = 1024
MAX_DECODER_WIDTH = 1024

_STAGE = re.compile(r"(\w+)-(\w+)-k(\d+)-w(\d+)(?:-(\w+))?")
_HEAD = re.compile(r"up-(\w+)-(\w+)")
_ENCODER = re.compile(r"(\w+)@([\d.]+):(\d+)")
_INPUT = re.compile(r"(\d+)x(\d+)(xy)?")
_REPARAM = re.compile(r"reparam-(\w+)")


def _choice(field: str, value: object, allowed: Collection[object]) -> None:
    if value not in allowed:
        raise SpaceError(f"{field} is {value!r}; it must be one of {', '.join(map(str, allowed))}")


@dataclass(frozen=True, slots=True)
class Encoder:
    """Encoder family, width multiplier and number of the family's stages that are kept."""

    family: str
    width: float
    stages: int

    def __post_init__(self) -> None:
        family = get_family(self.family)
        if not 1 <= self.stages <= len(family.stages):
            raise SpaceError(f"encoder stages is {self.stages}; {self.family} has 1 to {len(family.stages)}")
        if not MIN_WIDTH <= self.width <= MAX_WIDTH:
            raise SpaceError(f"encoder width is {self.width}; it must lie in {MIN_WIDTH} to {MAX_WIDTH}")
        object.__setattr__(self, "width", canonical_width(self.family, float(self.width), self.stages))

    @property
    def channels(self) -> dict[int, int]:
        """Channels of the last feature map at every stride, shallow to deep."""
        return dict(_feature_channels(self))

    @property
    def stride(self) -> int:
        """Stride of the deepest feature map."""
        return max(_feature_channels(self))

    def __str__(self) -> str:
        return f"{self.family}@{self.width:g}:{self.stages}"


@lru_cache(maxsize=4096)
def _feature_channels(encoder: Encoder) -> dict[int, int]:
    return get_family(encoder.family).feature_channels(encoder.width, encoder.stages)


@dataclass(frozen=True, slots=True)
class DecoderStage:
    """One decoder stage: [upsample by 2, fuse with the encoder's features], then a block.

    Attributes:
        skip: how the encoder's features of this stride come in (`none` at the deepest stage, which
            they enter anyway). `add` projects them by a 1x1 convolution where channels differ; `gate`
            concatenates them weighted by the decoder's attention to them, `lrgate` likewise with a LeakyReLU
            inside its gate.
        block: one of `nasdepth.decoder_blocks.BLOCKS`.
        kernel: one that the block comes in. A `dsconv` of kernel 1 is a `conv` of kernel 1, spelt so.
        width: output channels.
        attention: behind the block: `se` squeeze-and-excite, `ca` coordinate attention, `nonlocal`.
    """

    skip: Skip
    block: str
    kernel: Kernel
    width: int
    attention: Attention = "none"

    def __post_init__(self) -> None:
        _choice("decoder skip", self.skip, get_args(Skip))
        _choice("decoder block", self.block, BLOCKS)
        _choice(f"decoder kernel of {self.block}", self.kernel, BLOCKS[self.block].kernels)
        _choice("decoder attention", self.attention, get_args(Attention))
        if not 1 <= self.width <= MAX_DECODER_WIDTH:
            raise SpaceError(f"decoder width is {self.width}; it must lie in 1 to {MAX_DECODER_WIDTH}")
        if self.block == "dsconv" and self.kernel == 1:
            object.__setattr__(self, "block", "conv")

    def __str__(self) -> str:
        plain = f"{self.skip}-{self.block}-k{self.kernel}-w{self.width}"
        return plain if self.attention == "none" else f"{plain}-{self.attention}"


@dataclass(frozen=True, slots=True)
class Architecture:
    """A depth network: raw RGB at 480x640 in, depth at 480x640 out, everything between resized.

    Attributes:
        input_height, input_width: what the image is resized to in the graph, multiples of 32.
        encoder: see `Encoder`.
        decoder: deepest first; the stage at index i works at the encoder's stride / 2**i, and the
            last one's stride is the head's.
        decoder_upsampling: between decoder stages.
        head_upsampling: from the head's stride to 480x640; `lpg` is local planar guidance.
        coordinates: the encoder sees each pixel's x and y beside its colours.
        reparam: over-parameterisation of the decoder's convolutions in training, `rep` (parallel branches)
            or `linear` (a chain without activation), collapsed at export.

    Raises:
        SpaceError: a field out of range, with its value.
    """

    input_height: int
    input_width: int
    encoder: Encoder
    decoder: tuple[DecoderStage, ...]
    decoder_upsampling: Upsampling = "nearest"
    head_upsampling: HeadUpsampling = "nearest"
    coordinates: bool = False
    reparam: Reparam = "none"

    def __post_init__(self) -> None:
        for field, size in (("input height", self.input_height), ("input width", self.input_width)):
            if size % 32 or not 32 <= size <= MAX_INPUT:
                raise SpaceError(f"{field} is {size}; it must be a multiple of 32 from 32 to {MAX_INPUT}")
        _choice("decoder upsampling", self.decoder_upsampling, get_args(Upsampling))
        _choice("head upsampling", self.head_upsampling, get_args(HeadUpsampling))
        _choice("reparam", self.reparam, get_args(Reparam))
        most = self.encoder.stride.bit_length()
        if not 1 <= len(self.decoder) <= most:
            raise SpaceError(
                f"{len(self.decoder)} decoder stages; an encoder of stride {self.encoder.stride} takes 1 to "
                f"{most}"
            )
        for stride, stage in zip(self.decoder_strides, self.decoder, strict=True):
            deepest = stride == self.encoder.stride
            if stage.skip != "none" and (deepest or stride not in self.encoder.channels):
                raise SpaceError(
                    f"decoder skip is {stage.skip!r} at stride {stride}, where the encoder has no skip to "
                    "give; it must be none"
                )
            if deepest and BLOCKS[stage.block].upsamples:
                raise SpaceError(
                    f"decoder block is {stage.block!r} at stride {stride}; it upsamples, and the deepest "
                    "stage has nothing to upsample from"
                )
        if len(self.decoder) == 1:
            object.__setattr__(self, "decoder_upsampling", "nearest")
        whole = (self.input_height, self.input_width) == OUTPUT_HW and self.head_stride == 1
        if whole and self.head_upsampling == "bilinear":
            object.__setattr__(self, "head_upsampling", "nearest")
        if self.head_upsampling == "lpg" and not set(self.decoder_strides) & set(GUIDED_STRIDES):
            raise SpaceError(
                "head upsampling is 'lpg', which needs a decoder stage at stride 2, 4 or 8; the stages are "
                f"at {', '.join(map(str, self.decoder_strides))}"
            )

    @property
    def decoder_strides(self) -> tuple[int, ...]:
        """Stride of every decoder stage relative to the resized input, deepest first."""
        deepest = self.encoder.stride
        return tuple(deepest >> index for index in range(len(self.decoder)))

    @property
    def head_stride(self) -> int:
        """Stride of the predicted depth relative to the resized input."""
        return self.decoder_strides[-1]

    @property
    def key(self) -> str:
        """Canonical hash: 12 hex digits, stable across processes and machines."""
        return hashlib.sha256(str(self).encode()).hexdigest()[:12]

    def __str__(self) -> str:
        size = f"{self.input_height}x{self.input_width}{'xy' if self.coordinates else ''}"
        parts = [size, str(self.encoder), *map(str, self.decoder)]
        parts.append(f"up-{self.decoder_upsampling}-{self.head_upsampling}")
        return ",".join(parts if self.reparam == "none" else [*parts, f"reparam-{self.reparam}"])

    @classmethod
    @lru_cache(maxsize=65536)
    def parse(cls, text: str) -> Architecture:
        """Read the string form.

        Raises:
            SpaceError: not an architecture; the message names the part that does not read.

        >>> one = Architecture.parse("128x160,mobilenetv2@0.50:6,none-dsconv-k1-w32,up-nearest-nearest")
        >>> str(one)  # canonical: a depthwise 1x1 before a 1x1 is a 1x1
        '128x160,mobilenetv2@0.5:6,none-conv-k1-w32,up-nearest-nearest'
        >>> one.encoder.stride, one.encoder.channels[16]
        (32, 48)
        """
        parts = text.strip().split(",")
        if len(parts) < 4:
            raise SpaceError(
                f"{text!r} is no architecture: expected INPUT,ENCODER,DECODER...,up-DECODER-HEAD, for "
                "example 128x160,mobilenetv2@1:5,none-conv-k1-w72,concat-conv-k1-w24,up-bilinear-nearest"
            )

        # what these strings may be, the constructors check
        def read(pattern: re.Pattern, part: str, what: str, example: str) -> tuple[Any, ...]:
            match = pattern.fullmatch(part)
            if match is None:
                raise SpaceError(f"{part!r} in {text!r} is no {what}; expected for example {example}")
            return match.groups()

        reparam: Any = "none"
        if parts[-1].startswith("reparam"):
            (reparam,) = read(_REPARAM, parts.pop(), "reparameterisation", "reparam-linear")
        height, width, coordinates = read(_INPUT, parts[0], "input size", "128x160")
        family, multiplier, stages = read(_ENCODER, parts[1], "encoder", "mobilenetv2@0.5:6")
        decoder_upsampling, head_upsampling = read(_HEAD, parts[-1], "upsampling", "up-bilinear-nearest")
        decoder = []
        for part in parts[2:-1]:
            *words, attention = read(_STAGE, part, "decoder stage", "concat-conv-k3-w24")
            skip, block, kernel, channels = words
            size: Any = int(kernel)
            decoder.append(DecoderStage(skip, block, size, int(channels), attention or "none"))
        try:
            encoder = Encoder(family, float(multiplier), int(stages))
        except ValueError:
            raise SpaceError(f"{parts[1]!r} in {text!r}: {multiplier!r} is no width multiplier") from None
        return cls(
            int(height),
            int(width),
            encoder,
            tuple(decoder),
            decoder_upsampling,
            head_upsampling,
            coordinates is not None,
            reparam,
        )
