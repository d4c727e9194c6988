"""Crop, flip and rotation against independent ways to compute the same."""

import cmath
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from nasdepth.training.geometry import (
    View,
    move_pairs,
    sample_maps,
    sample_nearest,
    sample_rgb,
    sample_sparse,
    view_intrinsics,
)

HW = (48, 64)
UPRIGHT = [
    View.whole(HW),
    View(HW, 5, 7, 30, 40),
    View(HW, 0, 20, 48, 44, flip=True),
    View(HW, 12, 0, 24, 32, 0.0, True),
    View(HW, 6, 3, 24, 32, flip_vertical=True),
    View(HW, 5, 7, 31, 43, flip=True, flip_vertical=True),
]
TURNED = [
    View(HW, 0, 10, 44, 54, math.radians(angle), flip, upside_down)
    for angle, flip, upside_down in (
        (7, False, False),
        (-12, True, False),
        (45, False, False),
        (9, True, True),
    )
]
OUT = (24, 30)


@pytest.fixture
def photograph():
    return np.random.default_rng(3).integers(0, 256, (*HW, 3), dtype=np.uint8)


def ramp():
    """Rows in one channel and columns in another, so that a pixel tells where it is from."""
    rows, columns = np.meshgrid(np.arange(HW[0]), np.arange(HW[1]), indexing="ij")
    return np.stack([rows * 4, columns * 4 - 2, np.full(HW, 9)], axis=-1).clip(0, 255).astype(np.uint8)


def reference_origin(view, row, column, hw):
    """Where an output pixel's centre comes from, by complex numbers, one pixel at a time.

    Down is the imaginary axis, so a positive angle turns the window clockwise.
    """
    x = (column + 0.5) / hw[1]
    x = 1 - x if view.flip else x
    y = (row + 0.5) / hw[0]
    y = 1 - y if view.flip_vertical else y
    offset = complex((x - 0.5) * view.width, (y - 0.5) * view.height)
    middle = complex(view.left + view.width / 2, view.top + view.height / 2)
    origin = middle + offset * cmath.exp(1j * view.angle_rad)
    return origin.imag - 0.5, origin.real - 0.5


@pytest.mark.parametrize("view", UPRIGHT)
@pytest.mark.parametrize("hw", [OUT, (60, 90)])
def test_upright_views_are_resized_as_the_network_resizes(photograph, view, hw):
    window = photograph[view.top : view.top + view.height, view.left : view.left + view.width]
    window = window[:, ::-1] if view.flip else window
    window = window[::-1] if view.flip_vertical else window
    floats = torch.from_numpy(window.astype(np.float32)).permute(2, 0, 1)[None]
    expected = F.interpolate(floats, size=hw, mode="bilinear", align_corners=False)[0].permute(1, 2, 0)
    got = sample_rgb(photograph, view, hw)
    assert got.dtype == np.uint8 and np.abs(got - expected.numpy()).max() <= 1.01


@pytest.mark.parametrize("view", UPRIGHT)
def test_upright_depth_is_the_nearest_sample(photograph, view):
    depth = photograph[..., 0].astype(np.uint16) * 31
    window = depth[view.top : view.top + view.height, view.left : view.left + view.width].astype(np.float32)
    expected = F.interpolate(torch.from_numpy(window)[None, None], size=OUT, mode="nearest-exact")[0, 0]
    expected = expected.flip(1) if view.flip else expected
    expected = expected.flip(0) if view.flip_vertical else expected
    assert np.array_equal(sample_nearest(depth, view, OUT), expected.numpy())


@pytest.mark.parametrize("view", TURNED)
def test_turned_views_show_what_a_camera_would(view):
    rgb = sample_rgb(ramp(), view, OUT).astype(float)
    compared = 0
    for row in range(0, OUT[0], 2):
        for column in range(0, OUT[1], 2):
            y, x = reference_origin(view, row, column, OUT)
            if 1 <= y <= HW[0] - 2 and 1 <= x <= HW[1] - 2:
                # two interpolations of a ramp, each exact but for rounding to whole levels
                assert abs(rgb[row, column, 0] - 4 * y) <= 2 and abs(rgb[row, column, 1] - (4 * x - 2)) <= 2
                compared += 1
    assert compared > 50 and (rgb[..., 2] == 9).all(), "outside of the image the edge goes on"


@pytest.mark.parametrize("view", TURNED)
def test_turned_depth_is_nearest_with_an_exact_mask(view):
    identity = (np.arange(1, HW[0] * HW[1] + 1, dtype=np.uint16)).reshape(HW)
    got = sample_nearest(identity, view, OUT)
    outside = 0
    for row in range(OUT[0]):
        for column in range(OUT[1]):
            y, x = reference_origin(view, row, column, OUT)
            near_y, near_x = math.floor(y + 0.5), math.floor(x + 0.5)
            if min(abs(y + 0.5 - round(y + 0.5)), abs(x + 0.5 - round(x + 0.5))) < 1e-4:
                continue  # halfway, either is right
            inside = 0 <= near_y < HW[0] and 0 <= near_x < HW[1]
            assert got[row, column] == (identity[near_y, near_x] if inside else 0)
            outside += not inside
    assert outside > 0, "the test does not reach the border"


@pytest.mark.parametrize("view", UPRIGHT + TURNED)
def test_place_undoes_the_grid(view):
    rows, columns = view.grid(OUT)
    y, x = view.place(rows.astype(float), columns.astype(float))
    expected_y, expected_x = np.meshgrid(
        (np.arange(OUT[0]) + 0.5) / OUT[0], (np.arange(OUT[1]) + 0.5) / OUT[1], indexing="ij"
    )
    assert y == pytest.approx(expected_y, abs=1e-5) and x == pytest.approx(expected_x, abs=1e-5)


@pytest.mark.parametrize("view", UPRIGHT + TURNED)
def test_sparse_points_all_arrive_and_the_nearest_hides_the_rest(view):
    rng = np.random.default_rng(4)
    sparse = rng.integers(1, 60000, HW).astype(np.float32)
    sparse[rng.random(HW) > 0.2] = 0
    expected = np.full(OUT, np.inf)
    for row, column in np.argwhere(sparse):
        y, x = (float(v[0]) for v in view.place(np.array([row]), np.array([column])))
        if 0 <= y < 1 and 0 <= x < 1:
            at = int(y * OUT[0]), int(x * OUT[1])
            expected[at] = min(expected[at], sparse[row, column])
    expected[np.isinf(expected)] = 0
    got = sample_sparse(sparse, view, OUT)
    assert np.array_equal(got, expected) and (got > 0).sum() > 50


@pytest.mark.parametrize("view", UPRIGHT + TURNED)
def test_pairs_move_with_the_picture(view):
    """A point's own pixel, marked in a picture, is where the moved point says."""
    rng = np.random.default_rng(5)
    seen = 0
    for _ in range(200):
        rows, columns = rng.integers(0, HW[0], 2), rng.integers(0, HW[1], 2)
        ends = np.stack([(rows + 0.5) / HW[0], (columns + 0.5) / HW[1]], axis=-1)
        points = ends.reshape(1, 4).astype(np.float32)
        moved, inside = move_pairs(points, view)
        marked = np.zeros(HW, np.uint16)
        marked[rows[0], columns[0]] = 7
        shown = sample_sparse(marked, view, OUT)
        if inside[0]:
            assert shown[int(moved[0, 0] * OUT[0]), int(moved[0, 1] * OUT[1])] == 7
            seen += 1
        elif (shown > 0).any():
            assert not (0 <= moved[0, 2] < 1 and 0 <= moved[0, 3] < 1), "B alone must be outside"
    assert seen > 5


@pytest.mark.parametrize("view", UPRIGHT)
def test_intrinsics_project_to_where_the_picture_shows(view):
    """A point in space is projected by the stored camera and by the view's; both must name one place."""
    shares = np.array([0.9, 1.2, 0.48, 0.53], np.float32)
    point = np.array([0.11, -0.07, 1.3])
    x = shares[0] * point[0] / point[2] + shares[2]
    y = shares[1] * point[1] / point[2] + shares[3]
    placed_y, placed_x = view.place(np.array([y * HW[0] - 0.5]), np.array([x * HW[1] - 0.5]))
    mirrored = point * [-1 if view.flip else 1, -1 if view.flip_vertical else 1, 1]  # the mirrored world
    u, v, w = view_intrinsics(shares, view, OUT) @ mirrored
    assert u / w == pytest.approx(placed_x[0] * OUT[1] - 0.5, abs=1e-4)
    assert v / w == pytest.approx(placed_y[0] * OUT[0] - 0.5, abs=1e-4)


@pytest.mark.parametrize("view", UPRIGHT + TURNED)
@pytest.mark.parametrize("stored", [HW, (24, 32), (12, 16)])
def test_maps_of_any_resolution_are_sampled_where_the_view_looks(view, stored):
    """Rows and columns as shares of the image, kept at the resolution of a feature map."""
    rows = (torch.arange(stored[0]) + 0.5) / stored[0]
    columns = (torch.arange(stored[1]) + 0.5) / stored[1]
    maps = torch.stack(torch.meshgrid(rows, columns, indexing="ij"))[None].repeat(2, 1, 1, 1)
    got = sample_maps(maps, [View.whole(HW), view], OUT)[1].numpy()
    # beyond the outermost centres the edge continues
    low, high = (rows[0].item(), columns[0].item()), (rows[-1].item(), columns[-1].item())
    for row, column in [(0, 0), (3, 21), (11, 14), (20, 5), (23, 29)]:
        y, x = reference_origin(view, row, column, OUT)
        expected = np.clip(((y + 0.5) / HW[0], (x + 0.5) / HW[1]), low, high)
        np.testing.assert_allclose(got[:, row, column], expected, atol=1e-5)


@pytest.mark.parametrize("flip", [False, True])
def test_the_whole_of_a_map_at_its_own_size_is_the_map(flip):
    maps = torch.rand(1, 5, 15, 20, generator=torch.Generator().manual_seed(0))
    got = sample_maps(maps, [View(HW, 0, 0, *HW, flip=flip)], (15, 20))
    torch.testing.assert_close(got, maps.flip(-1) if flip else maps, rtol=0, atol=2e-6)
