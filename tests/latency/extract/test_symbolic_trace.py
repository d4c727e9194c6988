"""Kernels of architectures, computed from programs, against a trace of the whole network."""

import random
from dataclasses import replace
from typing import get_args

import pytest
import torch.nn.functional as F
from torch import nn

from nasdepth.architecture import Architecture, Attention, HeadUpsampling, Skip
from nasdepth.decoder_blocks import BLOCKS
from nasdepth.families import families, get_family
from nasdepth.kernels.rules import RUNTIMES
from nasdepth.latency import architecture_kernels, module_kernels
from nasdepth.latency.extract.network_pieces import Piece
from nasdepth.latency.extract.symbolic_trace import run
from nasdepth.models import DepthNet, named_designs
from nasdepth.models.blocks import SqueezeExcite
from nasdepth.space import SearchSpace


def _agrees(architecture, runtime="xnnpack"):
    expected = module_kernels(DepthNet(architecture).to("meta"), runtime=runtime)
    assert architecture_kernels(architecture, runtime) == expected, f"{architecture} on {runtime}"


def test_architectures_have_the_kernels_of_their_networks():
    space, rng = SearchSpace.load("depth"), random.Random(11)
    sample = [space.sample(rng) for _ in range(60)]
    for architecture in (*named_designs().values(), *sample):
        _agrees(architecture)
    stages = [stage for architecture in sample for stage in architecture.decoder]
    assert {stage.block for stage in stages} >= set(space.definition.decoder.block) - {"conv"}
    assert {stage.attention for stage in stages} == set(space.definition.decoder.attention)


@pytest.mark.parametrize("block", BLOCKS)
def test_every_block_behind_every_skip(block):
    first = "conv-k1" if BLOCKS[block].upsamples else f"{block}-k{BLOCKS[block].kernels[-1]}"
    for skip in get_args(Skip):
        for width, kernel in ((24, BLOCKS[block].kernels[0]), (9, BLOCKS[block].kernels[-1])):
            stages = (
                f"none-{first}-w{width}",
                *(f"{one}-{block}-k{kernel}-w{width}" for one in (skip, "none")),
            )
            text = f"64x96,mobilenetv2@0.5:5,{','.join(stages)},up-bilinear-nearest"
            for runtime in ("xnnpack", "gpu"):
                _agrees(Architecture.parse(text), runtime)


@pytest.mark.parametrize("attention", sorted(set(get_args(Attention)) - {"none"}))
@pytest.mark.parametrize("head", get_args(HeadUpsampling))
def test_every_attention_under_every_head(attention, head):
    for width in (16, 33):
        stages = f"none-conv-k1-w{width}-{attention},gate-fbnet-k3-w{width}-{attention},add-conv-k3-w8"
        for runtime in ("xnnpack", "gpu"):
            _agrees(Architecture.parse(f"64x96xy,mobilenetv2@0.5:5,{stages},up-nearest-{head}"), runtime)


@pytest.mark.parametrize("family", families())
def test_every_encoder_family_at_any_width(family):
    for width in (1.0, 0.35):
        encoder = f"{family}@{width}:{len(get_family(family).stages)}"
        _agrees(Architecture.parse(f"64x96,{encoder},none-conv-k1-w16,add-dsconv-k3-w16,up-nearest-bilinear"))


def test_reparameterisation_changes_no_kernel():
    plain = Architecture.parse(
        "64x96,mobilenetv2@0.5:5,none-conv-k1-w16,gate-mbconv-k3-w16,up-nearest-nearest"
    )
    for reparam in ("rep", "linear"):
        over = replace(plain, reparam=reparam)
        assert architecture_kernels(over) == architecture_kernels(plain)
        _agrees(over)


class _Rounding(nn.Module):
    """Channels that are no sum of the given ones, and a pool that drops the last row of odd sizes."""

    def __init__(self, in_channels, out_channels):
        super().__init__()
        self.reduce = nn.Conv2d(in_channels, in_channels // 16 * 8 + 8, 3, padding=1)
        self.expand = nn.Conv2d(self.reduce.out_channels, out_channels, 1)
        self.gate = SqueezeExcite(out_channels)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.reduce(x)), 2) if min(x.shape[2:]) > 1 else self.reduce(x)
        return self.gate(self.expand(x))


class _Growing(nn.Module):
    """Sums of channels, a pad that stays, and a transposed convolution."""

    def __init__(self, in_channels, out_channels):
        super().__init__()
        self.strided = nn.Conv2d(in_channels, out_channels, 3, stride=2, padding=1)
        self.up = nn.ConvTranspose2d(out_channels, in_channels + 3, 2, stride=2)

    def forward(self, x):
        return F.hardswish(self.up(self.strided(x)))


class _Wrapped(Piece):
    def __init__(self, module):
        self.module = module

    def build(self, channels, hw):
        return self.module(*channels).eval()


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("module", [_Rounding, _Growing])
@pytest.mark.parametrize("channels", [(16, 24), (40, 40), (24, 1), (1, 8)])
@pytest.mark.parametrize("hw", [(8, 12), (9, 7), (64, 96), (1, 1)])
def test_pieces_that_need_more_than_one_look(module, channels, hw, runtime):
    class Whole(nn.Module):
        def __init__(self):
            super().__init__()
            self.entry, self.piece = nn.Conv2d(3, channels[0], 1), module(*channels)

        def forward(self, x):
            return self.piece(self.entry(x))

    assert run(_Wrapped(module), channels, hw, runtime) == module_kernels(Whole(), hw, runtime)[1:]
