"""Pack cards: a device pack as one YAML file: coefficients, where they come from, how far to trust them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from nasdepth.errors import TableError
from nasdepth.latency.predict.card import DeviceSetting, Validation
from nasdepth.packs._file import NotNegative, PackFile, Positive, Strict, digits, read_card
from nasdepth.packs.physical.belief import Belief, Roofline
from nasdepth.packs.physical.terms import TERMS

MODEL = "physical-terms"


class Source(Strict):
    """Where figures come from: what was used of it, its address, its licence."""

    used: str
    url: str
    licence: str


class Coefficient(Strict):
    """Of one term.

    Attributes:
        ms: of the term's unit.
        relative_sd: of the coefficient.
        prior_ms: what the prior said.
        anchored: whether measured networks have the term; where not, `ms` is the prior's.
        shares: lowest and highest share of a measured network's time.
    """

    ms: Positive
    relative_sd: NotNegative
    prior_ms: Positive
    anchored: bool
    shares: tuple[float, float]


class FamilyError(Strict):
    """On the networks of one family, fitted to those of all others; see `Validation` for the fields."""

    models: Annotated[int, Field(ge=1)]
    mape_percent: NotNegative
    bias_percent: float
    within_10_percent: NotNegative
    interval_90_coverage_percent: NotNegative


class CrossValidation(Strict):
    """Errors on networks that a fit had not seen, the scale of its intervals included.

    Attributes:
        folds: networks dealt into ten parts at random, each left out in turn; None for too few.
        families: the same, a family at a time.
    """

    folds: Validation | None
    families: dict[str, FamilyError] = Field(default_factory=dict)


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

    @classmethod
    def of(cls, belief: Belief, prior: Belief, networks: int, **more: Any) -> Fit:
        """A belief as a card has it, with five digits."""
        sd = np.sqrt(np.diag(belief.covariance))
        terms = {}
        for index, name in enumerate(belief.terms):
            low, high = belief.shares.get(name, (0.0, 0.0))
            terms[name] = Coefficient(
                ms=digits(np.exp(belief.mean[index])),
                relative_sd=digits(sd[index]),
                prior_ms=digits(np.exp(prior.mean[index])),
                anchored=name in belief.anchored,
                shares=(round(low, 4), round(high, 4)),
            )
        return cls(
            networks=networks,
            peak_gflops=belief.roofline.gflops,
            bandwidth_gb_s=belief.roofline.bandwidth_gb_s,
            noise=digits(belief.noise),
            novelty_sd=digits(belief.novelty_sd),
            sd_factor=digits(belief.sd_factor),
            terms=terms,
            covariance=tuple(
                tuple(digits(value) for value in row[: index + 1])
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
        precisions: coefficients by precision.
    """

    kind: Literal["calibrated"] = "calibrated"
    model: Literal["physical-terms"] = MODEL
    prior: str
    latency: str = "median"
    sources: tuple[Source, ...]
    precisions: dict[Literal["float32", "int8"], Fit]

    @property
    def validation(self) -> Validation | None:
        """10-fold figures of the first precision that has them."""
        checks = (fit.validation for fit in self.precisions.values() if fit.validation)
        return next((check.folds for check in checks if check.folds), None)

    @property
    def checks(self) -> dict[str, CrossValidation]:
        """What was checked, by precision."""
        return {name: fit.validation for name, fit in self.precisions.items() if fit.validation}

    @property
    def terms(self) -> int:
        """Number of coefficients."""
        return sum(len(fit.terms) for fit in self.precisions.values())


@dataclass(frozen=True)
class Pack(PackFile[PackCard]):
    """A pack of physical terms; see `PackFile`."""

    @classmethod
    def load(cls, path: str | Path) -> Pack:
        """Read a pack.

        Raises:
            TableError: missing, or wrong in a field; the message names it.
        """
        path = Path(path)
        card = read_card(path, PackCard, ("kind", "calibrated"), "device pack")
        for precision, fit in card.precisions.items():
            if unknown := [name for name in fit.terms if name not in TERMS]:
                raise TableError(
                    f"{path}: precisions.{precision}.terms: {unknown[0]!r} is no term known here; "
                    "get a newer nasdepth"
                )
            if [len(row) for row in fit.covariance] != list(range(1, len(fit.terms) + 1)):
                raise TableError(
                    f"{path}: precisions.{precision}.covariance: expected the lower triangle of "
                    f"{len(fit.terms)} terms, a row of 1 to {len(fit.terms)} numbers each"
                )
        return cls(path.stem, card)


def _positive(matrix: np.ndarray) -> np.ndarray:
    """The same without what rounding made negative."""
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.maximum(values, 1e-9)) @ vectors.T
