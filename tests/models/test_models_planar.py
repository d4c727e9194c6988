"""Local planar guidance against BTS's formula, pixel by pixel."""

import math

import pytest
import torch

from nasdepth.models.blocks import PlanarGuidance, PlaneMap


@pytest.mark.parametrize("stride", [2, 4, 8])
@torch.no_grad()
def test_a_plane_map_is_the_papers(stride):
    torch.manual_seed(stride)
    module = PlaneMap(6, stride)
    torch.nn.init.normal_(module.plane.weight, std=1.5)
    x = torch.randn(2, 6, 3, 4)
    got = module(x).double()
    assert got.shape == (2, 1, 3 * stride, 4 * stride)
    polar, azimuth, distance = torch.sigmoid(module.plane(x).double()).unbind(1)
    polar, azimuth = polar * math.pi / 3, azimuth * 2 * math.pi
    kept = 0
    for row in range(3 * stride):
        for column in range(4 * stride):
            cell = (slice(None), row // stride, column // stride)
            v, u = ((at % stride - (stride - 1) / 2) / stride for at in (row, column))
            t, p = polar[cell], azimuth[cell]
            divisor = t.sin() * p.cos() * u + t.sin() * p.sin() * v + t.cos()
            kept += int((divisor < 0.1).sum())
            expected = distance[cell] / divisor.clamp(min=0.1)
            torch.testing.assert_close(got[:, 0, row, column], expected, rtol=1e-5, atol=1e-6)
    assert kept < 0.05 * got.numel()  # the floor is for the steepest planes alone


def test_the_steepest_planes_stay_finite_in_both_directions():
    module = PlaneMap(3, 8)
    torch.nn.init.dirac_(module.plane.weight)
    azimuths = torch.linspace(-6, 6, 25).view(1, 1, 1, 25)
    x = torch.cat([torch.full((1, 1, 1, 25), 20.0), azimuths, torch.zeros(1, 1, 1, 25)], 1).requires_grad_()
    depth = module(x)
    assert depth.min() > 0 and depth.max() <= 0.5 / 0.1 * 1.01
    depth.square().sum().backward()
    assert x.grad.isfinite().all() and x.grad.abs().sum() > 0


@torch.no_grad()
def test_guidance_is_plane_maps_and_the_last_features_at_full_size():
    guidance = PlanarGuidance({16: 9, 8: 8, 4: 7, 2: 5}, (32, 48))
    features = {
        stride: torch.randn(2, channels, 32 // stride, 48 // stride)
        for stride, channels in {16: 9, 8: 8, 4: 7, 2: 5}.items()
    }
    y = guidance(features)
    assert y.shape == (2, guidance.out_channels, 32, 48) and guidance.out_channels == 3 + 5
    for index, stride in enumerate((8, 4, 2)):
        torch.testing.assert_close(y[:, [index]], guidance.planes[str(stride)](features[stride]))
    torch.testing.assert_close(y[:, 3:], features[2].repeat_interleave(2, 2).repeat_interleave(2, 3))


@torch.no_grad()
def test_guidance_of_a_coarse_head_has_no_planes_and_of_a_fine_one_no_resize():
    coarse = PlanarGuidance({32: 6, 16: 4}, (32, 48))
    assert not coarse.planes and coarse.out_channels == 4
    features = torch.randn(1, 4, 2, 3)
    assert coarse({16: features}).shape == (1, 4, 32, 48)
    fine = PlanarGuidance({2: 6, 1: 4}, (32, 48))
    last = torch.randn(1, 4, 32, 48)
    assert torch.equal(fine({2: torch.randn(1, 6, 16, 24), 1: last})[:, 1:], last)


@torch.no_grad()
def test_planes_are_computed_in_full_precision_inside_autocast():
    guidance = PlanarGuidance({4: 6}, (16, 16))
    features = torch.randn(1, 6, 4, 4).bfloat16().float()
    expected = guidance({4: features})
    with torch.autocast("cpu", torch.bfloat16):
        got = guidance({4: features.bfloat16()})
    torch.testing.assert_close(got[:, 0], expected[:, 0])
