"""What is known of a phone's GPU before a pack is fitted to it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import yaml

from nasdepth.errors import TableError

_PRIORS = Path(__file__).with_name("priors.yaml")


@dataclass(frozen=True)
class GpuPrior:
    """Of one phone.

    Attributes:
        name: of the phone's columns in published files.
        family: of its GPU, in `delegate.yaml`.
        setting: fields of a device card.
    """

    name: str
    family: str
    setting: dict[str, str | int]


@lru_cache
def gpu_priors() -> dict[str, GpuPrior]:
    """All that ship, by name."""
    content = yaml.safe_load(_PRIORS.read_text(encoding="utf-8"))
    return {name: GpuPrior(name, **fields) for name, fields in content.items()}


def read_gpu_prior(name: str) -> GpuPrior:
    """A prior by name.

    Raises:
        TableError: no such prior; the message lists them.
    """
    if name not in gpu_priors():
        raise TableError(f"{name!r} is no prior of a GPU; there are {', '.join(gpu_priors())}")
    return gpu_priors()[name]
