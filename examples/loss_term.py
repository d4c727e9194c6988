"""A loss term of your own: the mean absolute error of the logarithm of depth.

A term is a frozen pydantic model. Its fields are the parameters that a recipe may set, `needs` names what it
reads besides the prediction, and `value` returns the unweighted loss.
"""

import torch
from pydantic import Field
from torch import nn

from nasdepth.training.losses import LossInputs, LossTerm, log_depth, register_term


@register_term("log_l1")
class LogL1(LossTerm):
    """The mean of |ln prediction - ln target| over the pixels of known depth.

    Attributes:
        cap: errors above this count as this much.
    """

    cap: float = Field(2.0, gt=0)

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"target_mm", "mask"})

    def value(self, inputs: LossInputs, modules: nn.ModuleDict) -> torch.Tensor:
        # unknown pixels are filled before the logarithm: what stands there must not reach the gradient
        prediction = torch.where(inputs.mask, inputs.pred_mm.float(), 1.0)
        target = torch.where(inputs.mask, inputs.target_mm.float(), 1.0)
        error = (log_depth(prediction) - log_depth(target)).abs().clamp_max(self.cap)
        return error.sum() / inputs.mask.sum().clamp_min(1)
