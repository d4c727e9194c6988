"""Ways of training whose rankings are compared, from one epoch to full training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from nasdepth.architecture import Architecture
from nasdepth.training import Recipe, load_recipe

PROXY, FULL, RANDOM_START = "proxy", "full", "random-start"
_INPUT_STEP = 32


@dataclass(frozen=True)
class Fidelity:
    """One way of training a candidate.

    Attributes:
        recipe: name of the recipe that it changes.
        overrides: fields of the recipe by dotted path.
        parts: epochs of every part; the learning rate is annealed fully within each part, and a part goes on
            from the weights of the one before it. Empty for one part of the recipe's own epochs.
        images: share of the training images that are used, evenly spread.
        input_scale: the network's input size relative to the architecture's own, in whole steps of 32 pixels.
    """

    recipe: str = PROXY
    overrides: Mapping[str, Any] = field(default_factory=dict)
    parts: tuple[int, ...] = ()
    images: float = 1.0
    input_scale: float = 1.0

    def recipes(self) -> list[Recipe]:
        """The recipe of every part, in order."""
        whole = load_recipe(self.recipe, self.overrides)
        return [whole.with_(epochs=epochs) for epochs in self.parts or (whole.epochs,)]

    def trained(self, architecture: Architecture) -> Architecture:
        """The architecture at the input size that is trained."""
        if self.input_scale == 1:
            return architecture

        def scaled(size: int) -> int:
            return max(_INPUT_STEP, round(size * self.input_scale / _INPUT_STEP) * _INPUT_STEP)

        height, width = scaled(architecture.input_height), scaled(architecture.input_width)
        return replace(architecture, input_height=height, input_width=width)


FIDELITIES: dict[str, Fidelity] = {
    PROXY: Fidelity(),
    FULL: Fidelity("default"),
    "epochs1": Fidelity(parts=(1,)),
    "epochs2": Fidelity(parts=(2,)),
    "epochs8": Fidelity(parts=(8,)),
    "continued1+3": Fidelity(parts=(1, 3)),
    "images50%": Fidelity(images=0.5),
    "images25%": Fidelity(images=0.25),
    "input50%": Fidelity(input_scale=0.5),
    "ema": Fidelity(overrides={"ema_decay": 0.98}),
    RANDOM_START: Fidelity(overrides={"pretrained": False}),
}
"""By name, all that `nasdepth record` can train."""

COMPARED = tuple(name for name in FIDELITIES if name not in (PROXY, FULL, RANDOM_START))
"""What is trained of the architectures that are trained fully as well."""
