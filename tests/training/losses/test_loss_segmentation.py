"""Depth-to-segmentation supervision against scipy, and on depth that has to learn its edges from labels."""

import numpy as np
import pytest
import torch
from scipy.special import log_softmax

from nasdepth.errors import DataError
from nasdepth.training.losses import DepthToSegmentation, segmentation_loss


@pytest.fixture
def scored():
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(3, 4, 5, 6, generator=generator, dtype=torch.float64)
    labels = torch.randint(-1, 4, (3, 1, 5, 6), generator=generator)
    labels[2] = -1
    return scores, labels


def test_agrees_with_scipy_on_labelled_pixels(scored):
    scores, labels = scored
    images = []
    for s, c in zip(scores.numpy()[:2], labels.numpy()[:2, 0], strict=True):
        logs = log_softmax(s, 0)
        images.append(np.mean([-logs[c[i, j], i, j] for i, j in np.argwhere(c >= 0)]))
    assert segmentation_loss(scores, labels).item() == pytest.approx(np.mean(images), rel=1e-9)


def test_scores_without_a_label_have_no_influence(scored):
    scores, labels = scored
    answers = []
    for filler in (0.0, 1e9, float("nan")):
        given = torch.where(labels >= 0, scores, filler).requires_grad_()
        value = segmentation_loss(given, labels)
        value.backward()
        assert (given.grad[(labels < 0).expand_as(given)] == 0).all()
        answers.append((value, given.grad))
    assert all(v == answers[0][0] and torch.equal(g, answers[0][1]) for v, g in answers)
    nothing = torch.full_like(labels, -1)
    assert segmentation_loss(scores, nothing) == 0


def test_derivatives(scored):
    scores, labels = scored
    assert torch.autograd.gradcheck(lambda s: segmentation_loss(s, labels), scores.requires_grad_())


def test_a_class_too_many_is_named(scored):
    scores, labels = scored
    with pytest.raises(DataError, match="hold class 3, but the loss is for 3 classes, 0 to 2; set"):
        segmentation_loss(scores[:, :3], labels)


def test_the_scale_of_depth_is_free():
    torch.manual_seed(0)
    network = DepthToSegmentation(3)
    depth = torch.rand(2, 1, 6, 7) * 4000 + 500
    assert torch.allclose(network(depth), network(2.5 * depth), atol=1e-5)


def test_depth_learns_an_edge_that_only_labels_show():
    """Trained on images whose depth has the edge, the network moves one whose depth is flat."""
    torch.manual_seed(0)
    labels = torch.zeros(1, 1, 8, 8, dtype=torch.long)
    labels[..., 4:] = 1
    with_edge = torch.where(labels == 1, 4000.0, 2000.0)
    network = DepthToSegmentation(2, width=8)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
    for _ in range(60):
        optimizer.zero_grad()
        loss = segmentation_loss(network(with_edge), labels)
        loss.backward()
        optimizer.step()
    assert loss < 0.1
    logs = torch.full((1, 1, 8, 8), 8.0, requires_grad=True)
    for _ in range(30):
        (gradient,) = torch.autograd.grad(segmentation_loss(network(logs.exp()), labels), logs)
        logs.data -= gradient
    assert logs[..., 5:].mean() > logs[..., :3].mean() + 0.1
