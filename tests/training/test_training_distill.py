"""Teachers' outputs on disk: whose they are, that they follow the views, that students learn from them."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from nasdepth.data import Mixture
from nasdepth.errors import CheckpointError, DataError, NasdepthError
from nasdepth.metrics import si_rmse
from nasdepth.models import TeacherNet, build_any
from nasdepth.training import load_model, load_recipe, train
from nasdepth.training.augment import NO_AUGMENTATION, Augmentation, draw_views
from nasdepth.training.batches import make_batch
from nasdepth.training.checkpoint import save_checkpoint
from nasdepth.training.distill import (
    StoredTeacher,
    TeacherCache,
    load_start,
    store_teacher,
    teacher_fingerprint,
)
from nasdepth.training.geometry import View, sample_maps

TEACHER = "teacher:efficientnet_lite0@64x96w16"
STUDENT = "64x96,mobilenetv3_small_minimal@0.5:3,none-conv-k1-w16,concat-conv-k3-w16,up-nearest-nearest"
LAYERS = ("stride8", "encoder16")
STORED_HW, LOSS_HW = (60, 80), (32, 40)
EVERY_VIEW = Augmentation(rotation_degrees=10, rotation_share=0.7, crops=((480, 640), (240, 384)))


def a_teacher(seed: int = 0) -> TeacherNet:
    torch.manual_seed(seed)
    net = build_any(TEACHER).eval()
    # an untrained head says nearly the same everywhere
    torch.nn.init.normal_(net.head.weight, std=0.3)
    return net


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("NASDEPTH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "teachers"


@pytest.fixture
def few(scenes):
    return scenes.subset(range(0, 24, 3))


def stored(teacher, split, layers=LAYERS):
    return store_teacher(teacher, split, layers, depth_hw=STORED_HW, progress=False)


def looks(teacher) -> list[int]:
    """Grows by the size of every batch that the teacher sees."""
    seen = []
    teacher.encoder.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    return seen


@pytest.mark.parametrize("seed", range(3))
@torch.no_grad()
def test_batches_get_what_the_teacher_says_in_their_own_views(cache, few, seed):
    teacher = a_teacher()
    outputs = TeacherCache.of(teacher, [few], LAYERS, depth_hw=STORED_HW, progress=False)
    step = Mixture(few, 8, seed=seed).step(0, 0)
    batch = make_batch(step, EVERY_VIEW, (64, 96), LOSS_HW, [outputs])
    views = draw_views(few.hw, 8, EVERY_VIEW, step.rng())
    assert any(view.flip for view in views) and not all(view.upright for view in views)
    rgb = torch.from_numpy(np.stack([few.rgb_view(index) for index in range(8)])).permute(0, 3, 1, 2)
    features = teacher.features(teacher.resize(rgb.float()))
    depth_mm = teacher.predict(features["penultimate"], STORED_HW).round().clamp(1, 65535)
    assert depth_mm.std() > 50
    assert torch.equal(batch.teacher_mm, sample_maps(depth_mm[step.indices], views, LOSS_HW))
    assert set(batch.teacher_features) == set(LAYERS)
    for layer in LAYERS:
        own = features[layer][step.indices].half().float()
        assert torch.equal(batch.teacher_features[layer], sample_maps(own, views, tuple(own.shape[2:])))


def test_depth_and_features_move_as_the_picture_does(cache, few):
    """A teacher that says how red each place is must agree with the augmented picture."""

    class Red(TeacherNet):
        def features(self, resized):
            red = resized[:, :1]
            return {"stride8": torch.nn.functional.avg_pool2d(red, 2), "penultimate": red}

        def decode(self, resized):
            return self.features(resized)["penultimate"]

        def predict(self, decoded, out_hw):
            return torch.nn.functional.interpolate(decoded * 10 + 1, size=out_hw, mode="bilinear")

    teacher = Red(build_any(TEACHER).architecture)
    outputs = TeacherCache.of(teacher, [few], ["stride8"], depth_hw=(64, 96), progress=False)
    plain = EVERY_VIEW.model_copy(update={"brightness": 0, "contrast": 0, "colour": 0})
    batch = make_batch(Mixture(few, 8).step(0, 0), plain, (64, 96), (64, 96), [outputs])
    red = batch.rgb[:, :1]
    pool = torch.nn.AdaptiveAvgPool2d((16, 24))
    for got in (batch.teacher_mm, batch.teacher_features["stride8"]):
        assert np.corrcoef(pool(got).flatten(), pool(red).flatten())[0, 1] > 0.98
        assert np.corrcoef(pool(got).flip(-1).flatten(), pool(red).flatten())[0, 1] < 0.9, (
            "this shows nothing"
        )


def test_a_teacher_looks_once(cache, few):
    teacher = a_teacher()
    seen = looks(teacher)
    folder = stored(teacher, few)
    assert sum(seen) >= len(few)
    seen.clear()
    assert stored(teacher, few) == folder
    outputs = TeacherCache.of(teacher, [few, few], LAYERS, depth_hw=STORED_HW, progress=False)
    make_batch(Mixture(few, 4).step(0, 0), EVERY_VIEW, (64, 96), LOSS_HW, [outputs])
    assert not seen
    # another choice of layers is another cache
    assert stored(teacher, few, ["penultimate"]) != folder and seen


def test_outputs_of_other_data_or_another_teacher_are_refused(cache, few, scenes):
    teacher, other = a_teacher(), a_teacher(1)
    folder = stored(teacher, few)
    assert StoredTeacher(folder, few, teacher_fingerprint(teacher)).channels == {
        "stride8": 16,
        "encoder16": 112,
    }
    rest = scenes.subset(range(1, 24, 3))
    with pytest.raises(
        DataError, match=f"another data: its fingerprint is {few.fingerprint}, not {rest.fingerprint}"
    ):
        StoredTeacher(folder, rest)
    with pytest.raises(
        DataError, match="another teacher: its fingerprint is .* not " + teacher_fingerprint(other)
    ):
        StoredTeacher(folder, few, teacher_fingerprint(other))
    with pytest.raises(DataError, match=f"of data {few.fingerprint}, not of {rest.fingerprint}"):
        TeacherCache([StoredTeacher(folder, few)])(rest, np.arange(2), [View.whole(rest.hw)] * 2, LOSS_HW)
    assert stored(other, few) != folder


def test_fingerprints_tell_what_the_outputs_depend_on(cache, few, scenes):
    teacher = a_teacher()
    one = teacher_fingerprint(teacher)
    assert one == teacher_fingerprint(a_teacher()) != teacher_fingerprint(a_teacher(1))
    teacher.scale_mm.mul_(2)
    assert teacher_fingerprint(teacher) != one
    rest = scenes.subset(range(1, 24, 3))
    caches = [
        TeacherCache.of(a_teacher(), splits, layers, depth_hw=STORED_HW, progress=False)
        for splits, layers in (([few], ()), ([few], ["stride8"]), ([few, rest], ()))
    ]
    assert len({cache.fingerprint for cache in caches}) == 3
    again = TeacherCache.of(a_teacher(), [few], depth_hw=STORED_HW, progress=False)
    assert again.fingerprint == caches[0].fingerprint


def test_a_teacher_of_another_output_size_is_refused(cache, few):
    class Small(TeacherNet):
        def forward(self, rgb):
            return self.predict(self.decode(self.resize(rgb)), (240, 320))

    with pytest.raises(NasdepthError, match=r"gives depth of 240x320.*480x640 is needed"):
        stored(Small(build_any(TEACHER).architecture), few)


def test_a_layer_that_the_teacher_lacks_is_named(cache, few):
    with pytest.raises(
        NasdepthError, match=r"'stride64', which teacher:efficientnet_lite0.* it gives encoder2, "
    ):
        stored(a_teacher(), few, ["stride64"])


def test_a_diverged_teacher_is_refused(cache, few):
    teacher = a_teacher()
    teacher.head.bias.data.fill_(torch.nan)
    with pytest.raises(NasdepthError, match=f"its depth of image {few.image_ids[0]} is not finite"):
        stored(teacher, few)
    assert not [path for path in cache.iterdir() if not path.name.startswith(".")]


def test_an_interrupted_run_goes_on_where_it_was(cache, few, scenes, monkeypatch):
    whole = stored(a_teacher(), scenes)
    expected = {path.name: path.read_bytes() for path in whole.iterdir()}
    for path in whole.iterdir():
        path.unlink()
    teacher = a_teacher()
    seen = []

    def interrupt(_, given):
        seen.append(len(given[0]))
        if sum(seen) > 12:
            raise KeyboardInterrupt

    hook = teacher.encoder.register_forward_pre_hook(interrupt)
    with pytest.raises(KeyboardInterrupt):
        stored(teacher, scenes)
    hook.remove()
    with pytest.raises(DataError, match="holds no whole outputs"):
        StoredTeacher(whole, scenes)
    again = looks(teacher)
    assert stored(teacher, scenes) == whole
    # one to learn the sizes (twice), then what the first run had not done
    assert sum(again) == 2 + len(scenes) - 8
    assert {path.name: path.read_bytes() for path in whole.iterdir()} == expected
    assert not [path for path in cache.iterdir() if path.name.endswith(".part")]


def test_a_damaged_cache_is_made_again(cache, few):
    teacher = a_teacher()
    folder = stored(teacher, few)
    before = (folder / "stride8.f16").read_bytes()
    (folder / "stride8.f16").write_bytes(before[:-2])
    with pytest.raises(DataError, match="holds no whole outputs"):
        StoredTeacher(folder, few)
    assert stored(teacher, few) == folder and (folder / "stride8.f16").read_bytes() == before
    (folder / "meta.json").write_text(json.dumps({"format": "another"}))
    with pytest.raises(DataError, match="holds no whole outputs"):
        StoredTeacher(folder, few)


def test_a_full_disk_is_said_before_the_work(cache, few, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=0))
    with pytest.raises(DataError, match=r"too full for the teacher's outputs: [\d,]+ bytes needed, 0 free"):
        stored(a_teacher(), few)


def test_a_second_stage_starts_from_the_trained_student(tmp_path):
    torch.manual_seed(0)
    trained, student = build_any(STUDENT), build_any(STUDENT)
    trained.scale_mm.fill_(1234.0)
    save_checkpoint(tmp_path / "student.pt", trained)
    load_start(student, tmp_path / "student.pt")
    state = student.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in trained.state_dict().items())
    save_checkpoint(tmp_path / "teacher.pt", a_teacher())
    with pytest.raises(CheckpointError, match="start_from must hold the same student: it holds teacher:"):
        load_start(student, tmp_path / "teacher.pt")
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        load_start(student, tmp_path / "nothing.pt")


@torch.no_grad()
def test_a_checkpoint_gives_the_teacher_back(tmp_path, few):
    teacher = a_teacher()
    save_checkpoint(tmp_path / "teacher.pt", teacher)
    loaded = load_model(tmp_path / "teacher.pt")
    rgb = torch.from_numpy(few.batch([0])[0]).permute(0, 3, 1, 2).float()
    assert loaded.architecture == teacher.architecture and torch.equal(loaded(rgb), teacher(rgb))


@torch.no_grad()
def _distance(student, teacher, split) -> float:
    """Mean si-RMSE of the student against the teacher on images that neither has seen."""
    rgb = torch.from_numpy(split.batch(np.arange(len(split)))[0]).permute(0, 3, 1, 2).float()
    ours, theirs = (net.eval()(rgb)[:, 0].numpy() for net in (student, teacher))
    return float(si_rmse(ours, theirs).mean())


def test_a_student_comes_closer_to_a_trained_teacher_in_two_stages(cache, tmp_path, scenes, test_scenes):
    """The whole way: the loop trains the teacher, then the student, then the student on the teacher."""
    plain = load_recipe(
        "default",
        {
            "epochs": 8,
            "batch_size": 4,
            "loss_hw": LOSS_HW,
            "loss": {"sig": {}},
            "augmentation": NO_AUGMENTATION.model_dump(),
            "ema_decay": None,
        },
    )
    torch.manual_seed(0)
    teacher = build_any("teacher:mobilenetv3_small_minimal@64x96w16")
    train(teacher, scenes, plain, checkpoint=tmp_path / "teacher.pt")
    student = build_any(STUDENT)
    train(student, scenes, plain, checkpoint=tmp_path / "student.pt")
    loaded = load_model(tmp_path / "teacher.pt")
    before = _distance(student, loaded, test_scenes)

    again = build_any(STUDENT)
    load_start(again, tmp_path / "student.pt")
    terms = {
        "distill_output": {},
        "distill_features": {"weight": 0.1, "layers": ["stride8"]},
        "distill_affinity": {"layers": ["stride8"]},
    }
    outputs = TeacherCache.of(tmp_path / "teacher.pt", [scenes], ["stride8"], progress=False)
    history = train(again, scenes, plain.with_(loss=terms), extras=[outputs])
    after = _distance(again, loaded, test_scenes)
    print(f"distance to the teacher {before:.3f} -> {after:.3f}")
    assert history[-1].loss < history[0].loss
    assert after < 0.8 * before
