"""Any encoder of timm's as `EncoderNet` is one: raw RGB in, feature maps by stride out."""

from __future__ import annotations

from functools import lru_cache, partial
from typing import Any

import timm
import torch
from timm.layers import Format
from timm.models._features import FeatureGetterNet
from torch import nn

from nasdepth.errors import SpaceError, nearest

# DPT (Ranftl et al. 2021, arXiv:2103.13413) reads a plain ViT at four depths and makes these strides of them.
VIT_STRIDES = (4, 8, 16, 32)
_MIN_STRIDE = 4


class TimmEncoder(nn.Module):
    """A timm network without its head, with the normalisation of its weights inside.

    Args:
        name: timm's, with or without the tag of its weights (`convnext_tiny.fb_in22k`).
        input_hw: the height and width of its input; attention with learned positions is built for one size.

    Attributes:
        channels: the channels of the feature map of every stride, from 4. A plain ViT has one resolution
            only: its maps, at a third of the depth and so on to its last block, are listed under
            `VIT_STRIDES`.
        plain: whether it is such a ViT.

    Raises:
        SpaceError: timm cannot build it for this size, or it gives no feature maps.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, name: str, input_hw: tuple[int, int]) -> None:
        super().__init__()
        self.name, self.options = name, _options(name, input_hw)
        try:
            self.net: Any = timm.create_model(name, pretrained=False, **self.options)
        except (AssertionError, AttributeError, RuntimeError, TypeError, ValueError) as error:
            raise _unusable(name, input_hw, error) from error
        self.plain = "out_indices" in self.options
        info = self.net.feature_info
        strides = VIT_STRIDES if self.plain else info.reduction()
        self._strides = tuple(strides)
        self.channels = {
            stride: channels
            for stride, channels in zip(strides, info.channels(), strict=True)
            if stride >= _MIN_STRIDE
        }
        self._last = getattr(self.net, "output_fmt", Format.NCHW) == Format.NHWC
        config = self.net.pretrained_cfg
        # in the state: another version of timm may have other weights, and so values, under the same name
        for field in ("mean", "std"):
            self.register_buffer(field, torch.tensor(config[field]).view(1, 3, 1, 1) * 255)

    def forward(self, rgb: torch.Tensor) -> dict[int, torch.Tensor]:
        """(B, 3, *input_hw) float RGB on 0-255 -> {stride: (B, channels, h, w)}."""
        maps = self.net((rgb - self.mean) / self.std)
        if self._last:
            maps = [one.permute(0, 3, 1, 2) for one in maps]
        by_stride = dict(zip(self._strides, maps, strict=True))
        return {stride: by_stride[stride] for stride in self.channels}


def check_timm_name(name: str) -> None:
    """Raise SpaceError where timm has no such network, or no such tag of weights for it."""
    try:
        timm.get_pretrained_cfg(name, allow_unregistered=False)
    except RuntimeError as error:
        near = nearest(name.partition(".")[0], timm.list_models())
        raise SpaceError(f"encoder is {name!r}, which timm does not have ({error}){near}") from error


@lru_cache
def _options(name: str, input_hw: tuple[int, int]) -> dict[str, Any]:
    options: dict[str, Any] = {"features_only": True}
    if timm.get_pretrained_cfg(name).fixed_input_size:
        options["img_size"] = input_hw
    try:
        with torch.device("meta"):
            info = timm.create_model(name, pretrained=False, **options).feature_info
    except (AssertionError, AttributeError, RuntimeError, TypeError, ValueError) as error:
        raise _unusable(name, input_hw, error) from error
    if len(set(info.reduction())) > 1:
        return options
    patch, depth = info.reduction()[0], len(info.info)
    if any(size % patch for size in input_hw):
        raise SpaceError(
            f"input is {input_hw[0]}x{input_hw[1]}, but {name} cuts it into patches of {patch}x{patch}; "
            f"take multiples of {patch}"
        )
    # The maps pass the last norm, as DINOv2 and Depth Anything give them to DPT: as they stand, those of
    # different depths differ in size by orders of magnitude.
    return options | {
        "out_indices": tuple(depth * (level + 1) // len(VIT_STRIDES) - 1 for level in range(4)),
        "feature_cls": partial(FeatureGetterNet, norm=True),
    }


def _unusable(name: str, input_hw: tuple[int, int], error: Exception) -> SpaceError:
    words = str(error).partition("\n")[0]
    return SpaceError(
        f"encoder is {name!r}, of which timm makes no feature maps at {input_hw[0]}x{input_hw[1]} ({words}); "
        "take another size or encoder"
    )
