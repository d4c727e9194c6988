"""Every decoder block against its contract, and those of a formula against it."""

import random

import pytest
import torch
import torch.nn.functional as F
from model_samples import randomise
from torch import nn

from nasdepth.architecture import Architecture, DecoderStage
from nasdepth.decoder_blocks import BLOCKS
from nasdepth.errors import SpaceError
from nasdepth.latency import architecture_kernels
from nasdepth.models import build
from nasdepth.models.blocks import build_block, register_block
from nasdepth.models.blocks.rfdb import SpatialAttention
from nasdepth.space import SearchSpace
from nasdepth.space.schema import SpaceDefinition

KINDS = [
    (name, kernel)
    for name, kind in BLOCKS.items()
    for kernel in kind.kernels
    if (name, kernel) != ("dsconv", 1)
]


def run(block, x, hw):
    """A block on (B, C, H, W) to (B, out, *hw); one that upsamples sees half of that."""
    return block(x[..., : hw[0] // 2, : hw[1] // 2], hw) if hasattr(block, "expand") else block(x)


@pytest.fixture
def registered():
    """Names to be taken out again."""
    names = []
    yield names
    for name in names:
        del BLOCKS[name]


def test_a_registered_block_is_a_choice_like_any_other(registered):
    """Whoever registers it, and whatever was imported before."""
    with pytest.raises(SpaceError, match="must be one of conv"):
        DecoderStage("none", "mine", 3, 8)

    @register_block("mine", kernels=(3,), summary="a convolution")
    def mine(in_channels, out_channels, kernel, reparam):
        return nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2)

    registered.append("mine")
    text = "64x96,mobilenetv3_small_minimal@0.5:3,none-mine-k3-w16,concat-mine-k3-w16,up-nearest-bilinear"
    architecture = Architecture.parse(text)
    assert str(architecture) == text
    assert build(architecture)(torch.zeros(1, 3, 480, 640)).shape == (1, 1, 480, 640)
    assert type(build_block("mine", 4, 5, 3)) is nn.Conv2d
    quick = SearchSpace.load("quick").definition
    content = quick.model_dump(mode="json") | {"decoder": {"block": ["mine"], "width": [16]}}
    space = SearchSpace(SpaceDefinition.model_validate(content))
    drawn = space.sample(random.Random(0))
    assert {(stage.block, stage.kernel) for stage in drawn.decoder} == {("mine", 3)}
    assert space.contains(drawn)
    assert architecture_kernels(drawn)


@pytest.mark.parametrize(
    ("name", "kernels", "words"),
    [
        ("conv", (3,), "registered twice"),
        ("my-block", (3,), "letters, digits and underscores only"),
        ("mine", (3, 7), r"kernels is \(3, 7\); it must hold some of \(1, 3, 5\)"),
        ("mine", (), "kernels is"),
    ],
)
def test_a_block_that_no_architecture_could_spell_is_refused(name, kernels, words):
    before = dict(BLOCKS)
    with pytest.raises(ValueError, match=words):
        register_block(name, kernels=kernels, summary="")
    assert before == BLOCKS


@pytest.mark.parametrize("reparam", ["none", "rep", "linear"])
@pytest.mark.parametrize(("name", "kernel"), KINDS)
def test_blocks_keep_their_contract(name, kernel, reparam):
    for in_channels, out_channels in ((8, 24), (24, 8), (16, 16), (13, 9), (11, 11), (9, 17)):
        block = build_block(name, in_channels, out_channels, kernel, reparam)
        y = run(block, torch.randn(2, in_channels, 6, 10), (6, 10))
        assert y.shape == (2, out_channels, 6, 10)
        y.square().sum().backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in block.parameters())
        kernels = {m.kernel_size[0] for m in block.modules() if isinstance(m, nn.Conv2d)}
        assert kernel in kernels and kernels <= ({1, kernel} if name != "rfdb" else {1, 3})


@pytest.mark.parametrize(("name", "kernel"), KINDS)
@torch.no_grad()
def test_blocks_take_the_smallest_maps(name, kernel):
    """A stage of stride 32 sees 1x1 pixels of a 32x32 input."""
    block = build_block(name, 8, 12, kernel).eval()
    for height, width in ((1, 1), (2, 3)) if not BLOCKS[name].upsamples else ((2, 2), (4, 6)):
        y = run(block, torch.randn(1, 8, height, width), (height, width))
        assert y.shape == (1, 12, height, width) and y.isfinite().all()


def test_only_an_mbconv_of_equal_channels_has_a_residual():
    x = torch.randn(1, 16, 4, 4)
    block = build_block("mbconv", 16, 16, 3).eval()
    for module in block.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.zeros_(module.weight)
    assert torch.equal(block(x), x)


def test_slopes_and_widths_are_the_papers():
    def slopes(block):
        return {m.negative_slope for m in block.modules() if isinstance(m, nn.LeakyReLU)}

    assert slopes(build_block("lrconv", 8, 8, 3)) == {0.2}
    assert slopes(build_block("rfdb", 8, 8, 3)) == {0.05}
    estimator = build_block("pydnet", 40, 8, 3)
    assert slopes(estimator) == {0.2}
    convolutions = [m for m in estimator.modules() if isinstance(m, nn.Conv2d)]
    assert [m.out_channels for m in convolutions] == [96, 64, 32, 8]  # PyDNet's, at its own width
    dilations = [m.dilation[0] for m in build_block("aspp", 8, 8, 3).modules() if isinstance(m, nn.Conv2d)]
    assert [d for d in dilations if d > 1] == [3, 6, 12, 18, 24]
    fbnet = build_block("fbnet", 8, 12, 5)
    assert [m.out_channels for m in fbnet.modules() if isinstance(m, nn.Conv2d)] == [48, 48, 12]


@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
@torch.no_grad()
def test_fbnet_upsamples_between_expansion_and_depthwise(mode):
    block = randomise(build_block("fbnet", 6, 9, 3))
    x = torch.randn(2, 6, 5, 7)
    (expand, norm1, _), (depthwise, norm2, _), (project, norm3) = block.expand, block.depthwise, block.project
    y = F.relu(norm1(F.conv2d(x, expand.weight)))
    y = F.interpolate(y, (10, 14), mode=mode)
    y = F.relu(norm2(F.conv2d(y, depthwise.weight, padding=1, groups=36)))
    y = norm3(F.conv2d(y, project.weight))
    torch.testing.assert_close(block(x, (10, 14), mode), y)


@torch.no_grad()
def test_ghost_is_half_and_its_depthwise():
    for out_channels in (12, 13):
        block = randomise(build_block("ghost", 8, out_channels, 5))
        x = torch.randn(2, 8, 6, 7)
        half = -(-out_channels // 2)
        primary = F.relu(block.primary[1](F.conv2d(x, block.primary[0].weight)))
        cheap = [
            F.conv2d(primary[:, [index]], block.cheap[0].weight[[index]], padding=2) for index in range(half)
        ]
        cheap = F.relu(block.cheap[1](torch.cat(cheap, 1)))
        expected = torch.cat([primary, cheap[:, : out_channels - half]], 1)
        torch.testing.assert_close(block(x), expected)


def esa_of_the_paper(esa: SpatialAttention, x: torch.Tensor) -> torch.Tensor:
    """RFDN's ESA, with SAME padding in front of the strided convolution."""
    first = F.conv2d(x, esa.reduce.weight, esa.reduce.bias)
    rows, columns = first.shape[2:]
    below = max((-(-rows // 2) - 1) * 2 + 3 - rows, 0)
    right = max((-(-columns // 2) - 1) * 2 + 3 - columns, 0)
    padded = F.pad(first, (right // 2, right - right // 2, below // 2, below - below // 2))
    y = F.conv2d(padded, esa.strided.weight, esa.strided.bias, stride=2)
    y = F.max_pool2d(y, kernel_size=7, stride=3)
    for index in (0, 2, 4):
        layer = esa.coarse[index]
        y = F.conv2d(y, layer.weight, layer.bias, padding=1)
        y = F.relu(y) if index < 4 else y
    y = F.interpolate(y, (rows, columns), mode="bilinear", align_corners=False)
    y = y + F.conv2d(first, esa.shortcut.weight, esa.shortcut.bias)
    return x * torch.sigmoid(F.conv2d(y, esa.expand.weight, esa.expand.bias))


@pytest.mark.parametrize("channels", [16, 18, 9])
@torch.no_grad()
def test_rfdb_is_the_papers(channels):
    block = randomise(build_block("rfdb", channels, channels, 3))
    x = torch.randn(2, channels, 30, 41)

    def conv(layers, y, slope=None):
        weight = layers[0].weight
        y = layers[1](F.conv2d(y, weight, padding=weight.shape[-1] // 2))
        return y if slope is None else F.leaky_relu(y, slope)

    kept, y = [], x
    for distil, refine in zip(block.distil, block.refine, strict=True):
        kept.append(conv(distil, y, 0.05))
        y = F.leaky_relu(conv(refine, y) + y, 0.05)
    kept.append(conv(block.last, y, 0.05))
    assert len(kept) == 4 and {part.shape[1] for part in kept} == {-(-channels // 2)}
    expected = esa_of_the_paper(block.attention, conv(block.fuse, torch.cat(kept, 1)))
    torch.testing.assert_close(block(x), expected, rtol=1e-4, atol=1e-5)
    assert block.attention.reduce.out_channels == -(-channels // 4)


@torch.no_grad()
def test_rcu_is_two_residual_units_behind_a_projection():
    block = randomise(build_block("rcu", 8, 12, 3))
    x = torch.randn(2, 8, 6, 7)
    enter, *units = block
    y = enter[1](F.conv2d(x, enter[0].weight))
    for unit in units:
        inner = F.relu(unit.conv1[1](F.conv2d(F.relu(y), unit.conv1[0].weight, padding=1)))
        y = y + unit.conv2[1](F.conv2d(inner, unit.conv2[0].weight, padding=1))
    torch.testing.assert_close(block(x), y)


@torch.no_grad()
def test_every_dilated_convolution_of_a_dense_aspp_sees_all_before_it():
    block = randomise(build_block("aspp", 6, 8, 3))
    x = torch.randn(1, 6, 30, 40)

    def conv(layers, y):
        conv, norm, _ = layers
        return F.relu(norm(F.conv2d(y, conv.weight, padding=conv.padding, dilation=conv.dilation)))

    entered = conv(block.enter, x)
    seen, found = x, []
    for index, (reduce, dilated) in enumerate(block.pyramid):
        found.append(conv(dilated, conv(reduce, seen if index else entered)))
        seen = torch.cat([seen, found[-1]], 1)
    expected = conv(block.fuse, torch.cat([entered, *found], 1))
    torch.testing.assert_close(block(x), expected)
