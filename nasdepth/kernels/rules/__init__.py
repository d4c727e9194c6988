"""What each runtime fuses and which operations its delegate takes: one YAML file a runtime."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from nasdepth.errors import NasdepthError
from nasdepth.kernels.kernel import KERNEL_COLUMNS, OPERATIONS, Kernel

RUNTIMES = ("xnnpack", "tflite", "gpu")
# What the conversion of a module merges whatever the runtime
CONVERSION = "conversion"
_FOLDER = Path(__file__).parent


def _operation(name: str) -> str:
    if name not in OPERATIONS:
        raise ValueError(f"{name!r} is no operation; known are {', '.join(OPERATIONS)}")
    return name


def _field(name: str) -> str:
    if name not in KERNEL_COLUMNS:
        raise ValueError(f"{name!r} is no field of a kernel; they are {', '.join(KERNEL_COLUMNS)}")
    return name


_Operation = Annotated[str, AfterValidator(_operation)]
_Where = dict[Annotated[str, AfterValidator(_field)], tuple[str | int | tuple[int, ...], ...]]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Activations(_Strict):
    """Which operations take an activation that follows them into their own loop."""

    into: tuple[_Operation, ...] = ()
    of: tuple[Literal["relu", "relu6", "relu_n1_to_1"], ...] = ()


class Padding(_Strict):
    """Which convolutions take a PAD before them: one that makes them SAME, or (`any`) every one of zeros."""

    into: tuple[_Operation, ...] = ()
    any: bool = False


class Quantisation(_Strict):
    """How a float graph becomes an int8 one for a runtime, beside what `delegated` says of precisions.

    Attributes:
        clamps: operations that stand for themselves as a conversion to a narrower range, which saturates.
        pools_as_means: whether an average over whole axes becomes a MEAN.
        last_in_float: operations that run in float where they write the output.
    """

    clamps: tuple[_Operation, ...] = ()
    pools_as_means: bool = False
    last_in_float: tuple[_Operation, ...] = ()


class Rules(_Strict):
    """The rules of one runtime.

    Attributes:
        runtime: the name of the file.
        source: where the rules come from.
        activations, padding: see there.
        additions: operations that take an ADD of two tensors that follows them.
        normalisation: operations that take a batch normalisation that follows them.
        links: operations on one tensor (and constants) that are computed where their input is written,
            whatever operation writes it; they leave no trace.
        delegate: name of the delegate; empty where there is none.
        delegated: operations that the delegate takes, each with the values it wants in a kernel's fields (no
            field, no condition), or several such alternatives.
        most_inputs: with how many inputs the delegate takes an operation at most, where there is a limit.
        quantisation: of files that are written for the runtime.
    """

    runtime: str
    source: str
    activations: Activations = Activations()
    padding: Padding = Padding()
    additions: tuple[_Operation, ...] = ()
    normalisation: tuple[_Operation, ...] = ()
    links: tuple[_Operation, ...] = ()
    delegate: str = ""
    delegated: dict[_Operation, _Where | tuple[_Where, ...]] = {}
    most_inputs: dict[_Operation, int] = {}
    quantisation: Quantisation = Quantisation()

    def delegates(self, kernel: Kernel) -> bool:
        """Whether the delegate runs a kernel; what it does not, the runtime's own kernels run."""
        where = self.delegated.get(kernel.op)
        if 1 + len(kernel.other_channels) > self.most_inputs.get(kernel.op, math.inf):
            return False
        if where is None:
            return False
        alternatives = where if isinstance(where, tuple) else (where,)
        return any(
            all(getattr(kernel, name) in values for name, values in one.items()) for one in alternatives
        )

    def after(self, first: Rules) -> Rules:
        """These rules for what has gone through `first` too."""
        return self.model_copy(
            update={
                "activations": Activations(
                    into=first.activations.into + self.activations.into,
                    of=first.activations.of + self.activations.of,
                ),
                "padding": Padding(
                    into=first.padding.into + self.padding.into, any=first.padding.any or self.padding.any
                ),
                "additions": first.additions + self.additions,
                "normalisation": first.normalisation + self.normalisation,
            }
        )


def read_rules(path: str | Path) -> Rules:
    """Read a file of rules.

    Raises:
        NasdepthError: unreadable, or a rule that cannot be; the message names file, field and value.
    """
    path = Path(path)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise NasdepthError(f"{path}: cannot be read as YAML ({error}); restore it") from error
    if not isinstance(content, dict):
        raise NasdepthError(f"{path}: expected a mapping with the fields {', '.join(Rules.model_fields)}")
    try:
        rules = Rules.model_validate_json(json.dumps(content))
    except ValidationError as error:
        lines = [
            f"{path}: field {'.'.join(map(str, one['loc']))}: {one['msg']} (value: {one['input']!r})"
            for one in error.errors()
        ]
        raise NasdepthError("\n".join(lines)) from error
    if rules.runtime != path.stem:
        raise NasdepthError(f"{path}: field runtime: {rules.runtime!r} is not the file's name, {path.stem!r}")
    return rules


@lru_cache
def load_rules(runtime: str) -> Rules:
    """The shipped rules of a runtime.

    Raises:
        NasdepthError: no such runtime; the message lists them.
    """
    if runtime not in (*RUNTIMES, CONVERSION):
        raise NasdepthError(f"no rules for the runtime {runtime!r}; there are {', '.join(RUNTIMES)}")
    return read_rules(_FOLDER / f"{runtime}.yaml")


@lru_cache
def module_rules(runtime: str) -> Rules:
    """The rules for a torch module that is converted and then run."""
    return load_rules(runtime).after(load_rules(CONVERSION))


def partitions(kernels: Iterable[Kernel], runtime: str) -> int:
    """Into how many pieces, run in order by the delegate and by the runtime's own kernels in turn, a network
    falls. 1 where either runs it all."""
    rules = load_rules(runtime)
    return sum(1 for _ in groupby(map(rules.delegates, kernels)))
