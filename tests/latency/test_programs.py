"""Kernels of architectures, computed from programs, against a trace of the whole network."""

import random

import pytest
import torch.nn.functional as F
from torch import nn

from nasdepth.latency import architecture_kernels, module_kernels
from nasdepth.latency._pieces import Piece
from nasdepth.latency._programs import run
from nasdepth.latency.rules import RUNTIMES
from nasdepth.models import DepthNet, named_designs
from nasdepth.models.blocks import SqueezeExcite
from nasdepth.space import SearchSpace


def test_architectures_have_the_kernels_of_their_networks():
    space, rng = SearchSpace.load("depth"), random.Random(11)
    families = set()
    for architecture in (*named_designs().values(), *(space.sample(rng) for _ in range(250))):
        families.add(architecture.encoder.family)
        expected = module_kernels(DepthNet(architecture).to("meta"))
        assert architecture_kernels(architecture) == expected, str(architecture)
    assert families >= set(space.definition.encoder.family)


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
