"""Teachers: depth networks of any timm encoder and a DPT decoder, with the interface of `DepthNet`."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

import torch
from torch import nn

from nasdepth.architecture import MAX_DECODER_WIDTH, MAX_INPUT, OUTPUT_HW, Encoder
from nasdepth.errors import SpaceError
from nasdepth.families import families, get_family
from nasdepth.models.blocks import hw_of, upsample
from nasdepth.models.depthnet import (
    DEFAULT_SCALE_MM,
    HEAD,
    PENULTIMATE,
    head_depth_mm,
    head_layer,
    start_at_typical_depth,
)
from nasdepth.models.encoders import EncoderNet
from nasdepth.models.timm_encoder import TimmEncoder, check_timm_name

PREFIX = "teacher:"
DEFAULT_WIDTH = 128
_MIN_INPUT, _MIN_WIDTH = 32, 8
_TEXT = re.compile(r"teacher:([\w.]+)@(\d+)x(\d+)(?:w(\d+))?")


@dataclass(frozen=True, slots=True)
class Teacher:
    """A teacher as a value; its string form is exact: `teacher:convnext_tiny@240x320`, `...@240x320w64`.

    Attributes:
        encoder: one of `nasdepth.families` (at width 1, normalisation folded, exportable as students are), or
            else a timm name, with or without the tag of its weights.
        input_height, input_width: the size that the image is resized to in the graph.
        width: channels of the decoder.

    Raises:
        SpaceError: a field out of range, with its value.
    """

    encoder: str
    input_height: int
    input_width: int
    width: int = DEFAULT_WIDTH

    def __post_init__(self) -> None:
        if self.encoder not in families():
            check_timm_name(self.encoder)
        for field, size in (("input height", self.input_height), ("input width", self.input_width)):
            if not _MIN_INPUT <= size <= MAX_INPUT:
                raise SpaceError(f"{field} is {size}; it must lie in {_MIN_INPUT} to {MAX_INPUT}")
        if self.width % 8 or not _MIN_WIDTH <= self.width <= MAX_DECODER_WIDTH:
            raise SpaceError(
                f"decoder width is {self.width}; it must be a multiple of 8 from {_MIN_WIDTH} to "
                f"{MAX_DECODER_WIDTH}"
            )

    @property
    def key(self) -> str:
        """Hash of the string form: 12 hex digits, as an `Architecture` has."""
        return hashlib.sha256(str(self).encode()).hexdigest()[:12]

    def __str__(self) -> str:
        width = "" if self.width == DEFAULT_WIDTH else f"w{self.width}"
        return f"{PREFIX}{self.encoder}@{self.input_height}x{self.input_width}{width}"

    @classmethod
    def parse(cls, text: str) -> Teacher:
        """Read the string form.

        Raises:
            SpaceError: not a teacher, or one of an encoder that nobody has.
        """
        match = _TEXT.fullmatch(text.strip())
        if match is None:
            raise SpaceError(
                f"{text!r} is no teacher: expected teacher:ENCODER@HEIGHTxWIDTH, with wN behind it for a "
                "decoder of another width; for example teacher:convnext_tiny@240x320"
            )
        encoder, height, width, channels = match.groups()
        return cls(encoder, int(height), int(width), int(channels or DEFAULT_WIDTH))


class ResidualUnit(nn.Sequential):
    """x + two 3x3 convolutions with batch norm, activated beforehand (RefineNet's unit)."""

    def __init__(self, width: int) -> None:
        super().__init__(
            # its input is needed again
            nn.ReLU(inplace=False),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + super().forward(x)


class Fusion(nn.Module):
    """One level of the decoder: an encoder's map comes to what deeper levels gave (DPT, section 3.1).

    The 1x1 convolution stands before the next level's upsampling, with which it commutes, at a quarter of
    the cost.
    """

    def __init__(self, in_channels: int, width: int, deepest: bool) -> None:
        super().__init__()
        self.enter = nn.Conv2d(in_channels, width, 3, padding=1, bias=False)
        self.refine_skip = None if deepest else ResidualUnit(width)
        self.refine = ResidualUnit(width)
        self.project = nn.Conv2d(width, width, 1)

    def forward(self, skip: torch.Tensor, deeper: torch.Tensor | None) -> torch.Tensor:
        x = self.enter(skip)
        if deeper is not None:
            assert self.refine_skip is not None
            x = self.refine_skip(x) + upsample(deeper, hw_of(x), "bilinear")
        return self.project(self.refine(x))


def _reassemble(channels: int, level: int) -> nn.Module:
    """A ViT's map to 4, 2, 1 or 1/2 times its resolution (DPT, section 3.1, Resample)."""
    if level < 2:
        factor = 4 >> level
        return nn.ConvTranspose2d(channels, channels, factor, stride=factor)
    return nn.Identity() if level == 2 else nn.Conv2d(channels, channels, 3, stride=2, padding=1)


class TeacherNet(nn.Module):
    """A teacher's network: what `DepthNet` is to an `Architecture`, trained, validated and stored alike.

    The decoder is DPT's (Ranftl et al. 2021, arXiv:2103.13413; MiDaS 3.1 puts the same behind Swin and
    convolutions): every map of the encoder is brought to one width and fused from deep to shallow; a plain
    ViT's maps are first reassembled to strides 4 to 32. Batch norm in the residual units, as in DPT for
    segmentation, because we start the decoder at random on few images.

    The forward pass takes (B, 3, H, W) float RGB on 0-255 of any size and returns (B, 1, 480, 640) depth in
    millimetres.

    Attributes:
        architecture: the `Teacher`; a checkpoint stores its string.
        channels: the channels of every layer that `features` gives, by name.
    """

    scale_mm: torch.Tensor
    encoder: EncoderNet | TimmEncoder

    def __init__(self, teacher: Teacher) -> None:
        super().__init__()
        self.architecture = teacher
        self.input_hw = (teacher.input_height, teacher.input_width)
        if teacher.encoder in families():
            self.encoder = EncoderNet(full_encoder(teacher.encoder))
            levels = {stride: size for stride, size in self.encoder.channels.items() if stride >= 4}
        else:
            self.encoder = TimmEncoder(teacher.encoder, self.input_hw)
            levels = self.encoder.channels
        self._strides = tuple(sorted(levels, reverse=True))
        width, plain = teacher.width, isinstance(self.encoder, TimmEncoder) and self.encoder.plain
        self.reassemble = nn.ModuleDict()
        self.decoder = nn.ModuleDict()
        for stride in self._strides:
            level = self._strides[::-1].index(stride)
            self.reassemble[str(stride)] = _reassemble(levels[stride], level) if plain else nn.Identity()
            self.decoder[str(stride)] = Fusion(levels[stride], width, deepest=stride == self._strides[0])
        seen = max(16, width // 4)
        self.before_upsampling = nn.Conv2d(width, width // 2, 3, padding=1)
        self.penultimate = nn.Sequential(
            nn.Conv2d(width // 2, seen, 3, padding=1, bias=False), nn.BatchNorm2d(seen), nn.ReLU()
        )
        self.head = nn.Conv2d(seen, 1, 1)
        for module in (self.decoder, self.before_upsampling, self.penultimate):
            for convolution in module.modules():
                if isinstance(convolution, nn.Conv2d):
                    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
        start_at_typical_depth(self.head)
        self.register_buffer("scale_mm", torch.tensor(DEFAULT_SCALE_MM))
        self.channels = {f"encoder{stride}": size for stride, size in self.encoder.channels.items()}
        self.channels |= {f"stride{stride}": width for stride in self._strides}
        self.channels |= {PENULTIMATE: seen, HEAD: 1}

    def resize(self, rgb: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) -> (B, 3, *input_hw), bilinear with half-pixel centres."""
        return upsample(rgb, self.input_hw, "bilinear")

    def features(self, resized: torch.Tensor) -> dict[str, torch.Tensor]:
        """Every layer of an already resized image by name, (B, C, h, w) each.

        "encoder4" and so on are the encoder's maps, "stride32" to "stride4" the decoder's levels,
        "penultimate" is what the head sees, at twice the finest level's size, and "head" what it makes of
        that before the last activation. A plain ViT's "encoder4" to "encoder32" are its maps of growing
        depth, all at the resolution of its patches.
        """
        named = self._layers(resized)
        return named | {HEAD: head_layer(self.head, named[PENULTIMATE])}

    def _layers(self, resized: torch.Tensor) -> dict[str, torch.Tensor]:
        """Those of `features` that depth is computed from."""
        maps = self.encoder(resized)
        named = {f"encoder{stride}": one for stride, one in maps.items()}
        x = None
        for stride in self._strides:
            x = self.decoder[str(stride)](self.reassemble[str(stride)](maps[stride]), x)
            named[f"stride{stride}"] = x
        x = self.before_upsampling(x)
        height, width = hw_of(x)
        named[PENULTIMATE] = self.penultimate(upsample(x, (2 * height, 2 * width), "bilinear"))
        return named

    def decode(self, resized: torch.Tensor) -> torch.Tensor:
        """Compute what the head sees of an already resized image."""
        return self._layers(resized)[PENULTIMATE]

    def predict(self, decoded: torch.Tensor, out_hw: tuple[int, int]) -> torch.Tensor:
        """Depth in millimetres, (B, 1, *out_hw), from what `decode` gives."""
        return upsample(head_depth_mm(self.head, decoded, self.scale_mm), out_hw, "bilinear")

    def forward(self, rgb: torch.Tensor) -> torch.Tensor:
        return self.predict(self.decode(self.resize(rgb)), OUTPUT_HW)


def full_encoder(family: str) -> Encoder:
    """A family at width 1 with all its stages."""
    return Encoder(family, 1.0, len(get_family(family).stages))
