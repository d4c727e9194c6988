import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nasdepth.data import load_folder, load_split
from nasdepth.errors import DataError

NYU = Path(__file__).parents[3] / "shared" / "data" / "rgbd" / "nyuv2"


def load(root, split="train"):
    return load_folder(root, split, progress=False)


def everything_is_train(root):
    (root / "train.txt").write_text("\n".join(p.stem for p in (root / "rgb").iterdir()))


def test_resizing_keeps_depths_unblended(make_folder):
    root = make_folder()
    everything_is_train(root)
    split = load(root)
    source = np.asarray(Image.open(root / "depth" / f"{split.image_ids[0]}.png"))
    assert np.array_equal(split.depth_mm[0], source.repeat(10, axis=0).repeat(10, axis=1))


def test_images_of_the_canonical_size_are_kept_as_they_are(make_folder):
    root = make_folder(names=("a",), size=(640, 480))
    everything_is_train(root)
    split = load(root)
    assert np.array_equal(split.rgb[0], np.asarray(Image.open(root / "rgb" / "a.jpg")))
    assert np.array_equal(split.depth_mm[0], np.asarray(Image.open(root / "depth" / "a.png")))


@pytest.mark.parametrize("test_name", ["test", "val", "valid"])
def test_splits_as_sub_folders(make_folder, test_name):
    make_folder(names=("1", "2", "10"), sub="train")
    root = make_folder(names=("7",), sub=test_name)
    assert load(root).image_ids == ["1", "2", "10"]
    assert load_split(root, "test", progress=False).image_ids == ["7"]


def test_splits_as_lists(make_folder):
    root = make_folder(names=tuple("abcd"))
    (root / "train.txt").write_text("d\na\n\n")
    (root / "val.txt").write_text("b\n")
    assert load(root).image_ids == ["a", "d"]
    assert load(root, "test").image_ids == ["b"]


def test_splits_by_chance_are_stable_when_images_are_added(make_folder):
    names = [f"im{i}" for i in range(60)]
    root = make_folder(names=names[:40], size=(8, 6))
    train, test = set(load(root).image_ids), set(load(root, "test").image_ids)
    assert train | test == set(names[:40]) and not train & test and 1 <= len(test) <= 10
    make_folder(names=names, size=(8, 6))
    assert test <= set(load(root, "test").image_ids) and train <= set(load(root).image_ids)


def test_grey_photographs_and_upper_case_suffixes(make_folder):
    root = make_folder(names=("a",))
    Image.new("L", (64, 48), 100).save(root / "rgb" / "b.PNG")
    shutil.copy(root / "depth" / "a.png", root / "depth" / "b.png")
    everything_is_train(root)
    assert (load(root).subset([1]).rgb == 100).all()


def _remove(path):
    return lambda root: shutil.rmtree(root / path) if (root / path).is_dir() else (root / path).unlink()


def _save(path, image):
    return lambda root: image.save(root / path)


def _empty(path):
    return lambda root: [p.unlink() for p in (root / path).iterdir()]


def _truncate(path):
    return lambda root: (root / path).write_bytes((root / path).read_bytes()[:600])


LIST = "train.txt"
GREY8, COLOUR = Image.new("L", (64, 48), 9), Image.new("RGB", (64, 48))
DEPTH16 = Image.fromarray(np.full((48, 64), 900, np.uint16))
SMALL16 = Image.fromarray(np.full((24, 32), 900, np.uint16))
UNKNOWN = Image.fromarray(np.zeros((48, 64), np.uint16))
MISTAKES = {
    "no rgb folder": (_remove("rgb"), r"set/rgb: no such folder"),
    "no depth folder": (_remove("depth"), r"set/depth: no such folder"),
    "empty": (_empty("rgb"), r"set/rgb: holds no .jpg"),
    "rgb without depth": (_remove("depth/a.png"), r"1 RGB images have no depth(?s:.*)rgb/a.jpg"),
    "depth without rgb": (_remove("rgb/a.jpg"), r"1 depth images have no RGB(?s:.*)depth/a.png"),
    "same name twice": (_save("rgb/a.png", COLOUR), r"a\.png: a\.jpg has the same name"),
    "8-bit depth": (_save("depth/a.png", GREY8), r"depth/a.png: has 8 bits, uint16 millimetres expected"),
    "colour depth": (_save("depth/a.png", COLOUR), r"depth/a.png: is RGB, uint16 millimetres expected"),
    "sizes differ": (_save("depth/a.png", SMALL16), r"depth/a.png: is 32x24 but a.jpg is 64x48"),
    "all unknown": (_save("depth/a.png", UNKNOWN), r"depth/a.png: every pixel is 0"),
    "truncated rgb": (_truncate("rgb/a.jpg"), r"rgb/a.jpg: cannot be read"),
    "truncated depth": (_truncate("depth/a.png"), r"depth/a.png: cannot be read"),
    "not an image": (lambda r: (r / "rgb/a.jpg").write_text("hello"), r"rgb/a.jpg: cannot be read"),
    "bad list": (lambda r: (r / LIST).write_text("a\nzz\n"), r"train.txt: 1 names have no image(?s:.*)zz"),
    "empty list": (lambda r: (r / LIST).write_text("\n"), r"train.txt: is empty"),
    "binary list": (lambda r: (r / LIST).write_bytes(b"\xff\xfe\x80"), r"train.txt: is not UTF-8"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_named(make_folder, mistake):
    root = make_folder(names=("a", "b"))
    (root / LIST).write_text("a\nb\n")
    spoil, message = MISTAKES[mistake]
    spoil(root)
    with pytest.raises(DataError, match=message):
        load(root)


def test_all_images_are_checked_and_the_first_few_shown(make_folder, cache):
    root = make_folder(names=[f"{i}" for i in range(9)], size=(8, 6))
    everything_is_train(root)
    for index in range(7):
        GREY8.save(root / "depth" / f"{index}.png")
    with pytest.raises(DataError, match=r"7 of 9 train images cannot be used") as caught:
        load(root)
    assert str(caught.value).count("\n") == 6 and "and 2 more" in str(caught.value)
    assert not [p for p in cache.iterdir() if p.is_dir()]


def test_a_missing_root_and_a_missing_split_are_named(make_folder, tmp_path):
    with pytest.raises(DataError, match="nowhere: no such folder"):
        load_split(tmp_path / "nowhere", "train")
    root = make_folder(names=("a",), sub="train")
    with pytest.raises(DataError, match=r"no test split; add .*test/rgb"):
        load(root, "test")
    with pytest.raises(DataError, match="must be train, test or all"):
        load_split(root, "val")


def test_missing_list_and_too_few_images_to_split(make_folder):
    root = make_folder(names=("a",))
    with pytest.raises(DataError, match="1 images are too few"):
        for split in ("train", "test"):
            load(root, split)
    (root / "train.txt").write_text("a\n")
    with pytest.raises(DataError, match=r"no test split; add .*test\.txt"):
        load(root, "test")


@pytest.mark.skipif(not NYU.is_dir(), reason="../shared/data/rgbd/nyuv2 is not on this machine")
def test_real_photographs(tmp_path):
    for split in ("train", "test"):
        for kind in ("rgb", "depth"):
            (tmp_path / "nyu" / split / kind).mkdir(parents=True)
        for path in sorted((NYU / split / "rgb").iterdir())[:6]:
            (tmp_path / "nyu" / split / "rgb" / path.name).symlink_to(path)
            depth = NYU / split / "depth" / f"{path.stem}.png"
            (tmp_path / "nyu" / split / "depth" / depth.name).symlink_to(depth)
    train, test = (load(tmp_path / "nyu", split) for split in ("train", "test"))
    assert len(train) == len(test) == 6 and not set(train.image_ids) & set(test.image_ids)
    assert train.depth_mm.min() >= 700 and train.depth_mm.max() <= 10_000
    assert train.rgb.std() > 20
