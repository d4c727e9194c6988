"""Warping, reprojection and smoothness on a plane rendered from two known cameras."""

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates
from scipy.spatial.transform import Rotation

from nasdepth.training.losses import reprojection_loss, smoothness_loss
from nasdepth.training.losses.geometry import inverse_warp

HW = (30, 40)
K = np.array([[36.0, 0, 20.0], [0, 35.0, 14.0], [0, 0, 1]])
NORMAL = np.array([0.25, -0.15, 1.0])
PLANE_MM = 2400.0
TURN = Rotation.from_rotvec([0.01, -0.03, 0.02]).as_matrix()
MOVE_MM = np.array([180.0, -60.0, 40.0])


def colour(points):
    """A smooth texture on the plane, RGB on 0-255."""
    x, y = points[..., 0] / 1000, points[..., 1] / 1000
    return np.stack(
        [120 + 80 * np.sin(3 * x + c) * np.cos(2.5 * y - c) + 40 * np.sin(1.7 * (x + y)) for c in range(3)]
    )


def rays(hw=HW):
    v, u = np.mgrid[: hw[0], : hw[1]]
    return np.stack([u, v, np.ones(hw)], -1) @ np.linalg.inv(K).T


def rendered(turn, move):
    """RGB and depth of the plane from a camera whose frame is X' = turn X + move."""
    towards = rays() @ turn  # rays in the first camera's frame
    centre = -turn.T @ move
    depth = (PLANE_MM - NORMAL @ centre) / (towards @ NORMAL)
    return colour(centre + towards * depth[..., None]), depth


def pose(turn=TURN, move=MOVE_MM):
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = turn, move
    return matrix


@pytest.fixture(scope="module")
def views():
    """Target RGB, its depth, and one source view, as (1, C, H, W) float64."""
    target, depth = rendered(np.eye(3), np.zeros(3))
    source, _ = rendered(TURN, MOVE_MM)
    return tuple(torch.tensor(one).view(1, -1, *HW) for one in (target, depth, source))


def camera(batch=1):
    return torch.tensor(K).expand(batch, 3, 3)


def everywhere(depth):
    return torch.ones_like(depth, dtype=torch.bool)


def reproject(views, depth, mask=None, motion=None, **named):
    target, _, source = views
    poses = torch.tensor(pose() if motion is None else motion)[None, None]
    mask = everywhere(depth) if mask is None else mask
    return reprojection_loss(depth, target, source[:, None], poses, camera(), mask, **named)


def test_the_inverse_warp_renders_the_target_from_the_source(views):
    target, depth, source = views
    warped, seen = inverse_warp(source, depth, camera(), torch.tensor(pose())[None])
    seen = seen.expand_as(target)
    # bilinear sampling of this texture errs by less than a grey level; not moving errs by tens
    assert 0.7 < seen.double().mean() < 0.98
    assert (warped - target)[seen].abs().mean() < 0.6 and (warped - target)[seen].abs().max() < 6
    assert (source - target)[seen].abs().mean() > 10


def test_seen_is_what_projects_into_the_source(views):
    _, depth, source = views
    _, seen = inverse_warp(source, depth, camera(), torch.tensor(pose())[None])
    points = rays() * depth.numpy()[0, 0][..., None] @ TURN.T + MOVE_MM
    u, v = (K[i, i] * points[..., i] / points[..., 2] + K[i, 2] for i in (0, 1))
    expected = (u >= -0.5) & (u <= HW[1] - 0.5) & (v >= -0.5) & (v <= HW[0] - 0.5)
    assert (seen.numpy()[0, 0] == expected).all()


def test_standing_still_is_the_identity(views):
    target, depth, _ = views
    warped, seen = inverse_warp(target.float(), depth.float(), camera(), torch.eye(4)[None])
    assert seen.all() and torch.allclose(warped, target.float(), atol=2e-3)


def test_points_behind_the_source_are_not_seen(views):
    _, depth, source = views
    behind = torch.tensor(pose(np.eye(3), np.array([0.0, 0, -9000])))[None]
    warped, seen = inverse_warp(source, depth, camera(), behind)
    assert not seen.any() and warped.isfinite().all()


def reference_error(first, second, known, weight):
    """alpha DSSIM of 3 x 3 means of the known + (1 - alpha) L1, mean over channels; loops."""
    error = np.zeros(known.shape)
    for i, j in np.argwhere(known):
        window = np.s_[max(0, i - 1) : i + 2, max(0, j - 1) : j + 2]
        inside = known[window]
        per_channel = []
        for c in range(3):
            x, y = first[c][window][inside] / 255, second[c][window][inside] / 255
            cov = np.mean((x - x.mean()) * (y - y.mean()))
            ssim = (2 * x.mean() * y.mean() + 1e-4) * (2 * cov + 9e-4)
            ssim /= (x.mean() ** 2 + y.mean() ** 2 + 1e-4) * (x.var() + y.var() + 9e-4)
            l1 = abs(first[c, i, j] - second[c, i, j]) / 255
            per_channel.append(weight * np.clip((1 - ssim) / 2, 0, 1) + (1 - weight) * l1)
        error[i, j] = np.mean(per_channel)
    return error


def reference_reprojection(target, depth, sources, motions, known, weight, automask):
    warped_errors, still = [], []
    for source, motion in zip(sources, motions, strict=True):
        points = rays() * depth[..., None] @ motion[:3, :3].T + motion[:3, 3]
        u, v = (K[i, i] * points[..., i] / points[..., 2] + K[i, 2] for i in (0, 1))
        seen = known & (u >= -0.5) & (u <= HW[1] - 0.5) & (v >= -0.5) & (v <= HW[0] - 0.5)
        warped = np.stack([map_coordinates(c, [v, u], order=1, mode="nearest") for c in source])
        warped_errors.append(np.where(seen, reference_error(warped, target, seen, weight), np.inf))
        still.append(reference_error(source, target, known, weight))
    best, unmoved = np.min(warped_errors, 0), np.min(still, 0)
    counted = np.isfinite(best)
    kept = counted & (best < unmoved) if automask else counted
    return best[kept].sum() / counted.sum(), kept[counted].mean()


@pytest.mark.parametrize("automask", [False, True])
def test_agrees_with_loops_on_two_sources_and_holes(views, automask):
    target, depth, source = (one[0].numpy() for one in views)
    back = pose(np.eye(3), np.array([-120.0, 30.0, 0]))
    other, _ = rendered(back[:3, :3], back[:3, 3])
    rng = np.random.default_rng(1)
    other = other + rng.normal(0, 6, other.shape)
    known = rng.random(HW) > 0.15
    guess = depth[0] * (1 + 0.15 * np.sin(np.arange(HW[1]) / 5))
    expected, kept = reference_reprojection(
        target, guess, [source, other], [pose(), back], known, 0.85, automask
    )
    assert kept == 1 or 0.3 < kept < 0.99  # the case has both kinds of pixels
    loss = reprojection_loss(
        torch.tensor(guess)[None, None],
        torch.tensor(target)[None],
        torch.tensor(np.stack([source, other]))[None],
        torch.tensor(np.stack([pose(), back]))[None],
        camera(),
        torch.tensor(known)[None, None],
        automask=automask,
    )
    assert loss.item() == pytest.approx(expected, rel=1e-9)


def test_true_depth_is_where_the_loss_is_lowest(views):
    depth = views[1]
    factors = [0.7, 0.8, 0.9, 0.95, 1.0, 1.05, 1.1, 1.2, 1.4]
    losses = [reproject(views, factor * depth).item() for factor in factors]
    assert factors[int(np.argmin(losses))] == 1.0
    assert losses[4] < 0.2 * min(losses[0], losses[-1])


def test_descent_finds_the_plane_from_known_motion(views):
    depth = views[1]
    scale = torch.tensor(math.log(0.8), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([scale], lr=0.02)
    for _ in range(40):
        optimizer.zero_grad()
        reproject(views, depth * scale.exp()).backward()
        optimizer.step()
    assert scale.exp().item() == pytest.approx(1, abs=0.02)


def test_a_camera_that_stands_still_teaches_nothing(views):
    target, depth, _ = views
    depth = (1.3 * depth).requires_grad_()
    still = (target, None, target)
    loss = reproject(still, depth)
    loss.backward()
    assert loss == 0 and (depth.grad == 0).all()
    # without the auto-mask any depth but the true one would be punished: the motion is not the picture's
    assert reproject(still, depth.detach(), automask=False) > 0.01


def test_what_leaves_the_frame_is_left_out_or_repeats_the_border(views):
    depth = views[1]
    gone = pose(np.eye(3), np.array([1e6, 0, 0]))
    assert reproject(views, depth, motion=gone, automask=False) == 0
    assert reproject(views, depth, motion=gone, automask=False, outside="border") > 0.1


def test_the_nearest_source_counts(views):
    """An occluded view must not spoil what another shows: the minimum, not the mean."""
    target, depth, source = views
    noise = torch.rand(source.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 255
    poses = torch.tensor(pose()).repeat(1, 2, 1, 1)
    both = torch.stack([source, noise], 1)
    loss = reprojection_loss(depth, target, both, poses, camera(), everywhere(depth), automask=False)
    assert loss <= reproject(views, depth, automask=False)


def reference_smoothness(disparity, rgb, mask):
    images = []
    for d, i, m in zip(disparity.numpy()[:, 0], rgb.numpy() / 255, mask.numpy()[:, 0], strict=True):
        d = d / d[m].mean()
        total = 0.0
        for down, right in ((1, 0), (0, 1)):
            terms = []
            for y in range(m.shape[0] - down):
                for x in range(m.shape[1] - right):
                    if m[y, x] and m[y + down, x + right]:
                        edge = np.mean(np.abs(i[:, y + down, x + right] - i[:, y, x]))
                        terms.append(abs(d[y + down, x + right] - d[y, x]) * math.exp(-edge))
            total += np.mean(terms)
        images.append(total)
    return np.mean(images)


def test_smoothness_agrees_with_loops(batch):
    pred, _, mask = batch
    rgb = torch.rand(3, 3, 12, 16, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 255
    disparity = 1000 / pred.clamp_min(100)
    expected = reference_smoothness(disparity, rgb, mask)
    assert smoothness_loss(disparity, rgb, mask).item() == pytest.approx(expected, rel=1e-9)
    assert smoothness_loss(5 * disparity, rgb, mask).item() == pytest.approx(expected, rel=1e-9)


def test_a_step_is_cheaper_where_the_picture_has_an_edge():
    disparity = torch.ones(1, 1, 8, 8)
    disparity[..., 4:] = 2
    mask = torch.ones_like(disparity, dtype=torch.bool)
    flat, edge = torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 8)
    edge[..., 4:] = 255
    on_edge, on_flat = smoothness_loss(disparity, edge, mask), smoothness_loss(disparity, flat, mask)
    assert on_edge.item() == pytest.approx(on_flat.item() / math.e, rel=1e-5)
    # RGB as bytes is RGB too
    assert smoothness_loss(disparity, edge.byte(), mask) == on_edge


def test_smoothness_at_three_scales_halves_with_each(batch):
    pred, _, mask = batch
    rgb = torch.rand(3, 3, 12, 16, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 255
    disparity = 1000 / pred.clamp_min(100)
    expected = sum(
        reference_smoothness(*(one[..., :: 2**k, :: 2**k] for one in (disparity, rgb, mask))) / 2**k
        for k in range(3)
    )
    assert smoothness_loss(disparity, rgb, mask, 3).item() == pytest.approx(expected, rel=1e-9)
