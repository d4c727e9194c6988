"""What all losses share: full precision, exact masks, and one convention for means."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch


def full_precision[**P, R](loss: Callable[P, R]) -> Callable[P, R]:
    """Compute a loss outside of autocast, in float32 at least.

    Autocast would run convolutions and matrix products inside a loss in bfloat16, whose eight bits hold
    neither millimetres nor a variance; float64 stays float64.
    """

    @functools.wraps(loss)
    def computed(*arguments: P.args, **named: P.kwargs) -> R:
        raised: list[Any] = [_raised(argument) for argument in arguments]
        by_name: dict[str, Any] = {name: _raised(argument) for name, argument in named.items()}
        device = next(one.device.type for one in (*raised, *by_name.values()) if torch.is_tensor(one))
        with torch.autocast(device, enabled=False):
            return loss(*raised, **by_name)

    return computed


def _raised(argument: Any) -> Any:
    narrow = torch.is_tensor(argument) and argument.is_floating_point() and argument.itemsize < 4
    return argument.float() if narrow else argument


def check_maps(mask: torch.Tensor, **maps: torch.Tensor) -> None:
    """Raise ValueError unless `mask` is boolean (B, 1, H, W) and the maps have its shape."""
    if mask.dtype != torch.bool or mask.dim() != 4 or mask.shape[1] != 1:
        raise ValueError(f"mask is {mask.dtype} {tuple(mask.shape)}; it must be torch.bool (B, 1, H, W)")
    for name, one in maps.items():
        if one.shape != mask.shape:
            raise ValueError(f"{name} is {tuple(one.shape)} and mask {tuple(mask.shape)}; they must be alike")


def filled(mask: torch.Tensor, *maps: torch.Tensor, value: float = 1.0) -> tuple[torch.Tensor, ...]:
    """The maps with `value` where the mask is False.

    Filling before anything is computed, instead of zeroing afterwards, keeps NaN and infinity in holes out of
    the gradient too (0 * NaN is NaN).
    """
    return tuple(torch.where(mask, one, value) for one in maps)


def image_means(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """(B,) mean of (B, ...) `values` where `mask`, of the same shape, is True; 0 without any."""
    dims = tuple(range(1, values.dim()))
    return torch.where(mask, values, 0.0).sum(dims) / mask.sum(dims).clamp_min(1)


def image_any(mask: torch.Tensor) -> torch.Tensor:
    """(B,) whether anything of an image is True in a (B, ...) mask."""
    return mask.flatten(1).any(1)


def batch_mean(per_image: torch.Tensor, counted: torch.Tensor) -> torch.Tensor:
    """Scalar mean of (B,) values over the images that are counted; 0, with a gradient of 0, without any."""
    return torch.where(counted, per_image, 0.0).sum() / counted.sum().clamp_min(1)
