"""Virtual normals and the cameras under them: planes whose normals are known, and loops."""

import math

import numpy as np
import pytest
import torch

from nasdepth.training.losses import virtual_normal_loss
from nasdepth.training.losses.geometry import (
    backproject,
    crop_intrinsics,
    field_of_view_intrinsics,
    flip_intrinsics,
    project,
    rescale_intrinsics,
)
from nasdepth.training.losses.virtual_normal import known_pixels

HW = (24, 32)
K = np.array([[30.0, 0, 14.0], [0, 28.0, 12.5], [0, 0, 1]])


def camera(matrix=K, batch=1):
    return torch.tensor(matrix).expand(batch, 3, 3)


def plane_depth_mm(normal, distance_m, matrix=K, hw=HW):
    """Depth of the plane normal . X = distance, ray by ray."""
    inverse = np.linalg.inv(matrix)
    depth = np.empty(hw)
    for v in range(hw[0]):
        for u in range(hw[1]):
            depth[v, u] = 1000 * distance_m / (normal @ inverse @ np.array([u, v, 1.0]))
    assert (depth > 0).all()
    return torch.tensor(depth)[None, None]


def unit(*vector):
    return np.array(vector) / np.linalg.norm(vector)


FACING, TILTED = unit(0.0, 0, 1), unit(0.5, -0.3, 1)


def vnl(pred, target, mask=None, matrix=K, **named):
    mask = torch.ones_like(target, dtype=torch.bool) if mask is None else mask
    named.setdefault("generator", torch.Generator().manual_seed(1))
    return virtual_normal_loss(pred, target, mask, camera(matrix, len(pred)), **named).item()


def test_two_planes_differ_by_their_normals():
    loss = vnl(plane_depth_mm(TILTED, 2.5), plane_depth_mm(FACING, 3.0))
    assert loss == pytest.approx(np.abs(TILTED - FACING).sum(), rel=1e-6)


def test_scale_does_not_tilt_a_plane():
    target = plane_depth_mm(TILTED, 2.5)
    assert vnl(target * 1.7, target) < 1e-6


def test_wrong_intrinsics_tilt_planes():
    """The trap of a resize without its intrinsics: the answer is another one."""
    half = (HW[0] // 2, HW[1] // 2)
    resized = rescale_intrinsics(torch.tensor(K)[None], HW, half)[0].numpy()
    pred, target = (plane_depth_mm(n, 3.0, resized, half) for n in (TILTED, FACING))
    right = np.abs(TILTED - FACING).sum()
    assert vnl(pred, target, matrix=resized) == pytest.approx(right, rel=1e-6)
    assert abs(vnl(pred, target) - right) > 0.05 * right


def reference_vnl(pred, target, mask, chosen, max_cosine, min_edge_m, drop):
    inverse, width = np.linalg.inv(K), pred.shape[3]
    images = []
    for p, t, m, flat in zip(pred.numpy()[:, 0], target.numpy()[:, 0], mask, chosen.tolist(), strict=True):
        if not m.any():
            continue
        losses = []
        for triple in zip(*[iter(flat)] * 3, strict=True):
            points = []
            for depth in (p, t):
                uv = [(i % width, i // width) for i in triple]
                points.append([depth[v, u] / 1000 * (inverse @ np.array([u, v, 1.0])) for u, v in uv])
            a, b, c = points[1]
            edges = [b - a, c - a, c - b]
            lengths = [np.linalg.norm(edge) for edge in edges]
            if min(lengths) < min_edge_m:
                continue
            # the nine cosines of the published filter: the three of an edge with itself always exceed
            nine = [x @ y / i / j for x, i in zip(edges, lengths, strict=True)
                    for y, j in zip(edges, lengths, strict=True)]  # fmt: skip
            if sum(abs(cosine) > max_cosine for cosine in nine) > 3:
                continue
            normals = [np.cross(y - x, z - x) for x, y, z in points]
            losses.append(np.abs(np.subtract(*[n / np.linalg.norm(n) for n in normals])).sum())
        losses.sort()
        kept = losses[int(drop * len(losses)) :]
        if kept:
            images.append(np.mean(kept))
    return np.mean(images)


@pytest.mark.parametrize("drop", [0.0, 0.25])
def test_agrees_with_loops(drop):
    generator = torch.Generator().manual_seed(5)
    target = 2000 + 1500 * torch.rand(3, 1, *HW, generator=generator, dtype=torch.float64)
    pred = target * (0.8 + 0.4 * torch.rand(target.shape, generator=generator, dtype=torch.float64))
    mask = torch.rand(target.shape, generator=generator) > 0.3
    mask[2] = False
    count = round(0.15 * HW[0] * HW[1])
    chosen = known_pixels(mask, 3 * count, torch.Generator().manual_seed(9))
    expected = reference_vnl(pred, target, mask, chosen, 0.867, 0.6, drop)
    generator = torch.Generator().manual_seed(9)
    loss = vnl(pred, target, mask, drop=drop, min_edge_m=0.6, generator=generator)
    # the one rounding that differs: an epsilon under the root of a normal's length
    assert loss == pytest.approx(expected, rel=1e-6)


def test_the_filter_looks_at_the_target_only():
    """LiteDepth's trap: a prediction that collapses would leave nothing to judge it by."""
    target = plane_depth_mm(TILTED, 3.0)
    collapsed = torch.full_like(target, 1e-3)
    assert vnl(collapsed, target) > 0.5
    assert vnl(target, collapsed) == 0  # a target of one point has no triple


def test_known_pixels_are_drawn_evenly_and_nothing_else_is():
    mask = torch.zeros(3, 1, 5, 6, dtype=torch.bool)
    mask[0, 0, 1, 2] = mask[0, 0, 4, 5] = mask[0, 0, 0, 0] = True
    mask[1, 0, 2, 3] = True
    drawn = known_pixels(mask, 3000, torch.Generator().manual_seed(0))
    index, counts = drawn[0].unique(return_counts=True)
    assert index.tolist() == [0, 8, 29]
    assert all(abs(count - 1000) < 6 * math.sqrt(1000 * 2 / 3) for count in counts.tolist())
    assert drawn[1].unique().tolist() == [15]
    assert drawn[2].min() >= 0 and drawn[2].max() < 30


def test_the_generator_decides_and_the_mask_does_not_shift_it():
    target = plane_depth_mm(TILTED, 3.0)
    pred = target * torch.linspace(0.7, 1.3, 32, dtype=torch.float64)
    first, second = torch.Generator().manual_seed(2), torch.Generator().manual_seed(2)
    one = vnl(pred, target, generator=first)
    hole = torch.ones_like(target, dtype=torch.bool)
    hole[..., :5] = False
    assert vnl(pred, target, hole, generator=second) != one
    assert torch.equal(first.get_state(), second.get_state())


def test_backprojection_is_the_inverse_of_projection():
    depth = plane_depth_mm(TILTED, 2.0)
    points = backproject(depth, camera())
    v, u = np.mgrid[: HW[0], : HW[1]]
    expected = np.linalg.inv(K) @ np.stack([u.ravel(), v.ravel(), np.ones(u.size)]) * depth.numpy().ravel()
    np.testing.assert_allclose(points.numpy().reshape(3, -1), expected, rtol=1e-12, atol=1e-9)
    pixels, front = project(points, camera())
    np.testing.assert_allclose(pixels.numpy()[0], np.stack([u, v]), atol=1e-9)
    assert front.all() and not project(-points, camera())[1].any()


def test_intrinsics_follow_resize_crop_and_flip():
    """The ray through a place of the picture stays the same, wherever its pixel goes."""
    u, v = 9.3, 17.8
    ray = np.linalg.inv(K) @ [u, v, 1]
    matrix = torch.tensor(K)[None]
    resized = rescale_intrinsics(matrix, (24, 32), (60, 16))
    # half-pixel centres: the edge of the picture, -0.5, stays the edge
    at = [(u + 0.5) * 16 / 32 - 0.5, (v + 0.5) * 60 / 24 - 0.5, 1]
    np.testing.assert_allclose(np.linalg.inv(resized[0].numpy()) @ at, ray)
    cropped = crop_intrinsics(matrix, top=4, left=7)
    np.testing.assert_allclose(np.linalg.inv(cropped[0].numpy()) @ [u - 7, v - 4, 1], ray)
    flipped = flip_intrinsics(matrix, width=32)
    np.testing.assert_allclose(np.linalg.inv(flipped[0].numpy()) @ [31 - u, v, 1], ray * [-1, 1, 1])


def test_a_field_of_view_spans_the_picture():
    matrix = field_of_view_intrinsics((480, 640), 60.0, 2)
    assert matrix.shape == (2, 3, 3)
    edge = np.linalg.inv(matrix[1].numpy()) @ [639.5, 239.5, 1]
    assert math.degrees(math.atan(edge[0])) == pytest.approx(30, rel=1e-5) and edge[1] == pytest.approx(
        0, abs=1e-6
    )


def test_the_filter_on_the_prediction_judges_what_litedepth_judges():
    """A flat target of one distance is well-shaped everywhere, a prediction of nearly no depth nowhere."""
    target = plane_depth_mm(FACING, 3.0)
    pred = target * 1e-3
    assert vnl(pred, target, filter_on="target") >= 0
    assert vnl(pred, plane_depth_mm(TILTED, 2.5), filter_on="target") > 0.1
    assert vnl(pred, plane_depth_mm(TILTED, 2.5), filter_on="prediction") == 0
