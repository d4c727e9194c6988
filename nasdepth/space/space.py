"""`SearchSpace`: one walk over an architecture's choices serves all its uses, from suggesting to mutating."""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import cached_property, partial
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from nasdepth.architecture import OUTPUT_HW, Architecture, DecoderStage, Encoder, Skip
from nasdepth.config import read_model
from nasdepth.decoder_blocks import BLOCKS, Kernel
from nasdepth.errors import SpaceError
from nasdepth.families import get_family
from nasdepth.files import find_shipped
from nasdepth.space.schema import SpaceDefinition
from nasdepth.zoo import named_designs

Choose = Callable[[str, Sequence[Any]], Any]
_STRUCTURE = ("family", "stages", "head_stride")
# A changed choice may spell the same network
_MUTATIONS_TRIED = 20
# Neighbours of a good number are more often good than any other number
_STEP_SHARE = 0.6
# Mutants of a few are made by the hundred
_REMEMBERED = 1024


class SearchSpace:
    """A search space read from YAML.

    Raises:
        SpaceError: on reading, with the file, the field, its value and what it may be.
    """

    def __init__(self, definition: SpaceDefinition) -> None:
        self.definition = definition
        self.name = definition.name
        self._parameters: dict[Architecture, dict[str, Any]] = {}

    @classmethod
    def load(cls, name_or_path: str | Path) -> SearchSpace:
        """Read a YAML file, or a space that ships with nasdepth by its name."""
        path = find_shipped("search_spaces", name_or_path, ".yaml")
        return cls(read_model(path, SpaceDefinition, example="name: my_space", error=SpaceError))

    @cached_property
    def fingerprint(self) -> str:
        """Hash of everything that changes which architectures the space holds."""
        content = self.definition.model_dump_json(exclude={"name", "description"})
        return hashlib.sha256(content.encode()).hexdigest()[:12]

    @cached_property
    def size(self) -> int:
        """Number of combinations; spellings of one graph count apart."""
        total = 0
        for structure in self._walks(only=_STRUCTURE):
            total += math.prod(len(options) for name, options in structure if name not in _STRUCTURE)
        return total

    def sample(self, rng: random.Random) -> Architecture:
        """A uniformly drawn architecture."""
        return self._build(lambda _, options: rng.choice(options))

    def suggest(self, trial: optuna.trial.BaseTrial) -> Architecture:
        """Let an Optuna trial choose an architecture."""

        def choose(name: str, options: Sequence[Any]) -> Any:
            if len(options) == 1:
                return options[0]
            match _distribution(options):
                case IntDistribution(low=low, high=high, step=step):
                    return trial.suggest_int(name, low, high, step=step)
                case FloatDistribution(low=low, high=high, step=step):
                    value = trial.suggest_float(name, low, high, step=step)
                    return min(options, key=lambda option: abs(option - value))
            return trial.suggest_categorical(name, options)

        return self._build(choose)

    def distributions(self, architecture: Architecture) -> dict[str, BaseDistribution]:
        """List what `suggest` asks a trial for on the way to this architecture, by parameter name.

        Raises:
            SpaceError: the architecture lies outside the space.
        """
        parameters = self.parameters(architecture)
        asked: dict[str, BaseDistribution] = {}

        def choose(name: str, options: Sequence[Any]) -> Any:
            if len(options) == 1:
                return options[0]
            asked[name] = _distribution(options)
            return parameters[name]

        self._build(choose)
        return asked

    def mutate(self, architecture: Architecture, rng: random.Random, changes: int = 1) -> Architecture:
        """A neighbour of an architecture: some of its choices are drawn anew.

        A number moves by one or two steps more often than it jumps. A choice that a change brings with it, as
        a further decoder stage, is drawn uniformly.

        Args:
            architecture: the architecture to change; it lies in the space.
            rng: source of randomness.
            changes: how many choices are drawn anew.

        Returns:
            An architecture of the space. It is the given one only where the space holds hardly any other.

        Raises:
            SpaceError: the architecture lies outside the space.
        """
        parameters = self.parameters(architecture)
        for _ in range(_MUTATIONS_TRIED):
            changed = set(rng.sample(list(parameters), min(changes, len(parameters))))
            child = self._build(partial(_mutated, rng, parameters, changed))
            if child != architecture:  # two spellings may mean the same network
                return child
        return architecture

    def cross(self, one: Architecture, other: Architecture, rng: random.Random) -> Architecture:
        """A child of two architectures: each choice is taken from one of them at random.

        Raises:
            SpaceError: a parent lies outside the space.
        """
        parents = [self.parameters(one), self.parameters(other)]

        def choose(name: str, options: Sequence[Any]) -> Any:
            inherited = [parent[name] for parent in parents if parent.get(name) in options]
            return rng.choice(inherited or options)

        return self._build(choose)

    def restricted(self, families: Collection[str]) -> SearchSpace:
        """This space with some of its encoder families only.

        Raises:
            SpaceError: a family is not in the space, or none is given.
        """
        mine = self.definition.encoder.family
        if unknown := [family for family in families if family not in mine]:
            raise SpaceError(
                f"space {self.name} has no family {', '.join(unknown)}; it has {', '.join(mine)}"
            )
        if not families:
            raise SpaceError(f"no family of space {self.name} is left; it has {', '.join(mine)}")
        kept = tuple(family for family in mine if family in families)
        encoder = self.definition.encoder.model_copy(update={"family": kept})
        return SearchSpace(self.definition.model_copy(update={"encoder": encoder}))

    def architectures(self) -> Iterator[Architecture]:
        """Every distinct architecture; worth calling where `size` is small."""
        seen = set()
        for walk in self._walks():
            chosen = {name: options[0] for name, options in walk}
            architecture = self._build(partial(_taken, chosen))
            if architecture not in seen:
                seen.add(architecture)
                yield architecture

    def named(self) -> dict[str, Architecture]:
        """The named designs that lie in the space."""
        return {name: design for name, design in named_designs().items() if self.contains(design)}

    def contains(self, architecture: Architecture) -> bool:
        """Whether the search could suggest this architecture."""
        return not self.violations(architecture)

    def violations(self, architecture: Architecture) -> list[str]:
        """List the choices that exclude an architecture, each with its value and what the space allows."""
        return self._read(architecture)[1]

    def parameters(self, architecture: Architecture) -> dict[str, Any]:
        """The Optuna parameters that make `suggest` return this architecture.

        Raises:
            SpaceError: it lies outside the space.
        """
        if architecture not in self._parameters:
            parameters, violations = self._read(architecture)
            if violations:
                raise SpaceError(f"{architecture} is not in the space {self.name}: {'; '.join(violations)}")
            if len(self._parameters) >= _REMEMBERED:
                self._parameters.clear()
            self._parameters[architecture] = parameters
        return dict(self._parameters[architecture])

    def _read(self, architecture: Architecture) -> tuple[dict[str, Any], list[str]]:
        """The choice per parameter that rebuilds an architecture, and what stands against it."""
        parameters: dict[str, Any] = {}
        violations: list[str] = []
        stages = dict(zip(architecture.decoder_strides, architecture.decoder, strict=True))

        def actual(name: str) -> Any:
            if "." in name:
                stride, field = name.removeprefix("s").split(".")
                stage = stages.get(int(stride))
                return getattr(stage, field) if stage is not None else None
            plain = {
                "family": architecture.encoder.family,
                "width": architecture.encoder.width,
                "stages": architecture.encoder.stages,
            }
            return plain[name] if name in plain else getattr(architecture, name)

        def choose(name: str, options: Sequence[Any]) -> Any:
            value = actual(name)
            if name == "width":  # several multipliers spell the same channels
                encoder = architecture.encoder
                value = next(
                    (o for o in options if Encoder(encoder.family, o, encoder.stages) == encoder), value
                )
            # looked for together: the block itself may not come in a kernel that gives it
            together = name.endswith((".block", ".kernel"))
            if (together or value not in options) and (alias := self._alias(architecture, name)) in options:
                value = alias
            if value not in options:
                violations.append(f"{name} is {value}, the space has {_short(options)}")
                return value if value is not None else options[0]
            if len(options) > 1:
                parameters[name] = value
            return value

        try:
            built = self._build(choose)
        except SpaceError as error:  # a choice outside the space can make the rest of the walk impossible
            return {}, violations or [str(error)]
        if not violations and built != architecture:
            violations.append("its layout is not one the space can spell")
        return parameters, violations

    def _alias(self, architecture: Architecture, name: str) -> Any:
        """The choice that building replaces by what the architecture has, if there is one."""
        stride, _, field = name.partition(".")
        if field in ("block", "kernel"):
            stages = dict(zip(architecture.decoder_strides, architecture.decoder, strict=True))
            stage = stages.get(int(stride.removeprefix("s")))
            return None if stage is None else self._spelt(stage, stage is architecture.decoder[0]).get(field)
        at_output = (architecture.input_height, architecture.input_width) == OUTPUT_HW
        free = name == "head_upsampling" and at_output and architecture.head_stride == 1
        return "bilinear" if free else None

    def _spelt(self, stage: DecoderStage, deepest: bool) -> dict[str, Any]:
        """Block and kernel among the choices that give a stage's own; empty where none do."""
        choices = product(self.definition.decoder.block, self.definition.decoder.kernel)
        for block, kernel in sorted(choices, key=lambda one: (one[0] != stage.block, one[1] != stage.kernel)):
            if _fitted(block, kernel, deepest) == (stage.block, stage.kernel):
                return {"block": block, "kernel": kernel}
        return {}

    def _build(self, choose: Choose) -> Architecture:
        """Walk the choices in a fixed order; every use of the space is a way of choosing."""
        space = self.definition
        height = choose("input_height", space.input.height)
        width = choose("input_width", space.input.width)
        coordinates = choose("coordinates", space.input.coordinates)
        family = choose("family", space.encoder.family)
        strides = get_family(family).stage_strides()
        stages = choose(
            "stages",
            [n for n in range(1, len(strides)) if strides[n] in space.encoder.stride] or [len(strides) - 1],
        )
        encoder = Encoder(family, choose("width", space.encoder.width), stages)
        head_stride = choose("head_stride", [s for s in space.head.stride if s <= encoder.stride])
        decoder = []
        stride = encoder.stride
        while stride >= head_stride:
            deepest = stride == encoder.stride
            has_skip = stride in encoder.channels and not deepest
            skip: Skip = choose(f"s{stride}.skip", space.decoder.skip) if has_skip else "none"
            # Optuna wants the same options under one name wherever it comes up: what does not fit is replaced
            block, kernel = _fitted(
                choose(f"s{stride}.block", space.decoder.block),
                choose(f"s{stride}.kernel", space.decoder.kernel),
                deepest,
            )
            decoder.append(
                DecoderStage(
                    skip,
                    block,
                    kernel,
                    choose(f"s{stride}.width", space.decoder.width),
                    choose(f"s{stride}.attention", space.decoder.attention),
                )
            )
            stride //= 2
        return Architecture(
            height,
            width,
            encoder,
            tuple(decoder),
            choose("decoder_upsampling", space.decoder.upsampling) if len(decoder) > 1 else "nearest",
            choose("head_upsampling", space.head.upsampling),
            coordinates,
            choose("reparam", space.decoder.reparam),
        )

    def _walks(self, only: Sequence[str] | None = None) -> Iterator[list[tuple[str, list[Any]]]]:
        """Every walk as (name, remaining options) pairs, the first option being the one taken.

        With `only`, the other parameters are not varied: their pairs hold all options.
        """
        index: list[int] = []
        while True:
            walk: list[tuple[str, list[Any]]] = []
            radices: list[int] = []

            def choose(
                name: str,
                options: Sequence[Any],
                walk: list[tuple[str, list[Any]]] = walk,
                radices: list[int] = radices,
                index: list[int] = index,
            ) -> Any:
                varied = only is None or name in only
                position = index[len(radices)] if varied and len(radices) < len(index) else 0
                if varied:
                    radices.append(len(options))
                walk.append((name, [options[position]] if varied else list(options)))
                return options[position]

            self._build(choose)
            yield walk
            index = (index + [0] * len(radices))[: len(radices)]
            while index and index[-1] + 1 >= radices[len(index) - 1]:
                index.pop()
            if not index:
                return
            index[-1] += 1


def _taken(chosen: Mapping[str, Any], name: str, _: Sequence[Any]) -> Any:
    return chosen[name]


def _fitted(block: str, kernel: Kernel, deepest: bool) -> tuple[str, Kernel]:
    """Block and kernel as a stage has them: the nearest kernel that the block comes in, and at the deepest
    stage, which has nothing to upsample from, the block's kin without upsampling."""
    if block not in BLOCKS:
        return block, kernel
    kernel = min(BLOCKS[block].kernels, key=lambda own: abs(own - kernel))
    block = "mbconv" if deepest and BLOCKS[block].upsamples else block
    return ("conv", 1) if (block, kernel) == ("dsconv", 1) else (block, kernel)


def _distribution(options: Sequence[Any]) -> BaseDistribution:
    """How Optuna is told of a choice among two or more options."""
    if not isinstance(options[0], (str, bool)) and len(steps := _steps(options)) == 1:
        step: Any = steps.pop()
        kind = IntDistribution if isinstance(options[0], int) else FloatDistribution
        return kind(options[0], options[-1], step=step)
    return CategoricalDistribution(options)


def _mutated(
    rng: random.Random, parameters: Mapping[str, Any], changed: Collection[str], name: str, options: Sequence
) -> Any:
    """The choice of a mutant."""
    value = parameters.get(name, options[0])
    if value not in options or (name not in parameters and len(options) > 1):
        return rng.choice(options)
    if name not in changed or len(options) == 1:
        return value
    if not isinstance(value, (str, bool)) and rng.random() < _STEP_SHARE:
        index = options.index(value) + rng.choice((-2, -1, 1, 2))
        if options[index := min(max(index, 0), len(options) - 1)] != value:
            return options[index]
    return rng.choice([option for option in options if option != value])


def _steps(options: Sequence[float]) -> set[float]:
    return {round(b - a, 6) for a, b in pairwise(options)}


def _short(options: Sequence[Any]) -> str:
    if len(options) <= 6 or isinstance(options[0], str):
        return ", ".join(map(str, options))
    return f"{options[0]} to {options[-1]} in {len(options)} values"
