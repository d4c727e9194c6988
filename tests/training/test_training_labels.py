"""Labels from files: the same view as the image, errors that name the file, and a training that uses them."""

import numpy as np
import pytest
import torch
from PIL import Image

from nasdepth.data import Mixture, open_split
from nasdepth.errors import DataError
from nasdepth.training.augment import NO_AUGMENTATION
from nasdepth.training.batches import make_batch
from nasdepth.training.labels import Labels

LOSS_HW = (60, 80)
VARIED = NO_AUGMENTATION.model_copy(
    update={"crops": ((240, 384), (384, 512)), "flip": True, "rotation_degrees": 10.0}
)


def layers_of(depth_mm: np.ndarray) -> np.ndarray:
    """Near, middle, far and unknown: the classes that depth can tell apart."""
    near_to_far = np.digitize(depth_mm, [3000, 8000])
    return np.where(depth_mm > 0, near_to_far, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def folder(scenes, tmp_path_factory):
    folder = tmp_path_factory.mktemp("labels")
    for index, name in enumerate(scenes.image_ids):
        Image.fromarray(layers_of(scenes.depth_view(index))).save(folder / f"{name}.png")
    return folder


@pytest.mark.parametrize("augmentation", [NO_AUGMENTATION, VARIED])
def test_labels_are_seen_in_the_view_of_the_image(scenes, folder, augmentation):
    labels = Labels(folder, scenes, 3)
    for seed in range(4):
        step = Mixture(scenes, 8, seed=seed).step(0, 0)
        batch = make_batch(step, augmentation, (64, 96), LOSS_HW, extras=[labels])
        assert batch.labels.shape == (8, 1, *LOSS_HW) and batch.labels.dtype == torch.int64
        expected = layers_of(batch.target.numpy()).astype(np.int64)
        expected[expected == 255] = -1
        np.testing.assert_array_equal(batch.labels.numpy(), expected)


def test_a_video_finds_its_frames_whatever_their_zeros(tmp_path):
    for number in range(1, 5):
        for kind, mode in (("video", "RGB"), ("labels", "L")):
            (tmp_path / kind / "park").mkdir(parents=True, exist_ok=True)
            Image.new(mode, (64, 48), number).save(tmp_path / kind / "park" / f"{number:06d}.png")
    (tmp_path / "video" / "park" / "cam.txt").write_text("60 0 31.5 0 55 23.5 0 0 1")
    (tmp_path / "video" / "train.txt").write_text("park")
    split = open_split(f"video:{tmp_path / 'video'}", "train", progress=False)
    step = Mixture(split, 2).step(0, 0)
    extra = Labels(tmp_path / "labels", split, 5)
    batch = make_batch(step, NO_AUGMENTATION, (32, 32), (32, 32), extras=[extra])
    assert batch.labels[:, 0, 0, 0].tolist() == [int(split.image_ids[i].split("/")[1]) for i in step.indices]


def test_other_data_sets_get_none(scenes, test_scenes, folder):
    step = Mixture(test_scenes, 2).step(0, 0)
    batch = make_batch(step, NO_AUGMENTATION, (32, 32), (32, 32), extras=[Labels(folder, scenes, 3)])
    assert batch.labels is None


def test_what_is_wrong_names_the_file(scenes, folder, tmp_path):
    part = scenes.subset([0, 1])
    first, second = (tmp_path / f"{name}.png" for name in part.image_ids)
    with pytest.raises(DataError, match="no such folder"):
        Labels(tmp_path / "absent", part, 3)
    Image.new("L", (640, 480)).save(first)
    with pytest.raises(DataError, match=rf"1 of 2 images have no labels.*\s+- {second}"):
        Labels(tmp_path, part, 3)
    Image.new("L", (320, 240)).save(second)
    with pytest.raises(DataError, match=f"{second} is 320x240, {first.name} 640x480"):
        Labels(tmp_path, part, 3)

    def read(image, classes=3):
        image.save(second)
        step = Mixture(part, 2).step(0, 0)
        make_batch(step, NO_AUGMENTATION, (32, 32), (32, 32), extras=[Labels(tmp_path, part, classes)])

    with pytest.raises(
        DataError, match=rf"{second}: holds class 3, but there are 3.*loss\.segmentation\.classes"
    ):
        read(Image.new("L", (640, 480), 3))
    read(Image.new("L", (640, 480), 255))
    read(Image.fromarray(np.full((480, 640), 65535, np.uint16)))
    with pytest.raises(DataError, match=f"{second}: is RGB, a PNG of one channel"):
        read(Image.new("RGB", (640, 480)))


def test_changed_labels_have_another_fingerprint(scenes, folder, tmp_path):
    part = scenes.subset([0])
    path = tmp_path / f"{part.image_ids[0]}.png"
    Image.new("L", (640, 480), 1).save(path)
    before = Labels(tmp_path, part, 3).fingerprint
    assert Labels(tmp_path, part, 3).fingerprint == before != Labels(tmp_path, part, 4).fingerprint
    Image.fromarray(layers_of(scenes.depth_view(0))).save(path)
    assert Labels(tmp_path, part, 3).fingerprint != before
