"""One batch with holes for all losses: seeded, float64, in millimetres."""

import pytest
import torch


@pytest.fixture
def batch():
    """(pred, target, mask), (3, 1, 12, 16); a quarter of the target is unknown."""
    generator = torch.Generator().manual_seed(0)
    target = torch.rand(3, 1, 12, 16, generator=generator, dtype=torch.float64) * 9000 + 300
    target[torch.rand(target.shape, generator=generator) < 0.25] = 0
    noise = torch.rand(target.shape, generator=generator, dtype=torch.float64)
    pred = target.clamp_min(500) * (0.5 + noise)
    pred[0, 0, :2] = 0.1
    return pred, target, target > 1
