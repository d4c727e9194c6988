"""What batches of pairs, relative depth and video give the losses; and that one can learn depth from them."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from nasdepth.architecture import Architecture
from nasdepth.data import Mixture, hold_out, open_split
from nasdepth.data.diw import write_diw
from nasdepth.data.mixture import Step
from nasdepth.data.scene_videos import make_clip, true_motion
from nasdepth.metrics import DepthMetrics, OrdinalMetrics, sample_points
from nasdepth.models import build
from nasdepth.training import Recipe, train
from nasdepth.training.augment import NO_AUGMENTATION
from nasdepth.training.batches import Batch, make_batch
from nasdepth.training.labels import Labels
from nasdepth.training.losses.registry import LossInputs, parse_terms
from nasdepth.training.losses.selfsupervised import reprojection_loss
from nasdepth.training.supervision import ordinal_inputs, relative_inputs, video_inputs

HW = (64, 96)
SMALL = Architecture.parse(
    "64x96,mobilenetv3_small_minimal@1:5,none-conv-k1-w48,concat-conv-k1-w24,concat-conv-k3-w16,"
    "concat-conv-k3-w16,up-bilinear-nearest"
)
SHORT = Recipe(
    batch_size=6,
    optimizer={"learning_rate": 4e-3},
    loss_hw=HW,
    augmentation=NO_AUGMENTATION,
    pretrained=False,
)


# ordinal pairs


def some_step() -> Step:
    return Step(0, 0, 0, None, np.arange(1), (0,))


def test_pairs_are_taken_at_the_pixels_that_the_metric_takes():
    points = torch.rand(2, 50, 4, generator=torch.Generator().manual_seed(0))
    points[0, 0] = torch.tensor([0, 0, 1 - 2**-24, 1 - 2**-24])
    relation = torch.ones(2, 50)
    inside = torch.rand(2, 50, generator=torch.Generator().manual_seed(1)) < 0.8
    batch = Batch("ordinal", some_step(), None, points=points, relation=relation, pair_mask=inside)
    pairs = ordinal_inputs(batch, (60, 80))
    pairs.check((60, 80))
    assert torch.equal(pairs.known, inside), "no two of these points share a pixel"
    depth = np.random.default_rng(0).random((60, 80))
    for image in range(2):
        a, b = sample_points(depth, points[image].numpy())
        rows, columns = pairs.first[image].T.numpy()
        assert np.array_equal(depth[rows, columns], a)
        rows, columns = pairs.second[image].T.numpy()
        assert np.array_equal(depth[rows, columns], b)


def test_a_pair_within_one_pixel_is_left_out_unless_it_is_equal():
    points = torch.tensor([[[0.5, 0.5, 0.501, 0.501], [0.5, 0.5, 0.501, 0.501], [0.5, 0.5, 0.6, 0.5]]])
    batch = Batch(
        "ordinal",
        some_step(),
        None,
        points=points,
        relation=torch.tensor([[1.0, 0.0, -1.0]]),
        pair_mask=torch.ones(1, 3, dtype=torch.bool),
    )
    assert ordinal_inputs(batch, (60, 80)).known.tolist() == [[False, True, True]]


def error_rate(model, split) -> float:
    metrics = OrdinalMetrics()
    model.eval()
    for index in range(len(split)):
        rgb = torch.from_numpy(split.rgb_view(index).copy()).permute(2, 0, 1)[None].float()
        with torch.no_grad():
            metrics.update(model(rgb)[0, 0].numpy(), *split.pairs(index))
    return metrics.compute()["whdr"]


def test_pairs_alone_teach_order(scenes, test_scenes, tmp_path):
    """Pairs drawn from depth, one in a hundred thousand of what it says: WHDR of chance is 0.5."""
    for name, split in (("train", scenes), ("test", test_scenes)):
        write_diw(split, tmp_path / "pairs", name, pairs=100)
    train_pairs, test_pairs = (
        open_split(f"diw:{tmp_path / 'pairs'}", name, progress=False) for name in ("train", "test")
    )
    torch.manual_seed(0)
    model = build(SMALL)
    untrained = error_rate(model, test_pairs)
    train(model, train_pairs, SHORT.with_(epochs=12, loss={"ranking": {}}))
    trained = error_rate(model, test_pairs)
    print(f"WHDR {untrained:.3f} -> {trained:.3f}")
    assert trained < 0.35 < 0.45 < untrained


# relative depth


@pytest.mark.parametrize("space", ["disparity", "depth"])
def test_relative_depth_is_matched_in_its_own_space(space, tmp_path):
    """The true depth fits, up to scale and shift, what the files hold; in the other space it does not."""
    rng = np.random.default_rng(0)
    true_mm = np.kron(rng.uniform(1000, 8000, (12, 16)), np.ones((40, 40)))
    values = 1e6 / true_mm * 30 + 500 if space == "disparity" else true_mm * 3 + 700
    folder = {"disparity": "disparity", "depth": "relative_depth"}[space]
    for name in ("rgb", folder):
        (tmp_path / "train" / name).mkdir(parents=True)
    Image.new("RGB", (640, 480)).save(tmp_path / "train" / "rgb" / "a.png")
    Image.fromarray(values.round().astype(np.uint16)).save(tmp_path / "train" / folder / "a.png")
    split = open_split(f"relative:{tmp_path}", "train", progress=False)
    batch = make_batch(Mixture(split, 1).step(0, 0), NO_AUGMENTATION, HW, (60, 80))
    inputs = relative_inputs(batch)
    assert inputs["inverse"].max() == 1 and inputs["space"] == space
    pred_mm = torch.from_numpy(true_mm[4::8, 4::8].astype(np.float32))[None, None]
    term = parse_terms({"relative": {}})["relative"]
    assert term.value(LossInputs(pred_mm, **inputs), None) < 1e-3
    other = {"disparity": "depth", "depth": "disparity"}[space]
    assert term.value(LossInputs(pred_mm, **(inputs | {"space": other})), None) > 0.1


# video


@pytest.fixture(scope="module")
def clips(shared_cache):
    """Triplets of three clips, and the depth of their middle frames."""
    return tuple(
        open_split(f"{name}:3+1@3", "train", progress=False)
        for name in ("scenes-video", "scenes-video-depth")
    )


class KnownMotion:
    """Stands where the pose network stands and gives the rendered camera's motion, for a loss by itself."""

    def __init__(self, split, indices):
        named = [split.image_ids[index].rsplit("-")[1].split("/") for index in indices]
        triplets = [
            make_clip("train", 3, int(clip))[2][int(frame) - 1 : int(frame) + 2] for clip, frame in named
        ]
        before, middle, after = zip(*triplets, strict=True)
        pairs = [*zip(before, middle, strict=True), *zip(middle, after, strict=True)]
        self._motion = torch.tensor(np.stack([true_motion(*pair) for pair in pairs]), dtype=torch.float32)

    def __call__(self, first, second):
        assert len(first) == len(second) == len(self._motion)
        return self._motion


def depth_at(split, indices, hw) -> torch.Tensor:
    depth = np.stack([split.depth_view(index) for index in indices]).astype(np.float32)
    return F.interpolate(torch.from_numpy(depth)[:, None], size=hw, mode="nearest-exact")


def test_true_depth_and_motion_explain_the_frames(clips):
    """Of the rendered frames: neither another scale of depth nor another motion explains them as well."""
    video, truth = clips
    indices = np.arange(3, len(video), 11)
    step = Step(0, 0, 0, video, indices, (0,))
    batch = make_batch(step, NO_AUGMENTATION, HW, (96, 128))
    depth_mm = depth_at(truth, indices, (96, 128))
    known = depth_mm > 0
    inputs = video_inputs(batch, depth_mm, KnownMotion(video, indices), (96, 128))

    def error(scale=1.0, poses=inputs["poses"]):
        seen = inputs["rgb"], inputs["sources"], poses, inputs["intrinsics"]
        return reprojection_loss(depth_mm * scale, *seen, known, automask=False).item()

    right = error()
    standing = error(poses=torch.eye(4).expand(len(indices), 2, 4, 4))
    assert right < 0.4 * standing
    assert right < min(error(0.7), error(1.5), error(poses=inputs["poses"].flip(1)))


def evaluated(model, truth) -> float:
    metrics = DepthMetrics(median_scaled=True)
    model.eval()
    for index in range(len(truth)):
        rgb = torch.from_numpy(truth.rgb_view(index).copy()).permute(2, 0, 1)[None].float()
        with torch.no_grad():
            metrics.update(model(rgb)[0].numpy(), truth.depth_view(index)[None])
    return metrics.compute()["si_rmse"]


def of_the_mean_map(fit, held) -> float:
    depth = fit.depth_mm.astype(np.float64)
    mean_mm = depth.sum(0) / np.maximum((depth > 0).sum(0), 1)
    metrics = DepthMetrics(median_scaled=True)
    for index in range(len(held)):
        metrics.update(np.maximum(mean_mm, 1)[None], held.depth_view(index)[None])
    return metrics.compute()["si_rmse"]


@pytest.mark.slow
def test_frames_of_a_known_motion_teach_depth_that_beats_the_mean_map(clips):
    video, truth = clips
    fit, _ = hold_out(video, 0.2)
    fit_truth, held_truth = hold_out(truth, 0.2)
    torch.manual_seed(0)
    model = build(SMALL)
    untrained = evaluated(model, held_truth)
    terms = parse_terms({"reprojection": {"outside": "border"}, "smoothness": {"weight": 0.01}})
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    steps, mixture = 80, Mixture(fit, 6)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
    model.train()
    for number in range(steps):
        step = mixture.step(*divmod(number, mixture.steps_per_epoch))
        batch = make_batch(step, NO_AUGMENTATION, HW, HW)
        pred_mm = model.predict(model.decode(batch.rgb), HW)
        given = video_inputs(batch, pred_mm, KnownMotion(fit, step.indices), HW)
        inputs = LossInputs(pred_mm, **given)
        loss = sum(term.weight * term.value(inputs, None) for term in terms.values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    trained, mean_map = evaluated(model, held_truth), of_the_mean_map(fit_truth, held_truth)
    print(f"si-RMSE: untrained {untrained:.3f}, mean map {mean_map:.3f}, trained {trained:.3f}")
    assert trained < 0.75 * min(mean_map, untrained)


# labels


def test_labels_train_depth_end_to_end(scenes, tmp_path):
    """From labels of three layers of depth alone a network learns to tell the layers apart."""
    classes = 3
    for index, name in enumerate(scenes.image_ids):
        layers = np.digitize(scenes.depth_view(index), [3000, 8000])
        layers[scenes.depth_view(index) == 0] = 255
        Image.fromarray(layers.astype(np.uint8)).save(tmp_path / f"{name}.png")
    torch.manual_seed(0)
    model = build(SMALL)
    recipe = SHORT.with_(epochs=12, loss={"segmentation": {"classes": classes, "width": 8}})
    history = train(model, scenes, recipe, extras=[Labels(tmp_path, scenes, classes)])
    # what always naming the shares of the classes comes to
    labels = np.concatenate([np.asarray(Image.open(p)).ravel() for p in sorted(tmp_path.glob("*.png"))])
    shares = np.bincount(labels[labels != 255]) / (labels != 255).sum()
    assert history[-1].loss < 0.9 * -(shares * np.log(shares)).sum()
