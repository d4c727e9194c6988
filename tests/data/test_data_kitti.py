import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nasdepth.data import open_split
from nasdepth.data.inspect import contact_sheet, describe
from nasdepth.data.pictures import resize_sparse
from nasdepth.errors import DataError

KITTI = Path(__file__).parents[3] / "shared" / "data" / "rgbd" / "kitti_lidar_sparse"
DRIVES = {"train": "2011_09_26_drive_0001_sync", "val": "2011_09_26_drive_0002_sync"}
HW = (75, 248)


def write(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


@pytest.fixture
def kitti(tmp_path):
    """Raw drives and annotated depth as unpacked: two drives of seven frames, five of them annotated."""
    rng = np.random.default_rng(0)
    root = tmp_path / "kitti"
    for subset, drive in DRIVES.items():
        for frame in range(7):
            for camera in ("image_02", "image_03"):
                image = rng.integers(0, 256, (*HW, 3), dtype=np.uint8)
                write(root / drive[:10] / drive / camera / "data" / f"{frame:010d}.png", image)
                if 1 <= frame < 6:
                    steps = rng.integers(1, 85 * 256, HW).astype(np.uint16)
                    steps[rng.random(HW) > 0.05] = 0
                    folder = root / "data_depth_annotated" / subset / drive / "proj_depth" / "groundtruth"
                    write(folder / camera / f"{frame:010d}.png", steps)
    return root


def load(root, split="train", option=""):
    return open_split(f"kitti:{root}{option}", split, progress=False)


def depth_file(root, frame, subset="train"):
    drive = DRIVES[subset]
    folder = root / "data_depth_annotated" / subset / drive / "proj_depth" / "groundtruth" / "image_02"
    return folder / f"{frame:010d}.png"


def test_the_official_split_by_drives(kitti):
    train, test = load(kitti), load(kitti, "test")
    assert open_split(kitti, "train", progress=False).fingerprint == train.fingerprint, "not recognised"
    assert len(train) == len(test) == 10 and train.sparse and train.kind == "metric"
    assert train.image_ids[:2] == [f"{DRIVES['train']}/image_02/000000000{i}" for i in (1, 2)]
    assert all(name.startswith(DRIVES["val"]) for name in test.image_ids)


def test_every_point_keeps_its_depth_in_metres(kitti):
    split = load(kitti)
    steps = np.asarray(Image.open(depth_file(kitti, 1)))
    depth_mm = split.depth_mm[0]
    assert depth_mm.dtype == np.float32 and np.array_equal(split.depth_view(0), depth_mm)
    assert np.array_equal(split.batch([0])[1][0], depth_mm)
    known = depth_mm[depth_mm > 0] / 1000
    assert known.max() > 66, "cut off where uint16 millimetres end"
    assert set(np.rint(known * 256).astype(int)) == set(steps[steps > 0].tolist())
    row, column = np.argwhere(steps)[7]
    near = depth_mm[int((row + 0.5) * 480 / HW[0]), int((column + 0.5) * 640 / HW[1])]
    assert near == int(steps[row, column]) * 1000 / 256
    assert (depth_mm > 0).sum() == (steps > 0).sum(), "enlarging must not repeat points"


def test_where_points_meet_the_nearest_stays():
    sparse = np.zeros((4, 8), np.uint16)
    sparse[0, 0], sparse[1, 1], sparse[0, 1], sparse[3, 7] = 500, 300, 400, 9
    assert resize_sparse(sparse, (2, 4)).tolist() == [[300, 0, 0, 0], [0, 0, 0, 9]]


def test_lists_as_published(kitti):
    drive = f"2011_09_26/{DRIVES['train']}"
    ground = f"{DRIVES['train']}/proj_depth/groundtruth/image_02"
    lines = [f"{drive}/image_02/data/{i:010d}.png {ground}/{i:010d}.png 721.5377" for i in (3, 2)]
    none = f"{drive}/image_02/data/{0:010d}.png None 721.5377"
    (kitti / "eigen_train_files_with_gt.txt").write_text("\n".join([*lines, none]))
    named = load(kitti, option="@eigen")
    assert [one[-10:] for one in named.image_ids] == ["0000000002", "0000000003"]
    assert named.info["skipped"] == 1
    # the other kind of list, whose frames 0 and 6 have no annotation
    (kitti / "splits" / "zhou").mkdir(parents=True)
    (kitti / "splits" / "zhou" / "train_files.txt").write_text(
        "\n".join([f"{drive} {i} l" for i in (0, 2, 3, 6)] + [f"{drive} 3 r"])
    )
    zhou = load(kitti, option="@zhou")
    assert zhou.info["skipped"] == 2 and len(zhou) == 3
    assert np.array_equal(zhou.depth_mm[:2], named.depth_mm) and zhou.image_ids[2].endswith(
        "image_03/0000000003"
    )


def test_the_selection(kitti, tmp_path):
    folder = tmp_path / "depth_selection" / "val_selection_cropped"
    name = "2011_09_26_drive_0002_sync_{}_0000000005_image_02.png"
    write(folder / "image" / name.format("image"), np.zeros((*HW, 3), np.uint8))
    write(folder / "groundtruth_depth" / name.format("groundtruth_depth"), np.full(HW, 256, np.uint16))
    split = load(tmp_path, "test", "@selection")
    assert len(split) == 1 and set(np.unique(split.depth_mm)) == {0, 1000}
    recognised = open_split(tmp_path, "test", progress=False)
    assert np.array_equal(recognised.depth_mm, split.depth_mm)
    with pytest.raises(DataError, match="selection is a test split"):
        load(tmp_path, "train", "@selection")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("nothing here at all", "'nothing here at all': IMAGE DEPTH"),
        ("2011_09_26/2011_09_26_drive_0001_sync 2 x", "side 'x': must be l or r"),
        ("2011_09_26/2011_09_26_drive_0001_sync two l", "frame 'two': a number"),
        ("2011_09_26/2011_09_26_drive_0001_sync 99 l", "image_02/data/0000000099.png .* is missing"),
        ("2011_09_26/2011_09_26_drive_0009_sync 2 l", "drive_0009_sync/image_02/data/0000000002.png"),
        (
            f"2011_09_26/{DRIVES['train']}/image_02/data/0000000002.png gone/0000000002.png",
            "gone/0000000002.png is missing",
        ),
    ],
)
def test_bad_lines_are_named(kitti, line, message):
    (kitti / "bad_train.txt").write_text(f"# a comment\n2011_09_26/{DRIVES['train']} 3 l\n{line}\n")
    with pytest.raises(DataError, match=rf"bad_train\.txt: 1 lines(?s:.*)line 3: .*{message}"):
        load(kitti, option="@bad")


def test_missing_parts_are_named(kitti):
    with pytest.raises(
        DataError, match=r"no train list 'eigen'; put it there as splits/eigen/train_files.txt"
    ):
        load(kitti, option="@eigen")
    (kitti / "2011_09_26" / DRIVES["train"] / "image_02" / "data" / "0000000003.png").unlink()
    with pytest.raises(DataError, match=r"1 depth images have no photograph(?s:.*)data/0000000003.png"):
        load(kitti)
    shutil.rmtree(kitti / "data_depth_annotated" / "val")
    with pytest.raises(DataError, match="no val folder of annotated depth"):
        load(kitti, "test")
    with pytest.raises(DataError, match="nowhere: no such folder"):
        load("nowhere")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.ones(HW, np.uint8), "is L, uint16"),
        (np.ones((HW[0], 99), np.uint16), r"is 99x75 but 0000000002.png is 248x75"),
        (np.zeros(HW, np.uint16), "has no measurement"),
    ],
)
def test_bad_depth_is_named(kitti, array, message):
    write(depth_file(kitti, 2), array)
    with pytest.raises(DataError, match=rf"groundtruth/image_02/0000000002.png: {message}"):
        load(kitti)


@pytest.mark.skipif(
    not KITTI.is_dir(), reason="../shared/data/rgbd/kitti_lidar_sparse is not on this machine"
)
def test_real_streets(tmp_path):
    """The same measurements as uint16 metres * 256, in the layout of the official selection."""
    folder = tmp_path / "depth_selection" / "val_selection_cropped"
    names = sorted(path.stem for path in (KITTI / "depth").iterdir())[:4]
    for name in names:
        depth_mm = np.asarray(Image.open(KITTI / "depth" / f"{name}.png"))
        steps = np.rint(depth_mm.astype(float) * 0.256).astype(np.uint16)
        write(folder / "groundtruth_depth" / f"{name}_groundtruth_depth_.png", steps)
        (folder / "image").mkdir(exist_ok=True)
        with Image.open(KITTI / "rgb" / f"{name}.jpg") as photograph:
            photograph.save(folder / "image" / f"{name}_image_.png")
    split = load(tmp_path, "test", "@selection")
    first = np.asarray(Image.open(KITTI / "depth" / f"{split.image_ids[0].removesuffix('_image_')}.png"))
    depth_mm = split.depth_mm[0]
    assert 0.6 * (first > 0).sum() < (depth_mm > 0).sum() <= (first > 0).sum()
    assert np.median(depth_mm[depth_mm > 0]) == pytest.approx(np.median(first[first > 0]), rel=0.1)
    facts = describe(split)
    assert facts["unknown_share"]["all"] > 0.8 and facts["si_rmse"]["constant"] > 0.2
    contact_sheet(split, tmp_path / "sheet.png", rows=1, columns=2)
    assert np.asarray(Image.open(tmp_path / "sheet.png"))[:, 213:426].max() > 100, "the points are not shown"
