"""Attentions and the gate of skips against the papers' formulas."""

from typing import get_args

import pytest
import torch
import torch.nn.functional as F
from model_samples import randomise
from timm.models._efficientnet_blocks import SqueezeExcite as TimmSqueezeExcite
from torch import nn

from nasdepth.architecture import Attention
from nasdepth.models.blocks import (
    CoordinateAttention,
    NonLocal,
    SkipGate,
    SqueezeExcite,
    build_attention,
)
from nasdepth.models.blocks.attention import attention_names


def test_every_registered_attention_is_spelt_by_architectures():
    assert set(attention_names()) == set(get_args(Attention))


@pytest.mark.parametrize("channels", [8, 9, 13, 24])
@pytest.mark.parametrize("name", attention_names())
def test_attentions_keep_their_contract(name, channels):
    attention = build_attention(name, channels)
    for hw in ((6, 9), (1, 1), (1, 4)):
        x = torch.randn(2, channels, *hw, requires_grad=True)
        y = attention(x)
        assert y.shape == x.shape
        y.square().sum().backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in (x, *attention.parameters()))


@pytest.mark.parametrize("channels", [16, 72, 240])
@torch.no_grad()
def test_squeeze_excite_is_timms(channels):
    """timm's own spelling, mean and hard sigmoid, with the same weights under the same names."""
    ours = SqueezeExcite(channels, rd_ratio=0.25)
    reduced = ours.conv_reduce.out_channels
    timms = TimmSqueezeExcite(channels, rd_ratio=reduced / channels, gate_layer=nn.Hardsigmoid)
    timms.load_state_dict(ours.state_dict())
    x = torch.randn(2, channels, 6, 9) * 8
    torch.testing.assert_close(ours(x), timms(x), rtol=1e-5, atol=1e-5)
    gates = ours(torch.ones(1, channels, 1, 1) * 40)
    assert gates.min() >= 0 and gates.max() <= 40 * (1 + 1e-6)


def coordinate_attention_of_the_paper(ca: CoordinateAttention, x: torch.Tensor) -> torch.Tensor:
    """Equations 4 to 8 as the paper's code has them, with hard sigmoids."""
    height, width = x.shape[2:]
    rows = x.mean(3, keepdim=True)
    columns = x.mean(2, keepdim=True).permute(0, 1, 3, 2)
    y = ca.reduce(torch.cat([rows, columns], dim=2))
    rows, columns = torch.split(y, [height, width], dim=2)
    return x * F.hardsigmoid(ca.columns(columns.permute(0, 1, 3, 2))) * F.hardsigmoid(ca.rows(rows))


@pytest.mark.parametrize("channels", [9, 24, 320])
def test_coordinate_attention_is_the_papers(channels):
    ca = CoordinateAttention(channels)
    assert ca.reduce[0].out_channels == max(8, channels // 32)
    x = torch.randn(2, channels, 5, 8) * 4
    randomise(ca)
    torch.testing.assert_close(ca(x), coordinate_attention_of_the_paper(ca, x), rtol=1e-5, atol=1e-5)
    # in training batch norm gathers its statistics over rows and columns together
    reference = CoordinateAttention(channels)
    reference.load_state_dict(ca.state_dict())
    ca.train(), reference.train()
    expected = coordinate_attention_of_the_paper(reference, x)
    torch.testing.assert_close(ca(x), expected, rtol=1e-5, atol=1e-5)
    for name, value in ca.state_dict().items():
        torch.testing.assert_close(value, reference.state_dict()[name])


def test_a_fresh_non_local_block_is_the_identity():
    x = torch.randn(2, 12, 5, 7)
    for training in (True, False):
        assert torch.equal(NonLocal(12).train(training)(x), x)


@pytest.mark.parametrize("channels", [8, 13])
@torch.no_grad()
def test_non_local_attends_to_every_pixel(channels):
    block = randomise(NonLocal(channels))
    x = torch.randn(2, channels, 4, 6)
    theta, phi, g = (layer(x) for layer in (block.theta, block.phi, block.g))
    assert theta.shape[1] == -(-channels // 2)
    y = torch.empty_like(g)
    for row in range(4):
        for column in range(6):
            likeness = torch.einsum("bc,bchw->bhw", theta[:, :, row, column], phi)
            weights = likeness.exp() / likeness.exp().sum((1, 2), keepdim=True)
            y[:, :, row, column] = torch.einsum("bhw,bchw->bc", weights, g)
    torch.testing.assert_close(block(x), x + block.out(y), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("skip_channels", "channels"), [(16, 24), (9, 13)])
def test_the_gate_is_attention_unets(skip_channels, channels):
    gate = randomise(SkipGate(skip_channels, channels))
    skip = torch.randn(2, skip_channels, 6, 7)
    x = torch.randn(2, channels, 6, 7, requires_grad=True)

    def project(layers, y):
        return layers[1](torch.einsum("bchw,oc->bohw", y, layers[0].weight[..., 0, 0]))

    q = F.relu(project(gate.from_skip, skip) + project(gate.from_decoder, x))
    q = torch.einsum("bchw,oc->bohw", q, gate.psi.weight[..., 0, 0]) + gate.psi.bias
    got = gate(skip, x)
    torch.testing.assert_close(got, skip * F.hardsigmoid(q), rtol=1e-5, atol=1e-5)
    got.sum().backward()
    assert x.grad.abs().sum() > 0  # the decoder has a say
