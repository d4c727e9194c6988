"""What every loss promises about its mask, its precision and its gradient."""

import math

import pytest
import torch

from nasdepth.training.losses import (
    berhu_loss,
    gradient_matching_loss,
    l1_loss,
    masked_gradient_loss,
    mse_loss,
    output_distillation_loss,
    pairs_from_depth,
    ranking_loss,
    relative_loss,
    reprojection_loss,
    rmse_loss,
    robust_loss,
    sig_loss,
    smoothness_loss,
    ssim_loss,
    virtual_normal_loss,
)
from nasdepth.training.losses.pointwise import berhu

CAMERA = torch.tensor([[14.0, 0, 7.5], [0, 14.0, 5.5], [0, 0, 1]], dtype=torch.float64)


def seeded():
    return torch.Generator().manual_seed(3)


def colours(*shape):
    return torch.rand(*shape, generator=seeded(), dtype=torch.float64) * 255


def virtual_normal(pred, target, mask):
    camera = CAMERA.expand(len(pred), 3, 3)
    return virtual_normal_loss(pred, target, mask, camera, triples=0.5, generator=seeded())


def normal_filtered_on_the_prediction(pred, target, mask):
    camera = CAMERA.expand(len(pred), 3, 3)
    named = {"triples": 0.5, "generator": seeded(), "filter_on": "prediction"}
    return virtual_normal_loss(pred, target, mask, camera, **named)


def sampled_ranking(pred, target, mask, drop, form="logistic"):
    return ranking_loss(pred, pairs_from_depth(target, mask, 60, generator=seeded()), drop=drop, form=form)


def inverse(depth_mm, mask):
    depth_mm = depth_mm.float() if depth_mm.dtype == torch.bfloat16 else depth_mm
    return torch.where(mask, 1000 / depth_mm.clamp_min(100), depth_mm)


def relative(pred, target, mask, **named):
    # what is unknown stays as it is, so that NaN reaches the loss
    return relative_loss(inverse(pred, mask), inverse(target, mask), mask, **named)


def smoothness(pred, target, mask, scales=1):
    rgb = colours(len(pred), 3, *pred.shape[2:]).to(pred.device)
    return smoothness_loss(inverse(pred, mask), torch.where(mask, rgb, target), mask, scales)


def reprojection(pred, target, mask, automask=False):
    poses = torch.eye(4, dtype=torch.float64).repeat(len(pred), 2, 1, 1)
    poses[:, 0, 0, 3], poses[:, 1, 1, 3] = 150.0, -90.0
    rgb, sources = colours(len(pred), 3, *pred.shape[2:]), colours(len(pred), 2, 3, *pred.shape[2:])
    camera = CAMERA.expand(len(pred), 3, 3)
    # a target that is unknown stands for a picture that is
    rgb = torch.where(mask, rgb, target.to(rgb))
    return reprojection_loss(pred, rgb, sources, poses, camera, mask, automask=automask)


LOSSES = {
    "sig": lambda p, t, m: sig_loss(p, t, m, 0.85),
    "si-RMSE": lambda p, t, m: sig_loss(p, t, m, 1.0),
    "sig square": lambda p, t, m: sig_loss(p, t, m, 0.5, "square"),
    "sig unbiased": lambda p, t, m: sig_loss(p, t, m, 0.85, "unbiased"),
    "gradient": lambda p, t, m: gradient_matching_loss(p, t, m, 3),
    "gradient SMART": lambda p, t, m: gradient_matching_loss(p, t, m, 3, space="metres", reduce="sum"),
    "masked gradient": lambda p, t, m: masked_gradient_loss(p, t, m, 3),
    "virtual normal": virtual_normal,
    "virtual normal LiteDepth": normal_filtered_on_the_prediction,
    "l1": l1_loss,
    "l1 log": lambda p, t, m: l1_loss(p, t, m, "log"),
    "mse": mse_loss,
    "mse log": lambda p, t, m: mse_loss(p, t, m, "log"),
    "rmse": rmse_loss,
    "berhu": berhu_loss,
    "robust 1": robust_loss,
    "robust 0": lambda p, t, m: robust_loss(p, t, m, 0.0),
    "robust 2": lambda p, t, m: robust_loss(p, t, m, 2.0),
    "robust -inf": lambda p, t, m: robust_loss(p, t, m, -math.inf),
    "robust inf": lambda p, t, m: robust_loss(p, t, m, math.inf),
    "ssim": ssim_loss,
    "ranking": lambda p, t, m: sampled_ranking(p, t, m, 0.0),
    "ranking ReDWeb": lambda p, t, m: sampled_ranking(p, t, m, 0.25),
    "ranking MegaDepth": lambda p, t, m: sampled_ranking(p, t, m, 0.0, "robust"),
    "relative": relative,
    "relative fitted": lambda p, t, m: relative(p, t, m, form="least_squares"),
    "smoothness": smoothness,
    "smoothness of 3 scales": lambda p, t, m: smoothness(p, t, m, 3),
    "reprojection": reprojection,
    "reprojection automasked": lambda p, t, m: reprojection(p, t, m, True),
    "distilled output": output_distillation_loss,
    "distilled output linear": lambda p, t, m: output_distillation_loss(p, t, m, form="rmse"),
}
EVERY = pytest.mark.parametrize("name", LOSSES)
# their value does not tell a perfect prediction from another
NOT_ABOUT_THE_TARGET = {"smoothness", "smoothness of 3 scales", "reprojection", "reprojection automasked"}
# ln 2 at best where two points are as deep as each other in the prediction
RANKING = {"ranking", "ranking ReDWeb", "ranking MegaDepth"}


def value_and_gradient(loss, pred, target, mask):
    pred = pred.clone().requires_grad_()
    value = loss(pred, target, mask)
    (gradient,) = torch.autograd.grad(value, pred)
    return value, gradient


@EVERY
def test_holes_have_no_influence_on_value_or_gradient(name, batch):
    loss = LOSSES[name]
    pred, target, mask = batch
    expected, gradient = value_and_gradient(loss, pred, target, mask)
    assert expected.dim() == 0 and expected > 0 and (gradient[mask] != 0).any()
    for pred_filler, target_filler in ((0.0, 0.0), (123456.0, 40000.0), (-5.0, 1e30), (math.nan, math.nan),
                                       (math.inf, -math.inf)):  # fmt: skip
        other_pred, other_target = pred.clone(), target.clone()
        other_pred[~mask], other_target[~mask] = pred_filler, target_filler
        value, other = value_and_gradient(loss, other_pred, other_target, mask)
        assert value == expected, (pred_filler, target_filler)
        assert torch.equal(other[mask], gradient[mask]) and (other[~mask] == 0).all()


@EVERY
def test_images_without_a_known_pixel_count_for_nothing(name, batch):
    loss = LOSSES[name]
    pred, target, mask = (x.clone() for x in batch)
    mask[1:] = False
    value, gradient = value_and_gradient(loss, pred, target, mask)
    alone = loss(pred[:1], target[:1], mask[:1])
    assert value.item() == pytest.approx(alone.item(), rel=1e-9)
    assert (gradient[1:] == 0).all() and gradient.isfinite().all()


@EVERY
def test_a_batch_without_a_known_pixel_has_no_loss(name, batch):
    loss = LOSSES[name]
    pred, target, mask = batch
    value, gradient = value_and_gradient(loss, pred, target, torch.zeros_like(mask))
    assert value == 0 and (gradient == 0).all()


@EVERY
@pytest.mark.parametrize("case", ["one known pixel", "one pixel", "one row", "two apart"])
def test_very_few_pixels_are_no_accident(name, case, batch):
    loss = LOSSES[name]
    pred, target, mask = (x.clone() for x in batch)
    match case:
        case "one known pixel":
            mask[:] = False
            mask[:, 0, 5, 5] = True
            target[:, 0, 5, 5] = 2000.0
        case "one pixel":
            pred, target, mask = (x[..., 5:6, 5:6] for x in (pred, target, mask))
        case "one row":
            pred, target, mask = (x[..., 5:6, :] for x in (pred, target, mask))
        case "two apart":
            mask[:] = False
            for y, x in ((0, 0), (11, 15)):
                mask[:, 0, y, x] = True
                target[:, 0, y, x] = 2000.0 + 100 * y
    value, gradient = value_and_gradient(loss, pred, target, mask)
    assert value.isfinite() and gradient.isfinite().all()


@EVERY
@pytest.mark.parametrize("case", ["perfect", "wrong by one factor", "constant", "zero", "far too deep"])
def test_gradients_are_finite_in_float32(name, case, batch):
    loss = LOSSES[name]
    _, target, mask = batch
    target = target.clamp_min(300).float()
    match case:
        case "perfect":
            pred = target
        case "wrong by one factor":
            pred = target * 2
        case "constant":
            pred = torch.full_like(target, 2500.0)
        case "zero":
            pred = torch.zeros_like(target)
        case "far too deep":
            pred = target * 0 + 20_000 + target
    value, gradient = value_and_gradient(loss, pred, target, mask)
    assert value.dtype == torch.float32 and value.isfinite() and gradient.isfinite().all()
    if case == "perfect" and name not in NOT_ABOUT_THE_TARGET | RANKING:
        assert value < 2e-3


@EVERY
def test_autocast_changes_nothing(name, batch):
    loss = LOSSES[name]
    pred, target, mask = batch
    pred, target = pred.float(), target.float()
    expected, gradient = value_and_gradient(loss, pred, target, mask)
    pred.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        value = loss(pred, target, mask)
    (under,) = torch.autograd.grad(value, pred)
    assert value.dtype == torch.float32 and value == expected and torch.equal(under, gradient)


@EVERY
def test_a_bfloat16_prediction_is_raised_to_float32(name, batch):
    loss = LOSSES[name]
    pred, target, mask = batch
    narrow = pred.bfloat16()
    value, gradient = value_and_gradient(loss, narrow, target.float(), mask)
    assert value.dtype == torch.float32 and gradient.dtype == torch.bfloat16 and gradient.isfinite().all()
    assert value.item() == pytest.approx(loss(narrow.float(), target.float(), mask).item(), rel=1e-5)


@EVERY
def test_the_same_value_again(name, batch):
    assert LOSSES[name](*batch) == LOSSES[name](*batch)


# berHu's threshold passes no gradient by definition; with a given one it is checked below
@pytest.mark.parametrize("name", [name for name in LOSSES if name != "berhu"])
def test_float64_gradients_are_the_derivatives(name, batch):
    """In ln depth, in which values and derivatives are of the order of 1."""
    pred, target, mask = (x[1:, :, :5, :6] for x in batch)
    generator = torch.Generator().manual_seed(11)
    start = (0.3 * torch.randn(pred.shape, generator=generator, dtype=torch.float64)).requires_grad_()
    base = target.clamp_min(900)
    assert torch.autograd.gradcheck(
        lambda x: LOSSES[name](base * x.exp(), target, mask), start, atol=1e-7, rtol=1e-4
    )


def test_berhu_of_a_fixed_threshold_is_differentiated_rightly():
    x = torch.linspace(-3, 3, 16, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: berhu(v, torch.tensor(0.7, dtype=torch.float64)), x)


def test_a_mask_that_is_no_mask_is_refused(batch):
    pred, target, mask = batch
    with pytest.raises(ValueError, match=r"mask is torch\.uint8 .*must be torch\.bool"):
        l1_loss(pred, target, mask.byte())
    with pytest.raises(ValueError, match=r"pred_mm is \(3, 1, 12, 15\) and mask \(3, 1, 12, 16\)"):
        l1_loss(pred[..., :15], target, mask)
