"""Building blocks that deploy clean: SAME padding, ReLU, no operation outside XNNPACK.

Every decoder block is registered under the name that architectures spell and keeps one contract:
(B, in_channels, H, W) -> (B, out_channels, H, W).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from timm.layers import make_divisible
from torch import nn

MBCONV_EXPANSION = 4

BlockBuilder = Callable[[int, int, int], nn.Module]
_BLOCKS: dict[str, BlockBuilder] = {}


def register_block(name: str) -> Callable[[BlockBuilder], BlockBuilder]:
    """Register a decoder block built from (in_channels, out_channels, kernel)."""

    def register(builder: BlockBuilder) -> BlockBuilder:
        if name in _BLOCKS:
            raise ValueError(f"decoder block {name!r} is registered twice")
        _BLOCKS[name] = builder
        return builder

    return register


def build_block(name: str, in_channels: int, out_channels: int, kernel: int) -> nn.Module:
    """A registered decoder block."""
    return _BLOCKS[name](in_channels, out_channels, kernel)


def block_names() -> tuple[str, ...]:
    """Names of all registered decoder blocks."""
    return tuple(_BLOCKS)


class ConvNormAct(nn.Sequential):
    """Convolution of stride 1, batch normalisation and, unless `act` is False, ReLU."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, *, groups: int = 1, act: bool = True
    ) -> None:
        layers = [
            nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, groups=groups, bias=False),
            nn.BatchNorm2d(out_channels),
        ]
        super().__init__(*layers, nn.ReLU()) if act else super().__init__(*layers)


@register_block("conv")
def _conv(in_channels: int, out_channels: int, kernel: int) -> nn.Module:
    return ConvNormAct(in_channels, out_channels, kernel)


@register_block("dsconv")
def _dsconv(in_channels: int, out_channels: int, kernel: int) -> nn.Module:
    return nn.Sequential(
        ConvNormAct(in_channels, in_channels, kernel, groups=in_channels),
        ConvNormAct(in_channels, out_channels, 1),
    )


@register_block("mbconv")
class InvertedResidual(nn.Module):
    """1x1 expansion, depthwise (left out at kernel 1), linear 1x1; a residual where channels allow."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int) -> None:
        super().__init__()
        hidden = in_channels * MBCONV_EXPANSION
        layers = [ConvNormAct(in_channels, hidden, 1)]
        if kernel > 1:
            layers.append(ConvNormAct(hidden, hidden, kernel, groups=hidden))
        layers.append(ConvNormAct(hidden, out_channels, 1, act=False))
        self.layers = nn.Sequential(*layers)
        self.residual = in_channels == out_channels

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.layers(x) if self.residual else self.layers(x)


class SqueezeExcite(nn.Module):
    """Squeeze-and-excite with hard sigmoid, written so that it converts to pool, two convolutions, MUL.

    The direct spelling (mean, hardsigmoid) converts to TRANSPOSE, RESHAPE and RELU_0_TO_1, which cut the
    XNNPACK partition to pieces. Here hardsigmoid(z) = relu6(z + 3) / 6 with the 3 in the convolution's
    bias and the 1/6 as a depthwise 1x1 convolution. Parameter names are timm's, so its weights load.
    """

    def __init__(self, channels: int, rd_ratio: float = 0.25, **_: object) -> None:
        super().__init__()
        reduced = make_divisible(channels * rd_ratio, 8, round_limit=0.9)
        self.conv_reduce = nn.Conv2d(channels, reduced, 1)
        self.conv_expand = nn.Conv2d(reduced, channels, 1)
        self.register_buffer("sixth", torch.full((channels, 1, 1, 1), 1 / 6), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gate = F.relu(self.conv_reduce(F.avg_pool2d(x, (int(x.shape[-2]), int(x.shape[-1])))))
        gate = F.relu6(F.conv2d(gate, self.conv_expand.weight, self.conv_expand.bias + 3))
        return x * F.conv2d(gate, self.sixth, groups=x.shape[1])
