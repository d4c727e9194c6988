import numpy as np
import pytest
from PIL import Image

from nasdepth.data import hold_out, open_split
from nasdepth.data.inspect import contact_sheet, describe
from nasdepth.errors import DataError

WIDTH, HEIGHT = 64, 48
CAMERA = "60.0 0.0 31.5\n0.0 55.0 23.5\n0.0 0.0 1.0\n"


def write_scene(folder, numbers, camera=CAMERA, size=(WIDTH, HEIGHT), name="{:06d}.png"):
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        Image.new("RGB", size, (number * 3, 50, 200)).save(folder / name.format(number))
    if camera:
        (folder / "cam.txt").write_text(camera)


@pytest.fixture
def video(tmp_path):
    root = tmp_path / "video"
    write_scene(root / "park", range(1, 7))
    write_scene(root / "street", (10, 12, 14, 18, 20, 22), name="frame_{}.jpg")
    (root / "train.txt").write_text("park\nstreet\n")
    return root


def load(root, option="", split="train"):
    return open_split(f"video:{root}{option}", split, progress=False)


def test_triplets_of_whole_scenes(video):
    split = load(video)
    assert open_split(video, "train", progress=False).fingerprint == split.fingerprint, "not recognised"
    # 2 frames a step in the street, where 16 is missing
    assert split.image_ids == ["park/2", "park/3", "park/4", "park/5", "street/12", "street/20"]
    assert split.info["gaps"] == 1 and split.info["frames"] == 12 and split.kind == "video"
    levels = [[int(frame[0, 0, 0]) for frame in split.frame_views(index)] for index in (1, 5)]
    assert levels[0] == [6, 9, 12] and np.abs(np.subtract(levels[1], [54, 60, 66])).max() <= 2
    assert np.array_equal(split.rgb_view(1), split.frame_views(1)[1]) and split.hw == (480, 640)


def test_intrinsics_hold_at_any_size(video):
    fx, fy, cx, cy = load(video).intrinsics(0)
    assert (fx, fy) == pytest.approx((60 / 64, 55 / 48))
    # files put the first pixel's centre at 0: a camera that looks at the middle has (W - 1) / 2
    assert (cx, cy) == pytest.approx((0.5, 0.5))


def test_subsets_and_holding_out_keep_triplets(video):
    split = load(video)
    part = split.subset([5, 0])
    assert part.image_ids == ["street/20", "park/2"]
    assert [int(f[0, 0, 0]) for f in part.frame_views(1)] == [3, 6, 9]
    fit, held = hold_out(split, 0.2)
    assert type(held) is type(split) and len(fit) + len(held) == 6 and held.name == "train-validation"


def test_listed_frames(video):
    (video / "train.txt").write_text("street 12\npark 5\n")
    assert load(video).image_ids == ["street/12", "park/5"]


def test_raw_kitti_drives_with_their_list(tmp_path):
    drive = "2011_09_26/2011_09_26_drive_0001_sync"
    for camera in ("02", "03"):
        write_scene(tmp_path / drive / f"image_{camera}" / "data", range(4), None, name="{:010d}.png")
    (tmp_path / "2011_09_26" / "calib_cam_to_cam.txt").write_text(
        "calib_time: 09-Jan-2012 13:57:47\nP_rect_02: 60 0 31.5 4.4 0 55 23.5 0.2 0 0 1 0.002\n"
        "P_rect_03: 30 0 31.5 -3 0 55 23.5 2 0 0 1 0.002\n"
    )
    (tmp_path / "splits" / "eigen_zhou").mkdir(parents=True)
    (tmp_path / "splits" / "eigen_zhou" / "train_files.txt").write_text(f"{drive} 2 l\n{drive} 1 r\n")
    split = load(tmp_path, "@eigen_zhou")
    assert split.image_ids == [f"{drive} l/2", f"{drive} r/1"]
    assert split.intrinsics(0)[0] == pytest.approx(60 / 64) and split.intrinsics(1)[0] == pytest.approx(
        30 / 64
    )


def test_scenes_fall_to_splits_by_chance_without_lists(tmp_path):
    for number in range(14):
        write_scene(tmp_path / f"scene{number}", range(3), size=(8, 6), camera="8 0 4 0 8 3 0 0 1")
    train, test = (load(tmp_path, split=name) for name in ("train", "test"))
    assert len(train) + len(test) == 14 and not set(train.image_ids) & set(test.image_ids)


def test_it_is_described_and_shown(video, tmp_path):
    split = load(video)
    facts = describe(split)
    assert facts["supervision"] == "video" and facts["images"] == 6 and facts["reader"]["gaps"] == 1
    assert facts["intrinsics"]["fx/width"]["max"] == pytest.approx(60 / 64)
    # of three channels one changes: by 3 a frame in the park, by 6 in the street
    assert facts["mean_change_between_frames"] == pytest.approx((4 * 1 + 2 * 2) / 6, abs=0.2)
    contact_sheet(split, tmp_path / "sheet.png", rows=1, columns=1)
    assert (np.asarray(Image.open(tmp_path / "sheet.png"))[80, 300] == (3, 0, 0)).all()


def lines(text):
    return lambda root: (root / "train.txt").write_text(text)


def camera(text):
    return lambda root: (root / "park" / "cam.txt").write_text(text)


MISTAKES = {
    "no such scene": (lines("park\nlake\n"), r"train\.txt: 1 lines(?s:.*)line 2: .*lake: no such scene"),
    "missing frame": (lines("park\nstreet 18\n"), r"line 2: frame 16 of street is missing.*needs 16 and 20"),
    "first frame": (lines("park 1\n"), r"line 1: frame 0 of park is missing"),
    "no number": (lines("park first\n"), r"line 1: frame 'first': a number"),
    "too many words": (lines("park 3 l x\n"), r"line 1: 'park 3 l x': SCENE or SCENE FRAME"),
    "no camera": (lambda r: (r / "park" / "cam.txt").unlink(), r"park: has no cam.txt"),
    "short camera": (camera("60 0 31"), r"park/cam.txt: holds 3 numbers, 9 expected \(3x3\)"),
    "no numbers": (camera("fx 0 31 0 1 1 1 1 1"), r"park/cam.txt: could not convert.*'fx'"),
    "camera of another size": (camera("721 0 609 0 721 172 0 0 1"), r"cam.txt: .*cx 609.*of 64x48 frames"),
    "frame of another size": (
        lambda r: Image.new("RGB", (32, 24)).save(r / "park" / "000003.png"),
        r"park/000003.png: is 32x24, but the scene's first frame is 64x48",
    ),
    "name without a number": (
        lambda r: (r / "park" / "000003.png").rename(r / "park" / "third.png"),
        r"third.png: has no number at the end",
    ),
    "two of a number": (
        lambda r: write_scene(r / "park", [3], name="{:03d}.png"),
        r"park/003.png: .*same number",
    ),
    "no three in a row": (
        lambda r: [p.unlink() for s in ("park", "street") for p in sorted((r / s).glob("*[0-9].*"))[2:]],
        r"no three neighbouring frames",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_named(video, mistake):
    spoil, message = MISTAKES[mistake]
    spoil(video)
    with pytest.raises(DataError, match=message):
        load(video)


def test_missing_lists_and_folders_are_named(video, tmp_path):
    with pytest.raises(DataError, match=r"no test list; add .*test\.txt"):
        load(video, split="test")
    with pytest.raises(DataError, match=r"no train list; add .*splits/zhou/train_files\.txt"):
        load(video, "@zhou")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty: no folder in it has a cam.txt"):
        load(tmp_path / "empty")
    with pytest.raises(DataError, match="no such folder"):
        load(tmp_path / "nowhere")
