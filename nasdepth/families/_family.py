"""What a family is, and the registry of families."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Literal

from nasdepth.errors import SpaceError

Normalisation = tuple[tuple[float, float, float], tuple[float, float, float]]

IMAGENET: Normalisation = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
INCEPTION: Normalisation = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))

WIDTH_DECIMALS = 4
MIN_WIDTH, MAX_WIDTH = 0.1, 4.0

_SCALED = re.compile(r"[tc](\d+)")


@dataclass(frozen=True)
class Excite:
    """Squeeze-and-excitation of a family's blocks.

    Attributes:
        gate: what the channels are multiplied by.
        activation: timm's name of the one between the two convolutions.
        of_input: the ratio (`se0.25`) is of the block's input channels, not of the squeezed ones.
        divisor: the reduced channels are a multiple of it.
    """

    gate: Literal["hard_sigmoid", "sigmoid"] = "hard_sigmoid"
    activation: str = "relu"
    of_input: bool = False
    divisor: int = 8


@dataclass(frozen=True)
class BlockSpec:
    """One block of a family.

    Attributes:
        family: its name.
        notation: of this block alone, with its own stride.
        channels: at width 1, what the width multiplier scales: channels inside the block where the others do
            not decide them, then its output channels.
        stride: 1 or 2.
    """

    family: str
    notation: str
    channels: tuple[int, ...]
    stride: int

    def of_channels(self, channels: int) -> BlockSpec:
        """The block with this number of channels at width 1 wherever it has channels of its own."""
        parts = [
            f"{part[0]}{channels}" if _SCALED.fullmatch(part) else part for part in self.notation.split("_")
        ]
        return replace(self, notation="_".join(parts), channels=(channels,) * len(self.channels))

    @property
    def kind(self) -> str:
        """The word that the notation starts with."""
        return self.notation.partition("_")[0]

    @property
    def options(self) -> dict[str, float]:
        """The rest of the notation by letter; words without a number count as 1."""
        parts = (re.fullmatch(r"([a-z]+)([\d.]*)", part) for part in self.notation.split("_")[1:])
        return {part[1]: float(part[2] or 1) for part in parts if part is not None}


@dataclass(frozen=True)
class Family:
    """An encoder family.

    Attributes:
        name: how architectures spell it.
        stem_channels: output channels of the stem at width 1.
        stages: per stage, its blocks in timm's notation (see `nasdepth.families` for the kinds that timm
            does not have).
        activation: timm's name of the activation (blocks marked `nre` keep ReLU).
        timm_name: the timm model whose ImageNet weights fit at width 1; None where there is none.
        normalisation: mean and standard deviation per RGB channel, on 0-1, of those weights.
        source: where the definition was published.
        norm_eps: epsilon of the batch norms those weights were trained with.
        stem_kernel, stem_stride: of the stem's convolution.
        stem_branches: the stem trains as parallel branches (MobileOne).
        divisor: channels are rounded to multiples of it.
        excite: of blocks marked `se`.
        timm_prefixes: how timm's parameter names start, and what stands there in `EncoderNet`.
    """

    name: str
    stem_channels: int
    stages: tuple[tuple[str, ...], ...]
    activation: str
    timm_name: str | None
    normalisation: Normalisation
    source: str
    norm_eps: float = 1e-5
    stem_kernel: int = 3
    stem_stride: int = 2
    stem_branches: bool = False
    divisor: int = 8
    excite: Excite = field(default_factory=Excite)
    timm_prefixes: tuple[tuple[str, str], ...] = ()

    def blocks(self) -> tuple[tuple[BlockSpec, ...], ...]:
        """Every block of every stage, repeats written out."""
        return _blocks(self)

    def scaled(self, channels: int, width: float) -> int:
        """A number of channels of width 1 at a width multiplier."""
        return round_channels(channels * width, self.divisor)

    def stage_channels(self, width: float) -> tuple[int, ...]:
        """Output channels of the stem and of every stage at a width multiplier."""
        plain = (self.stem_channels, *(stage[-1].channels[-1] for stage in self.blocks()))
        return tuple(self.scaled(channels, width) for channels in plain)

    def block_channels(self, width: float, stages: int) -> tuple[int, ...]:
        """All that the width decides: channels of the stem and in every block of the kept stages."""
        blocks = (block for stage in self.blocks()[:stages] for block in stage)
        plain = (self.stem_channels, *(channels for block in blocks for channels in block.channels))
        return tuple(self.scaled(channels, width) for channels in plain)

    def stage_strides(self) -> tuple[int, ...]:
        """Total stride after the stem and after every stage."""
        strides = [self.stem_stride]
        for stage in self.blocks():
            strides.append(strides[-1] * stage[0].stride)
        return tuple(strides)

    def feature_channels(self, width: float, stages: int) -> dict[int, int]:
        """Channels of the last feature map at every stride that the first `stages` stages reach."""
        kept = zip(self.stage_strides(), self.stage_channels(width), strict=True)
        return {stride: channels for stride, channels in list(kept)[: stages + 1]}


@lru_cache(maxsize=256)
def _blocks(family: Family) -> tuple[tuple[BlockSpec, ...], ...]:
    stages = []
    for stage in family.stages:
        blocks: list[BlockSpec] = []
        for text in stage:
            kind, *parts = text.split("_")
            repeats = next((int(part[1:]) for part in parts if re.fullmatch(r"r\d+", part)), 1)
            stride = next((int(part[1:]) for part in parts if re.fullmatch(r"s\d+", part)), 1)
            rest = [part for part in parts if not re.fullmatch(r"[rs]\d+", part)]
            channels = tuple(int(part[1:]) for part in rest if _SCALED.fullmatch(part))
            for _ in range(repeats):
                own = 1 if blocks else stride  # only the first block of a stage strides
                if own == 1 and stride > 1:
                    rest = [part for part in rest if part != "pool"]
                blocks.append(BlockSpec(family.name, "_".join([kind, "r1", f"s{own}", *rest]), channels, own))
        stages.append(tuple(blocks))
    return tuple(stages)


def round_channels(channels: float, divisor: int = 8) -> int:
    """The multiple of `divisor` nearest to `channels` that loses at most 10 %, as the MobileNets round.

    >>> round_channels(24 * 0.75), round_channels(24 * 0.4)
    (24, 16)
    """
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


@lru_cache(maxsize=4096)
def canonical_width(family: str, width: float, stages: int) -> float:
    """The plainest width multiplier that gives the same channels in every block that is kept.

    1.01 and 1 build the same network; both are spelt 1.
    """
    definition = get_family(family)
    scale = 10**WIDTH_DECIMALS
    wanted = definition.block_channels(width, stages)

    def same(steps: int) -> bool:
        return definition.block_channels(steps / scale, stages) == wanted

    def last_same(inside: int, outside: int) -> int:
        while abs(outside - inside) > 1:
            middle = (inside + outside) // 2
            inside, outside = (middle, outside) if same(middle) else (inside, middle)
        return inside

    here = round(width * scale)
    if not same(here):  # the multiplier sits on a rounding edge finer than the grid
        here += 1 if same(here + 1) else -1
    low = last_same(here, 0)
    high = here
    while same(high * 2):
        high *= 2
    high = last_same(high, high * 2)
    for decimals in range(WIDTH_DECIMALS + 1):
        step = 10 ** (WIDTH_DECIMALS - decimals)
        candidate = -(-low // step) * step
        if candidate <= high:
            return candidate / scale
    raise AssertionError("unreachable: the interval holds at least one step of the finest grid")


_FAMILIES: dict[str, Family] = {}


def register_family(family: Family) -> Family:
    """Add a family; its name is what architectures and search spaces spell.

    Raises:
        ValueError: the name is taken or cannot be spelt, or a stage does not read; the message names it.
    """
    if not re.fullmatch(r"\w+", family.name):
        raise ValueError(f"encoder family {family.name!r}: a name has letters, digits and underscores only")
    if family.name in _FAMILIES:
        raise ValueError(f"encoder family {family.name!r} is registered twice")
    for number, stage in enumerate(family.stages, 1):
        for text in stage:
            _, *parts = text.split("_")
            if not (parts and all(re.fullmatch(r"[a-z]+[\d.]*", part) for part in parts)):
                raise ValueError(
                    f"encoder family {family.name!r}, stage {number}: {text!r} is no block; write for "
                    "example 'ir_r2_k3_s2_e6_c24'"
                )
            if not any(re.fullmatch(r"c\d+", part) for part in parts):
                raise ValueError(
                    f"encoder family {family.name!r}, stage {number}: {text!r} does not say its output "
                    "channels, as 'c24' does"
                )
    strides = family.stage_strides()
    if any(stride not in (1, 2, 4, 8, 16, 32) for stride in strides):
        raise ValueError(
            f"encoder family {family.name!r}: its strides are {', '.join(map(str, strides))}; each must be a "
            "power of 2 up to 32"
        )
    _FAMILIES[family.name] = family
    return family


def families() -> dict[str, Family]:
    """All registered families by name."""
    return dict(_FAMILIES)


def get_family(name: str) -> Family:
    """Look a family up.

    Raises:
        SpaceError: unknown name; the message lists the known ones.
    """
    try:
        return _FAMILIES[name]
    except KeyError:
        raise SpaceError(f"unknown encoder family {name!r}; known are {', '.join(_FAMILIES)}") from None
