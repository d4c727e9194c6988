"""The registry of decoder blocks."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

BlockBuilder = Callable[[int, int, int, str], nn.Module]
_BLOCKS: dict[str, BlockBuilder] = {}


def register_block(name: str) -> Callable[[BlockBuilder], BlockBuilder]:
    """Register a decoder block built from (in_channels, out_channels, kernel, reparam)."""

    def register(builder: BlockBuilder) -> BlockBuilder:
        if name in _BLOCKS:
            raise ValueError(f"decoder block {name!r} is registered twice")
        _BLOCKS[name] = builder
        return builder

    return register


def build_block(
    name: str, in_channels: int, out_channels: int, kernel: int, reparam: str = "none"
) -> nn.Module:
    """A registered decoder block.

    Args:
        name, kernel: of `nasdepth.decoder_blocks.BLOCKS`.
        reparam: what its convolutions train as, `none` or one of
            `nasdepth.models.reparam.REPARAMETERISED`.
    """
    return _BLOCKS[name](in_channels, out_channels, kernel, reparam)


def block_names() -> tuple[str, ...]:
    """Names of all registered decoder blocks."""
    return tuple(_BLOCKS)
