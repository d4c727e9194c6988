"""From networks to kernels: torch modules, .tflite files and architectures."""

from __future__ import annotations

from functools import lru_cache

from nasdepth.architecture import OUTPUT_HW, Architecture
from nasdepth.families import get_family, round_channels
from nasdepth.latency._from_module import module_kernels
from nasdepth.latency._from_tflite import tflite_kernels
from nasdepth.latency._pieces import DecoderBlock, Head, Merge, Resize, Stem, encoder_blocks
from nasdepth.latency._programs import run
from nasdepth.latency.kernels import Kernel

__all__ = ["architecture_kernels", "module_kernels", "tflite_kernels"]


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
    encoder, strides = architecture.encoder, architecture.decoder_strides
    hw = (architecture.input_height, architecture.input_width)
    at = {stride: (hw[0] // stride, hw[1] // stride) for stride in (1, *encoder.channels)}
    features = encoder.channels
    kernels = [*run(Resize(hw), (), OUTPUT_HW, runtime), *_encoder(architecture, runtime)]

    width = features[encoder.stride]
    upsampling = architecture.decoder_upsampling
    for index, (stride, stage) in enumerate(zip(strides, architecture.decoder, strict=True)):
        if index:
            skip = () if stage.skip == "none" else (features[stride],)
            kernels += run(Merge(stage.skip, upsampling), (width, *skip), at[2 * stride], runtime)
            width += skip[0] if stage.skip == "concat" else 0
        kernels += run(DecoderBlock(stage.block, stage.kernel), (width, stage.width), at[stride], runtime)
        width = stage.width
    kernels += run(Head(architecture.head_upsampling), (width,), at[strides[-1]], runtime)
    return tuple(kernels)


def _encoder(architecture: Architecture, runtime: str) -> list[Kernel]:
    encoder = architecture.encoder
    family = get_family(encoder.family)
    height, width = architecture.input_height, architecture.input_width
    stages = encoder_blocks(encoder.family)[: encoder.stages]
    channels = family.stage_channels(encoder.width)[0]
    kernels = [*run(Stem(encoder.family), (channels,), (height, width), runtime)]
    stride = 2
    for blocks, out_stride in zip(stages, family.stage_strides()[1:], strict=False):
        for block, plain in blocks:
            out_channels = round_channels(plain * encoder.width)
            kernels += run(block, (channels, out_channels), (height // stride, width // stride), runtime)
            channels, stride = out_channels, out_stride
    return kernels
