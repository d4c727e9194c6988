"""The MATLAB files as published, written small: HDF5 v7.3 with MATLAB's axes backwards, and splits.mat v5."""

import sys

import numpy as np
import pytest
from scipy.io import savemat

from nasdepth.data import open_split
from nasdepth.errors import DataError

h5py = pytest.importorskip("h5py", reason="h5py (nasdepth[nyu]) is not installed")


@pytest.fixture
def mat(tmp_path):
    """Six images with everything that tells axes, order, units and the frame apart."""
    path = tmp_path / "nyu_depth_v2_labeled.mat"
    column, row = np.meshgrid(np.arange(640), np.arange(480), indexing="ij")
    with h5py.File(path, "w") as file:
        images = file.create_dataset("images", (6, 3, 640, 480), np.uint8, chunks=(1, 3, 640, 480))
        depths = file.create_dataset("depths", (6, 640, 480), np.float32)
        raw = file.create_dataset("rawDepths", (6, 640, 480), np.float32)
        for number in range(6):
            images[number] = np.stack([column // 4, row // 4, np.full_like(row, 40 * number)])
            depths[number] = 1 + number + row / 1000
            raw[number] = np.where(column < 320, depths[number], 0)
            images[number, :, :41] = images[number, :, 601:] = 255  # the blank frame
    savemat(
        tmp_path / "splits.mat", {"trainNdxs": np.array([[5], [1], [2]]), "testNdxs": np.array([[3], [6]])}
    )
    return path


def test_the_official_splits_are_read(mat):
    train, test = (open_split(mat, name, progress=False) for name in ("train", "test"))
    assert train.image_ids == ["0001", "0002", "0005"] and test.image_ids == ["0003", "0006"]
    assert train.kind == "metric" and train.rgb.shape == (3, 480, 640, 3)
    for place, number in enumerate((1, 2, 5)):
        assert np.abs(train.rgb[place, ..., 2].astype(int) - 40 * (number - 1)).max() <= 1
    # rows 45-470 of the photograph, resized by nearest sampling and told in millimetres
    rows = 45 + ((np.arange(480) + 0.5) * 426 / 480).astype(int)
    expected = np.rint((np.float32(1) + (rows / 1000).astype(np.float32)) * 1000)
    assert np.array_equal(train.depth_mm[0], np.broadcast_to(expected[:, None], (480, 640)))
    left, right = train.rgb[0, 200, 0, 0], train.rgb[0, 200, -1, 0]
    assert abs(int(left) - 41 // 4) <= 1 and abs(int(right) - 600 // 4) <= 1, "the frame is not cut away"


def test_raw_depth_keeps_its_holes(mat):
    split = open_split(f"nyu:{mat}@raw", "test", progress=False)
    assert (split.depth_mm[0, :, 330:] == 0).all() and (split.depth_mm[0, :, :310] > 0).all()
    filled = open_split(f"nyu:{mat.parent}", "test", progress=False)
    assert (filled.depth_mm > 0).all() and filled.fingerprint != split.fingerprint


def edit(change):
    def spoil(path):
        with h5py.File(path, "r+") as file:
            change(file)

    return spoil


def replace(name, array):
    def change(file):
        del file[name]
        file[name] = array

    return edit(change)


def splits(**arrays):
    return lambda path: savemat(path.with_name("splits.mat"), arrays)


MISTAKES = {
    "no hdf5": (lambda p: p.write_bytes(b"MATLAB 5.0"), r"labeled\.mat: is no HDF5 file"),
    "another file": (
        edit(lambda f: f.move("depths", "labels")),
        r"no array 'depths' \(it holds images, labels",
    ),
    "axes turned": (replace("images", np.zeros((2, 480, 640, 3), np.uint8)), r"images is uint8 \(2, 480"),
    "depth of another size": (replace("depths", np.ones((6, 320, 240), np.float32)), r"depths is .*\(6, 320"),
    "integer depth": (replace("depths", np.ones((6, 640, 480), np.uint16)), r"depths is uint16"),
    "millimetres": (replace("depths", np.full((6, 640, 480), 900, np.float32)), r"image 1 reaches 900"),
    "all unknown": (replace("depths", np.zeros((6, 640, 480), np.float32)), r"image 1 is 0 \(unknown\)"),
    "no splits": (lambda p: p.with_name("splits.mat").unlink(), r"splits\.mat: no such file; put"),
    "damaged splits": (
        lambda p: p.with_name("splits.mat").write_text("x" * 200),
        r"splits\.mat: is no MATLAB",
    ),
    "other splits": (splits(train=np.array([1])), r"splits\.mat: has no trainNdxs"),
    "index outside": (splits(trainNdxs=np.array([1, 7])), r"trainNdxs names image 7.*holds 1 to 6"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_named(mat, mistake):
    spoil, message = MISTAKES[mistake]
    spoil(mat)
    with pytest.raises(DataError, match=message):
        open_split(f"nyu:{mat}", "train", progress=False)


def test_without_h5py_the_extra_is_named(mat, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(DataError, match=r"labeled\.mat.*pip install nasdepth\[nyu\]"):
        open_split(mat, "train", progress=False)
