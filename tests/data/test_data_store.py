import errno
import json
import os
import pickle
import shutil
from collections import namedtuple

import numpy as np
import pytest

from nasdepth.data import load_folder, store
from nasdepth.errors import DataError


@pytest.fixture
def lists(make_folder):
    root = make_folder(names=tuple("abcdef"))
    (root / "train.txt").write_text("a\nb\nc\nd\n")
    (root / "test.txt").write_text("e\nf\n")
    return root


def load(root):
    return load_folder(root, "train", progress=False)


def test_arrays_batches_and_subsets_agree(lists):
    split = load(lists)
    assert split.rgb.shape == (4, 480, 640, 3) and split.rgb.dtype == np.uint8
    assert split.depth_mm.shape == (4, 480, 640) and split.depth_mm.dtype == np.uint16
    assert isinstance(split.rgb, np.memmap) and not split.rgb.flags.writeable
    rgb, depth = split.batch([3, 1])
    assert np.array_equal(rgb, split.rgb[[3, 1]]) and np.array_equal(depth, split.depth_mm[[3, 1]])
    part = split.subset([3, 1]).subset([1])
    assert part.image_ids == ["b"] and len(part) == 1
    assert np.array_equal(part.rgb[0], split.rgb[1]) and np.array_equal(
        part.batch([0])[1][0], split.depth_mm[1]
    )
    assert part.fingerprint != split.fingerprint
    with pytest.raises(IndexError):
        split.batch([4])


def test_a_pickled_split_carries_no_pixels(lists):
    part = load(lists).subset([2, 0])
    frozen = pickle.dumps(part)
    assert len(frozen) < 2000
    thawed = pickle.loads(frozen)
    assert (thawed.image_ids, thawed.name, thawed.fingerprint) == (
        part.image_ids,
        part.name,
        part.fingerprint,
    )


def test_cache_is_reused_until_the_source_changes(lists, cache, monkeypatch):
    first = load(lists)
    monkeypatch.setattr(store, "_build", lambda *_: pytest.fail("decoded again"))
    assert load(lists).fingerprint == first.fingerprint
    monkeypatch.undo()
    monkeypatch.setenv("NASDEPTH_CACHE", str(cache.parent))
    # Touched but equal: decoded again, and known to hold the same pixels.
    os.utime(lists / "rgb" / "a.jpg", ns=(1, 1))
    assert load(lists).fingerprint == first.fingerprint
    shutil.copy(lists / "depth" / "b.png", lists / "depth" / "a.png")
    assert load(lists).fingerprint != first.fingerprint
    assert len([p for p in cache.iterdir() if p.is_dir()]) == 1


@pytest.mark.parametrize("damage", ["truncated", "missing", "garbled"])
def test_a_damaged_cache_is_rebuilt(lists, cache, damage):
    before = load(lists)
    expected = before.rgb.copy()
    slot = next(p for p in cache.iterdir() if p.is_dir())
    match damage:
        case "truncated":
            os.truncate(slot / "rgb.u8", 1000)
        case "missing":
            (slot / "depth_mm.u16").unlink()
        case "garbled":
            (slot / "meta.json").write_text("{")
    after = load(lists)
    assert np.array_equal(after.rgb, expected) and after.fingerprint == before.fingerprint
    assert json.loads((slot / "meta.json").read_text())["name"] == "train"


def test_a_full_disk_is_told_before_writing(lists, cache, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10, 0, 10))
    with pytest.raises(DataError, match=r"datasets.*6,144,000 bytes needed, 10 free"):
        load(lists)


def test_a_disk_that_fills_up_leaves_nothing_behind(lists, cache, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(store, "_fill_one", full)
    with pytest.raises(DataError, match=r"No space left on device.*6,144,000 bytes.*NASDEPTH_CACHE"):
        load(lists)
    assert not [p for p in cache.iterdir() if p.is_dir()]


def test_an_unusable_cache_folder_is_named(lists, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NASDEPTH_CACHE", str(tmp_path / "file"))
    with pytest.raises(DataError, match=r"file.*NASDEPTH_CACHE"):
        load(lists)
