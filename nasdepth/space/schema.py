"""What a search space's YAML may say, validated field by field."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from nasdepth.architecture import (
    INPUT_STEP,
    MAX_DECODER_WIDTH,
    MAX_INPUT,
    Attention,
    HeadUpsampling,
    Reparam,
    Skip,
    Upsampling,
)
from nasdepth.decoder_blocks import BLOCKS, Kernel
from nasdepth.errors import nearest
from nasdepth.families import MAX_WIDTH, MIN_WIDTH, families

_MOST_CHOICES = 1000


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Range(_Strict):
    """Evenly spaced values from `low` to `high`, both included."""

    low: float
    high: float
    step: float = Field(gt=0)

    @model_validator(mode="after")
    def _spans_whole_steps(self) -> Range:
        steps = (self.high - self.low) / self.step
        # before anything counts them: a step of 1e-12 is a billion values and more
        if not steps < _MOST_CHOICES:
            raise ValueError(f"has {steps + 1:.3g} values; a field has {_MOST_CHOICES:,} at most")
        if steps < 0 or abs(steps - round(steps)) > 1e-6:
            raise ValueError(f"high {self.high:g} is not low {self.low:g} plus whole steps of {self.step:g}")
        return self

    def values(self) -> list[float]:
        count = round((self.high - self.low) / self.step) + 1
        return [round(self.low + index * self.step, 6) for index in range(count)]


def _listed(value: object) -> object:
    """Let a field be a list, one value or a {low, high, step} range."""
    if isinstance(value, dict):
        return Range.model_validate(value).values()
    values = value if isinstance(value, list) else [value]
    if len(values) > _MOST_CHOICES:
        raise ValueError(f"has {len(values):,} values; a field has {_MOST_CHOICES:,} at most")
    return values


def _no_flag(value: object) -> object:
    # pydantic takes true for 1
    if isinstance(value, bool):
        raise ValueError("must be a number")
    return value


def _unique(values: tuple) -> tuple:
    if len(set(values)) != len(values):
        raise ValueError("holds a value twice")
    return values


class _Choices(_Strict):
    """Base of sections whose every field is a set of choices."""

    @field_validator("*", mode="before")
    @classmethod
    def _read_choices(cls, value: object) -> object:
        return _listed(value)

    @field_validator("*", mode="after")
    @classmethod
    def _no_repeats(cls, value: tuple) -> tuple:
        return _unique(value)


InputSize = Annotated[int, BeforeValidator(_no_flag), Field(ge=32, le=MAX_INPUT, multiple_of=INPUT_STEP)]
Width = Annotated[float, BeforeValidator(_no_flag), Field(ge=MIN_WIDTH, le=MAX_WIDTH)]
Channels = Annotated[int, BeforeValidator(_no_flag), Field(ge=1, le=MAX_DECODER_WIDTH)]


class InputChoices(_Choices):
    """The sizes that the image may be resized to, and whether coordinates are channels.

    Every height goes with every width.
    """

    height: Annotated[tuple[InputSize, ...], Field(min_length=1)]
    width: Annotated[tuple[InputSize, ...], Field(min_length=1)]
    coordinates: Annotated[tuple[bool, ...], Field(min_length=1)] = (False,)


class EncoderChoices(_Choices):
    """Families, width multipliers and the encoder strides whose stages may be kept."""

    family: Annotated[tuple[str, ...], Field(min_length=1)]
    width: Annotated[tuple[Width, ...], Field(min_length=1)]
    stride: Annotated[tuple[Literal[8, 16, 32], ...], Field(min_length=1)] = (8, 16, 32)

    @field_validator("family", mode="after")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if name not in families():
                close = nearest(name, families())
                raise ValueError(f"unknown family {name!r}{close}; known are {', '.join(families())}")
        return value


class DecoderChoices(_Choices):
    """Choices of every decoder stage, each stage on its own; reparameterisation of all together."""

    skip: Annotated[tuple[Skip, ...], Field(min_length=1)] = ("none", "add", "concat")
    block: Annotated[tuple[str, ...], Field(min_length=1)] = ("conv", "dsconv", "mbconv")
    kernel: Annotated[tuple[Kernel, ...], Field(min_length=1)] = get_args(Kernel)
    width: Annotated[tuple[Channels, ...], Field(min_length=1)]
    attention: Annotated[tuple[Attention, ...], Field(min_length=1)] = ("none",)
    upsampling: Annotated[tuple[Upsampling, ...], Field(min_length=1)] = get_args(Upsampling)
    reparam: Annotated[tuple[Reparam, ...], Field(min_length=1)] = ("none",)

    @field_validator("block", mode="after")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if name not in BLOCKS:
                close = nearest(name, BLOCKS)
                raise ValueError(f"unknown block {name!r}{close}; known are {', '.join(BLOCKS)}")
        return value


class HeadChoices(_Choices):
    """Stride of the prediction and how it grows to 480x640."""

    stride: Annotated[tuple[Literal[1, 2, 4, 8], ...], Field(min_length=1)]
    upsampling: Annotated[tuple[HeadUpsampling, ...], Field(min_length=1)] = get_args(Upsampling)


class SpaceDefinition(_Strict):
    """A whole search space as its YAML spells it."""

    name: Annotated[str, Field(pattern=r"^[\w.-]+$")]
    description: str = ""
    input: InputChoices
    encoder: EncoderChoices
    decoder: DecoderChoices
    head: HeadChoices
