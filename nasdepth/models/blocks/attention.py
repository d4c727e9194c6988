"""Attention behind a decoder stage's block: (B, C, H, W) -> (B, C, H, W)."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from timm.layers import get_act_layer, make_divisible
from torch import nn

from nasdepth.families import Excite
from nasdepth.models.blocks._layers import Sixth, bias_of, hw_of

_PLAIN_EXCITE = Excite()
_ATTENTIONS: dict[str, Callable[[int], nn.Module]] = {"none": lambda _: nn.Identity()}


def register_attention(name: str) -> Callable[[Callable[[int], nn.Module]], Callable[[int], nn.Module]]:
    """Register an attention built from its channels."""

    def register(builder: Callable[[int], nn.Module]) -> Callable[[int], nn.Module]:
        if name in _ATTENTIONS:
            raise ValueError(f"attention {name!r} is registered twice")
        _ATTENTIONS[name] = builder
        return builder

    return register


def build_attention(name: str, channels: int) -> nn.Module:
    """A registered attention; `none` is the identity."""
    return _ATTENTIONS[name](channels)


def attention_names() -> tuple[str, ...]:
    """Names of all registered attentions, `none` included."""
    return tuple(_ATTENTIONS)


@register_attention("se")
class SqueezeExcite(nn.Module):
    """Squeeze-and-excite with hard sigmoid, written so that it converts to pool, two convolutions, MUL.

    The direct spelling (mean, hardsigmoid) converts to TRANSPOSE, RESHAPE and RELU_0_TO_1, which cut the
    XNNPACK partition to pieces. Here hardsigmoid(z) = relu6(z + 3) / 6 with the 3 in the convolution's
    bias and the 1/6 as a depthwise 1x1 convolution. Parameter names are timm's, so its weights load.

    Args:
        channels: the channels of the input, which are gated.
        rd_ratio: the share of the channels that is left between the two convolutions.
        kind: the activation, gate and divisor of an encoder family; by default ReLU, hard sigmoid and 8.
    """

    def __init__(
        self, channels: int, rd_ratio: float = 0.25, *, kind: Excite = _PLAIN_EXCITE, **_: object
    ) -> None:
        super().__init__()
        wanted = channels * rd_ratio
        reduced = round(wanted) if kind.divisor == 1 else make_divisible(wanted, kind.divisor)
        self.conv_reduce = nn.Conv2d(channels, reduced, 1)
        self.act1 = get_act_layer(kind.activation)(inplace=True)
        self.conv_expand = nn.Conv2d(reduced, channels, 1)
        self.sixth = Sixth(channels) if kind.gate == "hard_sigmoid" else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z = self.act1(self.conv_reduce(F.avg_pool2d(x, hw_of(x))))
        if self.sixth is None:
            return x * torch.sigmoid(self.conv_expand(z))
        gate = F.relu6(F.conv2d(z, self.conv_expand.weight, bias_of(self.conv_expand) + 3))
        return x * self.sixth(gate)


@register_attention("ca")
class CoordinateAttention(nn.Module):
    """x times a gate of every row and a gate of every column (arXiv:2103.02907, equations 4 to 8).

    The mean of every row and of every column pass one 1x1 convolution with batch norm and hard swish to
    max(8, C / 32) channels, then one each back to C. The paper concatenates the two maps, one of them
    transposed, for the convolution they share. Deployed, the convolution runs on each map by itself, which is
    the same; only while batch norm gathers statistics are they concatenated. The gates are hard sigmoids,
    written as in `SqueezeExcite`.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        few = max(8, channels // 32)
        self.reduce = nn.Sequential(
            nn.Conv2d(channels, few, 1, bias=False), nn.BatchNorm2d(few), nn.Hardswish()
        )
        self.rows = nn.Conv2d(few, channels, 1)
        self.columns = nn.Conv2d(few, channels, 1)
        self.sixth = Sixth(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        height, width = hw_of(x)
        rows, columns = F.avg_pool2d(x, (1, width)), F.avg_pool2d(x, (height, 1))
        if self.training:
            both = self.reduce(torch.cat([rows, columns.transpose(2, 3)], 2))
            rows, columns = both[:, :, :height], both[:, :, height:].transpose(2, 3)
        else:
            rows, columns = self.reduce(rows), self.reduce(columns)
        return x * self._gate(rows, self.rows) * self._gate(columns, self.columns)

    def _gate(self, x: torch.Tensor, expand: nn.Conv2d) -> torch.Tensor:
        return self.sixth(F.relu6(F.conv2d(x, expand.weight, bias_of(expand) + 3)))


@register_attention("nonlocal")
class NonLocal(nn.Module):
    """x + W softmax(theta(x)^T phi(x)) g(x) over all pairs of pixels (arXiv:1711.07971, figure 2).

    theta, phi, g are 1x1 convolutions to half the channels; W is one back with a batch norm that starts at
    zero, so that the block starts as the identity (section 4.1). Memory and time grow with (H W)^2.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = -(-channels // 2)
        self.theta = nn.Conv2d(channels, half, 1)
        self.phi = nn.Conv2d(channels, half, 1)
        self.g = nn.Conv2d(channels, half, 1)
        norm = nn.BatchNorm2d(channels)
        nn.init.zeros_(norm.weight)
        self.out = nn.Sequential(nn.Conv2d(half, channels, 1, bias=False), norm)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        height, width = hw_of(x)
        # pixels x channels, which is how .tflite keeps images: no TRANSPOSE there
        theta, phi, g = (
            layer(x).permute(0, 2, 3, 1).flatten(1, 2) for layer in (self.theta, self.phi, self.g)
        )
        weights = torch.softmax(theta @ phi.transpose(1, 2), -1)
        y = (weights @ g).unflatten(1, (height, width)).permute(0, 3, 1, 2)
        return x + self.out(y)
