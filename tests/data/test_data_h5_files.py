"""One HDF5 file an image, as FastDepth's NYU."""

import numpy as np
import pytest

from nasdepth.data import open_split
from nasdepth.data.sources import parse_source
from nasdepth.errors import DataError

h5py = pytest.importorskip("h5py")


def write(path, seed=0, **changes):
    rng = np.random.default_rng(seed)
    arrays = {
        "rgb": rng.integers(0, 255, (3, 48, 64), dtype=np.uint8),
        "depth": rng.uniform(1, 9, (48, 64)).astype(np.float32),
    } | changes
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            file[name] = values
    return arrays


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("NASDEPTH_CACHE", str(tmp_path / "cache"))


def test_published_layout(tmp_path):
    root = tmp_path / "nyu"
    first = write(root / "train" / "room_2" / "00001.h5")
    write(root / "train" / "room_10" / "00001.h5", 1)
    write(root / "val" / "official" / "00001.h5", 2)
    assert parse_source(root).format == "h5"
    train, test = (open_split(root, name, progress=False) for name in ("train", "test"))
    assert train.image_ids == ["train/room_2/00001", "train/room_10/00001"] and len(test) == 1
    # the picture is enlarged ten times
    np.testing.assert_array_equal(train.depth_view(0)[5::10, 5::10], np.rint(1000 * first["depth"]))
    assert np.abs(train.rgb_view(0)[5::10, 5::10].astype(int) - first["rgb"].transpose(1, 2, 0)).mean() < 30
    assert len(open_split(f"h5:{root}", "all", progress=False)) == 3


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"depth": np.full((48, 64), 1500.0)}, "1500 m"),
        ({"depth": np.ones((4, 4))}, "metres"),
        ({"depth": np.full((48, 64), np.nan)}, "everywhere"),
        ({"rgb": np.zeros((48, 64, 3), np.uint8)}, "uint8"),
    ],
)
def test_what_is_not_as_published_is_named(tmp_path, changes, said):
    write(tmp_path / "nyu/train/a/1.h5", **changes)
    with pytest.raises(DataError, match=r"1\.h5") as error:
        open_split(tmp_path / "nyu", "train", progress=False)
    assert said in str(error.value)


def test_damaged_files_are_named(tmp_path):
    write(tmp_path / "nyu/train/a/1.h5")
    (tmp_path / "nyu/train/a/2.h5").write_bytes(b"nothing")
    with h5py.File(tmp_path / "nyu/train/a/3.h5", "w") as file:
        file["rgb"] = 1
    with pytest.raises(DataError, match="2 of 3") as error:
        open_split(tmp_path / "nyu", "train", progress=False)
    assert "2.h5" in str(error.value) and "3.h5" in str(error.value)
