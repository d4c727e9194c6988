"""Distillation losses against loops; what the mask leaves out and what a teacher must not get."""

import math

import numpy as np
import pytest
import torch
from scipy.special import rel_entr, softmax

from nasdepth.training.losses import (
    Projection,
    affinity_loss,
    channelwise_loss,
    feature_l2_loss,
    l1_loss,
    mse_loss,
    output_distillation_loss,
    rmse_loss,
    sig_loss,
)


@pytest.fixture
def features():
    """Student and teacher (3, 5, 4, 6) float64 with a mask of positions; one image has none."""
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 3, 5, 4, 6, generator=generator, dtype=torch.float64)
    mask = torch.rand(3, 1, 4, 6, generator=generator) > 0.3
    mask[2] = False
    return student, teacher, mask


def each(student, teacher, mask):
    """Per image with a position: the kept feature vectors, (n, C) each."""
    for s, t, m in zip(student.numpy(), teacher.numpy(), mask.numpy()[:, 0], strict=True):
        if m.any():
            yield s[:, m].T, t[:, m].T


def cosines(vectors):
    n = len(vectors)
    return np.array([[vectors[i] @ vectors[j] / np.linalg.norm(vectors[i]) / np.linalg.norm(vectors[j])
                      for j in range(n)] for i in range(n)])  # fmt: skip


LOSSES = {
    "l2": feature_l2_loss,
    "affinity smart": lambda s, t, m=None: affinity_loss(s, t, m, form="smart"),
    "affinity liu": lambda s, t, m=None: affinity_loss(s, t, m, form="liu"),
    "affinity liu patches": lambda s, t, m=None: affinity_loss(s, t, m, form="liu", patch=2),
    "affinity litedepth": affinity_loss,
    "channels": channelwise_loss,
}
EVERY = pytest.mark.parametrize("name", LOSSES)


def test_l2_agrees_with_loops(features):
    expected = np.mean([np.mean((s - t) ** 2) for s, t in each(*features)])
    assert feature_l2_loss(*features).item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("form", "power"), [("smart", 1), ("liu", 2), ("litedepth", 2)])
def test_affinity_agrees_with_loops_under_each_normaliser(form, power, features):
    expected = np.mean([((cosines(s) - cosines(t)) ** 2).sum() / len(s) ** power for s, t in each(*features)])
    assert affinity_loss(*features, form=form).item() == pytest.approx(expected, rel=1e-9)


def test_patches_are_max_pooled_over_known_positions(features):
    student, teacher, mask = features
    images = []
    for s, t, m in zip(student.numpy(), teacher.numpy(), mask.numpy()[:, 0], strict=True):
        pooled = []
        for y in range(0, 4, 3):
            for x in range(0, 6, 3):
                cell = np.s_[y : y + 3, x : x + 3]
                if m[cell].any():
                    pooled.append([one[:, *cell][:, m[cell]].max(1) for one in (s, t)])
        if pooled:
            s, t = (np.array([pair[k] for pair in pooled]) for k in (0, 1))
            images.append(((cosines(s) - cosines(t)) ** 2).mean())
    assert affinity_loss(*features, form="liu", patch=3).item() == pytest.approx(np.mean(images), rel=1e-9)


def test_lius_norm_passes_no_gradient():
    """With the norm detached a vector feels pull along itself too; without, only across."""
    teacher = torch.tensor([[[[1.0, 0.0]], [[0.0, 1.0]]]])
    along = {}
    for form in ("liu", "litedepth"):
        student = torch.tensor([[[[1.0, 1.0]], [[0.0, 1.0]]]], requires_grad=True)
        affinity_loss(student, teacher, form=form).backward()
        along[form] = (student.grad * student.detach()).sum(1).abs().max().item()
    assert along["litedepth"] < 1e-6 < 1e-2 < along["liu"]


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_channels_agree_with_scipys_divergence(temperature, features):
    images = []
    for s, t in each(*features):
        per_channel = [
            rel_entr(softmax(t[:, c] / temperature), softmax(s[:, c] / temperature)).sum() for c in range(5)
        ]
        images.append(np.mean(per_channel) * temperature**2)
    loss = channelwise_loss(*features, temperature)
    assert loss.item() == pytest.approx(np.mean(images), rel=1e-9)


def test_the_output_loss_is_sig_against_the_teacher(batch):
    pred, teacher, mask = batch
    teacher = teacher.clamp_min(200).requires_grad_()
    pred = pred.clamp_min(50).requires_grad_()
    loss = output_distillation_loss(pred, teacher, mask)
    assert loss == sig_loss(pred, teacher.detach(), mask, 1.0)
    assert output_distillation_loss(3 * pred, teacher, mask).item() == pytest.approx(loss.item())
    loss.backward()
    assert teacher.grad is None and (pred.grad != 0).any()


@EVERY
def test_masked_positions_have_no_influence(name, features):
    student, teacher, mask = features
    expected = None
    for filler in (0.0, 1e6, math.nan, math.inf):
        s, t = (torch.where(mask, one, filler).requires_grad_() for one in (student, teacher))
        value = LOSSES[name](s, t, mask)
        value.backward()
        assert t.grad is None and (s.grad[~mask.expand_as(s)] == 0).all() and (s.grad != 0).any()
        expected = expected or (value, s.grad)
        assert value == expected[0] and torch.equal(s.grad, expected[1])


@EVERY
def test_no_mask_is_a_mask_of_everything(name, features):
    student, teacher, mask = features
    assert LOSSES[name](student, teacher) == LOSSES[name](student, teacher, torch.ones_like(mask))


@EVERY
@pytest.mark.parametrize("case", ["perfect", "dark", "nothing", "one position"])
def test_gradients_are_finite(name, case, features):
    student, teacher, mask = (one.clone() for one in features)
    student, teacher = student.float(), teacher.float()
    match case:
        case "perfect":
            student = teacher.clone()
        case "dark":  # all ReLUs of some positions are off, in one network or both
            student[..., :3], teacher[..., 2:4] = 0, 0
        case "nothing":
            mask[:] = False
        case "one position":
            mask[:] = False
            mask[:, 0, 1, 1] = True
    student.requires_grad_()
    value = LOSSES[name](student, teacher, mask)
    value.backward()
    assert value.isfinite() and student.grad.isfinite().all()
    if case == "dark":
        assert student.grad.abs().max() < 100
    if case in ("perfect", "nothing"):
        assert value < 1e-9


# a norm that passes no gradient makes liu's gradient another thing than the derivative, by definition
@pytest.mark.parametrize("name", [name for name in LOSSES if "liu" not in name])
def test_derivatives(name, features):
    student, teacher, mask = features
    loss = LOSSES[name]
    small = [one[..., :2, :3].contiguous() for one in (student, teacher, mask)]
    assert torch.autograd.gradcheck(lambda s: loss(s, small[1], small[2]), small[0].requires_grad_())


@EVERY
def test_autocast_changes_nothing(name, features):
    student, teacher, mask = features
    student, teacher = student.float(), teacher.float()
    expected = LOSSES[name](student, teacher, mask)
    with torch.autocast("cpu", torch.bfloat16):
        assert LOSSES[name](student, teacher, mask) == expected
    narrow = LOSSES[name](student.bfloat16(), teacher.bfloat16(), mask)
    assert narrow.dtype == torch.float32 and narrow.item() == pytest.approx(expected.item(), rel=0.05)


def test_a_projection_learns_a_teacher_of_other_channels():
    torch.manual_seed(0)
    student = torch.randn(4, 3, 5, 5)
    mixing = torch.randn(7, 3)
    teacher = torch.einsum("tc,bchw->bthw", mixing, student) + 0.5
    projection = Projection(3, 7)
    optimizer = torch.optim.Adam(projection.parameters(), lr=0.1)
    for _ in range(150):
        optimizer.zero_grad()
        loss = feature_l2_loss(projection(student), teacher)
        loss.backward()
        optimizer.step()
    assert loss < 1e-3


@EVERY
def test_features_of_other_sizes_are_refused(name, features):
    student, teacher, mask = features
    with pytest.raises(ValueError, match=r"\(3, 5, 4, 6\) and teacher features \(3, 5, 4, 5\) differ"):
        LOSSES[name](student, teacher[..., :5])
    with pytest.raises(ValueError, match="mask is "):
        LOSSES[name](student, teacher, mask[..., :5])


@pytest.mark.parametrize(("form", "loss"), [("l1", l1_loss), ("mse", mse_loss), ("rmse", rmse_loss)])
def test_linear_forms_of_the_output_loss_are_in_metres(form, loss, batch):
    pred, teacher, mask = batch
    teacher = teacher.clone().requires_grad_()
    value = output_distillation_loss(pred.clone().requires_grad_(), teacher, mask, form=form)
    assert value.item() == pytest.approx(loss(pred, teacher, mask).item(), rel=1e-12)
    value.backward()
    assert teacher.grad is None
