"""How to train: every number of a training run in one validated, serialisable value."""

from __future__ import annotations

import hashlib
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from nasdepth.errors import NasdepthError

Size = tuple[Annotated[int, Field(ge=32)], Annotated[int, Field(ge=32)]]


class Recipe(BaseModel):
    """A training recipe.

    Attributes:
        crops: sizes of the random crops (height, width); each batch draws one (LiteDepth's R2 crop).
        loss_hw: resolution at which prediction and target are compared.
        sig_variance: see `sig_loss`.
        encoder_lr_ratio: learning rate of a pretrained encoder relative to the decoder's.
        warmup: share of the steps over which the learning rate rises.
        photometric: half-width of the random brightness, contrast and colour factors.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    epochs: int = Field(30, ge=1)
    batch_size: int = Field(16, ge=1)
    learning_rate: float = Field(4e-3, gt=0)
    encoder_lr_ratio: float = Field(0.3, gt=0, le=1)
    weight_decay: float = Field(1e-2, ge=0)
    schedule: Literal["one_cycle", "poly"] = "one_cycle"
    warmup: float = Field(0.15, ge=0, lt=1)
    gradient_clip: float = Field(1.0, gt=0)
    crops: tuple[Size, ...] = ((480, 640), (384, 512), (240, 384))
    flip: bool = True
    photometric: float = Field(0.2, ge=0, lt=1)
    loss_hw: Size = (120, 160)
    sig_variance: float = Field(0.85, ge=0, le=1)
    gradient_weight: float = Field(0.5, ge=0)
    gradient_scales: int = Field(4, ge=1)

    @property
    def fingerprint(self) -> str:
        """Short hash of all fields."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:12]

    def with_(self, **changes: object) -> Recipe:
        """A copy with some fields changed, validated.

        Raises:
            NasdepthError: a value out of range, with the field.
        """
        try:
            return Recipe(**{**self.model_dump(), **changes})
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(map(str, first["loc"]))
            raise NasdepthError(
                f"recipe field {field}: {first['msg']} (value: {first['input']!r})"
            ) from error


RETRAIN = Recipe()
# few steps: fewer crops to see the whole image more often, and less augmentation
PROXY = Recipe(epochs=4, crops=((480, 640), (384, 512)), photometric=0.1)
