"""Features: an architecture as numbers of a scale of about 1, from which a surrogate predicts si-RMSE.

They need no search space, so architectures of another space can stand beside those of this one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import get_args

import numpy as np

from nasdepth.architecture import Architecture, Attention, HeadUpsampling, Reparam, Skip
from nasdepth.decoder_blocks import BLOCKS
from nasdepth.families import families, get_family
from nasdepth.kernels.kernel import CONVOLUTIONS
from nasdepth.latency import Kernel, architecture_kernels, encoder_kernels

_STRIDES = (32, 16, 8, 4, 2, 1)
# Where the scales begin: a network of about a millisecond on a phone
_PIXELS, _ASPECT = 128 * 160, 4 / 3
_ENCODER_MACS, _ENCODER_WEIGHTS = 8e6, 2e5
_DECODER_MACS, _DECODER_WEIGHTS = 8e6, 5e4
_CHANNELS = 32
# Octaves of an amount, and of channels or pixels, that count as 1
_AMOUNT_OCTAVES, _WIDTH_OCTAVES = 4.0, 2.0

# Which features a linear model multiplies with each other
PRODUCTS = (
    ("size:encoder MACs", "size:encoder MACs"),
    ("size:decoder MACs", "size:decoder MACs"),
    ("size:encoder weights", "size:encoder weights"),
    ("size:encoder MACs", "size:decoder MACs"),
    ("size:encoder MACs", "input:pixels"),
    ("input:pixels", "input:pixels"),
    ("encoder:width", "encoder:width"),
    ("family:pretrained", "encoder:width"),
    ("family:pretrained", "size:encoder MACs"),
)


def feature_names() -> tuple[str, ...]:
    """Names of the columns, in order, as `group:what`."""
    return tuple(_names())


def groups() -> dict[str, list[int]]:
    """Columns by what they describe; a surrogate may weigh whole groups."""
    found: dict[str, list[int]] = {}
    for index, name in enumerate(feature_names()):
        found.setdefault(name.partition(":")[0], []).append(index)
    return found


def columns(names: Iterable[str]) -> list[int]:
    """Where named features stand."""
    places = {name: index for index, name in enumerate(feature_names())}
    return [places[name] for name in names]


def features(architecture: Architecture, pretrained: bool, runtime: str = "xnnpack") -> np.ndarray:
    """Features of one architecture.

    Args:
        architecture: of any space.
        pretrained: whether its encoder starts from ImageNet weights.
        runtime: whose kernels are counted, as `architecture_kernels` takes it.

    Returns:
        One number for each of `feature_names`.

    Raises:
        UnknownKernelError: the architecture uses an operation that has no kernel.
    """
    return np.array([*_values(architecture, pretrained, runtime)], dtype=float)


def _names() -> Iterator[str]:
    yield from ("input:pixels", "input:aspect", "input:coordinates")
    yield from ("size:encoder MACs", "size:encoder weights", "size:decoder MACs", "size:decoder weights")
    yield from ("encoder:width", "encoder:depth", "encoder:stride")
    yield "family:pretrained"
    yield from (f"family:{name}" for name in families())
    yield from (f"encoder channels:{stride}" for stride in _STRIDES[:-1])
    yield from (f"decoder width:{stride}" for stride in _STRIDES)
    yield from (f"decoder kernel:{stride}" for stride in _STRIDES)
    yield from (f"skip:{skip} {stride}" for stride in _STRIDES[1:] for skip in get_args(Skip)[1:])
    yield from (f"attention:{kind} {stride}" for stride in _STRIDES for kind in get_args(Attention)[1:])
    yield from (f"block:{block}" for block in BLOCKS)
    yield from ("head:stride", "head:decoder bilinear")
    yield from (f"head:{kind}" for kind in get_args(HeadUpsampling)[1:])
    yield from (f"reparam:{kind}" for kind in get_args(Reparam)[1:])


def _values(one: Architecture, pretrained: bool, runtime: str) -> Iterator[float]:
    pixels = one.input_height * one.input_width
    yield _octaves(pixels, _PIXELS, _WIDTH_OCTAVES)
    yield math.log2(one.input_width / one.input_height / _ASPECT)
    yield one.coordinates

    macs, weights = _amounts(encoder_kernels(one, runtime))
    all_macs, all_weights = _amounts(architecture_kernels(one, runtime))
    yield _octaves(1 + macs, _ENCODER_MACS, _AMOUNT_OCTAVES)
    yield _octaves(1 + weights, _ENCODER_WEIGHTS, _AMOUNT_OCTAVES)
    yield _octaves(1 + all_macs - macs, _DECODER_MACS, _AMOUNT_OCTAVES)
    yield _octaves(1 + all_weights - weights, _DECODER_WEIGHTS, _AMOUNT_OCTAVES)

    encoder = one.encoder
    yield encoder.width
    yield encoder.stages / len(get_family(encoder.family).stages)
    yield math.log2(encoder.stride) - 4
    yield pretrained
    yield from (encoder.family == name for name in families())
    channels = encoder.channels
    for stride in _STRIDES[:-1]:
        yield _octaves(channels[stride], _CHANNELS, _WIDTH_OCTAVES) if stride in channels else 0.0

    stages = dict(zip(one.decoder_strides, one.decoder, strict=True))
    at = [stages.get(stride) for stride in _STRIDES]
    yield from (_octaves(stage.width, _CHANNELS, _WIDTH_OCTAVES) if stage else 0.0 for stage in at)
    yield from ((stage.kernel - 3) / 2 if stage else 0.0 for stage in at)
    yield from (stage is not None and stage.skip == skip for stage in at[1:] for skip in get_args(Skip)[1:])
    yield from (
        stage is not None and stage.attention == kind for stage in at for kind in get_args(Attention)[1:]
    )
    blocks = [stage.block for stage in one.decoder]
    yield from (blocks.count(block) / len(blocks) for block in BLOCKS)
    yield math.log2(one.head_stride) - 2
    yield one.decoder_upsampling == "bilinear"
    yield from (one.head_upsampling == kind for kind in get_args(HeadUpsampling)[1:])
    yield from (one.reparam == kind for kind in get_args(Reparam)[1:])


def _octaves(value: float, of: float, scale: float) -> float:
    return math.log2(value / of) / scale


def _amounts(kernels: Sequence[Kernel]) -> tuple[int, int]:
    """Multiply-accumulates and weights (without biases) of all convolutions."""
    macs = weights = 0
    for kernel in kernels:
        if kernel.op in CONVOLUTIONS:
            window = kernel.kernel_height * kernel.kernel_width
            macs += kernel.macs
            weights += window * kernel.in_channels // kernel.groups * kernel.out_channels
    return macs, weights
