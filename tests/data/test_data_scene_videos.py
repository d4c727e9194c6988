from itertools import pairwise

import numpy as np
import pytest

from nasdepth.data import open_split
from nasdepth.data.scene_videos import (
    FRAMES,
    SceneVideosSpec,
    load_scene_videos,
    make_clip,
    parse_scene_videos,
    true_motion,
)
from nasdepth.errors import DataError


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("scenes-video", SceneVideosSpec()),
        ("scenes-video:3+1", SceneVideosSpec(3, 1)),
        ("scenes-video-depth:3+1@7", SceneVideosSpec(3, 1, 7, truth=True)),
        ("scenes", None),
        ("scenes:3+1", None),
        ("some/folder", None),
    ],
)
def test_sources(text, spec):
    assert parse_scene_videos(text) == spec


@pytest.mark.parametrize("text", ["scenes-video:3", "scenes-video:0+1", "scenes-video@x"])
def test_misspelt_sources_say_what_to_write(text):
    with pytest.raises(DataError, match=r"scenes-video:12\+4@7"):
        open_split(text, "train")


def test_triplets_and_their_truth_are_the_same_frames(shared_cache):
    video, truth = (load_scene_videos("test", 1, 5, truth=t, progress=False) for t in (False, True))
    assert len(video) == len(truth) == FRAMES - 2 and video.image_ids == truth.image_ids
    assert (video.kind, truth.kind) == ("video", "metric")
    for index in (0, 7, len(video) - 1):
        assert np.array_equal(video.rgb_view(index), truth.rgb_view(index))
    # neighbours share frames, and their noise is not the same picture's
    assert np.array_equal(video.frame_views(3)[2], video.frame_views(4)[1])
    assert not np.array_equal(video.frame_views(0)[0], video.frame_views(0)[1])
    assert (truth.depth_mm > 0).mean() > 0.9
    focal_px = make_clip("test", 5, 0)[0].camera.focal_px
    np.testing.assert_allclose(video.intrinsics(0), [focal_px / 640, focal_px / 480, 0.5, 0.5], rtol=1e-6)


def test_the_camera_moves_a_little_each_frame_and_stays_in_front_of_where_it_started():
    for clip in range(6):
        scene, _, cameras, _ = make_clip("train", 0, clip)
        start, forward = np.array(scene.camera.position), scene.camera.axes()[2]
        for before, after in pairwise(cameras):
            motion = true_motion(before, after)
            assert np.linalg.norm(motion[:3, 3]) < 130
            assert np.degrees(np.arccos((np.trace(motion[:3, :3]) - 1) / 2)) < 2
        flat = forward[:2] / np.linalg.norm(forward[:2])
        assert all((np.array(camera.position) - start)[:2] @ flat > -1e-9 for camera in cameras)
    np.testing.assert_allclose(true_motion(cameras[0], cameras[0]), np.eye(4), atol=1e-12)
