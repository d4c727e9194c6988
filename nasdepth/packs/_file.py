"""What both kinds of device packs share: a card in one YAML file, read strictly and written whole."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from nasdepth.errors import TableError
from nasdepth.files import write_text
from nasdepth.kernels.kernel import Kernel
from nasdepth.latency.predict.card import DeviceSetting

_DIGITS = 5

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Strict(BaseModel):
    """Frozen, and refuses fields that it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True)
class PackFile[Card: DeviceSetting]:
    """A card with its name; what a `LatencyTable` is to measured kernels.

    Attributes:
        name: of the file.
        card: coefficients and all else.
        rejected: empty: a pack lists no kernel that its device refuses.
    """

    name: str
    card: Card
    rejected: Mapping[Kernel, str] = field(default_factory=dict)

    @cached_property
    def fingerprint(self) -> str:
        """12 hex digits that change with any figure."""
        return hashlib.sha256(self.to_yaml().encode()).hexdigest()[:12]

    def to_yaml(self) -> str:
        """The card as YAML text."""
        content = self.card.model_dump(mode="json")
        return yaml.dump(content, Dumper=_Compact, sort_keys=False, width=110, allow_unicode=True)

    def save(self, path: str | Path) -> Path:
        """Write the card, whole or not at all; returns its path.

        Raises:
            NasdepthError: cannot be written; what was there before is untouched.
        """
        write_text(path, self.to_yaml())
        return Path(path)


def read_card[Card: DeviceSetting](path: Path, kind: type[Card], marker: tuple[str, str], what: str) -> Card:
    """A pack's card.

    Args:
        path: of the YAML file.
        kind: of the card.
        marker: field and value by which such a file is known.
        what: such a file is called.

    Raises:
        TableError: missing, another kind of file, or wrong in a field; the message names it.
    """
    try:
        content: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise TableError(f"{path}: cannot be read as a device pack ({error}); restore it") from None
    name, value = marker
    if not isinstance(content, dict) or content.get(name) != value:
        raise TableError(f"{path}: expected a {what}, with a field '{name}: {value}'")
    try:
        return kind(**content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        given = "" if first["type"] in ("missing", "value_error") else f" is {first['input']!r}"
        raise TableError(f"{path}: {where}{given}: {first['msg'].lower()}") from None


def digits(value: float) -> float:
    """As a card has a coefficient."""
    return float(f"{float(value):.{_DIGITS}g}")


class _Compact(yaml.SafeDumper):
    """Numbers of a list, and one coefficient, on one line."""


def _flow(dumper: yaml.SafeDumper, value: list) -> yaml.Node:
    plain = all(isinstance(one, (int, float)) for one in value)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", value, flow_style=plain)


def _flow_mapping(dumper: yaml.SafeDumper, value: dict) -> yaml.Node:
    return dumper.represent_mapping("tag:yaml.org,2002:map", value, flow_style="prior_ms" in value)


_Compact.add_representer(list, _flow)
_Compact.add_representer(dict, _flow_mapping)
