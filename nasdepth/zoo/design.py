"""What a named design is, and the registry of designs."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from nasdepth.architecture import Architecture

# Reports of the Mobile AI challenges
MAI2021 = "MAI 2021, arXiv:2105.08630"
MAI2022 = "MAI 2022, arXiv:2211.04470"


@dataclass(frozen=True)
class Published:
    """The published figures of a design; None where nothing is published.

    Attributes:
        size_mb: of the model file, in 2**20 bytes: the U-Net of the 2021 report, whose widths are known,
            fits its 118 MB so and not in 10**6 bytes.
        parameters_m: millions of parameters.
        pi4_ms: on the Raspberry Pi 4 of the challenge, whose threads are unpublished.
        adreno640_ms: on a Snapdragon 855 phone under TFLite's GPU delegate.
        on_gpu: whether it could use that delegate; where it could not, `adreno640_ms` is the phone's CPU.
        si_rmse: on the challenge's test images.
        score: the challenge's score.
    """

    size_mb: float | None = None
    parameters_m: float | None = None
    pi4_ms: float | None = None
    adreno640_ms: float | None = None
    on_gpu: bool | None = None
    si_rmse: float | None = None
    score: float | None = None


@dataclass(frozen=True)
class Design:
    """A named architecture and where it comes from.

    Attributes:
        name: the name that users type.
        text: string form of the architecture.
        source: who published it, and where.
        widths: which sizes the source gives, which it leaves open, and how those were chosen.
        stands_for: parts of the original that the vocabulary cannot say, and what is there instead; empty
            where there are none.
        published: the figures that its authors or the organisers measured.
        recipes: names of the recipes by which its authors trained it, the main one first.
        sized_by_time: open widths were chosen by its predicted Pi 4 time, which so confirms no predictor.
    """

    name: str
    text: str
    source: str
    widths: str
    stands_for: str = ""
    published: Published = field(default_factory=Published)
    recipes: tuple[str, ...] = ()
    sized_by_time: bool = False

    @cached_property
    def architecture(self) -> Architecture:
        """The architecture itself."""
        return Architecture.parse(self.text)
