"""`DepthNet`: raw RGB in, depth in millimetres out, as trained and as deployed."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from nasdepth.architecture import JOINING, OUTPUT_HW, Architecture, DecoderStage
from nasdepth.decoder_blocks import BLOCKS
from nasdepth.models.blocks import PlanarGuidance, SkipGate, bias_of, build_attention, build_block, upsample
from nasdepth.models.encoders import EncoderNet

DEFAULT_SCALE_MM = 3000.0
PENULTIMATE = "penultimate"
"""The feature layer that the head sees."""
HEAD = "head"
"""The feature layer of one channel that the last convolution gives, before the last activation."""


def start_at_typical_depth(head: nn.Conv2d) -> None:
    """First weights of a head with a ReLU behind it: one that starts negative never learns."""
    nn.init.normal_(head.weight, std=0.01)
    nn.init.ones_(bias_of(head))


def head_layer(head: nn.Conv2d, decoded: torch.Tensor) -> torch.Tensor:
    """Depth over the scale before the last activation, (B, 1, h, w): the layer `HEAD`."""
    return F.conv2d(decoded, head.weight, head.bias, padding=head.padding)


def head_depth_mm(head: nn.Conv2d, decoded: torch.Tensor, scale_mm: torch.Tensor) -> torch.Tensor:
    """Depth in millimetres at the head's resolution, (B, 1, h, w); the scale is inside the convolution."""
    weight, bias = head.weight * scale_mm, bias_of(head) * scale_mm
    return F.relu(F.conv2d(decoded, weight, bias, padding=head.padding))


class Stage(nn.Module):
    """[upsample, fuse with the skip], the stage's block, its attention.

    A block that upsamples by itself comes first; the skip is fused with what it gives, before the attention.
    """

    def __init__(
        self,
        stage: DecoderStage,
        in_channels: int,
        skip_channels: int,
        out_hw: tuple[int, int],
        upsampling: str,
        reparam: str = "none",
    ) -> None:
        super().__init__()
        # sizes are constants of the network: read off a tensor, they would end up in the exported graph
        self.out_hw = out_hw
        self.upsampling = upsampling
        self.skip = stage.skip
        self.upsamples = BLOCKS[stage.block].upsamples
        channels = stage.width if self.upsamples else in_channels  # of what the skip is fused with
        joined = channels + skip_channels if stage.skip in JOINING else channels
        projected = stage.skip == "add" and skip_channels != channels
        self.project = nn.Conv2d(skip_channels, channels, 1) if projected else nn.Identity()
        gated = stage.skip in ("gate", "lrgate")
        self.gate = SkipGate(skip_channels, channels, leaky=stage.skip == "lrgate") if gated else None
        # behind a block that upsamples there is no other to bring a concatenation back to the width
        narrowed = self.upsamples and joined != channels
        self.narrow = nn.Conv2d(joined, channels, 1) if narrowed else nn.Identity()
        block_in = in_channels if self.upsamples else joined
        self.block = build_block(stage.block, block_in, stage.width, stage.kernel, reparam)
        self.attention = build_attention(stage.attention, stage.width)

    def fuse(self, x: torch.Tensor, skip: torch.Tensor | None) -> torch.Tensor:
        """Join `x` with the skip; both are at the stage's resolution."""
        if self.skip == "none":
            return x
        assert skip is not None
        if self.skip == "add":
            return x + self.project(skip)
        if self.gate is not None:
            skip = self.gate(skip, x)
        return self.narrow(torch.cat([x, skip], 1))

    def merge(self, x: torch.Tensor, skip: torch.Tensor | None) -> torch.Tensor:
        """The input of a block that does not upsample: `x` upsampled, with the skip."""
        return self.fuse(upsample(x, self.out_hw, self.upsampling), skip)

    def forward(self, x: torch.Tensor, skip: torch.Tensor | None) -> torch.Tensor:
        if self.upsamples:
            x = self.fuse(self.block(x, self.out_hw, self.upsampling), skip)
        else:
            x = self.block(self.merge(x, skip))
        return self.attention(x)


class DepthNet(nn.Module):
    """A depth network built from an `Architecture`.

    Resize and normalisation are part of the graph. `scale_mm` is the depth that an output of 1 stands
    for (the trainer sets it to the training set's median depth); it is folded into the head.

    The forward pass takes (B, 3, H, W) float RGB on 0-255 of any size and returns (B, 1, 480, 640) depth in
    millimetres.
    """

    scale_mm: torch.Tensor

    def __init__(self, architecture: Architecture, encoder: EncoderNet | None = None) -> None:
        super().__init__()
        self.architecture = architecture
        self.input_hw = (architecture.input_height, architecture.input_width)
        self.encoder = encoder or EncoderNet(architecture.encoder, architecture.coordinates)
        channels = self.encoder.channels
        reparam = architecture.reparam
        neck, *stages = architecture.decoder
        width = neck.width
        self.neck = build_block(
            neck.block, channels[architecture.encoder.stride], width, neck.kernel, reparam
        )
        self.neck_attention = build_attention(neck.attention, width)
        self.decoder = nn.ModuleList()
        self._skip_strides = architecture.decoder_strides[1:]
        for stride, stage in zip(self._skip_strides, stages, strict=True):
            out_hw = (self.input_hw[0] // stride, self.input_hw[1] // stride)
            skipped = channels.get(stride, 0)
            self.decoder.append(
                Stage(stage, width, skipped, out_hw, architecture.decoder_upsampling, reparam)
            )
            width = stage.width
        self.guidance = None
        self._head_upsampling = architecture.head_upsampling
        if architecture.head_upsampling == "lpg":
            widths = [stage.width for stage in architecture.decoder]
            by_stride = dict(zip(architecture.decoder_strides, widths, strict=True))
            self.guidance = PlanarGuidance(by_stride, self.input_hw)
            self._head_upsampling = "bilinear"
            self.head = nn.Conv2d(self.guidance.out_channels, 1, 3, padding=1)
        else:
            self.head = nn.Conv2d(width, 1, 1)
        start_at_typical_depth(self.head)
        self.register_buffer("scale_mm", torch.tensor(DEFAULT_SCALE_MM))

    def resize(self, rgb: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) -> (B, 3, input_height, input_width), bilinear with half-pixel centres."""
        return upsample(rgb, self.input_hw, "bilinear")

    def decode(self, resized: torch.Tensor) -> torch.Tensor:
        """Compute what the head sees of an already resized image.

        (B, width, *input_hw / head stride), the last decoder features; with local planar guidance
        (B, plane maps + width, *input_hw).
        """
        return self._layers(resized)[PENULTIMATE]

    def features(self, resized: torch.Tensor) -> dict[str, torch.Tensor]:
        """Feature maps by layer, for distillation and for what is trained beside the network.

        "encoder8", "encoder16", ... as the encoder gives them at each stride, "stride32", ..., "stride4" what
        the decoder makes at each (the neck's is the coarsest), "penultimate", what `decode` returns, and
        "head", what the last convolution makes of it before the last activation.
        """
        named = self._layers(resized)
        return named | {HEAD: head_layer(self.head, named[PENULTIMATE])}

    def _layers(self, resized: torch.Tensor) -> dict[str, torch.Tensor]:
        """Those of `features` that depth is computed from."""
        encoded = self.encoder(resized)
        x = self.neck_attention(self.neck(encoded[self.architecture.encoder.stride]))
        decoded = {self.architecture.encoder.stride: x}
        for stride, stage in zip(self._skip_strides, self.decoder, strict=True):
            x = decoded[stride] = stage(x, encoded.get(stride))
        named = {f"encoder{stride}": one for stride, one in encoded.items()}
        named |= {f"stride{stride}": one for stride, one in decoded.items()}
        return named | {PENULTIMATE: x if self.guidance is None else self.guidance(decoded)}

    def predict(self, decoded: torch.Tensor, out_hw: tuple[int, int]) -> torch.Tensor:
        """Depth in millimetres, (B, 1, *out_hw), from what `decode` gives."""
        return upsample(head_depth_mm(self.head, decoded, self.scale_mm), out_hw, self._head_upsampling)

    def forward(self, rgb: torch.Tensor) -> torch.Tensor:
        return self.predict(self.decode(self.resize(rgb)), OUTPUT_HW)


def build(architecture: Architecture) -> DepthNet:
    """The untrained network of an architecture; see `nasdepth.models.pretrained` for ImageNet weights."""
    return DepthNet(architecture)
