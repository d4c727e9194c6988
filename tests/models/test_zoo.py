"""Every named design and every block, from its string to a .tflite that agrees."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
import torch
from ai_edge_litert.interpreter import Interpreter
from torch import nn

from nasdepth.architecture import Architecture
from nasdepth.data import DepthSplit
from nasdepth.decoder_blocks import BLOCKS
from nasdepth.deploy import TFLiteDepth, export_tflite
from nasdepth.errors import SpaceError
from nasdepth.kernels.rules import load_rules, partitions
from nasdepth.latency import architecture_kernels, module_kernels, tflite_kernels
from nasdepth.models import build, name_of, named_designs, resolve
from nasdepth.searching.survey import MIB, Surveyed
from nasdepth.space import SearchSpace
from nasdepth.training import Recipe, train
from nasdepth.zoo import designs, get_design

# Small ones, that together have most of what designs are made of; the others take up to a minute each
QUICK = ("litedepth", "weichi")
UNWANTED = {"TRANSPOSE", "PAD", "PADV2", "RESHAPE", "GATHER", "SPLIT", "STRIDED_SLICE", "CAST", "RELU_0_TO_1"}
# Designs of the full picture take a minute each; benchmarks/extractor_agreement.py converts them as they are
LARGEST = {"input_height": 192, "input_width": 256}
# Around every block, at a width that no vector unit likes: skips, attentions, heads, coordinates and
# over-parameterisation, each at least once
AROUND = {
    "conv": "64x96,mobilenetv2@0.2:4,none-conv-k1-w16,concat-{}-w13,up-nearest-nearest",
    "dsconv": "64x96,mobilenetv2@0.2:4,none-conv-k1-w16-se,add-{}-w24,up-nearest-bilinear,reparam-rep",
    "mbconv": "64x96,mobilenetv2@0.2:4,none-{}-w13,gate-{}-w13,up-nearest-nearest,reparam-linear",
    "lrconv": "64x96xy,mobilenetv2@0.2:4,none-conv-k1-w16,lrgate-{}-w13,up-nearest-nearest",
    "doubleconv": "64x96,unet@0.11:3,none-conv-k1-w16,concat-{}-w13,up-nearest-nearest,reparam-linear",
    "ffm": "64x96,mobilenetv2@0.2:4,none-conv-k1-w16,concat-{}-w13-ca,up-nearest-nearest",
    "rcu": "64x96,mobilenetv2@0.2:4,none-conv-k1-w16,add-{}-w13,up-bilinear-nearest,reparam-rep",
    "fbnet": "64x96,mobilenetv2@0.2:4,none-conv-k1-w16,gate-{}-w13-se,add-{}-w13,up-bilinear-nearest",
    "rfdb": "64x96,mobilenetv2@0.2:4,none-conv-k1-w16,concat-{}-w13,up-nearest-nearest,reparam-linear",
    "pydnet": "64x96,mobilenetv2@0.2:4,none-conv-k1-w16-nonlocal,concat-{}-w8,up-nearest-nearest",
    "ghost": "64x96,mobilenetv2@0.2:4,none-{}-w13-ca,gate-{}-w13,up-nearest-nearest,reparam-rep",
    "aspp": "64x96,mobilenetv2@0.2:4,none-conv-k1-w16,concat-{}-w8,concat-conv-k3-w8,up-nearest-lpg",
}


EXHAUSTIVE = (pytest.mark.slow, pytest.mark.exhaustive)


def _every() -> list:
    blocks = [
        pytest.param(text.format(*[f"{name}-k3"] * 2), id=f"block {name}") for name, text in AROUND.items()
    ]
    named = [
        pytest.param(_smaller(design.text), id=name, marks=() if name in QUICK else EXHAUSTIVE)
        for name, design in designs().items()
    ]
    return blocks + named


def _smaller(text: str) -> str:
    architecture = Architecture.parse(text)
    too_large = architecture.input_height * architecture.input_width > 192 * 256
    return str(replace(architecture, **LARGEST)) if too_large else text


def lively(architecture: Architecture) -> nn.Module:
    """A network whose batch norms are no identity and whose prediction is not flat."""
    torch.manual_seed(1)
    net = build(architecture).eval()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.7, 1.3)
            nn.init.uniform_(module.bias, -0.3, 0.3)
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.7, 1.5)
    return net


@pytest.mark.parametrize("text", _every())
def test_from_string_to_tflite(text, tmp_path, scenes):
    architecture = Architecture.parse(text)
    assert str(architecture) == text and Architecture.parse(str(architecture)) == architecture

    net = lively(architecture)
    _learns(net, scenes)

    # what a verification would compare is compared below, on an image that survives the resize
    result = export_tflite(net, tmp_path / "model.tflite", verify=False)
    assert not UNWANTED & set(result.operators) - _allowed(architecture)
    _agrees(result.path, net)

    taken = [load_rules("xnnpack").delegates(kernel) for kernel in tflite_kernels(result.path)]
    assert _delegated(result.path) == [delegate for delegate, _ in groupby(taken)].count(True)
    for runtime in ("xnnpack", "tflite", "gpu"):
        from_module, from_file = (
            module_kernels(net, (480, 640), runtime),
            tflite_kernels(result.path, runtime),
        )
        assert Counter(map(str, from_file)) == Counter(map(str, from_module)), runtime
        assert Counter(from_file) == Counter(from_module), runtime
        assert architecture_kernels(architecture, runtime) == from_module, runtime
        assert partitions(from_file, runtime) == partitions(from_module, runtime), runtime


def _allowed(architecture: Architecture) -> set[str]:
    # products of matrices take vectors of pixels
    return {"RESHAPE"} if any(stage.attention == "nonlocal" for stage in architecture.decoder) else set()


def _delegated(path: Path) -> int:
    """Into how many pieces XNNPACK takes a file, in the real runtime."""
    interpreter = Interpreter(model_path=str(path), num_threads=1)
    interpreter.allocate_tensors()
    return sum(operation["op_name"] == "DELEGATE" for operation in interpreter._get_ops_details())


def _learns(net: nn.Module, scenes: DepthSplit) -> None:
    """One step of the trainer on one image, at the network's own resolution: every parameter is reached."""
    recipe = Recipe(epochs=1, batch_size=1, loss_hw=(60, 80), augmentation={"crops": ((480, 640),)})
    before = {name: parameter.detach().clone() for name, parameter in net.named_parameters()}
    (epoch,) = train(net, scenes.subset([0]), recipe)
    assert np.isfinite(epoch.loss)
    assert [name for name, parameter in net.named_parameters() if parameter.grad is None] == []
    assert any(not torch.equal(parameter, before[name]) for name, parameter in net.named_parameters())
    net.zero_grad()
    net.eval()


@torch.no_grad()
def _agrees(path: Path, net: nn.Module) -> None:
    # noise of single pixels would average out in the resize
    blocks = np.random.default_rng(7).integers(0, 256, (1, 6, 8, 3), dtype=np.uint8)
    rgb = blocks.repeat(80, 1).repeat(80, 2)
    expected = net(torch.from_numpy(rgb).permute(0, 3, 1, 2).float())[0, 0].numpy()
    error = np.abs(TFLiteDepth(path).predict(rgb)[0] - expected).max()
    assert error <= 1e-4 * expected.max()
    assert error <= 0.01 * expected.std()  # a flat prediction agrees with any other


def test_every_block_is_walked_and_everything_around_it():
    assert set(AROUND) == set(BLOCKS)
    walked = [Architecture.parse(text.format(*[f"{name}-k3"] * 2)) for name, text in AROUND.items()]
    stages = [stage for architecture in walked for stage in architecture.decoder]
    assert {stage.skip for stage in stages} == {"none", "add", "concat", "gate", "lrgate"}
    assert {stage.attention for stage in stages} == {"none", "se", "ca", "nonlocal"}
    assert {one.reparam for one in walked} == {"none", "rep", "linear"}
    assert {one.head_upsampling for one in walked} == {"nearest", "bilinear", "lpg"}
    assert {one.coordinates for one in walked} == {False, True}


NAMES = {
    "litedepth", "litedepth-final", "gylab2021", "fastdepth", "fastdepth-pruned", "airia", "ytl", "pydnet",
    "hit-aiia", "weichi", "monovision", "bts", "mega-unet", "samsung-fbnet", "samsung-fbnet-1.9m",
    "samsung-fbnet-1.5m", "samsung-fbnet-1.0m", "tcl2022", "miaigo2022", "smartlab2022", "monodepth2",
    "midas-small", "lite0-plain",
}  # fmt: skip


def test_every_design_has_its_facts():
    assert set(designs()) == NAMES == set(named_designs())
    for name, design in designs().items():
        assert design.name == name and design.source and design.widths
        assert str(design.architecture) == design.text, "the text is not canonical"
        assert name_of(design.architecture) == name and resolve(name) == design.architecture
    assert len({design.architecture for design in designs().values()}) == len(NAMES)


@pytest.mark.parametrize("name", sorted(NAMES))
def test_sizes_are_the_published_ones(name):
    """Within 10 %; the .tflite holds the weights, a bias for every batch norm, and little else."""
    design = get_design(name)
    surveyed = Surveyed(design)
    if design.published.parameters_m is not None:
        assert surveyed.parameters / 1e6 == pytest.approx(design.published.parameters_m, rel=0.1)
    if design.published.size_mb is not None:
        net = build(replace(design.architecture, reparam="none"))
        folded = sum(module.num_features for module in net.modules() if isinstance(module, nn.BatchNorm2d))
        size_mb = 4 * (surveyed.parameters - folded) / MIB
        assert size_mb == pytest.approx(design.published.size_mb, rel=0.1)


def test_published_figures_agree_with_the_challenges_formula():
    """score = 640000 * 2 ** (-20 si-RMSE) / ms, up to the rounding of a published si-RMSE."""
    for name, design in designs().items():
        published = design.published
        if published.score is None:
            continue
        for rounding in (-0.001, 0.001):
            bound = 640_000 * 2 ** (-20 * (published.si_rmse + rounding)) / published.pi4_ms
            assert (bound - published.score) * rounding <= 0, name


def test_the_full_space_holds_what_it_should_and_says_what_excludes_the_rest():
    space = SearchSpace.load("depth")
    held = set(space.named())
    assert held >= {
        "litedepth",
        "litedepth-final",
        "tcl2022",
        "miaigo2022",
        "smartlab2022",
        "gylab2021",
        "lite0-plain",
    }
    outside = {name: "; ".join(space.violations(design)) for name, design in named_designs().items()}
    assert {name for name, words in outside.items() if words} == set(NAMES) - held
    for name, words in {
        "bts": ["input_height is 480", "family is resnet18", "s8.block is aspp", "head_upsampling is lpg"],
        "hit-aiia": ["input_height is 480", "family is efficientnet_b1", "s32.attention is nonlocal"],
        "ytl": ["input_height is 256", "coordinates is True", "family is resnet18"],
        "fastdepth": ["input_height is 480", "s32.width is 512"],
        "mega-unet": ["family is unet"],
    }.items():
        assert all(word in outside[name] for word in words), (name, outside[name])


def test_an_unknown_design_lists_the_names():
    with pytest.raises(SpaceError, match=r"'fastdeep' is no named design; they are litedepth, .*fastdepth"):
        get_design("fastdeep")


def test_layers_add_up_to_the_network():
    for name in ("litedepth", "monovision", "bts"):
        surveyed = Surveyed(get_design(name))
        layers = surveyed.layers()
        assert sum(layer.parameters for layer in layers) == surveyed.parameters
        assert layers[-1].name == "head" and layers[-1].out_shape == (1, 480, 640)
        strides = surveyed.architecture.decoder_strides
        decoder = [layer for layer in layers if layer.name.startswith("decoder")]
        assert [layer.out_shape for layer in decoder] == [
            (
                stage.width,
                surveyed.architecture.input_height // stride,
                surveyed.architecture.input_width // stride,
            )
            for stride, stage in zip(strides, surveyed.architecture.decoder, strict=True)
        ]
