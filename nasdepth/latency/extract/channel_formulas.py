"""Amounts: the numbers of channels inside a piece, as functions of those that the piece is given.

A piece is traced once with channels that are told apart by their digits (`symbols`), so that what stands in a
kernel says of which channels it is the sum or fraction. Most are exactly that. Others are rounded, as in
squeeze-and-excite or behind an expansion of 3.67; which rounding it is shows where the piece is traced at
ordinary channels, and if several roundings agree there, where they differ.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial

from timm.layers import make_divisible

Channels = tuple[int, ...]

_BASE = 256  # of the digits that channels are told apart by; a multiple of 8, so that rounding keeps it
_UNIT = 16  # what a digit counts: sixteenths of a number of channels
# Less than that is a constant
SMALLEST = 64
# Published expansions have two decimals, reductions are by 24 at most
_DENOMINATOR = 100
_MOST = 64
_ROUNDED_BY = 16
_ROUNDINGS: dict[str, Callable[[float], int]] = {
    "multiple of 8": partial(make_divisible, divisor=8),
    "multiple of 4": partial(make_divisible, divisor=4),
    "multiple of 16": partial(make_divisible, divisor=16),
    "nearest": round,
    "down": math.floor,
    "up": math.ceil,
    "down, at least 8": lambda value: max(math.floor(value), 8),
}
# Where roundings are looked for that differ; not odd, there some pieces run other kernels
_SCANNED = (*range(8, 1025, 8), *range(4, 256, 8))


class Rounded(Exception):
    """An amount would be a fraction, or 1, where another kernel runs."""


@dataclass(frozen=True, slots=True)
class Exact:
    """`constant` + sum of factor / `_UNIT` * channels[index] over `terms`."""

    constant: int
    terms: tuple[tuple[int, int], ...]

    def at(self, known: Sequence[int]) -> int:
        """The amount, where the channels that the piece is given, then the amounts before this one are known.

        Raises:
            Rounded: see there.
        """
        if not self.terms:
            return self.constant
        whole, rest = divmod(sum(factor * known[index] for index, factor in self.terms), _UNIT)
        if rest or self.constant + whole == 1:
            raise Rounded
        return self.constant + whole


@dataclass(frozen=True, slots=True)
class Scaled:
    """`ratio` * known[of], rounded."""

    of: int
    ratio: float
    rounding: str

    def at(self, known: Sequence[int]) -> int:
        """As `Exact.at`."""
        value = _ROUNDINGS[self.rounding](known[self.of] * self.ratio)
        if value == 1:
            raise Rounded
        return value


Amount = Exact | Scaled


def symbols(equal: Sequence[int]) -> Channels:
    """Channels to trace a piece with, of which those at the same index in `equal` are equal.

    The first, which is what expansions multiply, has the most digits.
    """
    return tuple(_UNIT * _BASE ** (len(equal) - index) for index in equal)


def evaluate(amounts: Sequence[Amount], channels: Channels) -> list[int]:
    """The channels, then the amounts in order.

    Raises:
        Rounded: see there.
    """
    known = list(channels)
    for amount in amounts:
        known.append(amount.at(known))
    return known


def distinct(amounts: Sequence[Amount], given: int) -> tuple[tuple[Amount, ...], list[int]]:
    """Amounts without those that are a channel or another amount.

    Returns:
        Those that are left, and where each channel and each of all amounts stands among channels and them.
    """
    places = list(range(given))
    known: dict[Amount, int] = {Exact(0, ((index, _UNIT),)): index for index in range(given)}
    for amount in amounts:
        if isinstance(amount, Scaled):
            amount = replace(amount, of=places[amount.of])
        places.append(known.setdefault(amount, len(known)))
    return tuple(known)[given:], places


def fit(
    traced: Sequence[int],
    equal: Sequence[int],
    probes: Sequence[tuple[Channels, Sequence[int]]],
    more: Sequence[Channels],
    probe: Callable[[Channels], Sequence[int] | None],
) -> tuple[Amount, ...] | None:
    """The amounts that were `traced` at `symbols(equal)`.

    Args:
        probes: channels and what the amounts are there.
        more: channels to look at as well where an amount is rounded.
        probe: what the amounts are at other channels; None where the piece does not run as it was traced.

    Returns:
        None where an amount is no function that is known here.
    """
    given = symbols(equal)
    amounts: list[Amount] = []
    probes, looked = list(probes), False

    def look(channels: Channels) -> None:
        if (values := probe(channels)) is not None:
            probes.append((channels, values))

    for index, value in enumerate(traced):
        exact = _exact(value, len(given))
        if all(_is(exact, channels, values, index) for channels, values in probes):
            amounts.append(exact)
            continue
        if not looked:
            looked = True
            for channels in more:
                look(tuple(channels[one] for one in equal))
        seen = (*given, *traced[:index])
        rivals = [
            one
            for one in _scaled(value, seen)
            if all(_is(one, channels, values, index) for channels, values in probes)
        ]
        tried: set[Channels] = set()
        while rivals and (channels := _where_they_differ(rivals, amounts, equal, tried)):
            tried.add(channels)
            look(channels)
            rivals = [one for one in rivals if _is(one, *probes[-1], index)]
        if not rivals:
            return None
        amounts.append(rivals[0])
    return tuple(amounts)


def _is(amount: Amount, channels: Channels, values: Sequence[int], index: int) -> bool:
    try:
        return amount.at((*channels, *values[:index])) == values[index]
    except Rounded:
        return False


def _exact(value: int, count: int) -> Exact:
    value, constant = divmod(value, _BASE)
    terms = []
    for index in reversed(range(count)):
        value, factor = divmod(value, _BASE)
        if factor:
            terms.append((index, factor))
    return Exact(constant, tuple(terms))


def _scaled(value: int, seen: Sequence[int]) -> Iterator[Scaled]:
    for of, base in enumerate(seen):
        if base * _MOST < value or value * _MOST < base or base in seen[:of]:
            continue
        ratio = Fraction(value, base).limit_denominator(_DENOMINATOR)
        if abs(ratio * base - value) < _ROUNDED_BY:
            for rounding in _ROUNDINGS:
                yield Scaled(of, float(ratio), rounding)


def _where_they_differ(
    rivals: Sequence[Scaled], before: Sequence[Amount], equal: Sequence[int], tried: set[Channels]
) -> Channels | None:
    for size in _SCANNED:
        channels = tuple(size + 8 * index for index in equal)
        try:
            known = evaluate(before, channels)
            differ = len({one.at(known) for one in rivals}) > 1
        except Rounded:
            continue
        if differ and channels not in tried:
            return channels
    return None
