"""Cards: what a latency table or a device pack was measured on, and how far it can be trusted.

A card is a YAML file. Its field `model`, or `kind` where it has none, says of which type it is: measured
tables have a `DeviceCard`, packs have types of their own. `parse_card` reads all of them and `to_yaml`
writes them.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import yaml
from pydantic import Field, ValidationError

from nasdepth.devices import DeviceInfo
from nasdepth.errors import TableError
from nasdepth.latency.accuracy import NotNegative, Positive, Strict, Validation

SCHEMA_VERSION: Literal[2] = 2

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


class Calibration(Strict):
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

    networks: Annotated[int, Field(ge=1)]
    factors: dict[str, Positive]
    default_factor: Positive
    cold: dict[str, NotNegative] = Field(default_factory=dict)
    cold_ms_per_tap: NotNegative = 0.0
    half_cold_bytes: NotNegative = 0.0
    base_ms: NotNegative
    partition_ms: NotNegative
    relative_sd: Positive
    sd_factor: Positive


class TransferNote(Strict):
    """What of a table stands on measurements of other devices; see `nasdepth.latency.predict.transfer`.

    Attributes:
        tables: names of the tables and packs that it was transferred from.
        rows: of the table, how many are transferred; they have 0 runs.
        time_share_percent: of the time of the networks of the validation, what stands on transferred rows.
    """

    tables: Annotated[list[str], Field(min_length=1)]
    rows: Annotated[int, Field(ge=1)]
    time_share_percent: NotNegative | None = None


class DeviceSetting(Strict):
    """What every card says of a device and its setting.

    Attributes:
        device to governor, pinned, gpu: see `nasdepth.devices.DeviceInfo`.
        date: of the build.
        kind: `measured` on the device, or `calibrated` on whole networks measured on it.
    """

    # Dates are YAML dates in cards of measured tables and text in others: fingerprints hold both to it
    dump_mode: ClassVar[Literal["python", "json"]] = "json"

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

    @property
    def terms(self) -> int:
        """Number of fitted coefficients of a kernel's time."""
        return 0

    def known_precisions(self) -> list[str]:
        """Precisions of the kernels that the card's coefficients answer for, sorted."""
        return ["float32"]

    def figures(self) -> Validation | None:
        """Errors on models that the table or pack was not fitted to; None where nobody looked."""
        return None

    def to_yaml(self) -> str:
        """The card as YAML text."""
        content = self.model_dump(mode=self.dump_mode)
        if content.get("transfer", self) is None:
            del content["transfer"]
        return yaml.dump(content, Dumper=_Compact, sort_keys=False, width=110, allow_unicode=True)

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
                    "times of one say nothing about the other. Use that setting, or another table (`name`, "
                    "`table`)"
                )


def _may_be_one(soc: str, other: str) -> bool:
    """Whether one of two names of x86 processors only lacks family and model, as those of old cards do."""
    return soc == other.partition(" (family ")[0] or other == soc.partition(" (family ")[0]


class DeviceCard(DeviceSetting):
    """The YAML file beside a table.

    Attributes:
        space: the search space whose kernels were measured.
        kernels: rows of the table, transferred ones included; tells a table that lost its end.
        overhead_ms: of one call of the interpreter with nothing to do; no row contains it.
        reference_ms: reference kernels and networks, as they usually ran during the build, by name.
        transfer: None where every row was measured.
        calibration: None where no network was measured for it; then times are added up as they are.
        validation: None where no whole model was measured.
    """

    dump_mode: ClassVar[Literal["python", "json"]] = "python"

    space: str
    kernels: Annotated[int, Field(ge=1)]
    overhead_ms: NotNegative
    reference_ms: dict[str, Positive] = Field(default_factory=dict)
    transfer: TransferNote | None = None
    calibration: Calibration | None = None
    validation: Validation | None = None

    def figures(self) -> Validation | None:
        return self.validation


def read_card(path: Path) -> dict[str, Any]:
    """Read the fields of any card, without looking at them.

    Raises:
        TableError: the file is missing or no YAML of fields; the message names it.
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
    return content


def parse_card[Card: DeviceSetting](path: Path, content: Mapping[str, Any], card_type: type[Card]) -> Card:
    """Check the fields of a card.

    Args:
        path: of the file, for messages.
        content: what `read_card` read.
        card_type: what the card is to be.

    Raises:
        TableError: a field is missing or wrong; the message names file, field and value.
    """
    if (version := content.get("schema_version")) != SCHEMA_VERSION:
        raise TableError(
            f"{path}: schema_version is {version!r}, this nasdepth reads {SCHEMA_VERSION}; build the "
            "table again with `nasdepth latency build`"
        )
    try:
        return card_type(**content)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        value = "" if first["type"] in ("missing", "value_error") else f" is {first['input']!r}"
        raise TableError(f"{path}: {field}{value}: {first['msg'].lower()}") from None


def with_five_digits(value: float) -> float:
    """A coefficient as cards of packs have it."""
    return float(f"{float(value):.5g}")


class _Compact(yaml.SafeDumper):
    """Numbers of a list, and one coefficient, on one line."""


def _flow(dumper: yaml.SafeDumper, value: list) -> yaml.Node:
    plain = all(isinstance(one, (int, float)) for one in value)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", value, flow_style=plain)


def _flow_mapping(dumper: yaml.SafeDumper, value: dict) -> yaml.Node:
    return dumper.represent_mapping("tag:yaml.org,2002:map", value, flow_style="prior_ms" in value)


_Compact.add_representer(list, _flow)
_Compact.add_representer(dict, _flow_mapping)
