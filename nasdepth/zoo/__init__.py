"""Named designs: published networks, and our own yardsticks, as architectures with their facts."""

from __future__ import annotations

from functools import lru_cache

from nasdepth.architecture import Architecture
from nasdepth.errors import SpaceError
from nasdepth.zoo import challenge_2021, challenge_2022, yardsticks
from nasdepth.zoo.design import Design, Published

__all__ = [
    "Design",
    "Published",
    "designs",
    "get_design",
    "name_of",
    "named_designs",
    "recipes_of",
    "resolve",
]


@lru_cache
def designs() -> dict[str, Design]:
    """Every named design with its facts, by name."""
    listed = [*challenge_2022.DESIGNS, *challenge_2021.DESIGNS, *yardsticks.DESIGNS]
    found = {design.name: design for design in listed}
    if len(found) != len(listed):
        raise ValueError("two designs have one name")
    return found


def get_design(name: str) -> Design:
    """Look a design up.

    Raises:
        SpaceError: no such design; the message lists the names.
    """
    try:
        return designs()[name]
    except KeyError:
        raise SpaceError(f"{name!r} is no named design; they are {', '.join(designs())}") from None


def named_designs() -> dict[str, Architecture]:
    """The architecture of every named design."""
    return {name: design.architecture for name, design in designs().items()}


def resolve(name_or_text: str) -> Architecture:
    """Read an architecture as users type it: the name of a design, or the string form.

    Raises:
        SpaceError: neither; the message lists the names.
    """
    if name_or_text in designs():
        return designs()[name_or_text].architecture
    if "," not in name_or_text:
        raise SpaceError(
            f"{name_or_text!r} is no named design ({', '.join(designs())}) and no architecture string"
        )
    return Architecture.parse(name_or_text)


def name_of(architecture: Architecture) -> str | None:
    """The name of a design that is this graph, if there is one."""
    return _names().get(architecture)


def recipes_of(architecture: Architecture) -> tuple[str, ...]:
    """The recipes by which the authors of a design that is this graph trained it, the main one first."""
    name = name_of(architecture)
    return designs()[name].recipes if name else ()


@lru_cache
def _names() -> dict[Architecture, str]:
    return {design.architecture: name for name, design in designs().items()}
