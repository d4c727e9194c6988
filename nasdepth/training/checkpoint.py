"""Checkpoints: written whole or not at all, read without executing anything."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from nasdepth.errors import CheckpointError, NasdepthError, brief
from nasdepth.files import whole_file
from nasdepth.models import AnyNetwork, build_any
from nasdepth.reading import open_regular

_FORMAT = "nasdepth-checkpoint-1"


def save_checkpoint(
    path: str | Path,
    model: AnyNetwork,
    *,
    weights: Mapping[str, torch.Tensor] | None = None,
    **state: Any,
) -> None:
    """Write a model and whatever else a resume needs (tensors, numbers, strings, lists, dicts).

    Args:
        weights: a state of the model to be used in place of the one that it is in: an average, or the best.
    """
    content = {
        "format": _FORMAT,
        "architecture": str(model.architecture),
        "model": model.state_dict() if weights is None else weights,
        **state,
    }
    with whole_file(path) as temporary:
        torch.save(content, temporary)


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read what `save_checkpoint` wrote.

    Raises:
        CheckpointError: missing, damaged, or not one of ours.
    """
    path = Path(path)
    if not path.exists():
        raise CheckpointError(f"{path}: no such checkpoint")
    try:
        with open_regular(path, error=CheckpointError) as file:
            content = torch.load(file, map_location="cpu", weights_only=True)
    except CheckpointError:
        raise
    except Exception as error:  # torch raises whatever its zip and unpickling layers do
        raise CheckpointError(
            f"{path}: is damaged or no checkpoint ({type(error).__name__}); delete it to start over"
        ) from error
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise CheckpointError(f"{path}: is no {_FORMAT} file; it was written by something else")
    for name, kind in (("architecture", str), ("model", Mapping)):
        if not isinstance(content.get(name), kind):
            raise CheckpointError(
                f"{path}: its part {name!r} is {brief(content.get(name))}; the file is damaged. Delete it to "
                "start over"
            )
    return content


def read_resumable(path: str | Path, model: AnyNetwork, identity: Mapping[str, Any]) -> dict[str, Any] | None:
    """Read the checkpoint to go on from; None where there is none yet.

    Args:
        identity: the facts by which a training is known: its recipe, seed, data and extras.

    Raises:
        CheckpointError: it is damaged, or belongs to another architecture, recipe, seed or data set.
    """
    if not Path(path).exists():
        return None
    content = read_checkpoint(path)
    if content["architecture"] != str(model.architecture):
        raise CheckpointError(f"{path}: holds {content['architecture']}, not {model.architecture}")
    saved = content.get("identity", {})
    if not isinstance(saved, Mapping):
        raise CheckpointError(f"{path}: its part 'identity' is {brief(saved)}; delete the file to start over")
    different = [name for name in identity if saved.get(name) != identity[name]]
    if different:
        raise CheckpointError(
            f"{path}: was trained with another {' and '.join(different)}; choose another output folder "
            "or delete it"
        )
    return content


def load_model(path: str | Path) -> AnyNetwork:
    """Build the network of a checkpoint with its weights, in evaluation mode.

    Raises:
        CheckpointError: it is missing or damaged, or its weights are not of its architecture.
    """
    content = read_checkpoint(path)
    try:
        model = build_any(content["architecture"])
    except NasdepthError as error:
        raise CheckpointError(f"{path}: architecture: {error}") from error
    with usable_parts(path):
        model.load_state_dict(content["model"])
    return model.eval()


@contextmanager
def usable_parts(path: str | Path) -> Iterator[None]:
    """Name the file where, within the block, a part of a checkpoint is missing or of another shape.

    Raises:
        CheckpointError: such a part was met.
    """
    try:
        yield
    except KeyError as error:
        raise CheckpointError(
            f"{path}: has no part {error}; the file is damaged, or another version wrote it. Delete it to "
            "start over"
        ) from error
    except (RuntimeError, ValueError, TypeError, AttributeError, IndexError) as error:
        words = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        raise CheckpointError(
            f"{path}: a part of it does not fit ({' '.join(words[:3])}); the file is damaged, or of another "
            "version. Delete it to start over"
        ) from error
