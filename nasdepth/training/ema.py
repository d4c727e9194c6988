"""The exponential moving average of a network's weights, which is what is judged and deployed."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import nn


class Ema[Network: nn.Module]:
    """A copy of a network whose weights follow it slowly.

    w_ema <- d w_ema + (1 - d) w with d = min(decay, (1 + t) / (10 + t)) at step t, so that a short training
    is not an average over its random start. Buffers (the statistics of batch normalisation) follow alike;
    whole numbers are copied.

    timm's `ModelEmaV3` gives the same average (warm-up gamma 9, power 1), but walks through the state of both
    networks at every step, which takes ten times as long.

    Attributes:
        model: the average, in evaluation mode.
    """

    def __init__(self, model: Network, decay: float) -> None:
        self.decay = decay
        self.model = deepcopy(model).eval().requires_grad_(False)
        pairs = list(zip(self.model.state_dict().values(), model.state_dict().values(), strict=True))
        # state_dict gives the storage itself: one fused call a step instead of one a tensor
        averaged = [pair for pair in pairs if pair[0].is_floating_point()]
        self._averaged = [average for average, _ in averaged], [current for _, current in averaged]
        self._counted = [pair for pair in pairs if not pair[0].is_floating_point()]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Follow the network after its optimizer's step `step` (from 0, over the whole training)."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(*self._averaged, 1 - decay)
        for average, current in self._counted:
            average.copy_(current)
