"""Depth files as people have them, and folders with options."""

import numpy as np
import pytest
from PIL import Image

from nasdepth.data import absolute_source, open_split, split_to_score
from nasdepth.data.depth_files import FolderOptions, parse_options, read_depth_mm, unit_hints
from nasdepth.data.folder import fitted
from nasdepth.data.inspect import hints
from nasdepth.errors import DataError

TRUTH_MM = np.arange(1, 49, dtype=np.uint16).reshape(6, 8) * 100


@pytest.fixture
def in_own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("NASDEPTH_CACHE", str(tmp_path / "cache"))


def write_exr(path, values):
    import cv2

    assert cv2.imwrite(str(path), values)


def save(path, values):
    Image.fromarray(values).save(path)


@pytest.mark.parametrize(
    ("name", "write", "options"),
    [
        ("mm.png", lambda path: save(path, TRUTH_MM), ""),
        ("mm.PNG", lambda path: save(path, TRUTH_MM), "unknown=9"),
        ("tum.png", lambda path: save(path, TRUTH_MM * 5), "scale=5000"),
        ("sun.png", lambda path: save(path, (TRUTH_MM << 3) | (TRUTH_MM >> 13)), "bits=rotated"),
        ("m.npy", lambda path: np.save(path, TRUTH_MM / 1000), ""),
        ("one_channel.npy", lambda path: np.save(path, TRUTH_MM[..., None].astype(np.int32)), ""),
        ("m.tiff", lambda path: save(path, (TRUTH_MM / 1000).astype(np.float32)), ""),
        ("m.TIF", lambda path: save(path, TRUTH_MM), ""),
        ("m.exr", lambda path: write_exr(path, (TRUTH_MM / 1000).astype(np.float32)), ""),
    ],
)  # fmt: skip
def test_every_format_gives_millimetres(tmp_path, name, write, options):
    write(tmp_path / name)
    depth_mm = read_depth_mm(tmp_path / name, parse_options(options, name))
    assert depth_mm.dtype == np.uint16
    np.testing.assert_array_equal(depth_mm, TRUTH_MM)


def test_what_nobody_knows_is_zero(tmp_path):
    values = (TRUTH_MM / 1000).astype(np.float32)
    values[0, :4] = np.nan, np.inf, -np.inf, 0
    values[1, :2] = 99, 64
    np.save(tmp_path / "d.npy", values)
    depth_mm = read_depth_mm(tmp_path / "d.npy", parse_options("unknown=99@far=60", "d"))
    assert (depth_mm[0, :4] == 0).all() and (depth_mm[1, :2] == 0).all()
    assert (depth_mm != 0).sum() == 48 - 6
    save(tmp_path / "d.png", np.where(TRUTH_MM < 500, 65535, TRUTH_MM).astype(np.uint16))
    depth_mm = read_depth_mm(tmp_path / "d.png", FolderOptions(unknown=(65535,)))
    np.testing.assert_array_equal(depth_mm, np.where(TRUTH_MM < 500, 0, TRUTH_MM))


@pytest.mark.parametrize(
    ("name", "values", "said"),
    [
        ("a.npy", np.full((4, 4), 1500.0), "@scale=STEPS_PER_METRE"),
        ("a.npy", np.full((4, 4), -1.0), "reaches -1 to"),
        ("a.npy", np.full((4, 4), np.nan), "every pixel is 0"),
        ("a.npy", np.zeros((4, 4, 3)), "4x4x3"),
        ("a.png", np.full((4, 4), 9, np.uint8), "8 bits"),
        ("a.png", np.full((4, 4, 3), 9, np.uint8), "RGB"),
    ],
)
def test_what_cannot_be_depth_is_named(tmp_path, name, values, said):
    np.save(tmp_path / name, values) if name.endswith("npy") else save(tmp_path / name, values)
    with pytest.raises(DataError, match=name) as error:
        read_depth_mm(tmp_path / name, FolderOptions())
    assert said in str(error.value)
    for damaged in (f"b{name}", "b.exr"):
        (tmp_path / damaged).write_bytes(b"nothing of the kind")
        with pytest.raises(DataError, match=damaged):
            read_depth_mm(tmp_path / damaged, FolderOptions())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("scael=5000", "did you mean scale"), ("scale=big", "@scale=big is no number"),
        ("scale=0", "above 0"),
        ("scale=1@scale=2", "twice"), ("bits=turned", "@bits=rotated"), ("fit=squash", "crop, letterbox"),
        ("unknown=nan", "unknown anyway"),
    ],
)  # fmt: skip
def test_options_that_are_none_are_named(text, said):
    with pytest.raises(DataError, match="somewhere") as error:
        parse_options(text, "somewhere")
    assert said in str(error.value)


def dataset(root, rgb="rgb", depth="depth", count=4, scale=1, hw=(48, 64)):
    (root / rgb).mkdir(parents=True)
    (root / depth).mkdir()
    rng = np.random.default_rng(0)
    for index in range(count):
        save(root / rgb / f"{index}.JPG", rng.integers(0, 255, (*hw, 3), dtype=np.uint8))
        save(root / depth / f"{index}.PNG", rng.integers(1000, 5000, hw).astype(np.uint16) * scale)
    return root


def test_a_folder_with_options_and_without_splits(tmp_path, in_own_cache, monkeypatch):
    root = dataset(tmp_path / "tum", "color", "depth_png", scale=5)
    source = f"{root}@scale=5000@rgb=color,depth=depth_png"
    assert split_to_score(source) == "all"
    split = open_split(source, "all", progress=False)
    assert len(split) == 4 and 1000 <= split.depth_view(0).min() <= split.depth_view(0).max() < 5000
    monkeypatch.chdir(tmp_path)
    assert absolute_source("tum@scale=5000") == f"folder:{root}@scale=5000"
    assert open_split(f"folder:{source}", "all", progress=False).fingerprint == split.fingerprint
    with pytest.raises(DataError, match="rgb"):
        open_split(f"{root}@scale=5000", "all", progress=False)
    with pytest.raises(DataError, match="splits train and test"):
        open_split("scenes:24+6", "all", progress=False)


def test_all_images_of_a_folder_with_splits(tmp_path, in_own_cache):
    for name, count in (("train", 3), ("test", 2)):
        dataset(tmp_path / "data" / name, count=count)
    assert split_to_score(str(tmp_path / "data")) == "test"
    assert len(open_split(tmp_path / "data", "all", progress=False)) == 5


def test_other_shapes_are_cropped_and_said(tmp_path, in_own_cache):
    root = dataset(tmp_path / "wide", hw=(90, 160))
    assert any("160x90, cropped to 4:3" in words for words in hints(open_split(root, "all", progress=False)))
    plain = dataset(tmp_path / "plain")
    assert "shape" not in open_split(plain, "all", progress=False).info


def test_nothing_is_stretched():
    """A square in the middle of a picture stays one, whatever the picture's shape."""
    for hw in ((300, 900), (900, 300), (480, 640)):
        depth = np.ones(hw, np.uint16)
        middle = np.s_[hw[0] // 2 - 50 : hw[0] // 2 + 50, hw[1] // 2 - 50 : hw[1] // 2 + 50]
        depth[middle] = 1000
        for fit in ("crop", "letterbox"):
            rgb = Image.fromarray(np.repeat((depth[..., None] // 4).astype(np.uint8), 3, axis=2))
            _, stored = fitted(rgb, depth, fit)
            rows, columns = np.nonzero(stored == 1000)
            assert np.ptp(rows) == pytest.approx(np.ptp(columns), abs=2)
            assert (stored == 0).any() == (fit == "letterbox" and hw != (480, 640))


def test_a_wrong_unit_and_a_mark_are_hinted_at():
    rng = np.random.default_rng(0)
    depth = rng.uniform(1000, 4000, (50, 50))
    assert unit_hints(iter([depth])) == []
    assert "@scale" in unit_hints(iter([depth / 100]))[0]
    marked = depth.copy()
    marked[:5] = 65535
    assert "@unknown=65535" in unit_hints(iter([marked]))[0]
