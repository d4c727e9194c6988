"""Whole networks: what goes in, what comes out, what learns."""

import random

import pytest
import torch
from model_samples import randomise
from torch import nn

from nasdepth.architecture import Architecture
from nasdepth.models import build, resolve
from nasdepth.space import SearchSpace


@pytest.mark.parametrize("seed", range(6))
@torch.no_grad()
def test_sampled_networks_map_raw_rgb_to_depth(seed):
    architecture = SearchSpace.load("depth").sample(random.Random(seed))
    net = build(architecture).eval()
    depth = net(torch.rand(1, 3, 480, 640) * 255)
    assert depth.shape == (1, 1, 480, 640) and depth.isfinite().all() and depth.min() >= 0
    assert 300 < depth.median() < 30000  # the head starts at the typical depth


@pytest.mark.parametrize("skip", ["none", "add", "concat", "gate", "lrgate"])
@pytest.mark.parametrize("tail", ["", ",reparam-rep", ",reparam-linear"])
@pytest.mark.parametrize("modes", ["nearest-nearest", "bilinear-bilinear", "nearest-lpg"])
def test_every_parameter_learns(skip, modes, tail):
    text = (
        f"64x96,mobilenetv3_small@0.5:4,none-mbconv-k3-w16-se,{skip}-fbnet-k5-w8-ca,{skip}-rfdb-k3-w9-nonlocal,"
        f"up-{modes}{tail}"
    )
    net = build(Architecture.parse(text)).train()
    net.predict(net.decode(net.resize(torch.rand(2, 3, 96, 128) * 255)), (30, 40)).mean().backward()
    without = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert without == []


@torch.no_grad()
def test_skips_feed_the_decoder():
    text = "64x64,mobilenetv2@0.5:4,none-conv-k1-w16,{}-{}-k3-w16,up-nearest-nearest"
    torch.manual_seed(0)
    for block in ("conv", "fbnet"):
        for skip in ("none", "add", "concat", "gate", "lrgate"):
            uses = skip != "none"
            net = randomise(build(Architecture.parse(text.format(skip, block))))
            x = net.neck(net.encoder(torch.rand(1, 3, 64, 64) * 255)[16])
            stage, skipped = net.decoder[0], torch.rand(1, 16, 8, 8)
            changed = not torch.equal(stage(x, skipped), stage(x, skipped + 1))
            assert changed is uses, (block, skip)


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


def test_checkpoints_of_before_the_new_parts_load():
    """The decoder's names in a network of nothing new are what they were when the first one was trained."""
    text = "64x64,mobilenetv2@0.5:4,none-dsconv-k3-w8,add-mbconv-k3-w8,concat-conv-k1-w8,up-nearest-nearest"
    names = {name for name in build(Architecture.parse(text)).state_dict() if not name.startswith("encoder.")}

    def norm(prefix):
        fields = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
        return {f"{prefix}.{field}" for field in fields}

    expected = {"scale_mm", "head.weight", "head.bias", "decoder.0.project.weight", "decoder.0.project.bias"}
    for conv in (
        "neck.0",
        "neck.1",
        *(f"decoder.0.block.layers.{index}" for index in range(3)),
        "decoder.1.block",
    ):
        expected |= {f"{conv}.0.weight"} | norm(f"{conv}.1")
    assert names == expected


@torch.no_grad()
def test_a_stage_joins_its_skip_in_front_of_its_block_or_behind_one_that_upsamples():
    order = []

    def note(name):
        return lambda module, inputs, output: order.append((name, tuple(output.shape[1:])))

    text = "64x64,mobilenetv2@0.5:4,none-conv-k1-w16-se,gate-{}-k3-w12-se,up-nearest-nearest"
    for block, expected in (
        ("conv", [("gate", (16, 8, 8)), ("block", (12, 8, 8)), ("attention", (12, 8, 8))]),
        ("fbnet", [("block", (12, 8, 8)), ("gate", (16, 8, 8)), ("attention", (12, 8, 8))]),
    ):
        net = build(Architecture.parse(text.format(block))).eval()
        stage = net.decoder[0]
        for name in ("gate", "block", "attention"):
            getattr(stage, name).register_forward_hook(note(name))
        order.clear()
        net.decode(torch.rand(1, 3, 64, 64) * 255)
        assert order == expected


@torch.no_grad()
def test_planar_guidance_sees_every_stage_of_stride_8_4_and_2():
    stages = "none-conv-k1-w16,none-conv-k1-w12,none-conv-k1-w10,none-conv-k1-w9,none-conv-k1-w7"
    net = randomise(build(Architecture.parse(f"64x96,mobilenetv2@0.5:4,{stages},up-nearest-lpg")))
    assert list(net.guidance.planes) == ["8", "4", "2"]
    decoded = net.decode(torch.rand(1, 3, 64, 96) * 255)
    assert decoded.shape == (1, 3 + 7, 64, 96)
    assert net.predict(decoded, (480, 640)).shape == (1, 1, 480, 640)


@torch.no_grad()
def test_a_network_at_stride_1_of_an_encoder_that_has_it():
    decoder = "none-doubleconv-k3-w16,gate-doubleconv-k3-w8,concat-doubleconv-k3-w8"
    text = f"32x64,unet@0.125:3,{decoder},up-nearest-bilinear"
    net = randomise(build(Architecture.parse(text)))
    assert net.decode(torch.rand(1, 3, 32, 64) * 255).shape == (1, 8, 32, 64)


@pytest.mark.parametrize("head", ["nearest", "lpg"])
def test_the_layer_head_is_depth_over_its_scale_before_the_last_activation(head):
    text = "64x96,mobilenetv2@0.2:4,none-conv-k1-w16,concat-conv-k3-w8,up-nearest-" + head
    net = randomise(build(Architecture.parse(text))).eval()
    features = net.features(torch.rand(2, 3, 64, 96) * 255)
    linear = features["head"]
    assert linear.shape[1] == 1 and (linear < 0).any(), "nothing is cut off: the test sees no activation"
    depth_mm = net.predict(features["penultimate"], tuple(linear.shape[2:]))
    torch.testing.assert_close(depth_mm, linear.relu() * net.scale_mm, rtol=1e-4, atol=1e-2)
