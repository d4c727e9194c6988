import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from nasdepth.training.augment import (
    NO_AUGMENTATION,
    Augmentation,
    change_colours,
    cut_depth,
    disturb,
    draw_views,
    gaussian_blur,
)


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.fixture
def rgb():
    return torch.rand(6, 3, 24, 32, generator=torch.Generator().manual_seed(1)) * 255


@pytest.fixture
def pictures(rgb):
    """As they are sampled: bytes, colours last in memory."""
    return rgb.byte().to(memory_format=torch.channels_last)


def test_upside_down_is_drawn_for_half_of_the_images_and_changes_no_other_number():
    plain = Augmentation(rotation_degrees=10)
    both = plain.model_copy(update={"flip_vertical": True})
    views = [view for seed in range(40) for view in draw_views((480, 640), 5, both, rng(seed))]
    assert 0.35 < np.mean([view.flip_vertical for view in views]) < 0.65
    assert not any(view.flip_vertical for view in draw_views((480, 640), 50, plain, rng()))
    (first,), (other,) = (draw_views((480, 640), 1, one, rng(3)) for one in (plain, both))
    assert replace(other, flip_vertical=False) == first


def test_a_centre_crop_lies_in_the_middle_of_an_image_of_any_size():
    augmentation = Augmentation(crops=((448, 448), (240, 320)), crop_place="centre", flip=False)
    for stored, places in (((480, 640), {(16, 96), (120, 160)}), ((240, 320), {(8, 48), (60, 80)})):
        views = [view for seed in range(9) for view in draw_views(stored, 2, augmentation, rng(seed))]
        assert {(view.top, view.left) for view in views} == places


@pytest.mark.parametrize("stored", [(480, 640), (240, 320)])
def test_views_are_within_the_image_and_of_the_sizes_asked_for(stored):
    augmentation = Augmentation(crops=((480, 640), (240, 384)), rotation_degrees=10)
    views = [view for seed in range(40) for view in draw_views(stored, 5, augmentation, rng(seed))]
    scale = stored[0] / 480
    assert {(v.height / scale, v.width / scale) for v in views} == {(480, 640), (240, 384)}
    assert all(0 <= v.top <= stored[0] - v.height and 0 <= v.left <= stored[1] - v.width for v in views)
    assert 0.35 < np.mean([v.flip for v in views]) < 0.65
    assert 0.35 < np.mean([v.upright for v in views]) < 0.65
    turned = np.abs([math.degrees(v.angle_rad) for v in views if not v.upright])
    assert turned.max() <= 10 and turned.max() > 8 and {v.angle_rad > 0 for v in views} == {True, False}
    (view,) = draw_views(stored, 1, NO_AUGMENTATION, rng())
    assert (
        (view.top, view.left, view.height, view.width) == (0, 0, *stored) and view.upright and not view.flip
    )


def test_colours_are_the_formula_image_by_image(pictures):
    augmentation = Augmentation(brightness=0.3, contrast=0.2, colour=0.1, gamma=0.1)
    changed = change_colours(pictures, augmentation, rng(7))
    assert changed.dtype == torch.float32 and changed.is_contiguous(memory_format=torch.channels_last)
    drawn = rng(7)
    contrast, brightness, colour, gamma = (
        drawn.uniform(1 - half, 1 + half, (6, *shape))
        for half, shape in ((0.2, (1, 1, 1)), (0.3, (1, 1, 1)), (0.1, (3, 1, 1)), (0.1, (1, 1, 1)))
    )
    for index, image in enumerate(pictures.double().numpy()):
        expected = ((image - image.mean()) * contrast[index] + image.mean() * brightness[index]) * colour[
            index
        ]
        expected = 255 * (expected / 255).clip(0, 1) ** gamma[index]
        assert changed[index].numpy() == pytest.approx(expected, abs=1e-3)
    assert len({round(float(b), 6) for b in brightness.ravel()}) == 6


def test_frames_of_a_video_change_alike(pictures):
    same = pictures[:1].repeat(6, 1, 1, 1)
    changed = change_colours(same, Augmentation(gamma=0.1), rng(), frames=3)
    assert torch.equal(changed[0], changed[1]) and torch.equal(changed[3], changed[5])
    assert not torch.allclose(changed[0], changed[3], atol=1)


def test_nothing_is_changed_when_all_is_off(rgb, pictures):
    before = rgb.clone()
    assert torch.equal(change_colours(pictures, NO_AUGMENTATION, rng()), pictures.float())
    disturb(rgb, NO_AUGMENTATION, rng())
    cut_depth(rgb, torch.ones(6, 1, 24, 32), NO_AUGMENTATION, rng())
    assert torch.equal(rgb, before)


@pytest.mark.parametrize("sigma", [0.4, 1.0, 2.5])
def test_blur_is_a_gaussian(sigma):
    spike = torch.zeros(3, 41, 41)
    spike[:, 20, 20] = 100
    blurred = gaussian_blur(spike, sigma)[1].numpy()
    offsets = np.arange(-20, 21)
    line = np.where(np.abs(offsets) <= max(1, math.ceil(3 * sigma)), np.exp(-0.5 * (offsets / sigma) ** 2), 0)
    expected = 100 * np.outer(line, line) / line.sum() ** 2
    assert blurred == pytest.approx(expected, abs=1e-4)
    flat = torch.full((3, 8, 9), 77.0)
    assert gaussian_blur(flat, sigma) == pytest.approx(flat, abs=1e-3), "the border darkens"


def test_noise_and_blur_reach_the_share_of_images_asked_for():
    grey = torch.full((400, 3, 8, 8), 128.0)
    noisy = disturb(grey.clone(), Augmentation(noise=0.25, noise_sigma=10), rng()) - 128
    touched = noisy.abs().amax((1, 2, 3)) > 0
    assert 0.17 < touched.float().mean() < 0.33
    deviation = noisy[touched].std((1, 2, 3))
    assert 8 < deviation.max() < 12 and 3.5 < deviation.mean() < 6.5  # uniform up to 10
    assert noisy.abs().max() <= 128
    first, second = noisy[touched][:2].flatten(1)
    assert abs(torch.corrcoef(torch.stack([first, second]))[0, 1]) < 0.3, "images share their noise"
    spikes = torch.zeros(200, 3, 9, 9)
    spikes[:, :, 4, 4] = 90
    blurred = disturb(spikes.clone(), Augmentation(blur=0.5), rng(2))
    # a deviation of 0.1 changes nothing that can be seen
    assert 0.3 < ((blurred - spikes).abs().amax((1, 2, 3)) > 1).float().mean() < 0.6


def test_cut_depth_pastes_known_depth_as_grey(rgb):
    depth = torch.rand(6, 1, 12, 16, generator=torch.Generator().manual_seed(2)) * 5000 + 100
    depth[:, :, :, 8:] = 0
    depth[3] = 0
    before = rgb.clone()
    changed = cut_depth(rgb, depth, Augmentation(cut_depth=1.0), rng(3))
    grey = depth.repeat_interleave(2, 2).repeat_interleave(2, 3) * 255 / depth.amax((1, 2, 3), keepdim=True)
    touched = (changed != before).any(1)
    areas = []
    for index in range(6):
        rows, columns = torch.nonzero(touched[index], as_tuple=True)
        assert (columns < 16).all(), "unknown pixels must keep their colours"
        if len(rows):
            box = (slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1))
            for channel in range(3):
                assert torch.allclose(changed[index, channel][box], grey[index, 0][box], atol=1e-3)
            areas.append(touched[index].sum().item() / touched[index][box].numel())
    assert len(areas) >= 2 and all(area > 0.99 for area in areas), "not whole rectangles"
    assert not touched[3].any()


def test_the_share_of_images_that_get_depth():
    rgb, depth = torch.zeros(400, 3, 8, 8), torch.full((400, 1, 8, 8), 2.0)
    changed = cut_depth(rgb, depth, Augmentation(cut_depth=0.3), rng())
    assert 0.22 < (changed > 0).any(3).any(2).any(1).float().mean() < 0.38


@pytest.mark.parametrize(
    ("field", "value"),
    [("crops", ()), ("crops", ((8, 640),)), ("rotation_degrees", 90), ("brightness", 1), ("cut_depth", 1.2),
     ("blur_sigma", 0), ("noise_sigma", -1), ("flips", True)],
)  # fmt: skip
def test_impossible_values_are_refused_by_field(field, value):
    with pytest.raises(ValidationError, match=field):
        Augmentation(**{field: value})
