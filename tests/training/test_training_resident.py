"""Batches made where the pixels live, against those that the CPU makes from the memory map.

The code that a GPU runs is run on the CPU here.
"""

import gc
import logging
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from nasdepth.architecture import Architecture
from nasdepth.data import Mixture, Portion
from nasdepth.data.store import cached_split
from nasdepth.models import build
from nasdepth.training import Recipe, load_recipe, train, validate
from nasdepth.training import resident as module
from nasdepth.training.augment import NO_AUGMENTATION, Augmentation
from nasdepth.training.batches import batches, make_batch
from nasdepth.training.cameras import FieldOfView
from nasdepth.training.ema import Ema
from nasdepth.training.geometry import View, sample_rgb
from nasdepth.training.learner import build_learner
from nasdepth.training.optimisation import build_optimizer
from nasdepth.training.resident import ResidentSplit, resident_portions, resident_split
from nasdepth.training.validation import si_rmse_of_images

CPU = torch.device("cpu")
INPUT_HW, LOSS_HW = (64, 96), (60, 80)
EVERYTHING = Augmentation(
    rotation_degrees=10, gamma=0.1, cut_depth=0.5, blur=0.5, noise=0.5, crops=((480, 640), (240, 384))
)
SMALL = Architecture.parse(
    "64x96,mobilenetv3_small_minimal@0.5:3,none-conv-k1-w16,concat-conv-k3-w16,up-nearest-bilinear"
)
RECIPE = Recipe(
    epochs=2, batch_size=4, loss_hw=LOSS_HW, loss={"sig": {}, "gradient": {"weight": 0.5, "scales": 2}}
)


@pytest.fixture
def few(scenes):
    return scenes.subset(range(8))


def network(seed=0):
    torch.manual_seed(seed)
    return build(SMALL)


def made(images, depth_steps, info, folder, monkeypatch):
    """A real store of these images and stored depths."""
    monkeypatch.setenv("NASDEPTH_CACHE", str(folder))
    names = [str(number) for number in range(len(images))]
    return cached_split(
        "made", "1", "made", names, lambda index: (images[index], depth_steps[index]),
        lambda: ThreadPoolExecutor(1), progress=False, info=info,
    )  # fmt: skip


@pytest.mark.parametrize("name", ["proxy", "default", "everything"])
@pytest.mark.parametrize("input_hw", [INPUT_HW, (128, 160)])
def test_both_ways_make_the_same_batches(few, name, input_hw):
    augmentation = EVERYTHING if name == "everything" else load_recipe(name).augmentation
    mixture = Mixture(few, 4, seed=1)
    residents = resident_portions(mixture, CPU)
    turned = 0
    for step in [*mixture.epoch(0), *mixture.epoch(1)]:
        expected = make_batch(step, augmentation, input_hw, LOSS_HW)
        batch = make_batch(step, augmentation, input_hw, LOSS_HW, residents=residents)
        assert (batch.kind, batch.step) == (expected.kind, expected.step)
        assert batch.rgb.shape == expected.rgb.shape and batch.rgb.dtype == torch.float32
        assert batch.rgb.is_contiguous(memory_format=torch.channels_last)
        # one level of rounding at each of two resizings at most, and contrast stretches it by up to 1.4
        difference = (batch.rgb - expected.rgb).abs()
        assert difference.max() < 2.9 and difference.mean() < 0.6
        assert batch.target.dtype == torch.float32
        turned += (batch.target == 0).any().item()
        # halfway between two stored pixels either is right
        assert (batch.target != expected.target).float().mean() < 1e-3
        assert (batch.mask != expected.mask).float().mean() < 1e-3
    assert turned or name == "proxy", "no view reaches beyond its image: the test does not see turned ones"


def test_whole_views_are_exact(few):
    """Where nothing is interpolated nothing may differ, mirrored or not."""
    kept = ResidentSplit(few, CPU)
    views = [View.whole(few.hw), View(few.hw, 0, 0, *few.hw, flip=True)]
    views.append(View(few.hw, 0, 0, *few.hw, flip_vertical=True))
    indices = np.array([5, 2, 2])
    rgb, depth_mm = few.batch([5, 2])
    sampled = kept.sample_rgb(indices, views, few.hw).permute(0, 2, 3, 1).numpy()
    assert np.array_equal(sampled[0], rgb[0]) and np.array_equal(sampled[1], rgb[1][:, ::-1])
    assert np.array_equal(sampled[2], rgb[1][::-1])
    depth = kept.sample_depth(indices, views, few.hw)[:, 0].numpy()
    assert np.array_equal(depth[0], depth_mm[0]) and np.array_equal(depth[1], depth_mm[1][:, ::-1])
    assert np.array_equal(depth[2], depth_mm[1][::-1])
    images, whole = kept.images(slice(5, 6))
    assert np.array_equal(images[0].permute(1, 2, 0), rgb[0]) and np.array_equal(whole[0], depth_mm[0])


@pytest.mark.parametrize(("info", "scale"), [({}, 1), ({"mm_per_step": 0.25}, 0.25)])
def test_all_stored_depths_come_back(tmp_path, monkeypatch, info, scale):
    """Sixteen bits have a sign on the device and none on the disk."""
    steps = np.arange(480 * 640).reshape(1, 480, 640).astype(np.uint16)
    assert steps.max() == 65535
    split = made(np.zeros((1, 480, 640, 3), np.uint8), steps, info, tmp_path, monkeypatch)
    _, depth_mm = ResidentSplit(split, CPU).images(slice(None))
    assert torch.equal(depth_mm, torch.from_numpy(split.depth_mm.astype(np.float32)))
    assert depth_mm.max() == 65535 * scale


def test_what_lies_outside_of_a_turned_view_is_unknown_and_shows_the_edge(few):
    view = View(few.hw, 0, 0, *few.hw, angle_rad=0.7)
    kept = ResidentSplit(few, CPU)
    depth = kept.sample_depth(np.array([0]), [view], LOSS_HW)[0, 0]
    assert depth[0, 0] == depth[-1, -1] == 0 and depth[30, 40] > 0
    rgb = kept.sample_rgb(np.array([0]), [view], LOSS_HW)[0].permute(1, 2, 0)
    assert np.abs(rgb.numpy() - sample_rgb(few.rgb_view(0), view, LOSS_HW)).max() <= 1


def test_a_split_is_copied_once_and_goes_with_its_owner(scenes):
    split = scenes.subset(range(3))
    first = resident_split(split, CPU)
    assert resident_split(split, torch.device("cpu")) is first and len(first) == 3
    assert resident_split(scenes.subset(range(3)), CPU) is not first
    before = len(module._residents)
    del split
    gc.collect()
    assert len(module._residents) < before


def test_trainings_on_the_same_data_share_one_copy(few, monkeypatch):
    copies = []

    class Counted(ResidentSplit):
        def __init__(self, split, device):
            copies.append(split)
            super().__init__(split, device)

    monkeypatch.setattr(module, "ResidentSplit", Counted)
    judged = few.subset([1, 2])
    for seed in range(3):
        train(network(seed), few, RECIPE, validation=judged, device=CPU, resident=True)
    assert copies == [judged, few] or copies == [few, judged]


def test_a_training_is_the_same_but_for_rounding(few):
    judged = few.subset([1, 6])
    histories = [
        train(network(), few, RECIPE, validation=judged, device=CPU, resident=resident)
        for resident in (True, False)
    ]
    for resident, mapped in zip(*histories, strict=True):
        assert resident.loss == pytest.approx(mapped.loss, rel=0.02)
        assert resident.si_rmse == pytest.approx(mapped.si_rmse, rel=0.02)
    assert [one.loss for one in histories[0]] != [one.loss for one in histories[1]], "one way made both"


def test_what_does_not_fit_is_said_once_and_read_from_the_disk(scenes, monkeypatch, caplog):
    few = scenes.subset(range(8))
    needed = 8 * 480 * 640 * 5
    monkeypatch.setattr(module, "free_bytes", lambda device: 2 * needed - 2)
    with caplog.at_level(logging.WARNING):
        history = train(network(), few, RECIPE, device=CPU, resident=True)
        train(network(), few, RECIPE.with_(epochs=1), device=CPU, resident=True)
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 1 and "8 images of train[8] take 0.0 GB" in said[0] and "free on cpu" in said[0]
    plain = train(network(), few, RECIPE, device=CPU, resident=False)
    assert [one.loss for one in history] == [one.loss for one in plain]
    monkeypatch.setattr(module, "free_bytes", lambda device: 2 * needed)
    assert resident_split(few, CPU) is not None


def test_free_memory_is_of_the_order_of_this_machine():
    assert 10**7 < module.free_bytes(CPU) < 10**14


def test_other_data_sets_of_a_mixture_are_made_by_the_cpu(few, scenes):
    sparse = scenes.subset(range(4))
    sparse.sparse = True  # as a LiDAR's
    assert resident_split(sparse, CPU) is None
    mixture = Mixture([Portion(few, 1), Portion(sparse, 1)], 4, steps_per_epoch=4)
    residents = resident_portions(mixture, CPU)
    assert list(residents) == [few]
    expected = list(batches(mixture.epoch(0), NO_AUGMENTATION, INPUT_HW, LOSS_HW))
    got = list(batches(mixture.epoch(0), NO_AUGMENTATION, INPUT_HW, LOSS_HW, residents=residents, workers=2))
    assert {batch.step.portion for batch in got} == {0, 1}
    for batch, plain in zip(got, expected, strict=True):
        same = torch.equal(batch.rgb, plain.rgb)
        assert same if batch.step.portion else (batch.rgb - plain.rgb).abs().max() <= 1.5
        assert torch.equal(batch.target, plain.target)


def test_a_batch_gets_what_others_add_to_it(few):
    step = Mixture(few, 4).step(0, 0)
    extras = [FieldOfView(60.0)]
    expected = make_batch(step, EVERYTHING, INPUT_HW, LOSS_HW, extras)
    batch = make_batch(step, EVERYTHING, INPUT_HW, LOSS_HW, extras, {few: ResidentSplit(few, CPU)})
    assert torch.equal(batch.intrinsics, expected.intrinsics)


class NothingReadBack(TorchDispatchMode):
    """Fails where a value is needed to go on, which on a GPU waits for all that was asked of it before."""

    def __torch_dispatch__(self, function, types, arguments=(), named=None):
        name = function.overloadpacket.__name__
        masked = name.startswith("index") and any(
            index is not None and index.dtype == torch.bool
            for index in (arguments[1] if len(arguments) > 1 and isinstance(arguments[1], list) else [])
        )
        if masked or name in ("_local_scalar_dense", "nonzero", "masked_select", "unique_dim", "_unique2"):
            raise AssertionError(f"{name} reads a value back")
        return function(*arguments, **(named or {}))


def test_the_check_for_reading_back_sees_it():
    with NothingReadBack():
        for reading in (lambda x: x.sum().item(), lambda x: x[x > 0], lambda x: bool(x.any())):
            with pytest.raises(AssertionError, match="reads a value back"):
                reading(torch.ones(3))


@pytest.mark.parametrize("name", ["proxy", "default"])
def test_a_step_reads_nothing_back(few, name):
    """Batch, network, losses, gradient, optimizer and average: a GPU is told all of it in one go."""
    recipe = load_recipe(name, {"batch_size": 4, "augmentation": EVERYTHING.model_dump()})
    model = network()
    mixture = Mixture(few, 4)
    learner = build_learner(model, recipe, mixture, (), CPU)
    optimizer = build_optimizer(learner, recipe, pretrained=True)
    ema = Ema(model, 0.9)
    residents = resident_portions(mixture, CPU)
    # an optimizer's first step makes its state
    for number in range(2):
        with NothingReadBack():
            batch = make_batch(
                mixture.step(0, number), recipe.augmentation, INPUT_HW, recipe.loss_hw, (), residents
            )
            total, _ = learner(batch)
            total.backward()
            torch.nn.utils.clip_grad_norm_(learner.parameters(), 1.0)
            optimizer.step()
            ema.update(number)


def test_validation_is_the_same_where_the_images_live(few):
    net = network()
    assert validate(net, few, device=CPU, resident=True) == pytest.approx(
        validate(net, few, device=CPU), abs=1e-12
    )
    images, depth_mm = resident_split(few, CPU).images(slice(0, 4))
    with NothingReadBack(), torch.no_grad():
        si_rmse_of_images(net.eval()(images)[:, 0], depth_mm)
