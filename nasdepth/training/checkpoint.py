"""Checkpoints: written whole or not at all, read without executing anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from nasdepth.architecture import Architecture
from nasdepth.errors import CheckpointError
from nasdepth.files import whole_file
from nasdepth.models import DepthNet, build

_FORMAT = "nasdepth-checkpoint-1"


def save_checkpoint(path: str | Path, model: DepthNet, **state: Any) -> None:
    """Write a model and whatever else a resume needs (tensors, numbers, strings, lists, dicts)."""
    content = {
        "format": _FORMAT,
        "architecture": str(model.architecture),
        "model": model.state_dict(),
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
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such checkpoint") from None
    except Exception as error:  # torch raises whatever its zip and unpickling layers do
        raise CheckpointError(
            f"{path}: is damaged or no checkpoint ({type(error).__name__}); delete it to start over"
        ) from error
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise CheckpointError(f"{path}: is no {_FORMAT} file; it was written by something else")
    return content


def load_model(path: str | Path) -> DepthNet:
    """The network of a checkpoint, in evaluation mode."""
    content = read_checkpoint(path)
    model = build(Architecture.parse(content["architecture"]))
    model.load_state_dict(content["model"])
    return model.eval()
