"""GPU packs: one YAML file of coefficients for the delegate's kernels and for whole networks."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from nasdepth.latency.accuracy import CrossValidation, NotNegative, Positive, Strict, Validation
from nasdepth.latency.predict.card import DeviceSetting
from nasdepth.latency.predict.table import CardFile
from nasdepth.packs.gpu.delegate import load_delegates
from nasdepth.packs.gpu.terms import FORMS
from nasdepth.packs.source import Source

MODEL: Literal["gpu-delegate"] = "gpu-delegate"


class FormFit(Strict):
    """What one of the delegate's kernels takes on a device.

    Attributes:
        operations: published ones that it was fitted to; 0 for a physical prior.
        relative_sd: of one operation's time, on models left out.
        sizes: {dimension: (lowest, highest)} of those operations; see `DIMENSIONS` in
            `nasdepth.packs.gpu.operation_times`.
        ms: {term: coefficient}, in ms of the term's amount.
    """

    operations: Annotated[int, Field(ge=0)]
    relative_sd: Positive
    sizes: dict[str, tuple[NotNegative, NotNegative]] = Field(default_factory=dict)
    ms: dict[str, Positive]


class NetworkFit(Strict):
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
    base_ms: NotNegative
    kernel_ms: NotNegative
    factors: dict[str, NotNegative]
    covariance: tuple[tuple[float, ...], ...]
    relative_sd: NotNegative
    absolute_sd_ms: NotNegative
    sd_factor: Positive
    validation: CrossValidation | None = None


class Agreement(Strict):
    """On single operations of models that were left out.

    Attributes:
        operations: how many.
        within_10_percent, within_20_percent: share of them.
        kernel_choice_percent: share of convolutions and fully connected layers whose kernel the delegate's
            rules name as its profiler did.
    """

    operations: Annotated[int, Field(ge=1)]
    within_10_percent: NotNegative
    within_20_percent: NotNegative
    kernel_choice_percent: NotNegative


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

    def figures(self) -> Validation | None:
        return self.validation

    @property
    def checks(self) -> dict[str, CrossValidation]:
        """What was checked, by precision."""
        return {"float32": self.network.validation} if self.network.validation else {}

    @property
    def terms(self) -> int:
        """Number of coefficients."""
        return sum(len(form.ms) for form in self.forms.values()) + 2 + len(self.network.factors)


# A device pack of a GPU; what the delegate refuses, the rules of the runtime `gpu` say
GpuPack = CardFile[GpuPackCard]
