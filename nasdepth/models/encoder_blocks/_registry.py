"""Builders by kind of block."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from nasdepth.errors import SpaceError
from nasdepth.families import BlockSpec, Family, get_family

EncoderBlockBuilder = Callable[[Family, BlockSpec, int, tuple[int, ...]], nn.Module]
_BUILDERS: dict[str, EncoderBlockBuilder] = {}


def register_encoder_block(*kinds: str) -> Callable[[EncoderBlockBuilder], EncoderBlockBuilder]:
    """Register a builder of (family, block, in_channels, channels) for kinds of blocks.

    What it builds follows from `channels`, not from those of width 1 that the block and its notation name.
    """

    def register(builder: EncoderBlockBuilder) -> EncoderBlockBuilder:
        for kind in kinds:
            if kind in _BUILDERS:
                raise ValueError(f"encoder block {kind!r} is registered twice")
            _BUILDERS[kind] = builder
        return builder

    return register


def build_encoder_block(block: BlockSpec, in_channels: int, channels: tuple[int, ...]) -> nn.Module:
    """A block as it is trained; `nasdepth.models.reparam.collapse` gives what is deployed.

    Args:
        block: the block as its family has it.
        in_channels: the channels of its input.
        channels: the channels that replace `block.channels`, which are those of width 1.

    Raises:
        SpaceError: nothing is registered for the block's kind.
    """
    if block.kind not in _BUILDERS:
        raise SpaceError(
            f"encoder family {block.family}: its block {block.notation!r} is of a kind that nothing builds "
            f"(value: {block.kind!r}); there are {', '.join(_BUILDERS)}; register_encoder_block adds others"
        )
    return _BUILDERS[block.kind](get_family(block.family), block, in_channels, channels)
