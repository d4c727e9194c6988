"""Pictures of any size and shape: how they are opened, placed and predicted."""

import cv2
import numpy as np
import pytest
from PIL import Image

from nasdepth.deploy import TFLiteDepth
from nasdepth.deploy.frames import Frame, open_frames
from nasdepth.deploy.predicting import place, predict_picture
from nasdepth.errors import DataError

NETWORK = (480, 640)


@pytest.fixture(scope="module")
def photograph(test_scenes):
    return np.asarray(test_scenes.rgb_view(0))


@pytest.fixture(scope="module")
def model(litedepth_file):
    return TFLiteDepth(litedepth_file)


@pytest.mark.parametrize("fit", ["letterbox", "crop"])
@pytest.mark.parametrize("hw", [(480, 640), (1080, 1920), (900, 600), (100, 100), (1, 50), (3000, 4)])
def test_nothing_is_stretched(hw, fit):
    placement = place(hw, NETWORK, fit)
    (rows, columns), (top, left) = placement.picture, placement.inside
    seen = rows.stop - rows.start, columns.stop - columns.start
    shown = top.stop - top.start, left.stop - left.start
    assert 0 <= rows.start < rows.stop <= hw[0] and 0 <= columns.start < columns.stop <= hw[1]
    assert 0 <= top.start < top.stop <= 480 and 0 <= left.start < left.stop <= 640
    if min(*seen, *shown) > 20:
        assert shown[0] / seen[0] == pytest.approx(shown[1] / seen[1], rel=0.03)
    assert (seen == hw) if fit == "letterbox" else (shown == NETWORK)


def test_a_picture_of_the_networks_size_is_predicted_as_it_is(photograph, model):
    predicted = predict_picture(model, photograph)
    np.testing.assert_array_equal(predicted.depth_mm, np.maximum(model.predict(photograph[None])[0], 1))
    assert predicted.network_s > 0


def test_depth_lies_where_the_picture_is(photograph, model):
    """The middle of a letterboxed photograph is predicted from the same pixels as the whole one."""
    tall = photograph[:, 140:500]
    letterboxed = predict_picture(model, tall).depth_mm
    assert letterboxed.shape == tall.shape[:2] and letterboxed.min() >= 1
    filled = np.pad(tall, ((0, 0), (140, 140), (0, 0)), mode="edge")
    np.testing.assert_array_equal(letterboxed, np.maximum(model.predict(filled[None])[0, :, 140:500], 1))
    cropped = predict_picture(model, tall, "crop").depth_mm
    assert cropped.shape == tall.shape[:2]
    assert np.flatnonzero(cropped.any(axis=1)).tolist() == list(range(105, 375))


def test_photographs_are_upright(tmp_path, photograph):
    """All eight orientations of EXIF, and any case of the suffix."""
    upright = Image.fromarray(photograph)
    turns = {
        1: None, 2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_270,
    }  # fmt: skip
    for orientation, turn in turns.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        turned = upright if turn is None else upright.transpose(turn)
        turned.save(tmp_path / f"{orientation}.PNG", exif=exif)
    with open_frames(tmp_path) as frames:
        found = list(frames)
    assert [one.name for one in found] == [str(number) for number in turns] and frames.total == 8
    for one in found:
        np.testing.assert_array_equal(one.rgb, photograph)


def test_a_damaged_photograph_stops_no_others(tmp_path, photograph):
    Image.fromarray(photograph).save(tmp_path / "a.jpg")
    Image.fromarray(photograph).save(tmp_path / "a.png")
    (tmp_path / "b.jpg").write_bytes((tmp_path / "a.jpg").read_bytes()[:2000])
    with open_frames(tmp_path) as frames:
        first, second, broken = frames
    assert (first.name, second.name) == ("a-jpg", "a-png")
    assert isinstance(broken, DataError) and "b.jpg" in str(broken)


def test_a_video_is_read_frame_by_frame(tmp_path, photograph):
    path = tmp_path / "clip.MP4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 8, (640, 480))
    for shift in range(5):
        writer.write(cv2.cvtColor(np.roll(photograph, 20 * shift, axis=1), cv2.COLOR_RGB2BGR))
    writer.release()
    with open_frames(path) as frames:
        found = list(frames)
    assert frames.kind == "video" and frames.fps == 8 and frames.total == len(found) == 5
    assert found[3].name == "clip-000003" and isinstance(found[3], Frame)
    # the codec loses a little
    assert np.abs(found[0].rgb.astype(int) - photograph).mean() < 12


@pytest.mark.parametrize("source", ["nowhere.jpg", "camera:99", "empty", "text.txt", "no.mp4"])
def test_what_cannot_be_opened_is_named(tmp_path, source):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.txt").write_text("no picture")
    (tmp_path / "no.mp4").write_text("no video")
    with pytest.raises(DataError, match=source.removeprefix("camera:")):
        open_frames(source if source.startswith("camera") else tmp_path / source)
