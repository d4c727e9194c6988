import numpy as np
import pytest
from PIL import Image

from nasdepth.data import DepthSplit, absolute_source, load_split, open_split
from nasdepth.data.sources import parse_source
from nasdepth.errors import DataError


def touch(*paths):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["rgb/a.jpg", "depth/a.png"], "folder"),
        (["train/rgb/a.jpg", "train/depth/a.png"], "folder"),
        (["rgb/a.jpg", "disparity/a.png"], "relative"),
        (["test/rgb/a.jpg", "test/relative_depth/a.png"], "relative"),
        (["nyu_depth_v2_labeled.mat", "splits.mat"], "nyu"),
        (["DIW_Annotations/DIW_test.csv"], "diw"),
        (["train.csv"], "diw"),
        (["data_depth_annotated/train/x"], "kitti"),
        (["2011_09_26/2011_09_26_drive_0001_sync/image_02/data/0.png"], "kitti"),
        (["scene/cam.txt"], "video"),
        (["notes.txt"], "folder"),
    ],
)
def test_formats_are_recognised(tmp_path, files, expected):
    touch(*(tmp_path / "set" / file for file in files))
    assert parse_source(tmp_path / "set") == (expected, tmp_path / "set", "")


def test_a_source_is_said_for_every_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    here = {
        "set": f"{tmp_path}/set",
        "nyu:a.mat@raw": f"nyu:{tmp_path}/a.mat@raw",
        "scenes:9+1": "scenes:9+1",
    }
    for source, absolute in here.items():
        assert absolute_source(source) == absolute == absolute_source(absolute)
    with pytest.raises(DataError, match="write scenes"):
        absolute_source("scenes:9")


def test_formats_and_options_can_be_said(tmp_path):
    assert parse_source("kitti:/data/kitti@eigen") == ("kitti", tmp_path.__class__("/data/kitti"), "eigen")
    assert parse_source("/data/some.mat").format == "nyu" and parse_source("pairs.csv").format == "diw"
    for text, message in (("nyu:a.mat@eigen", "must be @raw"), ("folder:x@y", "@y is no option of a folder")):
        with pytest.raises(DataError, match=message):
            parse_source(text)


def test_what_needs_metric_depth_refuses_the_rest(tmp_path):
    for kind in ("rgb", "disparity"):
        (tmp_path / "set" / kind).mkdir(parents=True)
        Image.fromarray(np.arange(12, dtype=np.uint8).reshape(3, 4)).save(tmp_path / "set" / kind / "a.png")
    (tmp_path / "set" / "train.txt").write_text("a\n")
    assert open_split(tmp_path / "set", "train", progress=False).kind == "relative"
    with pytest.raises(DataError, match=r"set: is relative supervision, but metric depth is needed"):
        load_split(tmp_path / "set", "train", progress=False)


def test_built_in_scenes_and_folders_open_as_before(make_folder):
    assert isinstance(open_split("scenes:2+1", "test", progress=False), DepthSplit)
    root = make_folder(sub="train")
    same = [open_split(name, "train", progress=False).fingerprint for name in (root, f"folder:{root}")]
    assert same == [load_split(root, "train", progress=False).fingerprint] * 2
