"""What a world of records knows an architecture by: plain numbers for regressions of scikit-learn.

They are others than those of the samplers. A world that saw architectures as a sampler does would be easier
for that sampler than the real one.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from functools import lru_cache
from typing import get_args

import numpy as np

from nasdepth.architecture import Architecture, Attention, HeadUpsampling, Reparam, Skip
from nasdepth.decoder_blocks import BLOCKS
from nasdepth.families import families, get_family
from nasdepth.latency import architecture_kernels

_STRIDES = (32, 16, 8, 4, 2, 1)


def features(architecture: Architecture, pretrained: Collection[str], runtime: str) -> np.ndarray:
    """One row of numbers.

    Args:
        architecture: to describe.
        pretrained: families that start from ImageNet weights.
        runtime: whose kernels are counted, as `nasdepth.latency.architecture_kernels` takes it.

    Returns:
        (features,): sizes, amounts of work and of weights as logarithms to base 2; choices as shares.

    Raises:
        UnknownKernelError: it uses an operation that has no kernel.
    """
    return np.array([float(architecture.encoder.family in pretrained), *_row(architecture, runtime)])


@lru_cache(maxsize=200_000)
def _row(one: Architecture, runtime: str) -> tuple[float, ...]:
    encoder, stages = one.encoder, one.decoder
    height, width, head = one.input_height, one.input_width, one.head_stride
    kernels = architecture_kernels(one, runtime)
    channels = encoder.channels
    widths = dict(zip(one.decoder_strides, (stage.width for stage in stages), strict=True))
    skips = dict(zip(one.decoder_strides, (stage.skip for stage in stages), strict=True))
    count = len(stages)
    return (
        math.log2(height * width),
        math.log2(height / width),
        float(one.coordinates),
        encoder.width,
        float(encoder.stages),
        encoder.stages / len(get_family(encoder.family).stages),
        math.log2(encoder.stride),
        math.log2(head),
        math.log2(height * width / head**2),
        math.log2(height * width / encoder.stride**2),
        math.log2(channels[encoder.stride]),
        math.log2(sum(kernel.macs for kernel in kernels) + 1),
        math.log2(sum(kernel.weight_bytes for kernel in kernels) + 1),
        math.log2(min(widths.values())),
        sum(math.log2(value) for value in widths.values()) / count,
        math.log2(stages[-1].width),
        *(math.log2(widths.get(stride, 1)) for stride in _STRIDES),
        *(float(skips.get(stride, "none") != "none") for stride in _STRIDES),
        sum(stage.kernel for stage in stages) / count,
        float(one.decoder_upsampling == "bilinear"),
        *_shares([stage.block for stage in stages], tuple(BLOCKS)),
        *_shares([stage.skip for stage in stages], get_args(Skip)),
        *_shares([stage.attention for stage in stages], get_args(Attention)),
        *_shares([one.head_upsampling], get_args(HeadUpsampling)),
        *_shares([one.reparam], get_args(Reparam)),
        *_shares([encoder.family], tuple(families())),
    )


def _shares(chosen: list[str], options: tuple[str, ...]) -> list[float]:
    return [chosen.count(option) / len(chosen) for option in options]
