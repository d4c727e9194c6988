"""Batches made from real stores of every kind of supervision."""

import numpy as np
import pytest
import torch
from PIL import Image

from nasdepth.data import Mixture, Portion, open_split
from nasdepth.training.augment import NO_AUGMENTATION, Augmentation
from nasdepth.training.batches import Batch, batches, make_batch

INPUT_HW, LOSS_HW = (64, 96), (60, 80)
EVERYTHING = Augmentation(
    rotation_degrees=5, gamma=0.1, cut_depth=0.5, blur=0.5, noise=0.5, crops=((480, 640), (240, 384))
)


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, format="PNG")


@pytest.fixture(scope="module")
def splits(tmp_path_factory):
    """One small split of every kind, whose colours and supervision say where in the image they are from."""
    root = tmp_path_factory.mktemp("kinds")
    rows, columns = np.meshgrid(np.arange(48), np.arange(64), indexing="ij")
    picture = np.stack([rows * 5, columns * 3, rows * 0 + 90], axis=-1).astype(np.uint8)
    where = (1000 + rows * 64 + columns).astype(np.uint16)
    points = ["1,1,48,64,>,64,48", "24,10,24,50,<,64,48", "40,40,41,41,=,64,48"]
    pairs = []
    for name in "abcd":
        for folder in ("metric", "relative"):
            save(root / folder / "train" / "rgb" / f"{name}.png", picture)
        save(root / "metric" / "train" / "depth" / f"{name}.png", where)
        save(root / "relative" / "train" / "disparity" / f"{name}.png", where)
        save(root / "ordinal" / f"{name}.thumb", picture)
        pairs += [f"{name}.thumb", *points[: 1 + (name != "a") * 2]]
        save(root / "video" / "scene" / f"{ord(name)}.png", picture)
        steps = np.where((rows + columns) % 20 == 0, where, 0).astype(np.uint16)
        selection = root / "sparse" / "depth_selection" / "val_selection_cropped"
        save(selection / "image" / f"{name}_image_.png", picture)
        save(selection / "groundtruth_depth" / f"{name}_groundtruth_depth_.png", steps)
    (root / "ordinal" / "train.csv").write_text("\n".join(pairs))
    (root / "video" / "scene" / "cam.txt").write_text("60 0 31.5 0 55 23.5 0 0 1")
    (root / "video" / "train.txt").write_text("scene")
    opened = {
        kind: open_split(root / kind, "train", progress=False)
        for kind in ("metric", "relative", "ordinal", "video")
    }
    return opened | {"sparse": open_split(root / "sparse", "test", progress=False)}


def batch_of(split, augmentation=EVERYTHING, seed=0, size=4) -> Batch:
    return make_batch(Mixture(split, size, seed=seed).step(0, 0), augmentation, INPUT_HW, LOSS_HW)


def tensors(batch):
    return {name: value for name, value in vars(batch).items() if isinstance(value, torch.Tensor)}


@pytest.mark.parametrize("kind", ["metric", "relative", "ordinal", "video", "sparse"])
def test_shapes_types_and_ranges(splits, kind):
    batch = batch_of(splits[kind])
    assert batch.kind == ("metric" if kind == "sparse" else kind) == splits[kind].kind
    assert batch.rgb.shape == (4, 3, *INPUT_HW) and batch.rgb.dtype == torch.float32
    assert batch.rgb.is_contiguous(memory_format=torch.channels_last)
    assert batch.rgb.min() >= 0 and 100 < batch.rgb.max() <= 255
    has = {
        "metric": {"target", "mask"},
        "sparse": {"target", "mask"},
        "relative": {"target", "mask"},
        "ordinal": {"points", "relation", "pair_mask"},
        "video": {"frames", "changed_frames", "intrinsics"},
    }
    assert set(tensors(batch)) == {"rgb"} | has[kind]
    assert (batch.space == "disparity") == (kind == "relative")
    if batch.target is not None:
        assert batch.target.shape == batch.mask.shape == (4, 1, *LOSS_HW)
        assert torch.equal(batch.mask, batch.target > 0) and batch.target.dtype == torch.float32
    if kind == "ordinal":
        assert batch.points.shape == (4, 3, 4) and batch.relation.shape == batch.pair_mask.shape == (4, 3)
    if kind == "video":
        assert batch.frames.shape == (4, 3, 3, *LOSS_HW) and batch.intrinsics.shape == (4, 3, 3)
        assert batch.changed_frames.shape == (4, 3, 3, *INPUT_HW)


@pytest.mark.parametrize("kind", ["metric", "sparse"])
def test_depth_and_picture_stay_together_through_crop_flip_and_rotation(splits, kind):
    """Both say from which row and column of the source they are; they must agree."""
    augmentation = NO_AUGMENTATION.model_copy(
        update={"crops": ((240, 384), (384, 512)), "flip": True, "rotation_degrees": 10.0}
    )
    compared = 0
    for seed in range(6):
        batch = batch_of(splits[kind], augmentation, seed)
        picture = torch.nn.functional.interpolate(batch.rgb, size=LOSS_HW, mode="bilinear")
        scale = 256 / 1000 if kind == "sparse" else 1
        source = (batch.target * scale).round().long() - 1000
        rows, columns = source // 64, source % 64
        for place in range(4):
            known = batch.mask[place, 0]
            # away from the border, where the picture's edge is repeated
            known = (
                known
                & (rows[place, 0] > 1)
                & (rows[place, 0] < 46)
                & (columns[place, 0] > 1)
                & (columns[place, 0] < 62)
            )
            row_error = (picture[place, 0] / 5 - rows[place, 0])[known].abs()
            column_error = (picture[place, 1] / 3 - columns[place, 0])[known].abs()
            assert row_error.max() < 1.6 and column_error.max() < 1.9
            compared += int(known.sum())
    assert compared > 1000


def test_lidar_is_not_lost_on_the_way_to_a_small_loss(splits):
    """A twentieth of the pixels of 48x64 are known; at 60x80 they must be there still."""
    batch = batch_of(splits["sparse"], NO_AUGMENTATION)
    source = ((np.arange(48)[:, None] + np.arange(64)) % 20 == 0).sum()
    assert batch.mask[0].sum() == source
    sampled = splits["sparse"].depth_mm[0][4::8, 4::8]
    assert (sampled > 0).sum() < source / 2, "sampling would have done as well, so this test shows nothing"


def test_pairs_follow_and_those_that_leave_are_masked(splits):
    crop = NO_AUGMENTATION.model_copy(update={"crops": ((240, 320),), "flip": True})
    masked = 0
    for seed in range(8):
        batch = batch_of(splits["ordinal"], crop, seed)
        indices = batch.step.indices.tolist()
        for place in range(4):
            relation = batch.relation[place].tolist()
            assert relation == ([1, 0, 0] if indices[place] == 0 else [1, -1, 0])
            if indices[place] == 0:
                assert not batch.pair_mask[place, 1:].any(), "padding counts"
            # the corners of the picture cannot both be in a quarter of it
            assert not batch.pair_mask[place, 0]
            assert (batch.points[place][~batch.pair_mask[place]] == 0).all()
            masked += int((~batch.pair_mask[place]).sum())
            if batch.pair_mask[place, 2]:
                y, x = (batch.points[place, 2, :2] * torch.tensor(INPUT_HW)).long()
                red, green, _ = batch.rgb[place, :, y, x]
                assert abs(red / 5 - 39) < 1.5 and abs(green / 3 - 39) < 1.5
    assert masked < 8 * 12


def test_frames_of_a_triplet_share_their_window_and_colours(splits):
    batch = batch_of(splits["video"], EVERYTHING.model_copy(update={"noise": 0.0, "blur": 0.0}))
    # the scene stands still, so all frames are one picture
    assert torch.equal(batch.frames[:, 0], batch.frames[:, 1]) and torch.equal(
        batch.frames[:, 1], batch.frames[:, 2]
    )
    assert torch.equal(batch.changed_frames[:, 0], batch.changed_frames[:, 2])
    low_passed = torch.nn.functional.interpolate(batch.changed_frames[:, 1], LOSS_HW, mode="bilinear")
    assert not torch.allclose(batch.frames[:, 1], low_passed, atol=20), "true colours are changed"
    assert torch.allclose(batch.changed_frames[:, 1], batch.rgb, atol=20), "colours differ in one triplet"
    whole = batch_of(splits["video"], NO_AUGMENTATION)
    height, width = LOSS_HW
    expected = [[60 / 64 * width, 0, (width - 1) / 2], [0, 55 / 48 * height, (height - 1) / 2], [0, 0, 1]]
    assert whole.intrinsics[0].numpy() == pytest.approx(np.array(expected), abs=1e-4)


def test_batches_are_the_same_with_any_number_of_workers_and_after_a_resume(splits):
    mixture = Mixture(
        [Portion(splits["metric"], 2), Portion(splits["ordinal"]), Portion(splits["video"])],
        3,
        seed=5,
        steps_per_epoch=8,
    )
    arguments = (EVERYTHING, INPUT_HW, LOSS_HW)
    expected = list(batches(mixture.epoch(2), *arguments))
    assert [batch.kind for batch in expected].count("metric") == 4 and len(expected) == 8
    torch.manual_seed(1)  # nothing may come from the process's generators
    np.random.seed(1)
    for workers, first in ((0, 3), (1, 0), (3, 0), (3, 5)):
        again = list(batches(mixture.epoch(2, first), *arguments, workers=workers))
        assert len(again) == 8 - first
        for one, other in zip(expected[first:], again, strict=True):
            assert one.step.step == other.step.step and one.kind == other.kind
            assert all(torch.equal(value, tensors(other)[name]) for name, value in tensors(one).items())
    assert not torch.equal(expected[0].rgb, next(iter(batches(mixture.epoch(3), *arguments))).rgb)


def test_workers_stay_a_few_batches_ahead_and_tell_their_errors(splits):
    taken = []

    def steps():
        for step in Mixture(splits["metric"], 2, steps_per_epoch=40).epoch(0):
            taken.append(step.step)
            yield step

    ahead = batches(steps(), NO_AUGMENTATION, INPUT_HW, LOSS_HW, workers=2)
    next(ahead)
    assert len(taken) <= 6, "the whole epoch is made at once"
    ahead.close()

    class Broken(RuntimeError):
        pass

    def broken():
        yield from Mixture(splits["metric"], 2).epoch(0)
        raise Broken

    with pytest.raises(Broken):
        list(batches(broken(), NO_AUGMENTATION, INPUT_HW, LOSS_HW, workers=1))
