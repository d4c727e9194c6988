"""Built-in videos: a camera that wanders through rendered rooms and halls, with exact depth and motion."""

from __future__ import annotations

import hashlib
import math
import re
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from nasdepth.data import indoors
from nasdepth.data.folder import SplitName
from nasdepth.data.render import Look, draw_grain, render
from nasdepth.data.scene import Camera, Scene
from nasdepth.data.scenes import check_numbers, render_pool, renderer_version
from nasdepth.data.splits import VideoSplit
from nasdepth.data.store import CANONICAL_HW, DEPTH_PLANE, RGB_PLANE, DepthSplit, ImageSplit, cached_split
from nasdepth.errors import DataError

FRAMES = 24
"""Frames of a clip; all but the first and the last are the middle of a triplet."""

LAYOUTS = (indoors.room, indoors.hall)
"""Clip i of a split is of layout i modulo their number: where a step of the camera shows."""

# metres; furniture is kept farther than this from where a scene's camera stands, walls behind it are not
_SIDEWAYS_M, _FORWARD_M, _UP_M = 0.3, 0.25, 0.12
_YAW, _PITCH = 0.12, 0.03


@dataclass(frozen=True)
class SceneVideosSpec:
    """How many clips of each split to render, the seed they are drawn from, and what to give of them.

    Attributes:
        truth: the middle frames with their depth, instead of triplets without.
    """

    train: int = 12
    test: int = 4
    seed: int = 0
    truth: bool = False


def parse_scene_videos(source: str) -> SceneVideosSpec | None:
    """Read `scenes-video`, `scenes-video:12+4` (train+test clips), `scenes-video:12+4@7` (seed), or the same
    of `scenes-video-depth`; None if it is something else.

    Raises:
        DataError: it starts like built-in videos but is misspelt.
    """
    if not re.match(r"scenes-video(-depth)?($|[:@])", source):
        return None
    match = re.fullmatch(r"scenes-video(-depth)?(?::([1-9]\d*)\+([1-9]\d*))?(?:@(\d+))?", source)
    if match is None:
        raise DataError(
            f"{source}: write scenes-video, scenes-video:TRAIN+TEST or scenes-video:TRAIN+TEST@SEED, in "
            f"clips of {FRAMES} frames (scenes-video:12+4@7)"
        )
    default = SceneVideosSpec()
    truth, train, test, seed = match.groups()
    check_numbers(source, train, test, seed)
    return SceneVideosSpec(
        int(train or default.train), int(test or default.test), int(seed or 0), bool(truth)
    )


def load_scene_videos(
    split: SplitName, clips: int, seed: int = 0, truth: bool = False, progress: bool = True
) -> ImageSplit:
    """Render (once) and open clips of a moving camera; no scene of one split is in the other.

    Returns:
        VideoSplit of all triplets; with `truth` the DepthSplit of their middle frames, item for item.

    Raises:
        DataError: the cache folder is full or read-only.
    """
    # the middle frames first: as rows of their own they are the depth split
    middles = [(clip, frame) for clip in range(clips) for frame in range(1, FRAMES - 1)]
    frames = [*middles, *((clip, frame) for clip in range(clips) for frame in (0, FRAMES - 1))]
    row = {key: place for place, key in enumerate(frames)}
    triplets = [[row[clip, frame + shift] for shift in (-1, 0, 1)] for clip, frame in middles]
    focal_px = [make_clip(split, seed, clip)[0].camera.focal_px for clip in range(clips)]
    height, width = CANONICAL_HW
    return cached_split(
        f"scenes-video-{split}-{clips}@{seed}",
        renderer_version() + hashlib.sha256(Path(__file__).read_bytes()).hexdigest(),
        split,
        [f"{LAYOUTS[clip % len(LAYOUTS)].__name__}-{clip:04d}/{frame}" for clip, frame in middles],
        partial(_render_one, split, seed, frames),
        partial(render_pool, len(frames)),
        progress,
        opener=DepthSplit if truth else VideoSplit,
        planes=(RGB_PLANE, DEPTH_PLANE),
        extras={
            "frames": np.array(triplets, dtype=np.int64),
            "intrinsics": np.array(
                [(focal_px[clip] / width, focal_px[clip] / height, 0.5, 0.5) for clip, _ in middles],
                dtype=np.float32,
            ),
        },
        info={"format": "scenes-video", "scenes": clips, "frames": len(frames), "gaps": 0},
        stored=len(frames),
    )


def make_clip(split: SplitName, seed: int, clip: int) -> tuple[Scene, Look, list[Camera], list[int]]:
    """A clip's scene and look, and of every frame the camera and where its noise begins."""
    rng = np.random.default_rng([seed, split == "test", clip])
    scene = LAYOUTS[clip % len(LAYOUTS)](rng)
    look = Look.draw(rng)
    cameras = _wander(scene.camera, rng)
    return scene, look, cameras, [draw_grain(rng) for _ in cameras]


def true_motion(before: Camera, after: Camera) -> np.ndarray:
    """float64 (4, 4): takes points from the first camera's frame (right, down, forward) to the second's,
    in millimetres."""
    motion = np.eye(4)
    motion[:3, :3] = after.axes() @ before.axes().T
    motion[:3, 3] = 1000 * after.axes() @ (np.array(before.position) - np.array(after.position))
    return motion


def _wander(start: Camera, rng: np.random.Generator) -> list[Camera]:
    """Smooth, a few centimetres and at most two degrees a frame; never behind `start`, where the wall is."""
    right, _, forward = start.axes()
    flat = np.array([forward[0], forward[1], 0.0]) / math.hypot(forward[0], forward[1])
    # radians a frame of each oscillation, and where it begins
    speed = dict(zip("xyzap", rng.uniform(0.16, 0.26, 5) * [1, 0.8, 1, 0.3, 0.5], strict=True))
    phase = dict(zip("xyzap", rng.uniform(0, 2 * math.pi, 5), strict=True))
    cameras = []
    for frame in range(FRAMES):
        wave = {axis: math.sin(phase[axis] + speed[axis] * frame) for axis in "xyzap"}
        moved = _SIDEWAYS_M * wave["x"] * right + _FORWARD_M * (1 + wave["y"]) * flat
        x, y, z = map(float, np.array(start.position) + moved + [0, 0, _UP_M * wave["z"]])
        yaw, pitch = start.yaw + _YAW * wave["a"], start.pitch + _PITCH * wave["p"]
        cameras.append(replace(start, position=(x, y, z), yaw=yaw, pitch=pitch))
    return cameras


def _render_one(
    split: SplitName, seed: int, frames: list[tuple[int, int]], index: int
) -> tuple[np.ndarray, np.ndarray]:
    clip, frame = frames[index]
    scene, look, cameras, grains = make_clip(split, seed, clip)
    return render(replace(scene, camera=cameras[frame]), replace(look, grain=grains[frame]))
