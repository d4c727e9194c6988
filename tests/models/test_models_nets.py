"""Every registered block and fusion against its contract."""

import random

import pytest
import torch
from timm.models._efficientnet_blocks import SqueezeExcite as TimmSqueezeExcite
from torch import nn

from nasdepth.architecture import Architecture
from nasdepth.decoder_blocks import BLOCKS
from nasdepth.models import build, resolve
from nasdepth.models.blocks import SqueezeExcite, block_names, build_block
from nasdepth.space import SearchSpace


def randomise(net: nn.Module, seed: int = 0) -> nn.Module:
    """Weights that keep activations alive, and batch norms that are no identity."""
    generator = torch.Generator().manual_seed(seed)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low, high in (
                (module.weight.data, 0.5, 1.5),
                (module.bias.data, -0.5, 0.5),
                (module.running_mean, -0.3, 0.3),
                (module.running_var, 0.5, 2.0),
            ):
                tensor.uniform_(low, high, generator=generator)
    return net.eval()


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


@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("name", block_names())
def test_blocks_keep_their_contract(name, kernel):
    for in_channels, out_channels in ((8, 24), (24, 8), (16, 16)):
        block = build_block(name, in_channels, out_channels, kernel)
        x = torch.randn(2, in_channels, 6, 10)
        y = block(x)
        assert y.shape == (2, out_channels, 6, 10)
        y.square().sum().backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in block.parameters())
        kernels = {m.kernel_size for m in block.modules() if isinstance(m, nn.Conv2d)}
        assert kernels <= {(1, 1), (kernel, kernel)} and (kernel, kernel) in kernels


def test_only_an_mbconv_of_equal_channels_has_a_residual():
    x = torch.randn(1, 16, 4, 4)
    block = build_block("mbconv", 16, 16, 3).eval()
    for module in block.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.zeros_(module.weight)
    assert torch.equal(block(x), x)


def test_every_registered_block_is_spelt_by_architectures():
    assert set(block_names()) == set(BLOCKS)


@pytest.mark.parametrize("seed", range(6))
@torch.no_grad()
def test_sampled_networks_map_raw_rgb_to_depth(seed):
    architecture = SearchSpace.load("depth").sample(random.Random(seed))
    net = build(architecture).eval()
    depth = net(torch.rand(1, 3, 480, 640) * 255)
    assert depth.shape == (1, 1, 480, 640) and depth.isfinite().all() and depth.min() >= 0
    assert 300 < depth.median() < 30000  # the head starts at the typical depth


@pytest.mark.parametrize("skip", ["none", "add", "concat"])
@pytest.mark.parametrize("modes", ["nearest-nearest", "bilinear-bilinear"])
def test_every_parameter_learns(skip, modes):
    text = (
        f"64x96,mobilenetv3_small@0.5:4,none-mbconv-k3-w16,{skip}-dsconv-k5-w8,{skip}-conv-k3-w8,up-{modes}"
    )
    net = build(Architecture.parse(text)).train()
    net.predict(net.decode(net.resize(torch.rand(2, 3, 96, 128) * 255)), (30, 40)).mean().backward()
    dead = [name for name, parameter in net.named_parameters() if parameter.grad is None]
    assert dead == []


@torch.no_grad()
def test_skips_feed_the_decoder():
    text = "64x64,mobilenetv2@0.5:4,none-conv-k1-w16,{}-conv-k1-w16,up-nearest-nearest"
    torch.manual_seed(0)
    for skip, uses in (("none", False), ("add", True), ("concat", True)):
        net = randomise(build(Architecture.parse(text.format(skip))))
        x = net.neck(net.encoder(torch.rand(1, 3, 64, 64) * 255)[16])
        stage, skipped = net.decoder[0], torch.rand(1, 16, 8, 8)
        changed = not torch.equal(stage(x, skipped), stage(x, skipped + 1))
        assert changed is uses, skip


@torch.no_grad()
def test_the_scale_is_the_depth_of_an_output_of_one():
    net = build(resolve("litedepth")).eval()
    rgb = torch.rand(1, 3, 480, 640) * 255
    before = net(rgb)
    net.scale_mm.mul_(2.5)
    torch.testing.assert_close(net(rgb), before * 2.5)


@torch.no_grad()
def test_nearest_heads_repeat_and_bilinear_heads_blend():
    text = "32x32,mobilenetv2@0.5:3,none-conv-k1-w8,up-nearest-{}"
    torch.manual_seed(0)
    values = {}
    for mode in ("nearest", "bilinear"):
        torch.manual_seed(0)
        net = randomise(build(Architecture.parse(text.format(mode))))
        nn.init.uniform_(net.head.weight)
        values[mode] = len(net(torch.rand(1, 3, 32, 32) * 255).unique())
    assert values["nearest"] <= 16 < values["bilinear"]
