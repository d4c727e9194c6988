"""Device cards: what a latency table was measured on, and how far it can be trusted."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from nasdepth.errors import TableError

SCHEMA_VERSION = 1

_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_Percent = Annotated[float, Field(allow_inf_nan=False)]


class Validation(BaseModel):
    """Error on whole models, each predicted with the scale of the others (leave one out).

    Attributes:
        models: how many were measured.
        mape_percent, bias_percent: mean absolute and mean signed error, of the measured latency.
        within_5_percent, within_10_percent, within_15_percent: share of the models, in percent.
        spearman: rank correlation.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    models: Annotated[int, Field(ge=1)]
    mape_percent: _NotNegative
    bias_percent: _Percent
    within_5_percent: _Percent
    within_10_percent: _Percent
    within_15_percent: _Percent
    spearman: Annotated[float, Field(ge=-1, le=1)]


class DeviceCard(BaseModel):
    """The YAML file beside a table.

    Attributes:
        device to governor, pinned, gpu: see `nasdepth.devices.DeviceInfo`.
        date: of the build.
        kind: `measured` on the device, or `calibrated` from another one's table.
        space: the search space whose kernels were measured.
        kernels: rows of the table; tells a table that lost its end.
        overhead_ms: of one call of the interpreter, taken off every row.
        scale: a network's latency over the sum of its rows and the overhead; 1 until validated.
        validation: None where no whole model was measured.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[1] = SCHEMA_VERSION
    device: str
    soc: str
    architecture: str
    cores: Annotated[int, Field(ge=1)]
    threads: Annotated[int, Field(ge=1)]
    runtime: str
    runtime_version: str
    delegate: str
    os: str
    os_bits: Literal[32, 64]
    governor: str
    pinned: str = ""
    gpu: str = ""
    date: datetime.date
    kind: Literal["measured", "calibrated"]
    space: str
    kernels: Annotated[int, Field(ge=1)]
    overhead_ms: _NotNegative
    scale: _Positive = 1.0
    validation: Validation | None = None

    def to_yaml(self) -> str:
        """The card as YAML text."""
        return yaml.safe_dump(self.model_dump(), sort_keys=False)

    @classmethod
    def read(cls, path: Path) -> DeviceCard:
        """Read a card.

        Raises:
            TableError: missing, or wrong in a field; the message names it.
        """
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise TableError(
                f"{path}: the table's device card cannot be read ({error.strerror}); without it the times "
                "mean nothing. Copy it from where the table came from, or build the table again."
            ) from None
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise TableError(f"{path}: not YAML ({error}); restore it or build the table again") from None
        if not isinstance(content, dict):
            raise TableError(f"{path}: expected fields such as 'device: ...'; restore it or build again")
        if (version := content.get("schema_version")) != SCHEMA_VERSION:
            raise TableError(
                f"{path}: schema_version is {version!r}, this nasdepth reads {SCHEMA_VERSION}; build the "
                "table again with `nasdepth latency build`"
            )
        try:
            return cls(**content)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(map(str, first["loc"]))
            value = "" if first["type"] == "missing" else f" is {first['input']!r}"
            raise TableError(f"{path}: {field}{value}: {first['msg'].lower()}") from None
