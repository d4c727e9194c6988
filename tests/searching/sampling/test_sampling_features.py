from dataclasses import replace
from math import log2

import numpy as np
import pytest

from nasdepth.architecture import Architecture
from nasdepth.latency import architecture_kernels, encoder_kernels
from nasdepth.models import build, named_designs, resolve
from nasdepth.searching.sampling.features import PRODUCTS, columns, feature_names, features, groups


def value(architecture, name, pretrained=False):
    return features(architecture, pretrained)[columns([name])[0]]


@pytest.mark.parametrize("name", sorted(named_designs()))
def test_every_named_design_has_features_of_a_scale_of_one(name):
    row = features(named_designs()[name], pretrained=True)
    assert row.shape == (len(feature_names()),)
    assert np.isfinite(row).all() and np.abs(row).max() < 5


def test_sampled_ones_fill_the_scale(world):
    rows = np.array([features(one, pretrained=False) for one in world.sample(200)])
    spread = rows.std(axis=0)
    varied = spread[spread > 0]
    assert len(varied) > 70 and varied.min() > 0.03 and varied.max() < 2


def test_groups_divide_the_columns():
    together = [column for one in groups().values() for column in one]
    assert sorted(together) == list(range(len(feature_names())))
    assert len(set(feature_names())) == len(feature_names())
    assert all(len(columns(pair)) == 2 for pair in PRODUCTS)


def test_amounts_are_the_networks_own():
    """Weights of the encoder and of the rest, counted in the module that is built."""
    architecture = resolve("litedepth")
    net = build(architecture)
    weights = {True: 0, False: 0}
    for name, parameter in net.named_parameters():
        if parameter.dim() == 4:
            weights[name.startswith("encoder.")] += parameter.numel()
    for part, own, of in (("encoder", True, 2e5), ("decoder", False, 5e4)):
        assert 2 ** (4 * value(architecture, f"size:{part} weights")) * of == pytest.approx(
            weights[own] + 1, rel=1e-6
        )


def test_encoder_kernels_are_part_of_the_architectures():
    architecture = resolve("gylab2021")
    whole, encoder = architecture_kernels(architecture), encoder_kernels(architecture)
    start = whole.index(encoder[0])
    assert list(whole[start : start + len(encoder)]) == list(encoder)


def test_what_changes_shows_where_it_should():
    text = "128x160,mobilenetv2@0.5:5,none-conv-k1-w32,concat-conv-k3-w16-se,up-nearest-bilinear"
    one = Architecture.parse(text)
    assert value(one, "input:pixels") == 0 and value(one, "encoder:width") == one.encoder.width
    assert value(one, "family:mobilenetv2") == 1 and value(one, "family:mobilenetv1") == 0
    assert value(one, "family:pretrained", True) == 1 and value(one, "family:pretrained", False) == 0
    assert value(one, f"skip:concat {one.head_stride}") == 1
    assert value(one, f"attention:se {one.head_stride}") == 1
    assert value(one, f"decoder kernel:{one.head_stride}") == 0
    assert value(one, "block:conv") == 1 and value(one, "head:bilinear") == 1
    wide = replace(one, input_width=320)
    assert value(wide, "input:pixels") == 0.5 and value(wide, "input:aspect") == log2(320 / 128 * 3 / 4)
    assert value(replace(one, reparam="rep"), "reparam:rep") == 1
    assert value(replace(one, coordinates=True), "input:coordinates") == 1
