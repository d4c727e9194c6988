"""Kernels of an architecture, put together from its pieces without building the network."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from nasdepth.architecture import GUIDED_STRIDES, JOINING, OUTPUT_HW, Architecture
from nasdepth.decoder_blocks import BLOCKS
from nasdepth.families import get_family
from nasdepth.kernels.kernel import Kernel
from nasdepth.latency.extract.network_pieces import (
    Attention,
    DecoderBlock,
    EncoderBlock,
    GuidedHead,
    Head,
    Merge,
    Plane,
    Resize,
    Stem,
    UpsamplingStage,
)
from nasdepth.latency.extract.symbolic_trace import run


@lru_cache(maxsize=65536)
def architecture_kernels(architecture: Architecture, runtime: str = "xnnpack") -> tuple[Kernel, ...]:
    """The kernels that an architecture runs when it is deployed, in order.

    They equal `module_kernels(DepthNet(architecture))`, which takes twenty times as long.

    Args:
        architecture: of the network.
        runtime: `xnnpack`, `tflite` (no delegate) or `gpu`.

    Raises:
        UnknownKernelError: it uses an operation that has no kernel.
    """
    strides = architecture.decoder_strides
    hw = (architecture.input_height, architecture.input_width)
    at = {stride: architecture.hw_at(stride) for stride in strides}
    features = architecture.encoder.channels
    kernels = [*run(Resize(hw), (), OUTPUT_HW, runtime), *encoder_kernels(architecture, runtime)]

    width = features[architecture.encoder.stride]
    upsampling = architecture.decoder_upsampling
    for index, (stride, stage) in enumerate(zip(strides, architecture.decoder, strict=True)):
        skip = () if stage.skip == "none" else (features[stride],)
        if BLOCKS[stage.block].upsamples:
            odd = _odd(at, stride)
            piece = UpsamplingStage(stage.block, stage.kernel, stage.skip, upsampling, odd)
            kernels += run(piece, (width, stage.width, *skip), at[2 * stride], runtime)
        else:
            if index:
                kernels += run(
                    Merge(stage.skip, upsampling, _odd(at, stride)), (width, *skip), at[2 * stride], runtime
                )
                width += sum(skip) if stage.skip in JOINING else 0
            block = DecoderBlock(stage.block, stage.kernel)
            kernels += run(block, (width, stage.width), at[stride], runtime)
        width = stage.width
        if stage.attention != "none":
            kernels += run(Attention(stage.attention), (width,), at[stride], runtime)
    if architecture.head_upsampling == "lpg":
        return (*kernels, *_guided_head(architecture, at, runtime))
    return (*kernels, *run(Head(architecture.head_upsampling), (width,), at[strides[-1]], runtime))


def _odd(at: dict[int, tuple[int, int]], stride: int) -> tuple[int, int]:
    """How much twice the size of the next deeper stride exceeds that of a stride."""
    return 2 * at[2 * stride][0] - at[stride][0], 2 * at[2 * stride][1] - at[stride][1]


def encoder_kernels(architecture: Architecture, runtime: str = "xnnpack") -> list[Kernel]:
    """Those of `architecture_kernels` that the encoder runs, in order."""
    hw = (architecture.input_height, architecture.input_width)
    encoder = architecture.encoder
    stem_channels, blocks = _encoder_blocks(encoder.family, encoder.width, encoder.stages)
    stem = Stem(encoder.family, architecture.coordinates)
    kernels = [*run(stem, (stem_channels,), hw, runtime)]
    for block, channels, stride in blocks:
        kernels += run(block, channels, architecture.hw_at(stride), runtime)
    return kernels


@lru_cache(maxsize=4096)
def _encoder_blocks(
    family_name: str, multiplier: float, stages: int
) -> tuple[int, tuple[tuple[EncoderBlock, tuple[int, ...], int], ...]]:
    """Channels of the stem; of every block the piece, its channels and the stride of its input."""
    family = get_family(family_name)
    stem_channels = channels = family.scaled(family.stem_channels, multiplier)
    stride = family.stem_stride
    pieces = []
    for blocks in family.blocks()[:stages]:
        for block in blocks:
            inside = tuple(family.scaled(plain, multiplier) for plain in block.channels)
            pieces.append((EncoderBlock.like(block), (channels, *inside), stride))
            channels, stride = inside[-1], stride * block.stride
    return stem_channels, tuple(pieces)


def _guided_head(
    architecture: Architecture, at: dict[int, tuple[int, int]], runtime: str
) -> Iterator[Kernel]:
    widths = {
        stride: stage.width
        for stride, stage in zip(architecture.decoder_strides, architecture.decoder, strict=True)
    }
    planes = tuple(stride for stride in widths if stride in GUIDED_STRIDES)
    for stride in planes:
        yield from run(Plane(stride), (widths[stride],), at[stride], runtime)
    last = architecture.head_stride
    yield from run(GuidedHead(planes, last), (widths[last],), at[last], runtime)
