"""Loss terms by name: parameters as validated data, so that a recipe can list them.

A term is a frozen pydantic model, registered under the name that recipes spell. Its fields are the
parameters, its `value` computes the unweighted loss from what the training step has at hand (`LossInputs`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SerializeAsAny
from torch import nn

from nasdepth.config import validated
from nasdepth.errors import NasdepthError, nearest
from nasdepth.training.losses.ordinal import OrdinalPairs, Space


@dataclass(frozen=True)
class LossInputs:
    """The tensors that a training step offers to losses; None for what its data or its recipe does not give.

    Every supervision has a mask of its own, so that one batch can mix images of several kinds: an image
    without that kind has its mask False throughout.

    Attributes:
        pred_mm: (B, 1, H, W) predicted depth in millimetres, at the resolution of all other maps.
        target_mm, mask: (B, 1, H, W) depth in millimetres and where it is known (bool).
        inverse, inverse_mask: (B, 1, H, W) inverse depth of unknown scale and shift, and where it is known.
        space: "disparity"; or "depth", where `inverse` is not that but depth of unknown scale and shift.
        pairs: ordinal pairs, in pixels of this resolution.
        rgb: (B, 3, H, W) the picture on 0-255.
        picture: (B, 1, H, W) bool, False where `rgb` shows nothing (corners of a rotation); None: everywhere.
        intrinsics: (B, 3, 3) in pixels of this resolution.
        sources, poses: (B, S, 3, H, W) other views on 0-255; (B, S, 4, 4) motion from the target camera's
            frame to theirs, translation in millimetres.
        teacher_mm: (B, 1, H, W) a teacher's depth in millimetres.
        labels: (B, 1, H, W) integer segmentation classes, negative where unknown.
        features, teacher_features: (B, C, h, w) by layer, of student and teacher.
        generator: draws random pairs and triples; torch's own generator does where it is None.
    """

    pred_mm: torch.Tensor
    target_mm: torch.Tensor | None = None
    mask: torch.Tensor | None = None
    inverse: torch.Tensor | None = None
    inverse_mask: torch.Tensor | None = None
    space: Space = "disparity"
    pairs: OrdinalPairs | None = None
    rgb: torch.Tensor | None = None
    picture: torch.Tensor | None = None
    intrinsics: torch.Tensor | None = None
    sources: torch.Tensor | None = None
    poses: torch.Tensor | None = None
    teacher_mm: torch.Tensor | None = None
    labels: torch.Tensor | None = None
    features: Mapping[str, torch.Tensor] | None = None
    teacher_features: Mapping[str, torch.Tensor] | None = None
    generator: torch.Generator | None = None

    @property
    def everywhere(self) -> torch.Tensor:
        """(B, 1, H, W) bool: `picture`, or all True."""
        return torch.ones_like(self.pred_mm, dtype=torch.bool) if self.picture is None else self.picture


class LossTerm(BaseModel, ABC):
    """A loss with its weight and parameters.

    Attributes:
        name: under which it is registered.
        of_prediction: whether it judges `pred_mm`, and so intermediate predictions too.
        weight: factor in the total, before any balancing; 0 leaves the term out.
    """

    # infinity is a value of the robust loss's alpha; JSON has no other spelling for it
    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="strings")
    name: ClassVar[str]
    of_prediction: ClassVar[bool] = True
    weight: float = Field(1.0, ge=0, allow_inf_nan=False)

    @property
    @abstractmethod
    def needs(self) -> frozenset[str]:
        """Fields of `LossInputs` that must be given, besides `pred_mm`."""

    @abstractmethod
    def value(self, inputs: LossInputs, modules: nn.ModuleDict) -> torch.Tensor:
        """The unweighted loss, a scalar; `modules` is what `modules` has built."""

    def modules(self, channels: Mapping[str, tuple[int, int]]) -> nn.ModuleDict:
        """Build what the term learns along with the network, if anything.

        Args:
            channels: the channels of the student and of the teacher by feature layer.
        """
        return nn.ModuleDict()

    @property
    def alternatives(self) -> tuple[frozenset[str], ...]:
        """Sets of fields, one of which must be given: `needs`, unless several kinds of data feed the term."""
        return (self.needs,)

    def absent(self, inputs: LossInputs) -> list[str]:
        """The fields that are not given, sorted; of several alternatives, of the one that lacks least."""
        lacking = (
            [field for field in sorted(fields) if getattr(inputs, field) is None]
            for fields in self.alternatives
        )
        return min(lacking, key=len)

    def require(self, inputs: LossInputs) -> None:
        """Raise NasdepthError, naming the term and the input, where something it needs is not given."""
        absent = self.absent(inputs)
        if absent:
            raise NasdepthError(
                f"loss term {self.name} needs {', '.join(absent)}, which this training does not give; take "
                "the term out of the recipe, or train on data that has it"
            )


def given[Value](value: Value | None) -> Value:
    """A field of `LossInputs` that the term's `needs` name, and that is there for this reason."""
    assert value is not None, "a term reads what its `needs` do not name"
    return value


_TERMS: dict[str, type[LossTerm]] = {}


def register_term(name: str) -> Callable[[type[LossTerm]], type[LossTerm]]:
    """Register a loss term under the name that recipes spell."""

    def register(term: type[LossTerm]) -> type[LossTerm]:
        if name in _TERMS:
            raise ValueError(f"loss term {name!r} is registered twice")
        _TERMS[name] = term
        term.name = name
        return term

    return register


def term_names() -> tuple[str, ...]:
    """Names of all registered loss terms."""
    return tuple(_TERMS)


def term_class(name: str) -> type[LossTerm]:
    """The registered loss term of a name."""
    return _TERMS[name]


def parse_terms(listed: Any, where: str = "loss.terms") -> dict[str, LossTerm]:
    """Loss terms from what a recipe lists: `{sig: {weight: 1, variance: 0.85}, gradient: {scales: 4}}`.

    Args:
        listed: the parameters of each term by name. Those left out have their defaults; a term may be null.
            Terms as such are taken as they are.
        where: the field (and file) that errors name.

    Raises:
        NasdepthError: an unknown term or parameter, a value out of range, or no term at all, with the field,
            the value and what there is.
    """
    if not isinstance(listed, Mapping) or not listed:
        raise NasdepthError(
            f"{where}: lists no loss term (value: {listed!r}); write for instance "
            "{sig: {weight: 1}, gradient: {weight: 0.5}}"
        )
    return {name: _parse_term(name, given, f"{where}.{name}") for name, given in listed.items()}


def _parse_term(name: Any, given: Any, where: str) -> LossTerm:
    if name not in _TERMS:
        raise NasdepthError(
            f"{where}: unknown loss term (value: {given!r}){nearest(str(name), _TERMS)}; there are "
            f"{', '.join(_TERMS)}"
        )
    term = _TERMS[name]
    if isinstance(given, term):
        return given
    if given is not None and not isinstance(given, Mapping):
        raise NasdepthError(
            f"{where}: must list parameters (value: {given!r}); write for instance {{weight: 1}}"
        )
    return validated(term, dict(given or {}), section=where)


LossTerms = Annotated[dict[str, SerializeAsAny[LossTerm]], BeforeValidator(parse_terms)]
"""A pydantic field that holds loss terms by name, and is written as a recipe lists them."""
