"""What the losses get from batches of every kind, with real networks on real stores."""

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from nasdepth.architecture import Architecture
from nasdepth.data import Mixture, Portion, open_split
from nasdepth.errors import NasdepthError
from nasdepth.models import build, resolve
from nasdepth.training import Recipe, train
from nasdepth.training.augment import NO_AUGMENTATION, Augmentation
from nasdepth.training.batches import batches, make_batch
from nasdepth.training.cameras import FieldOfView
from nasdepth.training.geometry import sample_nearest
from nasdepth.training.inputs import IntermediateHeads, StepInputs
from nasdepth.training.learner import build_learner
from nasdepth.training.losses.geometry import field_of_view_intrinsics
from nasdepth.training.objective import Objective

SMALL = Architecture.parse(
    "64x96,mobilenetv3_small_minimal@0.5:3,none-conv-k1-w16,concat-conv-k3-w16,up-nearest-bilinear"
)
CPU = torch.device("cpu")
LOSS_HW = (60, 80)
POSE = {"encoder": "mobilenetv3_small_minimal", "width": 0.25, "pretrained": False}
OF_KIND = {
    "metric": {"sig": {}},
    "ordinal": {"ranking": {}},
    "relative": {"relative": {}},
    "video": {"reprojection": {}},
}


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, format="PNG")


@pytest.fixture(scope="module")
def splits(tmp_path_factory):
    """Four noisy pictures of every kind."""
    root = tmp_path_factory.mktemp("kinds")
    rng = np.random.default_rng(0)
    pairs = []
    for name in "abcd":
        picture = rng.integers(0, 255, (48, 64, 3), np.uint8)
        depth = (1000 + rng.integers(0, 3000, (48, 64))).astype(np.uint16)
        save(root / "metric" / "train" / "rgb" / f"{name}.png", picture)
        save(root / "metric" / "train" / "depth" / f"{name}.png", depth)
        save(root / "relative" / "train" / "rgb" / f"{name}.png", picture)
        save(root / "relative" / "train" / "disparity" / f"{name}.png", depth)
        save(root / "ordinal" / f"{name}.thumb", picture)
        pairs += [f"{name}.thumb", "1,1,48,64,>,64,48"]
        save(root / "video" / "scene" / f"{ord(name)}.png", picture)
    (root / "ordinal" / "train.csv").write_text("\n".join(pairs))
    (root / "video" / "scene" / "cam.txt").write_text("60 0 31.5 0 55 23.5 0 0 1")
    (root / "video" / "train.txt").write_text("scene")
    return {kind: open_split(root / kind, "train", progress=False) for kind in OF_KIND}


def network():
    torch.manual_seed(0)
    return build(SMALL)


def recipe_of(*kinds, **changes):
    loss = {name: term for kind in kinds for name, term in OF_KIND[kind].items()}
    pose = POSE if "video" in kinds else None
    return Recipe(epochs=1, batch_size=2, loss_hw=LOSS_HW, **{"loss": loss, "pose": pose} | changes)


def learner_of(model, recipe, *portions, extras=()):
    mixture = Mixture([Portion(split, 1, split.kind) for split in portions], 2)
    batch = make_batch(mixture.step(0, 0), NO_AUGMENTATION, (64, 96), LOSS_HW, extras)
    return build_learner(model, recipe, mixture, extras, CPU), batch


@pytest.mark.parametrize("kind", OF_KIND)
def test_a_batch_of_each_kind_feeds_its_terms_and_no_other(splits, kind):
    recipe = recipe_of(*OF_KIND)
    mixture = Mixture([Portion(split, 1, name) for name, split in splits.items()], 2)
    learner = build_learner(network(), recipe, mixture, (), CPU)
    batch = make_batch(Mixture(splits[kind], 2).step(0, 0), NO_AUGMENTATION, (64, 96), LOSS_HW)
    inputs, intermediate_mm = learner.inputs(batch, torch.Generator())
    assert learner.objective.fed(inputs) == tuple(OF_KIND[kind]) and intermediate_mm == []
    assert inputs.pred_mm.shape == (2, 1, *LOSS_HW)
    total, values = learner(batch)
    assert list(values) == list(OF_KIND[kind])
    total.backward()
    assert learner.model.head.weight.grad.abs().sum() > 0


def test_the_prediction_is_the_networks(splits):
    model = network().eval()
    learner, batch = learner_of(model, recipe_of("metric"), splits["metric"])
    learner.eval()
    expected = model.predict(model.decode(batch.rgb), LOSS_HW)
    inputs, _ = learner.inputs(batch)
    assert torch.equal(inputs.pred_mm, expected)
    assert torch.equal(inputs.target_mm, batch.target) and torch.equal(inputs.mask, batch.mask)


def test_one_training_takes_all_kinds_in_turn(splits):
    mixture = Mixture([Portion(split, 1, name) for name, split in splits.items()], 2, steps_per_epoch=8)
    (epoch,) = train(network(), mixture, recipe_of(*OF_KIND), device=CPU)
    assert set(epoch.terms) == {"sig", "ranking", "relative", "reprojection", "gradient norm"}
    assert all(np.isfinite(value) for value in epoch.terms.values())


@pytest.mark.parametrize(
    ("kinds", "loss", "said"),
    [
        (
            ["metric"],
            {"sig": {}, "ranking": {}},
            r"loss\.ranking: needs pairs.*: metric \(metric\); add a data",
        ),
        (["ordinal"], {"sig": {}, "ranking": {}}, r"loss\.sig: needs mask, target_mm, .*metric depth"),
        (["metric", "ordinal"], {"sig": {}, "relative": {}}, r"loss\.relative: needs inverse, .*ordinal"),
        (["metric"], {"sig": {}, "virtual_normal": {}}, r"loss\.virtual_normal: needs intrinsics, .*fov_deg"),
        (["metric"], {"distill_output": {}}, r"loss\.distill_output: needs teacher_mm, .*`teacher`"),
        (["video"], {"reprojection": {}}, r"loss\.reprojection: needs intrinsics, poses, .*`pose` section"),
        (
            ["metric", "relative"],
            {"sig": {}},
            r"mixture: relative \(relative\) feeds none .* sig; leave it out",
        ),
    ],
)
def test_what_cannot_be_fed_is_named_before_the_training(splits, kinds, loss, said):
    mixture = Mixture([Portion(splits[kind], 1, kind) for kind in kinds], 2)
    recipe = Recipe(epochs=1, batch_size=2, loss_hw=LOSS_HW, loss=loss)
    with pytest.raises(NasdepthError, match=said):
        train(network(), mixture, recipe, device=CPU, on_step=lambda _: pytest.fail("began"))


class Teacher:
    """An `Extra` that knows the truth, and so must give each batch's own target."""

    fingerprint = "one"

    def __call__(self, split, indices, views, loss_hw):
        if split.kind != "metric":
            return {}
        truth = [sample_nearest(split.depth_view(i), v, loss_hw) for i, v in zip(indices, views, strict=True)]
        features = torch.arange(len(views) * 5 * 4 * 6, dtype=torch.float32).reshape(len(views), 5, 4, 6)
        labels = torch.full((len(views), 1, *loss_hw), 1)
        return {
            "teacher_mm": torch.from_numpy(np.stack(truth).astype(np.float32))[:, None],
            "teacher_features": {"stride8": features},
            "labels": labels,
        }


def test_extras_see_the_views_of_the_images_and_reach_their_terms(splits):
    recipe = recipe_of(
        "metric",
        loss={
            "sig": {},
            "distill_output": {},
            "distill_features": {"layers": ["stride8"]},
            "segmentation": {"classes": 2, "width": 4},
        },
    )
    mixture = Mixture([Portion(splits["metric"]), Portion(splits["relative"])], 2)
    augmentation = Augmentation(crops=((240, 320),), rotation_degrees=5)
    model = network()
    learner = build_learner(model, recipe.with_(**{"loss.relative.weight": 1}), mixture, [Teacher()], CPU)
    for workers in (0, 2):
        made = list(
            batches(
                mixture.epoch(0),
                augmentation,
                (64, 96),
                LOSS_HW,
                extras=[Teacher()],
                workers=workers,
                device=CPU,
            )
        )
        of_teacher = [batch for batch in made if batch.kind == "metric"]
        assert of_teacher and all(batch.teacher_mm is None for batch in made if batch.kind == "relative")
        for batch in of_teacher:
            assert torch.equal(batch.teacher_mm, batch.target)
    total, values = learner(of_teacher[0])
    assert set(values) == {"sig", "distill_output", "distill_features", "segmentation"}
    total.backward()
    projection = learner.objective.learned["distill_features"]["stride8"]
    assert projection.weight.shape[:2] == (5, 16) and projection.weight.grad.abs().sum() > 0


def test_another_teacher_is_another_training(splits, tmp_path):
    options = {"checkpoint": tmp_path / "c.pt", "device": CPU}
    recipe = recipe_of("metric", loss={"distill_output": {}})
    train(network(), splits["metric"], recipe, extras=[Teacher()], **options)
    other = Teacher()
    other.fingerprint = "two"
    with pytest.raises(NasdepthError, match=r"c\.pt: was trained with another teacher"):
        train(network(), splits["metric"], recipe, extras=[other], **options)


def test_features_are_named_by_stride_and_end_in_what_the_head_sees():
    model = build(resolve("litedepth")).eval()
    rgb = torch.rand(1, 3, *model.input_hw) * 255
    features = model.features(rgb)
    assert torch.equal(features["penultimate"], model.decode(rgb))
    height = model.input_hw[0]
    for name, one in features.items():
        if name not in ("penultimate", "head"):
            stride = int(name.removeprefix("encoder").removeprefix("stride"))
            assert one.shape[2] == height // stride, name
    assert {"encoder4", "encoder32", "stride4", "stride32"} <= set(features)


def test_intermediate_heads_judge_the_stages_before_the_last_and_vanish(splits):
    model = build(resolve("litedepth"))
    channels = {name: one.shape[1] for name, one in model.eval().features(torch.rand(1, 3, 128, 160)).items()}
    heads = IntermediateHeads(channels, 2)
    assert heads.layers == ["stride8", "stride16"]
    features = model.features(torch.rand(2, 3, 128, 160) * 255)
    for head in heads.heads.values():
        nn.init.zeros_(head.weight)
    predictions = heads(features, torch.tensor(2000.0), LOSS_HW)
    assert [tuple(one.shape) for one in predictions] == [(2, 1, *LOSS_HW)] * 2
    for one in predictions:
        torch.testing.assert_close(one, torch.full_like(one, 2000.0))
    with pytest.raises(NasdepthError, match=r"for 4 earlier decoder stages, but this network has 3 before"):
        IntermediateHeads(channels, 4)
    net = network()
    before = set(net.state_dict())
    recipe = recipe_of("metric", intermediate={"weights": (0.5, 0.5)})
    train(net, splits["metric"], recipe, device=CPU)
    assert set(net.state_dict()) == before


def test_inputs_without_a_learner_are_the_same(splits):
    """The seam that others use: a network, a recipe, an objective and companions."""
    model, recipe = network().eval(), recipe_of("relative", loss={"relative": {}, "smoothness": {}})
    inputs = StepInputs(model, recipe, Objective(recipe.loss_recipe), nn.ModuleDict())
    batch = make_batch(Mixture(splits["relative"], 2).step(0, 0), NO_AUGMENTATION, (64, 96), LOSS_HW)
    given, _ = inputs(batch, None)
    assert given.rgb.shape == (2, 3, *LOSS_HW) and given.inverse_mask.all()
    filled = {field.name for field in dataclasses.fields(given) if getattr(given, field.name) is not None}
    assert filled == {"pred_mm", "inverse", "inverse_mask", "space", "rgb", "features"}


@pytest.mark.parametrize("flip", [False, True])
def test_a_field_of_view_follows_the_crop(splits, flip):
    """Points that a crop shows lie where they lie in the whole picture."""
    split = splits["metric"]
    whole = field_of_view_intrinsics(split.hw, 60, 1)[0]
    step = Mixture(split, 4).step(0, 0)
    augmentation = Augmentation(crops=((240, 384),), flip=flip)
    batch = make_batch(step, augmentation, (64, 96), LOSS_HW, [FieldOfView(60)])
    views = []
    make_batch(step, augmentation, (64, 96), LOSS_HW, [lambda s, i, v, hw: views.extend(v) or {}])
    assert {view.flip for view in views} == {False, flip}
    for camera, view in zip(batch.intrinsics, views, strict=True):
        for row, column in ((0, 0), (59, 10)):
            rows, columns = view.axes(LOSS_HW)
            ray = torch.linalg.solve(camera, torch.tensor([float(column), row, 1]))
            expected = torch.linalg.solve(whole, torch.tensor([columns[column], rows[row], 1]).float())
            mirrored = torch.tensor([-1.0 if view.flip else 1.0, 1, 1])
            torch.testing.assert_close(ray, expected * mirrored, atol=1e-4, rtol=0)


def test_a_field_of_view_follows_a_rotation(splits):
    """The optical axis stays where the middle of the picture is shown."""
    views = []

    def watch(split, indices, shown, loss_hw):
        views.extend(shown)
        return {}

    augmentation = Augmentation(crops=((240, 320),), rotation_degrees=30, rotation_share=1)
    batch = make_batch(
        Mixture(splits["metric"], 4).step(0, 0), augmentation, (64, 96), (240, 320), [FieldOfView(60), watch]
    )
    for camera, view in zip(batch.intrinsics, views, strict=True):
        rows, columns = view.grid((240, 320))
        x, y = round(camera[0, 2].item()), round(camera[1, 2].item())
        if 0 <= y < 240 and 0 <= x < 320:
            assert abs(rows[y, x] - 239.5) < 1 and abs(columns[y, x] - 319.5) < 1
            break
    else:
        pytest.fail("no view shows the middle")


@pytest.mark.parametrize("cpu_bf16", [False, True])
def test_only_the_network_is_in_bfloat16_and_on_a_cpu_only_if_asked_for(scenes, cpu_bf16):
    recipe = Recipe(batch_size=4, loss_hw=LOSS_HW, loss={"sig": {}}, bf16=True, cpu_bf16=cpu_bf16)
    learner = build_learner(build(SMALL), recipe, Mixture(scenes, 4), (), CPU)
    batch = make_batch(Mixture(scenes, 4).step(0, 0), NO_AUGMENTATION, (64, 96), LOSS_HW)
    inputs, _ = learner.inputs(batch)
    assert inputs.features["penultimate"].dtype == (torch.bfloat16 if cpu_bf16 else torch.float32)
    assert inputs.pred_mm.dtype == torch.float32
    total, _ = learner(batch)
    total.backward()
    assert {one.grad.dtype for one in learner.parameters() if one.grad is not None} == {torch.float32}
