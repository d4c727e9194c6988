"""Depth of one's own pictures as files: colours, bars, 16-bit PNGs."""

import cv2
import numpy as np
import pytest
from PIL import Image

import nasdepth
from nasdepth.api import PredictEvents
from nasdepth.errors import NasdepthError
from nasdepth.report.pictures import DepthScale, error_colors, panels


def test_photographs_get_a_picture_and_a_depth_map_each(tmp_path, test_scenes, litedepth_file):
    (tmp_path / "color").mkdir()
    Image.fromarray(test_scenes.rgb_view(0)).save(tmp_path / "color" / "a.jpg")
    Image.fromarray(test_scenes.rgb_view(1)[:, :360]).save(tmp_path / "color" / "tall.png")
    (tmp_path / "color" / "z.jpg").write_bytes(b"no picture")
    said, done = [], []
    events = PredictEvents(frame=lambda *heard: done.append(heard), said=said.append)
    result = nasdepth.predict_depth(litedepth_file, tmp_path, tmp_path / "out", events=events)
    assert done == [("a", 1, 3), ("tall", 2, 3)] and result.frames == 2 and result.network_fps > 0
    assert len(said) == 2 and "tall: is 360x480" in said[0] and "nothing is stretched" in said[0]
    assert "z.jpg" in said[1] and result.unreadable == [said[1]]
    depth = Image.open(tmp_path / "out/depth/tall.png")
    assert depth.mode == "I;16" and depth.size == (360, 480) and np.asarray(depth).min() > 0
    for path in result.pictures:
        # photograph, depth and bar beside one another
        assert Image.open(path).width > 2 * 360


def test_a_video_becomes_a_video(tmp_path, test_scenes, litedepth_file):
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 5, (640, 480))
    for index in range(4):
        writer.write(cv2.cvtColor(test_scenes.rgb_view(index), cv2.COLOR_RGB2BGR))
    writer.release()
    result = nasdepth.predict_depth(litedepth_file, path, tmp_path / "out", frames=3, near_m=1, far_m=9)
    film = cv2.VideoCapture(str(result.film))
    assert film.get(cv2.CAP_PROP_FRAME_COUNT) == result.frames == 3 and film.get(cv2.CAP_PROP_FPS) == 5
    assert len(list((tmp_path / "out/depth").glob("clip-*.png"))) == 3


def test_impossible_scales_and_displays_are_said(tmp_path, test_scenes, litedepth_file, monkeypatch):
    Image.fromarray(test_scenes.rgb_view(0)).save(tmp_path / "a.jpg")
    with pytest.raises(NasdepthError, match="`near_m` is 3"):
        nasdepth.predict_depth(litedepth_file, tmp_path / "a.jpg", tmp_path / "out", near_m=3, far_m=2)
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(NasdepthError, match="no display"):
        nasdepth.predict_depth(litedepth_file, tmp_path / "a.jpg", tmp_path / "out", show=True)
    assert not (tmp_path / "out").exists()


def test_near_is_bright_and_unknown_is_black():
    depth = np.array([[500.0, 1000.0, 4000.0, 8000.0, 0.0]])
    scale = DepthScale(500, 8000)
    light = scale.colors(depth).astype(int).sum(axis=2)[0]
    assert (np.diff(light) < 0).all() and light[-1] == 0
    assert DepthScale.of([np.zeros((2, 2))]).far_mm > 0
    own = DepthScale.of([depth])
    assert own.near_mm == pytest.approx(500, rel=0.05) and own.far_mm == pytest.approx(8000, rel=0.05)


def test_errors_have_their_colours():
    truth = np.array([[1000.0, 1000.0, 1000.0, 0.0]])
    exact, far, near, unknown = error_colors(np.array([[1000.0, 1600.0, 400.0, 5.0]]), truth)[0].astype(int)
    assert exact.min() > 250 and unknown.max() == 0
    assert far[0] > far[2] and near[2] > near[0]


def test_panels_share_a_height():
    tall, wide = np.zeros((400, 200, 3), np.uint8), np.zeros((100, 400, 3), np.uint8)
    sheet = panels([("a very long heading that does not fit", tall), ("b", wide)], DepthScale(1, 2), 100)
    assert sheet.size[1] == panels([("a", wide)], None, 100).size[1] and sheet.size[0] > 50 + 400
