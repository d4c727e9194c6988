import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest

from nasdepth.data import DepthSplit, hold_out, load_scenes, load_split
from nasdepth.data.inspect import describe
from nasdepth.data.scenes import KINDS, ScenesSpec, parse_scenes, render_scene
from nasdepth.data.solids import Box, Cone, Ellipsoid, Material
from nasdepth.errors import DataError


@pytest.fixture(scope="module")
def scenes(tmp_path_factory) -> DepthSplit:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NASDEPTH_CACHE", str(tmp_path_factory.mktemp("scenes")))
        return load_scenes("train", 40, progress=False)


def test_the_same_seed_gives_the_same_bytes_in_another_process():
    code = (
        "import hashlib; from nasdepth.data.scenes import render_scene as r;"
        "print([hashlib.sha256(a.tobytes()).hexdigest() for i in range(4) for a in r('test', 5, i)])"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    other = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    here = [hashlib.sha256(a.tobytes()).hexdigest() for i in range(4) for a in render_scene("test", 5, i)]
    assert other.stdout.strip() == str(here)


def test_seed_split_and_index_all_matter():
    images = [
        render_scene(*key)[0] for key in (("train", 0, 0), ("test", 0, 0), ("train", 1, 0), ("train", 0, 4))
    ]
    assert len({image.tobytes() for image in images}) == 4


def test_processes_and_the_cache_keep_what_is_rendered(scenes):
    for index in (0, 17, 39):
        rgb, depth_mm = render_scene("train", 0, index)
        assert np.array_equal(scenes.rgb[index], rgb) and np.array_equal(scenes.depth_mm[index], depth_mm)
    assert scenes.image_ids[:5] == ["room-0000", "street-0001", "field-0002", "hall-0003", "room-0004"]


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_plausible(scenes, kind):
    chosen = scenes.subset([i for i, name in enumerate(scenes.image_ids) if name.startswith(kind)])
    depth, rgb = chosen.depth_mm, chosen.rgb.astype(float)
    known = depth[depth > 0]
    assert known.min() >= 200 and known.max() <= 40_000
    outdoors = kind in ("street", "field")
    assert (depth == 0).any() == outdoors
    assert (depth == 0).mean() < 0.6
    assert np.median(known) < (20_000 if outdoors else 12_000)
    assert 40 < rgb.mean() < 200
    grey = rgb.mean(axis=3)
    assert grey.std(axis=(1, 2)).min() > 12
    # Neither blank nor noise: neighbours differ, but far less than pixels at large.
    steps = np.abs(np.diff(grey, axis=2)).mean(axis=(1, 2))
    assert (steps > 0.5).all() and (steps < grey.std(axis=(1, 2))).all()


def test_a_constant_is_far_off_and_the_mean_map_only_somewhat_better(scenes):
    floors = describe(scenes)["si_rmse"]
    assert floors["constant"] > 0.45
    assert 0.3 < floors["mean_map"] < 0.9 * floors["constant"]


# The renderer's rays may run along a face, which divides by zero.
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_solids_are_hit_at_their_exact_depth():
    material = Material("plaster", (0, 0, 0), (1, 1, 1))
    forward = np.array([1e-4, 1.0, 1e-4], dtype=np.float32).reshape(3, 1, 1)
    aside = np.array([1.0, 1.0, 1e-3], dtype=np.float32).reshape(3, 1, 1)
    solids = {
        3.0: Box((0, 4, 0), (0.5, 1, 0.5), material=material),
        4 - 2**0.5: Box((0, 4, 0), (1, 1, 1), np.pi / 4, material=material),
        2.5: Ellipsoid((0, 4, 0), (1, 1.5, 1), material=material),
        3.2: Cone((0, 4, -1), 2.0, 0.8, 0.8, material=material),
        3.4: Cone((0, 4, -1), 2.0, 1.2, 0.0, material=material),
    }
    for depth, solid in solids.items():
        assert solid.hit(np.zeros(3), forward).item() == pytest.approx(depth, abs=2e-3)
        assert np.isinf(solid.hit(np.zeros(3), aside)).all()
        normal, _, _ = solid.surface(np.array([[0.0], [depth], [0.0]], dtype=np.float32))
        assert np.linalg.norm(normal) == pytest.approx(1, abs=1e-3) and normal[1, 0] < 0


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("scenes", ScenesSpec()),
        ("scenes:12+3", ScenesSpec(12, 3)),
        ("scenes:12+3@7", ScenesSpec(12, 3, 7)),
        ("scenes@9", ScenesSpec(seed=9)),
        ("/data/scenes", None),
        ("scenes_of_mine", None),
    ],
)
def test_sources_are_parsed(text, spec):
    assert parse_scenes(text) == spec


@pytest.mark.parametrize("text", ["scenes:", "scenes:12", "scenes:0+3", "scenes:a+b", "scenes:3+3@x"])
def test_misspelt_sources_are_told(text):
    with pytest.raises(DataError, match=r"scenes:TRAIN\+TEST"):
        load_split(text, "train")


def test_load_split_reads_scenes():
    assert len(load_split("scenes:2+1@3", "train", progress=False)) == 2
    assert load_split("scenes:2+1@3", "test", progress=False).image_ids == ["room-0000"]


def test_hold_out_is_disjoint_whole_runs_and_reproducible(scenes):
    fit, validation = hold_out(scenes, 0.25)
    assert len(validation) == 10 and len(fit) == 30
    assert not set(fit.image_ids) & set(validation.image_ids)
    held = [scenes.image_ids.index(name) for name in validation.image_ids]
    assert np.array_equal(np.diff(held)[np.arange(9) != 4], np.ones(8))
    again = hold_out(scenes, 0.25)[1]
    assert again.image_ids == validation.image_ids and again.fingerprint == validation.fingerprint
    assert any(hold_out(scenes, 0.25, seed=s)[1].image_ids != validation.image_ids for s in (1, 2, 3))
    assert len(hold_out(scenes, 0.5, at_most=5)[1]) == 5
    assert [len(part) for part in hold_out(scenes.subset([0, 1]), 0.9)] == [1, 1]


@pytest.mark.parametrize("arguments", [{"share": 0}, {"share": 1}, {"at_most": 0}])
def test_hold_out_refuses_nonsense(scenes, arguments):
    with pytest.raises(DataError, match="must be"):
        hold_out(scenes, **arguments)
    with pytest.raises(DataError, match="at least two"):
        hold_out(scenes.subset([0]))
