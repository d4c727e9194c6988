"""How to train: every choice of a training run in one validated value, written as YAML."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SerializeAsAny, model_validator

from nasdepth.config import later, later_defaults, read_fields, validated
from nasdepth.errors import NasdepthError, nearest
from nasdepth.reading import parse_yaml
from nasdepth.training.augment import Augmentation
from nasdepth.training.balance import BalanceRecipe, Fixed, Intermediate
from nasdepth.training.losses.registry import LossTerm, parse_terms
from nasdepth.training.objective import LossRecipe

Size = tuple[Annotated[int, Field(ge=32)], Annotated[int, Field(ge=32)]]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Terms = Annotated[dict[str, SerializeAsAny[LossTerm]], BeforeValidator(partial(parse_terms, where="loss"))]

_SEEDS = Path(__file__).with_name("recipes")


class _Strict(BaseModel):
    # infinity is a value of the robust loss's alpha; JSON has no other spelling for it
    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="strings")


class OptimizerRecipe(_Strict):
    """The optimizer of a training.

    Attributes:
        learning_rate: the peak of the learning rate.
        encoder_lr_ratio: learning rate of a pretrained encoder relative to all else.
        weight_decay: adamw's, or the L2 penalty of adam and sgd; norms and biases are not decayed.
        eps: what adam and adamw add to the root of the second moment, relative to gradients of about 1.
        momentum: sgd's.
    """

    name: Literal["adamw", "adam", "sgd"] = "adamw"
    learning_rate: Positive = 4e-3
    encoder_lr_ratio: float = Field(0.3, gt=0, le=1)
    weight_decay: float = Field(1e-2, ge=0, allow_inf_nan=False)
    eps: float = later(1e-8, gt=0, allow_inf_nan=False)
    momentum: float = later(0.0, ge=0, lt=1)

    @model_validator(mode="after")
    def _has_what_it_is_given(self) -> OptimizerRecipe:
        if self.momentum and self.name != "sgd":
            raise ValueError(f"momentum is {self.momentum:g}, which {self.name} does not have; set it to 0")
        return self


class ScheduleRecipe(_Strict):
    """How the learning rate changes over a training.

    Attributes:
        name: after the warm-up, one_cycle and cosine fall by half a cosine to 0, poly by (1 - t)^power,
            constant stays. step multiplies the rate by `gamma` after every `every_epochs`, or at each of
            `at_epochs`; exponential does so gradually, by `gamma` over every `every_epochs`.
        warmup: share of all steps over which the rate rises linearly.
        power: the exponent of poly.
        floor: share of the peak that the rate falls to instead of 0: it is floor + (1 - floor) times what
            the formula says.
        gamma: the factor of step and exponential.
        every_epochs: the period of step and exponential, in epochs.
        at_epochs: the numbers of epochs after which step multiplies.
    """

    name: Literal["one_cycle", "poly", "cosine", "constant", "step", "exponential"] = "one_cycle"
    warmup: float = Field(0.15, ge=0, lt=1)
    power: Positive = 0.9
    floor: float = later(0.0, ge=0, lt=1)
    gamma: float = later(0.1, gt=0, le=1)
    every_epochs: Annotated[int, Field(ge=1)] | None = later(None)
    at_epochs: tuple[Annotated[int, Field(ge=1)], ...] = later(())

    @model_validator(mode="after")
    def _has_its_epochs(self) -> ScheduleRecipe:
        periodic = self.every_epochs is not None
        match self.name:
            case "step" if periodic == bool(self.at_epochs):
                raise ValueError("step needs one of every_epochs, as in 10, and at_epochs, as in [20, 25]")
            case "exponential" if not periodic or self.at_epochs:
                raise ValueError("exponential needs every_epochs, as in 1, and no at_epochs")
            case "step" | "exponential":
                return self
        if periodic or self.at_epochs:
            raise ValueError(f"{self.name} has no every_epochs and no at_epochs; leave them out")
        return self


class TeacherRecipe(_Strict):
    """The teacher that a student learns from.

    Attributes:
        model: checkpoint of the teacher; empty where `open_retraining` is given one.
        layers: feature layers to cache beside the teacher's depth and those that loss terms name.
        start_from: checkpoint of the trained student to go on from (two-stage); empty for one stage.
    """

    model: str = ""
    layers: tuple[str, ...] = ()
    start_from: str = ""


class PoseRecipe(_Strict):
    """The network that estimates the camera's motion between two frames; for self-supervised video.

    Attributes:
        encoder: family, as in an architecture string.
        width: the width multiplier of the encoder.
        pretrained: start from ImageNet weights where they are within reach.
        learning_rate_ratio: learning rate relative to the optimizer's.
    """

    encoder: str = "resnet18"
    width: Positive = 1.0
    pretrained: bool = True
    learning_rate_ratio: Positive = 1.0


class Recipe(_Strict):
    """Every choice of a training, as a recipe's YAML file spells it.

    Attributes:
        about: says what the recipe is for, and which data its loss terms need.
        source: says where the numbers come from.
        steps_per_epoch: how many steps an epoch has; None for as many as show the first data set once.
        gradient_clip: largest norm of the gradient of all parameters.
        ema_decay: decay of the exponential moving average of the weights, which is then what is validated
            and deployed.
        bf16: autocast on a GPU.
        cpu_bf16: autocast on a CPU; faster only on one with instructions for it (avx512_bf16, amx_bf16).
        channels_last: keep the colours, or channels, of a pixel side by side in memory.
        compile: torch.compile on a GPU. Compiling takes longer than a whole training of seconds: leave it
            off for proxies.
        early_stop_epochs: stop after so many epochs in which the validation did not improve.
        pretrained: start the encoder from ImageNet weights where they are within reach.
        loss_hw: resolution at which prediction and target are compared.
        loss: terms by name, as `docs/losses.md` lists them.
        mixture: further data sets with their weights, that of the first being 1.
    """

    about: str = ""
    source: str = ""
    epochs: int = Field(30, ge=1, le=1_000_000)
    batch_size: int = Field(16, ge=1, le=65_536)
    steps_per_epoch: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    optimizer: OptimizerRecipe = OptimizerRecipe()
    schedule: ScheduleRecipe = ScheduleRecipe()
    gradient_clip: Positive | None = 1.0
    ema_decay: Annotated[float, Field(gt=0, lt=1)] | None = None
    bf16: bool = True
    cpu_bf16: bool = later(False)
    channels_last: bool = True
    compile: bool = False
    early_stop_epochs: Annotated[int, Field(ge=1)] | None = None
    pretrained: bool = True
    loss_hw: Size = (120, 160)
    loss: Terms = Field(default_factory=lambda: parse_terms({"sig": {}, "gradient": {"weight": 0.5}}, "loss"))
    balance: BalanceRecipe = Fixed()
    intermediate: Intermediate | None = None
    augmentation: Augmentation = Augmentation()
    mixture: dict[str, Positive] = {}
    teacher: TeacherRecipe | None = None
    pose: PoseRecipe | None = None

    @property
    def loss_recipe(self) -> LossRecipe:
        """The part that says what is minimised."""
        return LossRecipe(terms=dict(self.loss), balance=self.balance, intermediate=self.intermediate)

    @property
    def fingerprint(self) -> str:
        """Short hash of all that matters to the training: everything but the words."""
        # trainings from before there was a field are the same training while it has its default
        without = {"about": True, "source": True} | later_defaults(self)
        return hashlib.sha256(self.model_dump_json(exclude=without).encode()).hexdigest()[:12]

    @property
    def distils(self) -> bool:
        """Whether a loss term with a weight needs a teacher."""
        return any(_of_teacher(term) for term in self.loss.values() if term.weight)

    @property
    def teacher_layers(self) -> tuple[str, ...]:
        """Feature layers that a teacher must give: those of the loss terms, then the recipe's own."""
        named = [layer for term in self.loss.values() if term.weight for layer in getattr(term, "layers", ())]
        return tuple(dict.fromkeys([*named, *(self.teacher.layers if self.teacher else ())]))

    def without_teacher(self) -> Recipe:
        """Copy the recipe without the terms that a teacher feeds, to train the teacher, or to see its worth.

        Raises:
            NasdepthError: nothing else is left.
        """
        kept = {name: term for name, term in self.loss.items() if not _of_teacher(term)}
        if not any(term.weight for term in kept.values()):
            raise NasdepthError(
                f"loss: without a teacher nothing is left (value: {', '.join(self.loss)}); add a term by "
                "`changes`"
            )
        return self.with_(loss=kept, teacher=None)

    def with_(self, **changes: Any) -> Recipe:
        """A copy with some fields changed, validated; `**{"loss.gradient.weight": 0.5}` reaches inside.

        Raises:
            NasdepthError: an unknown field, or a value out of range, with field, value and the mend.
        """
        return _changed(self, changes, "recipe")

    def to_yaml(self) -> str:
        """All fields, as `load_recipe` reads them."""
        return yaml.safe_dump(_plain(self.model_dump()), sort_keys=False, width=110, default_flow_style=None)


def recipe_names() -> tuple[str, ...]:
    """The recipes that come with nasdepth."""
    return tuple(sorted(path.stem for path in _SEEDS.glob("*.yaml")))


def recipe_file(name_or_path: str | Path) -> Path:
    """Find the file of a recipe by its name; the path of a YAML file is returned as it is.

    Raises:
        NasdepthError: neither a name that there is nor a YAML file's.
    """
    path, names = Path(name_or_path), recipe_names()
    if path.suffix in (".yaml", ".yml"):
        return path
    if str(name_or_path) not in names:
        raise NasdepthError(
            f"recipe {name_or_path}: is neither a recipe of nasdepth{nearest(str(name_or_path), names)} nor "
            f"a .yaml file; there are {', '.join(names)}"
        )
    return _SEEDS / f"{name_or_path}.yaml"


def load_recipe(name_or_path: str | Path, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """A recipe that comes with nasdepth, by name, or a YAML file's.

    Args:
        overrides: values by the dotted path of their field, such as `loss.gradient.weight`. A loss term
            that the recipe does not have is added; a section that is absent (`teacher`, `pose`) begins with
            its defaults.

    Raises:
        NasdepthError: no such recipe, no YAML, an unknown field or loss term, or a value out of range; the
            message names the recipe, the field, the value and the mend.
    """
    where = f"recipe {name_or_path}"
    fields = read_fields(recipe_file(name_or_path), example="epochs: 30", where=where)
    return _changed(validated(Recipe, fields, where), overrides or {}, where)


def recipe_for(
    source: str | Path | Recipe,
    overrides: Mapping[str, Any],
    teacher: Path | None = None,
    no_teacher: bool = False,
) -> Recipe:
    """The recipe of a training, with the teacher that it is given, or without any.

    Args:
        source: a recipe, or what `load_recipe` takes.
        overrides: see `load_recipe`.
        teacher: checkpoint to distil from.
        no_teacher: leave out the loss terms that need a teacher.

    Raises:
        NasdepthError: for the reasons of `load_recipe`; for a teacher that no loss term learns from; and for
            terms that no teacher feeds.
    """
    if isinstance(source, Recipe):
        recipe, where = source.with_(**overrides), "recipe"
    else:
        recipe, where = load_recipe(source, overrides), f"recipe {source}"
    if teacher is not None and no_teacher:
        raise NasdepthError("`teacher` and `no_teacher`: give one of them")
    if no_teacher:
        return recipe.without_teacher() if recipe.distils else recipe
    if teacher is not None:
        recipe = recipe.with_(**{"teacher.model": str(teacher)})
        if not recipe.distils:
            raise NasdepthError(
                f"{where}: loss: no term learns from a teacher (`teacher` {teacher}); add one, for instance "
                "set loss.distill_output.weight=1"
            )
    if recipe.distils and not (recipe.teacher and recipe.teacher.model):
        raise NasdepthError(
            f"{where}: teacher.model: names no teacher to learn from (value: ''); give `teacher` a "
            "checkpoint, or `no_teacher` to train without"
        )
    return recipe


def parse_overrides(texts: Iterable[str]) -> dict[str, Any]:
    """Overrides for `load_recipe` from `loss.gradient.weight=0.5` and the like; values are YAML.

    Raises:
        NasdepthError: one is not of that form.

    >>> parse_overrides(["epochs=100", "loss_hw=[60, 80]", "ema_decay=null"])
    {'epochs': 100, 'loss_hw': [60, 80], 'ema_decay': None}
    """
    overrides = {}
    for text in texts:
        path, equals, value = text.partition("=")
        if not (equals and path.strip()):
            raise NasdepthError(f"`changes` {text}: must be FIELD=VALUE, as in loss.gradient.weight=0.5")
        overrides[path.strip()] = parse_yaml(value, f"`changes` {text}")
    return overrides


def _of_teacher(term: LossTerm) -> bool:
    return not term.needs.isdisjoint(("teacher_mm", "teacher_features"))


def _changed(recipe: Recipe, changes: Mapping[str, Any], where: str) -> Recipe:
    fields = recipe.model_dump()
    for path, value in changes.items():
        section, _, inside = path.partition(".")
        if not inside:
            fields[section] = value
        elif path == "balance.kind":
            # the parameters of one kind mean nothing to another
            fields["balance"] = {"kind": value}
        else:
            # sources of data have dots in their names
            keys = [inside] if section == "mixture" else inside.split(".")
            _put(fields, [section, *keys], value, where)
    return validated(Recipe, fields, where)


def _put(fields: dict[str, Any], keys: list[str], value: Any, where: str) -> None:
    place = fields
    for depth, key in enumerate(keys[:-1], 1):
        inner = place.get(key)
        if isinstance(inner, BaseModel):
            inner = inner.model_dump()
        if inner is not None and not isinstance(inner, dict):
            raise NasdepthError(
                f"{where}: {'.'.join(keys[:depth])} is {inner!r} and has no field {keys[depth]!r} "
                f"(value: {value!r})"
            )
        place[key] = place = dict(inner or {})
    place[keys[-1]] = value


def _plain(value: Any) -> Any:
    """Tuples as lists: YAML has no other."""
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, (list, tuple)) else value
