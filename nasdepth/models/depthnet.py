"""`DepthNet`: raw RGB in, depth in millimetres out, as trained and as deployed."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from nasdepth.architecture import OUTPUT_HW, Architecture, DecoderStage
from nasdepth.models.blocks import build_block
from nasdepth.models.encoders import EncoderNet

DEFAULT_SCALE_MM = 3000.0


def _interpolation(mode: str) -> dict:
    return {"mode": mode, "align_corners": False if mode == "bilinear" else None}


class Stage(nn.Module):
    """[upsample, fuse with the skip], then the stage's block."""

    def __init__(
        self,
        stage: DecoderStage,
        in_channels: int,
        skip_channels: int,
        out_hw: tuple[int, int],
        upsampling: str,
    ) -> None:
        super().__init__()
        # sizes are constants of the network: read off a tensor, they would end up in the exported graph
        self.out_hw = out_hw
        self.upsampling = upsampling
        self.skip = stage.skip
        if stage.skip == "concat":
            in_channels += skip_channels
        projected = stage.skip == "add" and skip_channels != in_channels
        self.project = nn.Conv2d(skip_channels, in_channels, 1) if projected else nn.Identity()
        self.block = build_block(stage.block, in_channels, stage.width, stage.kernel)

    def merge(self, x: torch.Tensor, skip: torch.Tensor | None) -> torch.Tensor:
        """The block's input: `x` upsampled, with the skip."""
        x = F.interpolate(x, size=self.out_hw, **_interpolation(self.upsampling))
        if self.skip == "concat":
            return torch.cat([x, skip], 1)
        return x + self.project(skip) if self.skip == "add" else x

    def forward(self, x: torch.Tensor, skip: torch.Tensor | None) -> torch.Tensor:
        return self.block(self.merge(x, skip))


class DepthNet(nn.Module):
    """A depth network built from an `Architecture`.

    Resize and normalisation are part of the graph. `scale_mm` is the depth that an output of 1 stands
    for (the trainer sets it to the training set's median depth); it is folded into the head.

    The forward pass takes (B, 3, H, W) float RGB on 0-255 of any size and returns (B, 1, 480, 640) depth in
    millimetres.
    """

    def __init__(self, architecture: Architecture, encoder: EncoderNet | None = None) -> None:
        super().__init__()
        self.architecture = architecture
        self.input_hw = (architecture.input_height, architecture.input_width)
        self.encoder = encoder or EncoderNet(architecture.encoder)
        channels = self.encoder.channels
        neck, *stages = architecture.decoder
        self.neck = build_block(neck.block, channels[architecture.encoder.stride], neck.width, neck.kernel)
        self.decoder = nn.ModuleList()
        width = neck.width
        self._skip_strides = architecture.decoder_strides[1:]
        for stride, stage in zip(self._skip_strides, stages, strict=True):
            out_hw = (self.input_hw[0] // stride, self.input_hw[1] // stride)
            self.decoder.append(
                Stage(stage, width, channels.get(stride, 0), out_hw, architecture.decoder_upsampling)
            )
            width = stage.width
        self.head = nn.Conv2d(width, 1, 1)
        # a ReLU head that starts negative never learns: begin at the typical depth
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.ones_(self.head.bias)
        self.register_buffer("scale_mm", torch.tensor(DEFAULT_SCALE_MM))

    def resize(self, rgb: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) -> (B, 3, input_height, input_width), bilinear with half-pixel centres."""
        return F.interpolate(rgb, size=self.input_hw, **_interpolation("bilinear"))

    def decode(self, resized: torch.Tensor) -> torch.Tensor:
        """Last decoder features, (B, width, *input_hw / head stride), of an already resized image."""
        features = self.encoder(resized)
        x = self.neck(features[self.architecture.encoder.stride])
        for stride, stage in zip(self._skip_strides, self.decoder, strict=True):
            x = stage(x, features.get(stride))
        return x

    def predict(self, decoded: torch.Tensor, out_hw: tuple[int, int]) -> torch.Tensor:
        """Depth in millimetres, (B, 1, *out_hw), from decoder features."""
        x = F.relu(F.conv2d(decoded, self.head.weight * self.scale_mm, self.head.bias * self.scale_mm))
        return F.interpolate(x, size=out_hw, **_interpolation(self.architecture.head_upsampling))

    def forward(self, rgb: torch.Tensor) -> torch.Tensor:
        return self.predict(self.decode(self.resize(rgb)), OUTPUT_HW)


def build(architecture: Architecture) -> DepthNet:
    """The untrained network of an architecture; see `nasdepth.models.pretrained` for ImageNet weights."""
    return DepthNet(architecture)
