"""Device cards: what a latency table was measured on, and how far it can be trusted."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from nasdepth.devices import DeviceInfo
from nasdepth.errors import TableError

SCHEMA_VERSION = 2

# What times depend on; host name, kernel release and date may change
SETTING = (
    "soc",
    "architecture",
    "cores",
    "threads",
    "runtime",
    "runtime_version",
    "delegate",
    "os_bits",
    "governor",
    "pinned",
    "gpu",
)

_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_Percent = Annotated[float, Field(allow_inf_nan=False)]


class Validation(BaseModel):
    """Error on whole models that the table and its calibration never saw.

    Attributes:
        date: when they were measured.
        models: how many.
        mape_percent, bias_percent: mean absolute and mean signed error, of the measured latency.
        within_5_percent, within_10_percent, within_15_percent: share of the models, in percent.
        spearman: rank correlation.
        interval_90_coverage_percent: share of the models inside their 90 % interval.
        drift: how many times slower reference networks ran than when the table was built, in the median; each
            measured latency was divided by that of its own passes.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    date: datetime.date
    models: Annotated[int, Field(ge=1)]
    mape_percent: _NotNegative
    bias_percent: _Percent
    within_5_percent: _Percent
    within_10_percent: _Percent
    within_15_percent: _Percent
    spearman: Annotated[float, Field(ge=-1, le=1)]
    interval_90_coverage_percent: _Percent
    drift: _Positive = 1.0


class Calibration(BaseModel):
    """From a sum of kernels to a network's latency; see `nasdepth.latency.predict.calibration`.

    Attributes:
        networks: how many were measured for it.
        factors: {group of kernels: a network's time over the table's}.
        default_factor: of groups that those networks do not have.
        cold: {group: what cold caches add to a convolution, over its time up to `cold_ms_per_tap` times the
            multiplications of one output value}; a network that moves `half_cold_bytes` feels half of it.
        base_ms, partition_ms: of every call, and of every switch between delegate and built-in kernels.
        relative_sd: of a network, beside what the kernels' own errors explain.
        sd_factor: makes nine in ten of the left-out networks fall into their 90 % interval.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    networks: Annotated[int, Field(ge=1)]
    factors: dict[str, _Positive]
    default_factor: _Positive
    cold: dict[str, _NotNegative] = {}
    cold_ms_per_tap: _NotNegative = 0.0
    half_cold_bytes: _NotNegative = 0.0
    base_ms: _NotNegative
    partition_ms: _NotNegative
    relative_sd: _Positive
    sd_factor: _Positive


class DeviceSetting(BaseModel):
    """What every card says of a device and its setting.

    Attributes:
        device to governor, pinned, gpu: see `nasdepth.devices.DeviceInfo`.
        date: of the build.
        kind: `measured` on the device, or `calibrated` on whole networks measured on it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[2] = SCHEMA_VERSION
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

    def require_same(
        self, other: DeviceSetting | DeviceInfo, table: str, other_name: str = "the device"
    ) -> None:
        """Refuse what was measured on another device or under another setting.

        Raises:
            TableError: the message names the field and both values.
        """
        for field in SETTING:
            here, there = getattr(self, field), getattr(other, field)
            if here != there and not (field == "soc" and _may_be_one(here, there)):
                raise TableError(
                    f"table {table} was measured with {field} {here!r}, but {other_name} has {there!r}; "
                    "times of one say nothing about the other. Use that setting, or another table (--name, "
                    "--table)"
                )


def _may_be_one(soc: str, other: str) -> bool:
    """Whether one of two names of x86 processors only lacks family and model, as those of old cards do."""
    return soc == other.partition(" (family ")[0] or other == soc.partition(" (family ")[0]


class DeviceCard(DeviceSetting):
    """The YAML file beside a table.

    Attributes:
        space: the search space whose kernels were measured.
        kernels: rows of the table; tells a table that lost its end.
        overhead_ms: of one call of the interpreter with nothing to do; no row contains it.
        reference_ms: reference kernels and networks, as they usually ran during the build, by name.
        calibration: None where no network was measured for it; then times are added up as they are.
        validation: None where no whole model was measured.
    """

    space: str
    kernels: Annotated[int, Field(ge=1)]
    overhead_ms: _NotNegative
    reference_ms: dict[str, _Positive] = {}
    calibration: Calibration | None = None
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
