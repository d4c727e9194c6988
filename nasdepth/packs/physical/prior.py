"""Physical priors: what a device's hardware says of every term before anything is measured on it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import numpy as np
import yaml
from pydantic import AfterValidator, Field, ValidationError

from nasdepth.errors import TableError
from nasdepth.latency.accuracy import Positive, Strict
from nasdepth.packs.physical.coefficients import Belief, Roofline
from nasdepth.packs.physical.terms import TERMS

_FOLDER = Path(__file__).parent / "priors"


def _known(name: str) -> str:
    if name not in TERMS:
        raise ValueError(f"{name!r} is no term; they are {', '.join(TERMS)}")
    return name


class TermPrior(Strict):
    """What a term costs before measuring: `ms` of its unit, within `factor` at one standard deviation."""

    ms: Positive
    factor: Annotated[float, Field(gt=1)]


class PrecisionPrior(Strict):
    """Terms of one precision.

    Attributes:
        peak_gflops, bandwidth_gb_s: nothing is predicted to be faster; a multiplication and an addition are
            two operations, of integers too.
        noise: relative error of a network that the terms leave, before it is estimated.
        terms: by name.
    """

    peak_gflops: Positive
    bandwidth_gb_s: Positive
    noise: Positive = 0.04
    terms: dict[Annotated[str, AfterValidator(_known)], TermPrior]

    def belief(self) -> Belief:
        """As a normal distribution of the coefficients' logarithms."""
        names = tuple(self.terms)
        mean = np.log([one.ms for one in self.terms.values()])
        sd = np.log([one.factor for one in self.terms.values()])
        return Belief(
            terms=names,
            mean=mean,
            covariance=np.diag(sd**2),
            noise=self.noise,
            roofline=Roofline(self.peak_gflops, self.bandwidth_gb_s),
            unmeasured_sd=sd,
        )


class Prior(Strict):
    """A named prior.

    Attributes:
        name: of the file.
        source: where the figures come from.
        setting: fields of a device card that hold for every pack made from it.
        precisions: float32, int8.
    """

    name: str
    source: str
    setting: dict[str, str | int]
    precisions: dict[str, PrecisionPrior]


def prior_names() -> list[str]:
    """Names of the priors that ship."""
    return sorted(path.stem for path in _FOLDER.glob("*.yaml"))


def read_prior(name: str) -> Prior:
    """A prior by name, or from a YAML file of one's own.

    Raises:
        TableError: no such prior, or a field of it is wrong; the message names file, field and value.
    """
    path = Path(name) if name.endswith(".yaml") else _FOLDER / f"{name}.yaml"
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise TableError(f"{name!r} is no prior; there are {', '.join(prior_names())}") from None
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise TableError(f"{path}: cannot be read as YAML ({error}); restore it") from None
    try:
        return Prior.model_validate_json(json.dumps(content))
    except ValidationError as error:
        lines = [
            f"{path}: field {'.'.join(map(str, one['loc']))}: {one['msg']} (value: {one['input']!r})"
            for one in error.errors()
        ]
        raise TableError("\n".join(lines)) from None
