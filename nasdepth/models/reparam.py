"""Convolutions that train as more than they deploy as, and their exact collapse.

Two kinds stand for "convolution, batch norm": parallel branches (RepVGG, arXiv:2101.03697; MobileOne,
arXiv:2206.04040) and a chain of convolutions without activation (ExpandNets, arXiv:1811.10495; the
collapsible linear blocks of SESR, arXiv:2103.09404, the kind that TCL's winning network trains with).

Whatever trains so has a method `collapsed`, and `collapse` replaces them all. What is exported, and what
latency is predicted for, is the collapsed network.
"""

from __future__ import annotations

import copy
from typing import Any, Protocol, cast, runtime_checkable

import torch
import torch.nn.functional as F
from torch import nn

EXPANSION = 4
MAX_EXPANDED = 256


@runtime_checkable
class Collapsible(Protocol):
    """A module that computes, in evaluation mode, what a plainer one computes."""

    def collapsed(self) -> nn.Module:
        """That module: new, on the same device, with the same output."""


def collapse(network: nn.Module) -> nn.Module:
    """A copy of a network in which every `Collapsible` is replaced by its collapsed form.

    The copy computes what the network computes in evaluation mode. The network is left as it is.
    """
    return collapse_in_place(copy.deepcopy(network))


def collapse_in_place(network: nn.Module) -> nn.Module:
    """Collapse a network that nobody else uses; unlike `collapse` it makes no copy."""
    if isinstance(network, Collapsible):
        return network.collapsed().train(network.training)
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, Collapsible):
                setattr(parent, name, child.collapsed().train(child.training))
    return network


def fold_norm(
    weight: torch.Tensor, bias: torch.Tensor | None, norm: nn.BatchNorm2d
) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight and bias of a convolution followed by a batch norm in evaluation mode.

    Args:
        weight: (out, in / groups, kernel, kernel).
        bias: (out,) or None.
        norm: the batch norm behind it, of `out` channels.
    """
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None and variance is not None  # of a norm that keeps no statistics
    scale = norm.weight / torch.sqrt(variance + norm.eps)
    shift = norm.bias - mean * scale
    return weight * scale.view(-1, 1, 1, 1), shift if bias is None else shift + bias * scale


def pad_kernel(weight: torch.Tensor, kernel: int) -> torch.Tensor:
    """(out, in, k, k) in the middle of (out, in, kernel, kernel) zeros; both sizes odd."""
    return F.pad(weight, [(kernel - weight.shape[-1]) // 2] * 4)


def identity_kernel(channels: int, groups: int, like: torch.Tensor) -> torch.Tensor:
    """(channels, channels / groups, 1, 1) of the convolution that changes nothing."""
    within = torch.arange(channels, device=like.device) % (channels // groups)
    return F.one_hot(within, channels // groups).to(like.dtype)[..., None, None]


def plain_convolution(
    weight: torch.Tensor, bias: torch.Tensor, *, stride: int = 1, dilation: int = 1, groups: int = 1
) -> nn.Conv2d:
    """A convolution with these weights and symmetric padding that keeps the size at stride 1."""
    out_channels, in_group, kernel, _ = weight.shape
    convolution = nn.Conv2d(
        in_group * groups,
        out_channels,
        kernel,
        stride=stride,
        padding=dilation * (kernel // 2),
        dilation=dilation,
        groups=groups,
        device="meta",
    )
    convolution.weight = nn.Parameter(weight.detach().clone())
    convolution.bias = nn.Parameter(bias.detach().clone())
    return convolution


def same_size(
    in_channels: int, out_channels: int, kernel: int, *, groups: int = 1, dilation: int = 1
) -> nn.Conv2d:
    """A convolution of stride 1 without bias whose output has its input's height and width; kernel odd."""
    padding = dilation * (kernel // 2)
    return nn.Conv2d(
        in_channels, out_channels, kernel, padding=padding, dilation=dilation, groups=groups, bias=False
    )


class BranchedConvNorm(nn.Module):
    """Convolution and batch norm as parallel branches: kernel x kernel, 1x1 and, where it fits, identity.

    Every branch has a batch norm of its own. At kernel 1 the first two are two 1x1 convolutions, as in
    MobileOne.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, *, groups: int = 1, dilation: int = 1
    ) -> None:
        super().__init__()
        self.kernel, self.groups, self.dilation = kernel, groups, dilation
        self.convolutions = nn.ModuleList(
            same_size(in_channels, out_channels, size, groups=groups, dilation=dilation)
            for size in (kernel, 1)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(out_channels) for _ in self.convolutions)
        self.identity = nn.BatchNorm2d(out_channels) if in_channels == out_channels else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = sum(norm(conv(x)) for conv, norm in zip(self.convolutions, self.norms, strict=True))
        return y if self.identity is None else y + self.identity(x)

    def collapsed(self) -> nn.Conv2d:
        """One convolution with a bias."""
        pairs: Any = zip(self.convolutions, self.norms, strict=True)
        branches = [(conv.weight, norm) for conv, norm in pairs]
        if self.identity is not None:
            like = branches[0][0]
            branches.append((identity_kernel(like.shape[0], self.groups, like), self.identity))
        weights, biases = zip(*(fold_norm(weight, None, norm) for weight, norm in branches), strict=True)
        weight = cast(torch.Tensor, sum(pad_kernel(weight, self.kernel) for weight in weights))
        bias = cast(torch.Tensor, sum(biases))
        return plain_convolution(weight, bias, dilation=self.dilation, groups=self.groups)


class LinearConvNorm(nn.Module):
    """Convolution and batch norm as a chain: 1x1 to more channels, kernel x kernel, 1x1 back, batch norm.

    The channels in between are four times those outside, at most 256 (SESR's number). No layer of the chain
    has a bias, so zero padding in front of the kernel x kernel convolution is zero padding in front of the
    chain, and the collapse is exact at the borders too. That makes the whole chain one convolution with the
    product of the weights, in training as well (SESR, section 3.3: the same gradients for a fraction of the
    time).
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, *, groups: int = 1, dilation: int = 1
    ) -> None:
        super().__init__()
        self.groups, self.dilation = groups, dilation
        before, after = (_expanded(channels, groups) for channels in (in_channels, out_channels))
        self.expand = nn.Conv2d(in_channels, before, 1, groups=groups, bias=False)
        self.convolution = same_size(before, after, kernel, groups=groups, dilation=dilation)
        self.project = nn.Conv2d(after, out_channels, 1, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(out_channels)
        for convolution in (self.expand, self.convolution, self.project):
            nn.init.kaiming_normal_(convolution.weight, nonlinearity="linear")

    def weight(self) -> torch.Tensor:
        """The chain as one weight of (out, in / groups, kernel, kernel)."""
        # per group: (g, middle, in), (g, after, middle, k, k), (g, out, after)
        expand, kernel, project = (
            layer.weight.view(self.groups, -1, *layer.weight.shape[1:])
            for layer in (self.expand, self.convolution, self.project)
        )
        product = torch.einsum("gomhw,gmi->goihw", kernel, expand[..., 0, 0])
        return torch.einsum("gpo,goihw->gpihw", project[..., 0, 0], product).flatten(0, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        layer = self.convolution
        y = F.conv2d(x, self.weight(), None, 1, layer.padding, self.dilation, self.groups)
        return self.norm(y)

    def collapsed(self) -> nn.Conv2d:
        """One convolution with a bias."""
        weight, bias = fold_norm(self.weight(), None, self.norm)
        return plain_convolution(weight, bias, dilation=self.dilation, groups=self.groups)


def _expanded(channels: int, groups: int) -> int:
    within = channels // groups
    return groups * max(within, min(EXPANSION * within, MAX_EXPANDED))


REPARAMETERISED = {"rep": BranchedConvNorm, "linear": LinearConvNorm}
