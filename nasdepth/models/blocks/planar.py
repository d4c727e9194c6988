"""Local planar guidance (BTS, arXiv:1907.10326, section 3.3)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from torch import nn
from torch.amp.autocast_mode import is_autocast_available

from nasdepth.architecture import GUIDED_STRIDES
from nasdepth.models.blocks._layers import upsample

MIN_SLOPE = 0.1


class PlaneMap(nn.Module):
    """A plane for every pixel of a feature map, as the depth of stride x stride pixels of its own.

    A 1x1 convolution gives a polar angle t in 0 to pi/3, an azimuth p in 0 to 2 pi and a distance in 0 to 1;
    with n = (sin t cos p, sin t sin p, cos t) the depth at (u, v) is distance / (n1 u + n2 v + n3), where u
    and v are (i - (k - 1) / 2) / k in a patch of k = stride pixels (equation 2). The divisor, which may fall
    to -0.04 at the corners of the steepest planes of k = 8, is kept at or above 0.1.

    With sin t cos p = (sin(t + p) + sin(t - p)) / 2 and its like, all the cells of a patch are linear in five
    sines of sums of the angles: two constant 1x1 convolutions, computed once a patch, not once a pixel.

    (B, C, H, W) -> (B, 1, stride H, stride W).
    """

    angles: torch.Tensor
    phases: torch.Tensor
    cells: torch.Tensor
    distance: torch.Tensor

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.plane = nn.Conv2d(channels, 3, 1)
        polar, azimuth, quarter = math.pi / 3, 2 * math.pi, math.pi / 2
        # sin(t + p), sin(t - p), cos(t - p), cos(t + p), cos t from the sigmoids of (t, p, distance)
        angles = [[polar, azimuth], [polar, -azimuth], [polar, -azimuth], [polar, azimuth], [polar, 0]]
        self.register_buffer(
            "angles", torch.tensor([[*row, 0.0] for row in angles])[..., None, None], persistent=False
        )
        self.register_buffer("phases", torch.tensor([0, 0, quarter, quarter, quarter]), persistent=False)
        offsets = [(index - (stride - 1) / 2) / stride for index in range(stride)]
        cells = [[u / 2, u / 2, v / 2, -v / 2, 1.0] for v in offsets for u in offsets]
        self.register_buffer("cells", torch.tensor(cells)[..., None, None], persistent=False)
        self.register_buffer("distance", torch.tensor([0, 0, 1.0]).view(1, 3, 1, 1), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.sigmoid(self.plane(x))
        sines = torch.sin(F.conv2d(x, self.angles, self.phases))
        slopes = F.conv2d(sines, self.cells).clamp(min=MIN_SLOPE)
        return F.pixel_shuffle(F.conv2d(x, self.distance) / slopes, self.stride)


class PlanarGuidance(nn.Module):
    """A plane map of every decoder stage of stride 2, 4 and 8, and the last features, at full size.

    {stride: (B, channels[stride], out_hw / stride)} -> (B, `out_channels`, *out_hw), where `out_hw` is the
    resized input's size; the last features are resized to the nearest.

    Args:
        channels: of the decoder's features by stride, deepest first. Strides without a plane map may be left
            out, save the last.
    """

    def __init__(self, channels: Mapping[int, int], out_hw: tuple[int, int]) -> None:
        super().__init__()
        self.out_hw = out_hw
        self.last = min(channels)
        planes = {
            stride: PlaneMap(channels[stride], stride) for stride in channels if stride in GUIDED_STRIDES
        }
        self.planes = nn.ModuleDict({str(stride): plane for stride, plane in planes.items()})
        self.out_channels = len(planes) + channels[self.last]

    def forward(self, features: Mapping[int, torch.Tensor]) -> torch.Tensor:
        last = features[self.last]
        with _full_precision(last.device.type):
            maps = [plane(features[int(stride)].float()) for stride, plane in self.planes.items()]
        return self.join(maps, last)

    def join(self, maps: Sequence[torch.Tensor], last: torch.Tensor) -> torch.Tensor:
        """Plane maps of (B, 1, *out_hw) and the last features as what `forward` returns."""
        return torch.cat([*maps, last if self.last == 1 else upsample(last, self.out_hw, "nearest")], 1)


def _full_precision(device: str) -> AbstractContextManager:
    """Depths and angles do not fit into bfloat16's eight bits. The meta device knows no autocast."""
    return torch.autocast(device, enabled=False) if is_autocast_available(device) else nullcontext()
