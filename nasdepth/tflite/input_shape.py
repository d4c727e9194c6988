"""Files whose inputs may be of any size: telling them, and fixing the size."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from nasdepth.errors import ModelFileError, brief
from nasdepth.tflite.flatbuffer import read_model, write_model
from nasdepth.tflite.trial import try_model


def parse_shape(text: str) -> tuple[int, ...]:
    """Read a shape such as `1x480x640x3`.

    Raises:
        ModelFileError: it is none; the message shows what one looks like.
    """
    if not re.fullmatch(r"[1-9]\d{0,5}(x[1-9]\d{0,5}){0,5}", text):
        raise ModelFileError(f"`input_shape` is {brief(text)}; it must be sizes such as 1x480x640x3")
    return tuple(map(int, text.split("x")))


def dynamic_input(model: schema.ModelT) -> str:
    """The first input whose size a file leaves open, its batch apart, with its shape; empty for none."""
    graph = model.subgraphs[0]
    for number in graph.inputs:
        tensor = graph.tensors[number]
        signature = () if tensor.shapeSignature is None else tuple(map(int, tensor.shapeSignature))
        shape = () if tensor.shape is None else tuple(map(int, tensor.shape))
        # a converter that knows the size writes it beside the open signature
        if any(open_ < 0 and size <= 1 for open_, size in list(zip(signature, shape, strict=False))[1:]):
            name = (tensor.name or b"").decode(errors="replace")
            return f"input {name!r} has the open shape {'x'.join(map(str, signature))}"
    return ""


def check_is_fixed(path: str | Path, model: schema.ModelT) -> None:
    """Refuse a file whose input may be of any size.

    Raises:
        ModelFileError: the message names the input and asks for `input_shape`.
    """
    if problem := dynamic_input(model):
        raise ModelFileError(
            f"{path}: {problem}; its latency depends on it: give `input_shape`, for example 1x480x640x3"
        )


@contextmanager
def with_input_shape(path: str | Path, shape: Sequence[int] | None) -> Iterator[Path]:
    """A copy of a .tflite whose first input has this shape, for as long as the block lasts.

    Every tensor gets the shape that the runtime gives it then.

    Args:
        path: of the file.
        shape: None for the file as it is.

    Raises:
        ModelFileError: the file is damaged, or the runtime cannot run it at this size.
    """
    path = Path(path)
    if shape is None:
        yield path
        return
    model = read_model(path)
    graph = model.subgraphs[0]
    if len(graph.inputs) == 0:
        raise ModelFileError(f"{path}: has no input that `input_shape` could be of")
    trial = try_model(path, [shape])
    if trial.refusal:
        raise ModelFileError(
            f"{path}: cannot run with `input_shape` {'x'.join(map(str, shape))}: {trial.refusal}"
        )
    for number, tensor in enumerate(graph.tensors):
        if number in trial.shapes and model.buffers[tensor.buffer].data is None:
            tensor.shape, tensor.shapeSignature = np.array(trial.shapes[number], np.int32), None
    with TemporaryDirectory(prefix="nasdepth-") as folder:
        copy = Path(folder) / path.name
        write_model(model, copy)
        yield copy


@contextmanager
def fixed_files(paths: Sequence[str | Path], shape: Sequence[int] | None) -> Iterator[list[Path]]:
    """Several files by `with_input_shape`, none of which leaves its size open.

    Raises:
        ModelFileError: as of `with_input_shape` and `check_is_fixed`.
    """
    with ExitStack() as copies:
        files = [copies.enter_context(with_input_shape(path, shape)) for path in paths]
        for path, file in zip(paths, files, strict=True):
            check_is_fixed(path, read_model(file))
        yield files
