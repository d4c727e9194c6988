"""What a training writes while it runs."""

import csv
import math

import numpy as np
import pytest
import torch
from PIL import Image

from nasdepth.architecture import Architecture
from nasdepth.models import build
from nasdepth.training import Recipe, train
from nasdepth.training.samples import Samples

SMALL = Architecture.parse(
    "64x96,mobilenetv3_small_minimal@0.5:3,none-conv-k1-w16,concat-conv-k3-w16,up-nearest-bilinear"
)
RECIPE = Recipe(epochs=3, batch_size=4, loss_hw=(60, 80), ema_decay=0.9)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def few(scenes):
    return scenes.subset(range(8))


def network():
    torch.manual_seed(0)
    return build(SMALL)


def rows(folder):
    with (folder / "log.csv").open(newline="") as file:
        return [{k: float(v) if v else None for k, v in row.items()} for row in csv.DictReader(file)]


def test_a_resumed_training_leaves_the_log_and_the_pictures_of_a_straight_one(few, tmp_path):
    class Interrupted(Exception):
        pass

    def interrupt(report):
        if (report.epoch, report.step) == (2, 0):
            raise Interrupted

    run = {"validation": few.subset([0, 5]), "device": CPU}
    history = train(network(), few, RECIPE, folder=tmp_path / "straight", **run)
    run |= {"folder": tmp_path / "resumed", "checkpoint": tmp_path / "c.pt"}
    with pytest.raises(Interrupted):
        train(network(), few, RECIPE, on_step=interrupt, **run)
    assert len(rows(tmp_path / "resumed")) == 2
    train(network(), few, RECIPE, **run)
    straight, resumed = rows(tmp_path / "straight"), rows(tmp_path / "resumed")
    for one, other, epoch in zip(straight, resumed, history, strict=True):
        for timed in ("seconds", "data_seconds"):
            assert one.pop(timed) > 0 and other.pop(timed) > 0
        assert one == other
        assert (one["epoch"], one["loss"], one["si_rmse"]) == (epoch.epoch + 1, epoch.loss, epoch.si_rmse)
        assert one["sig"] + 0.5 * one["gradient"] == pytest.approx(one["loss"], rel=1e-5)
        assert one["weight_gradient"] == 0.5 and one["gradient_norm"] > 0
    names = [f"epoch-000{number}.jpg" for number in (1, 2, 3)]
    for folder in ("straight", "resumed"):
        assert sorted(path.name for path in (tmp_path / folder / "samples").iterdir()) == names
    pictures = [
        [np.asarray(Image.open(tmp_path / folder / "samples" / name)) for name in names]
        for folder in ("straight", "resumed")
    ]
    assert pictures[0][0].shape == (2 * 240, 3 * 320, 3)
    assert all(np.array_equal(one, other) for one, other in zip(*pictures, strict=True))
    # image and target stay, the prediction changes
    first, last = pictures[0][0].astype(int), pictures[0][2].astype(int)
    assert np.abs(first - last)[:, :600].max() < 20 and np.abs(first - last)[:, 680:].mean() > 1


def test_without_a_folder_nothing_is_written(few, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train(network(), few, RECIPE.with_(epochs=1), device=CPU)
    assert not list(tmp_path.iterdir())


def test_the_pictures_show_image_target_and_prediction(few):
    net = network()
    net.head.weight.data.zero_()
    picture = Samples(few, 3).picture(net)
    assert picture.shape == (3 * 240, 3 * 320, 3) and picture.dtype == np.uint8
    for row, index in enumerate((0, 3, 7)):
        shown = picture[row * 240 : (row + 1) * 240]
        image = few.rgb_view(index).astype(int)
        halved = (image[::2, ::2] + image[1::2, ::2] + image[::2, 1::2] + image[1::2, 1::2]) / 4
        assert np.abs(shown[:, :320] - halved).max() <= 1
        near, far = few.depth_view(index)[1::2, 1::2], few.depth_view(index)[1::2, 1::2]
        near, far = near == near[near > 0].min(), far == far.max()
        brightness = shown[:, 320:640].sum(2)
        assert brightness[near].mean() > 2 * brightness[far].mean()
        assert np.ptp(shown[:, 640:].reshape(-1, 3), axis=0).max() == 0  # a constant prediction


def test_other_supervision_is_shown_without_a_target(tmp_path):
    from nasdepth.data import open_split

    for name in "ab":
        for folder, values in (("rgb", (48, 64, 3)), ("disparity", (48, 64))):
            path = tmp_path / "train" / folder / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.random.default_rng(0).integers(1, 255, values, np.uint8)).save(path)
    split = open_split(f"relative:{tmp_path}", "train", progress=False)
    assert Samples(split).picture(network()).shape == (2 * 240, 2 * 320, 3)


def test_tensorboard_gets_curves_and_pictures(few, tmp_path):
    pytest.importorskip("tensorboard", reason="the extra nasdepth[tensorboard] is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    history = train(network(), few, RECIPE, folder=tmp_path, validation=few.subset([0]), device=CPU)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    values = [one.value for one in events.Scalars("epoch/si_rmse")]
    assert values == pytest.approx([one.si_rmse for one in history])
    assert len(events.Images("predictions")) == 3
    assert not math.isnan(events.Scalars("step/loss")[0].value)
