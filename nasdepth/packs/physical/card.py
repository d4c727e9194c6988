"""Pack cards: a device pack as one YAML file: coefficients, where they come from, how far to trust them."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import Field, field_validator, model_validator

from nasdepth.latency.accuracy import CrossValidation, NotNegative, Positive, Strict, Validation
from nasdepth.latency.predict.card import DeviceSetting, with_five_digits
from nasdepth.latency.predict.table import CardFile
from nasdepth.packs.physical.coefficients import LEFT_OF_VARIANCE, Belief, Roofline
from nasdepth.packs.physical.terms import TERMS
from nasdepth.packs.source import Source

Precision = Literal["float32", "int8"]
MODEL: Literal["physical-terms"] = "physical-terms"


class Coefficient(Strict):
    """Of one term.

    Attributes:
        ms: of the term's unit.
        relative_sd: of the coefficient.
        prior_ms: what the prior said.
        prior_sd: relative sd of it before any network was measured. None in packs that were written before
            0.3; there, what is not anchored has kept it.
        anchored: whether measured networks inform the term: at most half of the variance before is left.
            What is not anchored counts as unknown.
        shares: lowest and highest share of a measured network's time.
    """

    ms: Positive
    relative_sd: NotNegative
    prior_ms: Positive
    prior_sd: Positive | None = None
    anchored: bool
    shares: tuple[float, float]


class Fit(Strict):
    """Coefficients of one precision.

    Attributes:
        networks: measured ones that it was fitted to, in this and earlier fits.
        peak_gflops, bandwidth_gb_s: the roofline.
        noise: relative sd of a network beside its coefficients' errors.
        novelty_sd: relative sd of a network that has nothing in common with the measured ones.
        sd_factor: see `nasdepth.latency.predict.card.Calibration`.
        terms: by name.
        covariance: of the coefficients' logarithms: lower triangle, row by row, in the order of `terms`.
        validation: None where nothing was left out.
    """

    networks: Annotated[int, Field(ge=0)]
    peak_gflops: Positive
    bandwidth_gb_s: Positive
    noise: Positive
    novelty_sd: NotNegative
    sd_factor: Positive
    terms: dict[str, Coefficient]
    covariance: tuple[tuple[float, ...], ...]
    validation: CrossValidation | None = None

    @field_validator("terms")
    @classmethod
    def _known_terms(cls, terms: dict[str, Coefficient]) -> dict[str, Coefficient]:
        if unknown := [name for name in terms if name not in TERMS]:
            raise ValueError(f"{unknown[0]!r} is no term known here; get a newer nasdepth")
        return terms

    @model_validator(mode="after")
    def _lower_triangle(self) -> Self:
        count = len(self.terms)
        if [len(row) for row in self.covariance] != list(range(1, count + 1)):
            raise ValueError(
                f"covariance: expected the lower triangle of {count} terms, "
                f"a row of 1 to {count} numbers each"
            )
        return self

    @classmethod
    def of(cls, belief: Belief, prior: Belief, networks: int, **more: Any) -> Fit:
        """A belief as a card has it, with five digits."""
        sd = np.sqrt(np.diag(belief.covariance))
        terms = {}
        for index, name in enumerate(belief.terms):
            low, high = belief.shares.get(name, (0.0, 0.0))
            terms[name] = Coefficient(
                ms=with_five_digits(np.exp(belief.mean[index])),
                relative_sd=with_five_digits(sd[index]),
                prior_ms=with_five_digits(np.exp(prior.mean[index])),
                prior_sd=with_five_digits(belief.unmeasured_sd[index]),
                anchored=name in belief.anchored,
                shares=(round(low, 4), round(high, 4)),
            )
        return cls(
            networks=networks,
            peak_gflops=belief.roofline.gflops,
            bandwidth_gb_s=belief.roofline.bandwidth_gb_s,
            noise=with_five_digits(belief.noise),
            novelty_sd=with_five_digits(belief.novelty_sd),
            sd_factor=with_five_digits(belief.sd_factor),
            terms=terms,
            covariance=tuple(
                tuple(with_five_digits(value) for value in row[: index + 1])
                for index, row in enumerate(belief.covariance)
            ),
            **more,
        )

    def belief(self) -> Belief:
        """What `of` was given."""
        count = len(self.terms)
        lower = np.zeros((count, count))
        for index, row in enumerate(self.covariance):
            lower[index, : len(row)] = row
        return Belief(
            terms=tuple(self.terms),
            mean=np.log([one.ms for one in self.terms.values()]),
            covariance=_positive(lower + np.tril(lower, -1).T),
            noise=self.noise,
            noise_count=float(self.networks),
            roofline=Roofline(self.peak_gflops, self.bandwidth_gb_s),
            unmeasured_sd=np.array([_unmeasured_sd(one) for one in self.terms.values()]),
            anchored=frozenset(name for name, one in self.terms.items() if one.anchored),
            shares={name: one.shares for name, one in self.terms.items()},
            novelty_sd=self.novelty_sd,
            sd_factor=self.sd_factor,
        )


class PackCard(DeviceSetting):
    """A device pack: a calibrated table, all in one YAML file.

    Attributes:
        kind: always `calibrated`: nothing in it was measured kernel by kernel on the device.
        model: says which code reads the card.
        prior: what the fit began with: a prior, or another pack.
        latency: what the anchors' times are, such as `median`.
        sources: of the anchors and of the prior.
        inferred: fields of the setting that no source states and that the times speak for, such as `threads`.
        precisions: coefficients by precision.
    """

    kind: Literal["calibrated"] = "calibrated"
    model: Literal["physical-terms"] = MODEL
    prior: str
    latency: str = "median"
    sources: tuple[Source, ...]
    inferred: tuple[str, ...] = ()
    precisions: dict[Precision, Fit]

    @property
    def validation(self) -> Validation | None:
        """10-fold figures of the first precision that has them."""
        checks = (fit.validation for fit in self.precisions.values() if fit.validation)
        return next((check.folds for check in checks if check.folds), None)

    def figures(self) -> Validation | None:
        return self.validation

    @property
    def checks(self) -> dict[str, CrossValidation]:
        """What was checked, by precision."""
        return {name: fit.validation for name, fit in self.precisions.items() if fit.validation}

    @property
    def terms(self) -> int:
        """Number of coefficients."""
        return sum(len(fit.terms) for fit in self.precisions.values())

    def known_precisions(self) -> list[str]:
        return sorted(self.precisions)


# A device pack of physical terms
Pack = CardFile[PackCard]


def _unmeasured_sd(one: Coefficient) -> float:
    """Where the pack is too old to say, the least with which its terms are anchored or not."""
    return one.prior_sd or one.relative_sd / (LEFT_OF_VARIANCE**0.5 if one.anchored else 1.0)


def _positive(matrix: np.ndarray) -> np.ndarray:
    """The same without what rounding made negative."""
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.maximum(values, 1e-9)) @ vectors.T
