"""Published networks by family: what is built alike, and left out together to see how far a fit carries."""

from __future__ import annotations

import re
from collections.abc import Sequence

# A name is of the first family whose pattern it begins with
_FAMILIES = {
    "squeezenet": r"squeeze(res)?net",
    "resnext, resnetbc": r"(se)?res(next|netbc)",
    "resnet": r"(pre|se|sepre)?resnet|diracnet",
    "regnet": r"regnet",
    "mobilenet v1": r"(fd)?mobilenetb?_",
    "mobilenet v2": r"mobilenetv2",
    "mobilenet v3": r"mobilenetv3|ghostnet",
    "mnasnet, proxylessnas": r"mnasnet|proxylessnas|fbnet|spnasnet",
    "efficientnet": r"efficientnet",
    "densenet": r"densenet|peleenet",
}


def family_of(model: str) -> str:
    """The family of a published model: networks that are built alike; its own name where none is known."""
    return next((family for family, pattern in _FAMILIES.items() if re.match(pattern, model)), model)


def names_by_family(names: Sequence[str]) -> dict[str, list[str]]:
    """Names by family."""
    parts: dict[str, list[str]] = {}
    for name in names:
        parts.setdefault(family_of(name), []).append(name)
    return parts
