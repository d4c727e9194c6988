"""The pose network of self-supervised video: how the camera moved between two frames, without a label."""

from __future__ import annotations

import torch
from torch import nn

from nasdepth.architecture import Encoder
from nasdepth.families import get_family
from nasdepth.models.depthnet import DEFAULT_SCALE_MM
from nasdepth.models.encoders import EncoderNet, RawStem
from nasdepth.models.pretrained import Start, load_pretrained

# radians; below it a few terms of a Taylor series are exact to the last digit
_SMALL_RAD = 1e-2
_STEP = 0.01
_WIDTH = 256


class PoseNet(nn.Module):
    """Six numbers of motion from two concatenated frames (Monodepth2, Godard et al. 2019, 1806.01260).

    A classification encoder on six channels, four convolutions, the mean over the picture, times 0.01, so
    that training starts near "stands still": axis-angle in radians, translation in units of `unit_mm`.

    Attributes:
        start: the source of the encoder's first weights.

    Args:
        family, width: the encoder's family and width; all its stages are kept. Monodepth2 has resnet18.
        pretrained: start from ImageNet weights where they can be had, those of the first convolution repeated
            for the second frame and halved.
        unit_mm: how many millimetres a translation of 1 is. Depth and motion of a video have one unknown
            scale in common; this unit puts the first guess where a `DepthNet`'s is.

    Raises:
        SpaceError: no such family, or an impossible width.
    """

    def __init__(
        self,
        family: str = "resnet18",
        width: float = 1.0,
        pretrained: bool = False,
        unit_mm: float = DEFAULT_SCALE_MM,
    ) -> None:
        super().__init__()
        self.unit_mm = unit_mm
        spec = Encoder(family, width, len(get_family(family).stages))
        self.encoder = EncoderNet(spec)
        self.start = load_pretrained(self.encoder, spec) if pretrained else Start("random", pretrained=False)
        for module in self.encoder.modules():
            if isinstance(module, RawStem):
                _see_two_frames(module)
        self._stride = spec.stride
        self.decoder = nn.Sequential(
            nn.Conv2d(spec.channels[spec.stride], _WIDTH, 1),
            nn.ReLU(),
            nn.Conv2d(_WIDTH, _WIDTH, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(_WIDTH, _WIDTH, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(_WIDTH, 6, 1),
        )

    def forward(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        """(B, 4, 4) float32 motion from the first camera's frame to the second's, translation in millimetres.

        Args:
            first, second: (B, 3, H, W) RGB on 0-255, in the order of time.
        """
        features = self.encoder(torch.cat([first, second], 1))[self._stride]
        motion = self.decoder(features).float().mean((2, 3)) * _STEP
        return rigid_motion(motion[:, :3], motion[:, 3:] * self.unit_mm)


def _see_two_frames(stem: RawStem) -> None:
    # halved: two equal frames give what one gave
    stem.weight = nn.Parameter(torch.cat([stem.weight.detach()] * 2, 1) / 2)
    stem.mean, stem.std = torch.cat([stem.mean] * 2, 1), torch.cat([stem.std] * 2, 1)


def rigid_motion(axis_angle: torch.Tensor, translation: torch.Tensor) -> torch.Tensor:
    """(B, 4, 4) matrices of rotations (B, 3) in radians, followed by translations (B, 3)."""
    matrix = torch.eye(4).to(axis_angle).repeat(len(axis_angle), 1, 1)
    matrix[:, :3, :3] = axis_angle_to_matrix(axis_angle)
    matrix[:, :3, 3] = translation
    return matrix


def invert_motion(motion: torch.Tensor) -> torch.Tensor:
    """The way back of rigid motions (B, 4, 4): R^T and -R^T t."""
    turned_back = motion[:, :3, :3].transpose(1, 2)
    inverse = torch.eye(4).to(motion).repeat(len(motion), 1, 1)
    inverse[:, :3, :3] = turned_back
    inverse[:, :3, 3:] = -turned_back @ motion[:, :3, 3:]
    return inverse


def axis_angle_to_matrix(axis_angle: torch.Tensor) -> torch.Tensor:
    """Rotation matrices (..., 3, 3) of rotation vectors (..., 3): axis times angle in radians.

    Rodrigues' formula, I + sin(a)/a K + (1 - cos(a))/a^2 K^2, K being the cross product with the vector.
    Exact at any angle, and differentiable at 0, where a pose network begins.
    """
    squared = (axis_angle**2).sum(-1)[..., None, None]
    small = squared < _SMALL_RAD**2
    # the branch that is not taken must have a finite gradient too
    angle = torch.where(small, 1.0, squared).sqrt()
    sine = torch.where(small, 1 - squared / 6 + squared**2 / 120, angle.sin() / angle)
    # 1 - cos(a) cancels; 2 sin^2(a/2) does not
    half = (angle / 2).sin() / angle
    versine = torch.where(small, 0.5 - squared / 24 + squared**2 / 720, 2 * half**2)
    x, y, z = axis_angle.unbind(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).unflatten(-1, (3, 3))
    return torch.eye(3).to(axis_angle) + sine * cross + versine * (cross @ cross)
