"""GPU packs: one YAML file of coefficients for the delegate's kernels and for whole networks."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from nasdepth.errors import TableError
from nasdepth.files import write_text
from nasdepth.latency.card import DeviceSetting, Validation
from nasdepth.latency.kernels import Kernel
from nasdepth.packs.card import CrossValidation, Source
from nasdepth.packs.gpu.delegate import load_delegates
from nasdepth.packs.gpu.terms import FORMS

MODEL = "gpu-delegate"
_DIGITS = 5

_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FormFit(_Strict):
    """What one of the delegate's kernels takes on a device.

    Attributes:
        operations: published ones that it was fitted to; 0 for a physical prior.
        relative_sd: of one operation's time, on models left out.
        sizes: {dimension: (lowest, highest)} of those operations; see `nasdepth.packs.gpu.model.DIMENSIONS`.
        ms: {term: coefficient}, in ms of the term's amount.
    """

    operations: Annotated[int, Field(ge=0)]
    relative_sd: _Positive
    sizes: dict[str, tuple[_NotNegative, _NotNegative]] = {}
    ms: dict[str, _Positive]


class NetworkFit(_Strict):
    """From kernels to a network: base_ms + kernel_ms * kernels + sum of factor * (time of a group's kernels).

    Attributes:
        networks: measured ones that it was fitted to.
        base_ms: of a call: uploading the image, starting the queue, waiting for it, reading the result.
        kernel_ms: of every kernel, beside its own time.
        factors: {group of kernels: its time in a network over what profiling says}.
        covariance: of base_ms, kernel_ms and the factors: lower triangle, row by row.
        relative_sd, absolute_sd_ms: of a network, beside what its kernels' errors explain.
        sd_factor: makes nine in ten of left-out networks fall into their 90 % interval.
        validation: errors on whole networks that were left out; None where none were.
    """

    networks: Annotated[int, Field(ge=1)]
    base_ms: _NotNegative
    kernel_ms: _NotNegative
    factors: dict[str, _NotNegative]
    covariance: tuple[tuple[float, ...], ...]
    relative_sd: _NotNegative
    absolute_sd_ms: _NotNegative
    sd_factor: _Positive
    validation: CrossValidation | None = None


class Agreement(_Strict):
    """On single operations of models that were left out.

    Attributes:
        operations: how many.
        within_10_percent, within_20_percent: share of them.
        kernel_choice_percent: share of convolutions and fully connected layers whose kernel the delegate's
            rules name as its profiler did.
    """

    operations: Annotated[int, Field(ge=1)]
    within_10_percent: _NotNegative
    within_20_percent: _NotNegative
    kernel_choice_percent: _NotNegative


class GpuPackCard(DeviceSetting):
    """A pack of a GPU under TFLite's delegate.

    Attributes:
        kind: always `calibrated`: no kernel was measured here.
        model: says which code reads the card.
        family: of the GPU, in `delegate.yaml`.
        latency: what the published times are.
        sources: of the figures that it was fitted to, and of the delegate's rules.
        forms: by kernel of the delegate.
        network: from kernels to networks.
        operations: errors on single operations that were left out; None where none were.
    """

    kind: Literal["calibrated"] = "calibrated"
    model: Literal["gpu-delegate"] = MODEL
    family: str
    latency: str = "mean"
    sources: tuple[Source, ...]
    forms: dict[str, FormFit]
    network: NetworkFit
    operations: Agreement | None = None

    @field_validator("family")
    @classmethod
    def _known_family(cls, family: str) -> str:
        if family not in load_delegates():
            raise ValueError(f"must be one of {', '.join(load_delegates())}")
        return family

    @field_validator("forms")
    @classmethod
    def _known_forms(cls, forms: dict[str, FormFit]) -> dict[str, FormFit]:
        if missing := [name for name in FORMS if name not in forms]:
            raise ValueError(f"has no {missing[0]!r}")
        for name, form in forms.items():
            if name not in FORMS:
                raise ValueError(f"{name!r} must be one of {', '.join(FORMS)}")
            if unknown := [term for term in form.ms if term not in FORMS[name].terms]:
                raise ValueError(f"{name}.ms: {unknown[0]!r} is no term of it")
        return forms

    @property
    def validation(self) -> Validation | None:
        """Figures of the ten folds."""
        return self.network.validation.folds if self.network.validation else None

    @property
    def checks(self) -> dict[str, CrossValidation]:
        """What was checked, by precision."""
        return {"float32": self.network.validation} if self.network.validation else {}

    @property
    def precisions(self) -> tuple[str, ...]:
        """Of the models that it knows; the delegate computes them in half precision."""
        return ("float32",)

    @property
    def terms(self) -> int:
        """Number of coefficients."""
        return sum(len(form.ms) for form in self.forms.values()) + 2 + len(self.network.factors)


@dataclass(frozen=True)
class GpuPack:
    """A card with its name; what a `LatencyTable` is to measured kernels.

    Attributes:
        name: of the file.
        card: coefficients and all else.
        rejected: empty: what the delegate refuses, the rules of the runtime `gpu` say.
    """

    name: str
    card: GpuPackCard
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

    @staticmethod
    def is_one(path: Path) -> bool:
        """Whether a YAML file calls itself a GPU pack."""
        try:
            return f"\nmodel: {MODEL}\n" in path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            return False

    @classmethod
    def load(cls, path: str | Path) -> GpuPack:
        """Read a pack.

        Raises:
            TableError: missing, or wrong in a field; the message names it.
        """
        path = Path(path)
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
            raise TableError(f"{path}: cannot be read as a device pack ({error}); restore it") from None
        if not isinstance(content, dict) or content.get("model") != MODEL:
            raise TableError(f"{path}: expected a GPU pack, with a field 'model: {MODEL}'")
        try:
            return cls(path.stem, GpuPackCard(**content))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            value = "" if first["type"] in ("missing", "value_error") else f" is {first['input']!r}"
            raise TableError(f"{path}: {where}{value}: {first['msg'].lower()}") from None


class _Compact(yaml.SafeDumper):
    """Numbers of a list on one line."""


def _flow(dumper: yaml.SafeDumper, value: list) -> yaml.Node:
    plain = all(isinstance(one, (int, float)) for one in value)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", value, flow_style=plain)


_Compact.add_representer(list, _flow)


def digits(value: float) -> float:
    """As a card has a coefficient."""
    return float(f"{float(value):.{_DIGITS}g}")
