"""From an encoder to a narrower one: its most important channels.

Importance of an output channel is the L2 norm of its filter times |gamma| of its batch norm, summed over all
layers that share channels: through residuals, depthwise convolutions and parallel branches. The halves of a
ghost module's output share them too, because one is made of the other channel by channel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import singledispatch

import torch
from torch import nn

from nasdepth.models.blocks import SqueezeExcite
from nasdepth.models.encoder_blocks import (
    BasicBlock,
    BottleneckBlock,
    GhostBottleneck,
    GhostModule,
    MobileOneBlock,
    RepGhostModule,
)
from nasdepth.models.encoders import EncoderNet, RawStem


@dataclass(frozen=True)
class Kept:
    """Channels carried over: indices in the source and, in the same order, in the target."""

    source: torch.Tensor
    target: torch.Tensor

    @classmethod
    def all(cls, count: int) -> Kept:
        return cls(torch.arange(count), torch.arange(count))

    @classmethod
    def strongest(cls, importance: torch.Tensor, count: int) -> Kept:
        chosen = importance.topk(min(count, importance.numel())).indices.sort().values
        return cls(chosen, torch.arange(len(chosen)))

    @classmethod
    def strongest_pairs(cls, importance: torch.Tensor, count: int) -> Kept:
        """Of channels whose second half is made of the first: pairs, first halves in front."""
        half = importance.numel() // 2
        first = cls.strongest(importance[:half] + importance[half:], count // 2)
        return cls(
            torch.cat([first.source, first.source + half]),
            torch.cat([first.target, first.target + count // 2]),
        )

    def first_half(self) -> Kept:
        count = len(self.source) // 2
        return Kept(self.source[:count], self.target[:count])


_ONE = Kept.all(1)  # the input of a depthwise convolution's filter
_RGB = Kept.all(3)


@torch.no_grad()
def slice_into(source: EncoderNet, target: EncoderNet) -> None:
    """Copy the most important channels of `source` into `target`, a network of the same stages.

    Channels that the target has beyond the source keep their random start; coordinates, which no source has
    seen, start at zero.
    """
    pairs = [(_stem(source), _stem(target))]
    for source_stage, target_stage in zip(source.blocks, target.blocks, strict=True):
        pairs += zip(source_stage, target_stage, strict=True)
    kept: list[Kept] = []
    for group in _groups([block for block, _ in pairs]):
        importance = sum(_output_importance(pairs[index][0]) for index in group)
        choose = Kept.strongest
        if any(_in_pairs(pairs[index][0]) for index in group):
            choose = Kept.strongest_pairs
        kept += [choose(importance, len(_output_importance(pairs[group[0]][1])))] * len(group)
    inputs = [_RGB, *kept]
    for (block, narrow), into, out in zip(pairs, inputs, kept, strict=False):
        _slice(block, narrow, into, out)
    for module in target.modules():
        if isinstance(module, RawStem):
            module.weight[:, 3:] = 0


class _Stem(nn.Module):
    """A stem that is a convolution and its batch norm, seen as a block."""

    def __init__(self, net: EncoderNet) -> None:
        super().__init__()
        self.conv, self.norm = net.conv_stem, net.bn1


def _stem(net: EncoderNet) -> nn.Module:
    return net.stem if hasattr(net, "stem") else _Stem(net)


def _groups(blocks: Sequence[nn.Module]) -> list[list[int]]:
    """Indices of consecutive blocks whose outputs have the same channels."""
    groups: list[list[int]] = []
    for index, block in enumerate(blocks):
        if index and _keeps_channels(block):
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups


def _importance(conv: nn.Module, norm: nn.BatchNorm2d) -> torch.Tensor:
    return conv.weight.flatten(1).norm(dim=1) * norm.weight.abs()


def _copy(source: nn.Module, target: nn.Module, out: Kept, into: Kept) -> None:
    target.weight[out.target[:, None], into.target] = source.weight[out.source[:, None], into.source]
    if getattr(source, "bias", None) is not None:
        target.bias[out.target] = source.bias[out.source]


def _copy_norm(source: nn.BatchNorm2d, target: nn.BatchNorm2d, kept: Kept) -> None:
    for name in ("weight", "bias", "running_mean", "running_var"):
        getattr(target, name)[kept.target] = getattr(source, name)[kept.source]


def _copy_chain(source: nn.Module, target: nn.Module, kept: Kept, out: Kept) -> None:
    """Copy a chain of convolutions and batch norms from `kept` input channels to `out`.

    Channels in between are chosen here.
    """
    pairs = list(zip(_layers(source), _layers(target), strict=True))
    full = [index for index, ((conv, _), _) in enumerate(pairs) if conv.groups == 1]
    excites = [[m for m in net.modules() if isinstance(m, SqueezeExcite)] for net in (source, target)]
    for index, ((conv, norm), (to_conv, to_norm)) in enumerate(pairs):
        depthwise = conv.groups > 1
        inputs = _ONE if depthwise else kept
        if not depthwise:
            last = index == full[-1]
            kept = out if last else Kept.strongest(_importance(conv, norm), to_conv.out_channels)
        _copy(conv, to_conv, kept, inputs)
        _copy_norm(norm, to_norm, kept)
        if depthwise:
            for excite, to_excite in zip(*excites, strict=True):
                _slice_excite(excite, to_excite, kept)


def _layers(block: nn.Module) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """(convolution, batch norm) pairs of a chain in execution order, squeeze-and-excite left out."""
    leaves = [
        module
        for name, module in block.named_modules()
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d) and "se" not in name.split(".")
    ]
    return list(zip(leaves[::2], leaves[1::2], strict=True))


def _slice_excite(source: SqueezeExcite, target: SqueezeExcite, kept: Kept) -> None:
    norms = source.conv_reduce.weight.flatten(1).norm(dim=1)
    reduced = Kept.strongest(norms, target.conv_reduce.out_channels)
    _copy(source.conv_reduce, target.conv_reduce, reduced, kept)
    _copy(source.conv_expand, target.conv_expand, kept, reduced)


@singledispatch
def _keeps_channels(block: nn.Module) -> bool:
    """Whether a block's output channels are its input's, one by one."""
    return getattr(block, "has_skip", False)


@singledispatch
def _in_pairs(block: nn.Module) -> bool:
    """Whether the second half of a block's output channels is made of the first."""
    return False


@singledispatch
def _output_importance(block: nn.Module) -> torch.Tensor:
    return _importance(*next(pair for pair in reversed(_layers(block)) if pair[0].groups == 1))


@singledispatch
def _slice(source: nn.Module, target: nn.Module, into: Kept, out: Kept) -> None:
    """Copy what a block keeps; timm's blocks, and whatever else is a chain."""
    _copy_chain(source, target, into, out)


@_output_importance.register
def _(block: _Stem) -> torch.Tensor:
    return _importance(block.conv, block.norm)


@_slice.register
def _(source: _Stem, target: nn.Module, into: Kept, out: Kept) -> None:
    _copy(source.conv, target.conv, out, into)
    _copy_norm(source.norm, target.norm, out)


@_keeps_channels.register
def _(block: BasicBlock | BottleneckBlock) -> bool:
    return block.downsample is None


@_output_importance.register
def _(block: BasicBlock | BottleneckBlock) -> torch.Tensor:
    importance = _importance(*_convolutions(block)[-1])
    return importance if block.downsample is None else importance + _importance(*block.downsample)


@_slice.register
def _(source: BasicBlock | BottleneckBlock, target: nn.Module, into: Kept, out: Kept) -> None:
    kept, layers = into, _convolutions(source)
    for (conv, norm), (narrow, narrow_norm) in zip(layers, _convolutions(target), strict=True):
        last = conv is layers[-1][0]
        chosen = out if last else Kept.strongest(_importance(conv, norm), narrow.out_channels)
        _copy(conv, narrow, chosen, kept)
        _copy_norm(norm, narrow_norm, chosen)
        kept = chosen
    if source.downsample is not None:
        _copy(source.downsample[0], target.downsample[0], out, into)
        _copy_norm(source.downsample[1], target.downsample[1], out)


def _convolutions(block: nn.Module) -> list[tuple[nn.Module, nn.Module]]:
    """A ResNet block's convolutions, each with its batch normalisation, in the order that the input takes."""
    numbers = (number for number in (1, 2, 3) if hasattr(block, f"conv{number}"))
    return [(getattr(block, f"conv{number}"), getattr(block, f"bn{number}")) for number in numbers]


@_keeps_channels.register
def _(block: MobileOneBlock) -> bool:
    return block.groups > 1 or block.identity is not None


@_output_importance.register
def _(block: MobileOneBlock) -> torch.Tensor:
    importance = sum(_importance(branch.conv, branch.bn) for branch in block.branches())
    return importance if block.identity is None else importance + block.identity.weight.abs()


@_slice.register
def _(source: MobileOneBlock, target: nn.Module, into: Kept, out: Kept) -> None:
    inputs = _ONE if source.groups > 1 else into
    for branch, narrow in zip(source.branches(), target.branches(), strict=True):
        _copy(branch.conv, narrow.conv, out, inputs)
        _copy_norm(branch.bn, narrow.bn, out)
    if source.identity is not None:
        _copy_norm(source.identity, target.identity, out)


@_keeps_channels.register
def _(block: GhostBottleneck) -> bool:
    return len(block.shortcut) == 0


@_in_pairs.register
def _(block: GhostBottleneck) -> bool:
    return isinstance(block.ghost2, GhostModule)


@_output_importance.register
def _(module: GhostModule) -> torch.Tensor:
    return torch.cat([_importance(*module.primary_conv[:2]), _importance(*module.cheap_operation[:2])])


@_output_importance.register
def _(module: RepGhostModule) -> torch.Tensor:
    return _importance(*module.primary_conv[:2])


@_output_importance.register
def _(block: GhostBottleneck) -> torch.Tensor:
    importance = _output_importance(block.ghost2)
    return importance + _importance(*block.shortcut[2:]) if len(block.shortcut) else importance


@_slice.register
def _(source: GhostModule, target: nn.Module, into: Kept, out: Kept) -> None:
    first = out.first_half()
    _copy(source.primary_conv[0], target.primary_conv[0], first, into)
    _copy_norm(source.primary_conv[1], target.primary_conv[1], first)
    _copy(source.cheap_operation[0], target.cheap_operation[0], first, _ONE)
    _copy_norm(source.cheap_operation[1], target.cheap_operation[1], first)
    if source.short_conv is not None:
        _copy_chain(source.short_conv, target.short_conv, into, out)


@_slice.register
def _(source: RepGhostModule, target: nn.Module, into: Kept, out: Kept) -> None:
    _copy(source.primary_conv[0], target.primary_conv[0], out, into)
    _copy_norm(source.primary_conv[1], target.primary_conv[1], out)
    _copy(source.cheap_operation[0], target.cheap_operation[0], out, _ONE)
    _copy_norm(source.cheap_operation[1], target.cheap_operation[1], out)
    _copy_norm(source.fusion_bn[0], target.fusion_bn[0], out)


@_slice.register
def _(source: GhostBottleneck, target: nn.Module, into: Kept, out: Kept) -> None:
    choose = Kept.strongest_pairs if _in_pairs(source) else Kept.strongest
    inside = choose(_output_importance(source.ghost1), len(_output_importance(target.ghost1)))
    _slice(source.ghost1, target.ghost1, into, inside)
    if source.conv_dw is not None:
        _copy(source.conv_dw, target.conv_dw, inside, _ONE)
        _copy_norm(source.bn_dw, target.bn_dw, inside)
    if source.se is not None:
        _slice_excite(source.se, target.se, inside)
    _slice(source.ghost2, target.ghost2, inside, out)
    if len(source.shortcut) and len(target.shortcut):
        depthwise, norm, pointwise, last = zip(source.shortcut, target.shortcut, strict=True)
        _copy(*depthwise, into, _ONE)
        _copy_norm(*norm, into)
        _copy(*pointwise, out, into)
        _copy_norm(*last, out)
