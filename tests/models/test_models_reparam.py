"""Over-parameterised convolutions collapse to what they compute."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from nasdepth.architecture import Architecture
from nasdepth.decoder_blocks import BLOCKS
from nasdepth.latency.extract import module_kernels
from nasdepth.models import build
from nasdepth.models.blocks import build_block
from nasdepth.models.reparam import REPARAMETERISED, Collapsible, LinearConvNorm, collapse

# in, out, kernel, groups, dilation
SHAPES = [
    (8, 24, 3, 1, 1),
    (16, 16, 5, 1, 1),
    (13, 13, 3, 13, 1),
    (9, 7, 1, 1, 1),
    (9, 9, 3, 1, 6),
    (6, 12, 3, 6, 1),
    (5, 5, 1, 5, 1),
]


def train(module: nn.Module, in_channels: int, *, steps: int = 4) -> nn.Module:
    """A few steps on inputs of no zero mean, after which no batch norm is an identity."""
    torch.manual_seed(0)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.05, momentum=0.9)
    for _ in range(steps):
        y = run(module.train(), 2 * torch.randn(4, in_channels, 12, 14) + 1)
        optimizer.zero_grad()
        F.mse_loss(y, torch.randn_like(y)).backward()
        optimizer.step()
    return module.eval()


def run(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    return module(x, (24, 28)) if hasattr(module, "expand") and hasattr(module, "depthwise") else module(x)


def relative_error(got: torch.Tensor, expected: torch.Tensor) -> float:
    return ((got - expected).abs().max() / expected.abs().max()).item()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kind", REPARAMETERISED)
@torch.no_grad()
def test_a_convolution_collapses_exactly(kind, shape):
    into, out, kernel, groups, dilation = shape
    over = REPARAMETERISED[kind](into, out, kernel, groups=groups, dilation=dilation)
    with torch.enable_grad():
        train(over, into)
    plain = over.collapsed()
    assert type(plain) is nn.Conv2d and plain.weight.shape == (out, into // groups, kernel, kernel)
    x = torch.randn(2, into, 12, 14) + 1
    assert relative_error(plain(x), over(x)) <= 1e-5
    # what it stands for at the borders: zeros around the input, whatever the batch norms shift
    edge = dilation * (kernel // 2)
    padded = F.conv2d(F.pad(x, [edge] * 4), plain.weight, plain.bias, dilation=dilation, groups=groups)
    assert relative_error(padded, over(x)) <= 1e-5


@pytest.mark.parametrize("kind", REPARAMETERISED)
@pytest.mark.parametrize("name", BLOCKS)
@torch.no_grad()
def test_every_block_collapses_exactly(name, kind):
    for into, out in ((12, 12), (10, 17)):
        block = build_block(name, into, out, BLOCKS[name].kernels[-1], kind)
        assert any(isinstance(module, Collapsible) for module in block.modules())
        with torch.enable_grad():
            train(block, into)
        plain = collapse(block)
        assert not any(isinstance(module, Collapsible) for module in plain.modules())
        x = torch.randn(2, into, 12, 14) + 1
        assert relative_error(run(plain, x), run(block, x)) <= 1e-5


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_linear_chain_is_one_convolution_with_its_product(shape):
    """Forward and gradients equal those of the three convolutions one after the other."""
    into, out, kernel, groups, dilation = shape
    chain = LinearConvNorm(into, out, kernel, groups=groups, dilation=dilation)
    x = torch.randn(2, into, 9, 11)
    parameters = [layer.weight for layer in (chain.expand, chain.convolution, chain.project)]
    literal = chain.norm(chain.project(chain.convolution(chain.expand(x))))
    got = chain(x)
    assert relative_error(got, literal) <= 1e-5
    target = torch.randn_like(got)
    expected = torch.autograd.grad((literal * target).sum(), parameters)
    for ours, wanted in zip(torch.autograd.grad((got * target).sum(), parameters), expected, strict=True):
        assert relative_error(ours, wanted) <= 1e-3
    assert chain.expand.out_channels == min(4 * into, 256 * groups)


def test_training_has_more_parameters_than_deployment():
    for kind in REPARAMETERISED:
        over, plain = (build_block("conv", 16, 16, 3, reparam) for reparam in (kind, "none"))
        count = [sum(p.numel() for p in net.parameters()) for net in (over, plain, collapse(over))]
        assert count[0] > count[1] > count[2]  # the collapsed one has no batch norm left


@torch.no_grad()
def test_a_collapsed_network_is_a_copy():
    text = "64x96,mobilenetv2@0.5:3,none-dsconv-k3-w12,add-rfdb-k3-w9,up-bilinear-bilinear,reparam-{}"
    for kind in REPARAMETERISED:
        net = build(Architecture.parse(text.format(kind))).train()
        names = list(net.state_dict())
        before = [tensor.clone() for tensor in net.state_dict().values()]
        plain = collapse(net)
        assert plain.training and all(module.training for module in plain.modules())
        for tensor in plain.state_dict().values():
            tensor.zero_()
        assert list(net.state_dict()) == names
        assert all(map(torch.equal, before, net.state_dict().values()))


def test_a_collapsible_network_itself_is_replaced():
    assert type(collapse(LinearConvNorm(4, 6, 3))) is nn.Conv2d


@pytest.mark.parametrize("kind", REPARAMETERISED)
def test_kernels_do_not_know_how_a_network_was_trained(kind):
    decoder = "none-conv-k3-w12,add-mbconv-k5-w9,gate-doubleconv-k3-w8-se"
    text = f"64x96,mobilenetv2@0.5:4,{decoder},up-bilinear-nearest"
    plain = module_kernels(build(Architecture.parse(text)).to("meta"))
    assert module_kernels(build(Architecture.parse(f"{text},reparam-{kind}")).to("meta")) == plain
