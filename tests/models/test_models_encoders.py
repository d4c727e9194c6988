"""Every registered family against its contract, against timm, and against what it deploys as."""

import pytest
import timm
import torch
import torch.nn.functional as F
from model_samples import randomise
from timm.layers import Conv2dSame
from timm.layers.pool2d_same import MaxPool2dSame
from timm.models._efficientnet_blocks import SqueezeExcite as TimmSqueezeExcite
from torch import nn

from nasdepth.architecture import Architecture, Encoder
from nasdepth.deploy import export_tflite
from nasdepth.families import IMAGENET, INCEPTION, Excite, families, get_family
from nasdepth.models import build
from nasdepth.models.blocks import SqueezeExcite
from nasdepth.models.encoder_blocks import build_encoder_block, register_encoder_block
from nasdepth.models.encoders import EncoderNet, RawStem, build_stem
from nasdepth.models.pretrained import _in_our_names
from nasdepth.models.reparam import Collapsible, collapse

FAMILIES = list(families())
TIMMS = [name for name, family in families().items() if family.timm_name]


@pytest.mark.parametrize("width", [0.35, 1, 1.25])
@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_encoders_keep_their_contract(family, width):
    most = len(get_family(family).stages)
    for stages in {1, 3, most - 1, most}:
        spec = Encoder(family, width, stages)
        features = EncoderNet(spec).eval()(torch.rand(1, 3, 64, 96) * 255)
        assert {stride: x.shape[1] for stride, x in features.items()} == spec.channels
        for stride, x in features.items():
            assert x.shape[2:] == (64 // stride, 96 // stride)
        assert max(features) == spec.stride


@pytest.mark.parametrize("family", FAMILIES)
def test_every_parameter_of_an_encoder_learns(family):
    for width in (0.5, 1):
        net = EncoderNet(Encoder(family, width, len(get_family(family).stages)), coordinates=width == 1)
        sum(x.mean() for x in net(torch.rand(2, 3, 64, 64) * 255).values()).backward()
        assert [name for name, p in net.named_parameters() if p.grad is None] == []
        assert all(p.grad.isfinite().all() for p in net.parameters())


class Middle(nn.Module):
    """A 1x1 convolution of stride 2 on the middles of the windows of a 3x3 one with SAME padding."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x[..., 1:, 1:])


def padded_same(net: nn.Module) -> nn.Module:
    """timm's network with SAME padding where it strides; weights trained otherwise see a shift of a pixel."""
    for name, module in list(net.named_modules()):
        parent, _, leaf = name.rpartition(".")
        holder = net.get_submodule(parent)
        if isinstance(module, nn.MaxPool2d):
            setattr(holder, leaf, MaxPool2dSame(module.kernel_size, module.stride))
        elif type(module) is nn.Conv2d and module.stride == (2, 2):
            if "conv_scale" in name:
                setattr(holder, leaf, Middle(module))
                continue
            same = Conv2dSame(
                module.in_channels,
                module.out_channels,
                module.kernel_size,
                stride=2,
                groups=module.groups,
                bias=False,
            )
            same.weight = module.weight
            setattr(holder, leaf, same)
    return net


def timms_parts(net: nn.Module) -> tuple[nn.Module, list[nn.Module]]:
    """Stem and stages of a network of timm's."""
    if hasattr(net, "maxpool"):
        first = nn.Sequential(net.maxpool, net.layer1)
        return nn.Sequential(net.conv1, net.bn1, net.act1), [first, net.layer2, net.layer3, net.layer4]
    if hasattr(net, "stages"):
        return net.stem, list(net.stages)
    return nn.Sequential(net.conv_stem, net.bn1, getattr(net, "act1", nn.Identity())), list(net.blocks)


@pytest.mark.parametrize("family", TIMMS)
@torch.no_grad()
def test_encoders_are_timms_networks(family, monkeypatch):
    """Same weights, same features, with only the normalisation moved in front."""
    torch.manual_seed(0)
    definition = get_family(family)
    reference = randomise(timm.create_model(definition.timm_name))
    state = {name: tensor.clone() for name, tensor in reference.state_dict().items()}
    net = EncoderNet(Encoder(family, 1, len(definition.stages))).eval()
    ours = _in_our_names(family, state)
    net.load_state_dict({name: ours[name] for name in net.state_dict()})
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in definition.normalisation)
    rgb = torch.randint(0, 256, (2, 3, 64, 96)).float()
    stem, stages = timms_parts(padded_same(reference))

    x = stem((rgb / 255 - mean) / std)
    inside = (..., slice(4, -4), slice(4, -4))  # borders differ by design; see the stem's own test
    torch.testing.assert_close(stem_of(net)(rgb)[inside], x[inside], rtol=1e-3, atol=1e-3)
    replace_stem(net, x)

    resize = F.interpolate
    expected = {x.shape[-1]: x}
    with monkeypatch.context() as patch:
        if family == "ghostnetv2":  # the paper's bilinear, where timm repeats pixels
            patch.setattr(F, "interpolate", lambda y, size, mode: resize(y, size=size, mode="bilinear"))
        for stage in stages[: len(definition.stages)]:
            x = stage(x)
            expected[x.shape[-1]] = x
    got = net(rgb)
    assert len(got) == len(expected)
    for features in got.values():
        wanted = expected[features.shape[-1]]
        assert (features - wanted).abs().max() <= 1e-4 * wanted.abs().max()


def stem_of(net: EncoderNet) -> nn.Module:
    """The stem of a network."""
    return nn.Sequential(*(getattr(net, name) for name in net._stem))


def replace_stem(net: EncoderNet, features: torch.Tensor) -> None:
    """Let a network's stem give these features."""

    class Given(nn.Module):
        def forward(self, _):
            return features

    first, *rest = net._stem
    setattr(net, first, Given())
    for name in rest:
        setattr(net, name, nn.Identity())


@torch.no_grad()
def test_the_unet_is_double_convolutions_and_max_pools():
    torch.manual_seed(0)
    net = randomise(EncoderNet(Encoder("unet", 0.125, 5)))
    state = net.state_dict()

    def layer(x, conv, norm):
        x = F.conv2d(x, state[f"{conv}.weight"], padding=1)
        names = ("running_mean", "running_var", "weight", "bias")
        return F.relu(F.batch_norm(x, *(state[f"{norm}.{name}"] for name in names)))

    rgb = torch.rand(1, 3, 32, 48) * 255
    x = net.act1(net.bn1(net.conv_stem(rgb)))
    x = layer(x, "blocks.0.0.conv", "blocks.0.0.bn1")
    expected = {1: x}
    for index in range(1, 5):
        x = F.max_pool2d(x, 2)
        for number in (1, 2):
            x = layer(x, f"blocks.{index}.0.conv{number}", f"blocks.{index}.0.bn{number}")
        expected[2**index] = x
    got = net(rgb)
    assert {stride: y.shape[1] for stride, y in got.items()} == {1: 8, 2: 16, 4: 32, 8: 64, 16: 128}
    for stride, features in got.items():
        torch.testing.assert_close(features, expected[stride], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", ["mobileone_s0", "repghostnet"])
@pytest.mark.parametrize("coordinates", [False, True])
@torch.no_grad()
def test_an_encoder_collapses_exactly(family, coordinates):
    torch.manual_seed(0)
    net = randomise(EncoderNet(Encoder(family, 0.5, len(get_family(family).stages)), coordinates))
    plain = collapse(net)
    assert any(isinstance(module, Collapsible) for module in net.modules())
    assert not any(isinstance(module, Collapsible) for module in plain.modules())
    assert sum(p.numel() for p in plain.parameters()) < 0.99 * sum(p.numel() for p in net.parameters())
    for hw in ((64, 96), (96, 32)):
        rgb = torch.rand(2, 3, *hw) * 255
        expected, got = net(rgb), plain(rgb)
        for stride, features in expected.items():
            error = (got[stride] - features).abs().max()
            assert 0 < error <= 1e-5 * features.abs().max(), stride


def padding_of(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """TFLite's SAME, from its documentation: before and behind."""
    total = max(kernel - (size % stride or stride), 0)
    return total // 2, total - total // 2


@pytest.mark.parametrize("normalisation", [IMAGENET, INCEPTION])
@pytest.mark.parametrize("kernel, stride", [(1, 1), (1, 2), (3, 1), (3, 2), (5, 2), (7, 2), (5, 4)])
@pytest.mark.parametrize("coordinates", [False, True])
@pytest.mark.parametrize("hw", [(32, 48), (33, 47)])
@torch.no_grad()
def test_the_raw_stem_is_normalise_then_convolve(normalisation, kernel, stride, coordinates, hw):
    """Border included: the picture is black outside, and black is normalised as any other colour is."""
    torch.manual_seed(0)
    stem = RawStem(16, normalisation, kernel=kernel, stride=stride, coordinates=coordinates)
    x = torch.randint(0, 256, (2, 5 if coordinates else 3, *hw)).double()
    mean, std = (torch.tensor(values, dtype=torch.float64).view(1, -1, 1, 1) for values in normalisation)
    if coordinates:
        mean, std = (torch.cat([one, torch.full((1, 2, 1, 1), 0.5)], 1) for one in (mean, std))
    around = [*padding_of(hw[1], kernel, stride), *padding_of(hw[0], kernel, stride)]
    unfolded = F.conv2d((F.pad(x, around) / 255 - mean) / std, stem.weight.double(), stride=stride)
    torch.testing.assert_close(stem(x.float()).double(), unfolded, rtol=1e-4, atol=1e-4)
    # timm's models see the mean colour outside: alike inside, and far apart where the padding is seen
    timms = F.conv2d(F.pad((x / 255 - mean) / std, around), stem.weight.double(), stride=stride)
    apart = (timms - unfolded).abs().amax((0, 1)) > 0.1
    inside = apart[kernel : -kernel or None, kernel : -kernel or None]
    assert not inside.any() and apart.any() == any(around)


@pytest.mark.parametrize("family", ["resnet18", "mobileone_s0", "unet"])
@torch.no_grad()
def test_coordinates_are_each_pixels_place(family):
    torch.manual_seed(0)
    stem = randomise(build_stem(get_family(family), 16, coordinates=True))
    black = torch.zeros(2, 3, 32, 48)
    seen = stem.coordinates(black)
    assert seen.shape == (2, 5, 32, 48) and not seen[:, :3].any()
    assert torch.equal(seen[0], seen[1])
    colours = torch.rand(2, 3, 32, 48) * 255
    assert torch.equal(stem.coordinates(colours)[:, :3], colours)
    x, y = seen[0, 3:]
    assert (x[:, 0] == 0).all() and (x[:, -1] == 255).all() and (y[0] == 0).all() and (y[-1] == 255).all()
    torch.testing.assert_close(x[7], torch.arange(48) * (255 / 47))
    torch.testing.assert_close(y[:, 7], torch.arange(32) * (255 / 31))
    # of an image of one colour a stem without coordinates sees the same everywhere but at its edges
    inside = stem(black)[..., 4:-4, 4:-4]
    assert inside.std((2, 3)).max() > 1e-3


@pytest.mark.slow
@torch.no_grad()
def test_coordinates_convert_without_transposes(tmp_path):
    torch.manual_seed(0)
    text = "96x128xy,mobileone_s0@0.5:2,none-conv-k1-w8,concat-conv-k1-w8,up-bilinear-bilinear"
    net = randomise(build(Architecture.parse(text)))
    nn.init.normal_(net.head.weight, std=0.5)
    exported = export_tflite(net, tmp_path / "model.tflite")
    assert 0 < exported.relative_error <= 1e-4
    assert set(exported.operators) == {
        "RESIZE_BILINEAR",
        "CONV_2D",
        "DEPTHWISE_CONV_2D",
        "ADD",
        "CONCATENATION",
    }


@torch.no_grad()
def test_coordinates_are_normalised_to_minus_one_and_one():
    stem = RawStem(8, IMAGENET, coordinates=True)
    assert stem.weight.shape == (8, 5, 3, 3)
    seen = torch.tensor([0.0, 255.0])
    assert ((seen - stem.mean[0, 3]) / stem.std[0, 3]).flatten().tolist() == [-1, 1]
    assert torch.equal(stem.mean[:, :3], RawStem(8, IMAGENET).mean)


@pytest.mark.parametrize("gate", ["hard_sigmoid", "sigmoid"])
@pytest.mark.parametrize("channels", [16, 72, 240])
@torch.no_grad()
def test_squeeze_excite_is_timms(channels, gate):
    ours = SqueezeExcite(channels, 0.25, kind=Excite(gate, "swish", divisor=1))
    timms = TimmSqueezeExcite(channels, rd_ratio=0.25, act_layer=nn.SiLU, gate_layer=gate)
    timms.load_state_dict(ours.state_dict())
    x = torch.randn(2, channels, 6, 9) * 8
    torch.testing.assert_close(ours(x), timms(x), rtol=1e-5, atol=1e-5)


def test_a_kind_of_block_is_registered_once():
    with pytest.raises(ValueError, match="'basic' is registered twice"):
        register_encoder_block("basic")(None)


def test_impossible_channels_are_said():
    ghost, one = get_family("ghostnet").blocks()[0][0], get_family("mobileone_s0").blocks()[0][0]
    with pytest.raises(ValueError, match="even number of output channels, not 15"):
        build_encoder_block(ghost, 16, (15, 16))
    with pytest.raises(ValueError, match="depthwise block of 48 channels gives 24"):
        build_encoder_block(one, 48, (24,))
