"""The deployed file against the network whose normalisation was never folded, at the picture's border."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from nasdepth.architecture import Architecture
from nasdepth.deploy import TFLiteDepth, export_tflite
from nasdepth.models import build
from nasdepth.models.encoders import RawStem

STEMS = {
    "7x7 stride 2": "64x96,resnet18@0.25:1",
    "branches, with coordinates": "64x96xy,mobileone_s0@0.5:1",
    "3x3 stride 2": "64x96,mobilenetv3_small_minimal@0.5:1",
    "3x3 stride 1": "64x96,unet@0.125:1",
}
ALIKE = ("3x3 stride 2", "3x3 stride 1")
# of 480x640 pixels: what a few pixels of the network's 64x96 come to
BORDER = 24


class Unfolded(nn.Module):
    """A stem that normalises the picture, which is black outside (or normalised 0), and then convolves."""

    def __init__(self, stem: RawStem, black: bool) -> None:
        super().__init__()
        self.weight, self.mean, self.std = stem.weight, stem.mean, stem.std
        self.stride, self.black = stem.stride, black

    def forward(self, rgb: torch.Tensor) -> torch.Tensor:
        around = []
        for size in (rgb.shape[3], rgb.shape[2]):
            total = max(self.weight.shape[3] - (size % self.stride or self.stride), 0)
            around += [total // 2, total - total // 2]
        if self.black:
            normalised = (F.pad(rgb, around) - self.mean) / self.std
        else:
            normalised = F.pad((rgb - self.mean) / self.std, around)
        return F.conv2d(normalised, self.weight, stride=self.stride)


def unfolded(net: nn.Module, black: bool) -> nn.Module:
    """A copy in float64 with every stem convolution behind a normalisation."""
    net = copy.deepcopy(net)
    for name, module in list(net.named_modules()):
        if isinstance(module, RawStem):
            net.set_submodule(name, Unfolded(module, black))
    return net.double()


@pytest.mark.parametrize(
    "stem",
    [pytest.param(one, marks=pytest.mark.slow) if one in ALIKE else one for one in STEMS],
)
@torch.no_grad()
def test_the_file_is_the_unfolded_network_up_to_the_border(stem, tmp_path):
    torch.manual_seed(1)
    neck = "none-conv-k1-w8,up-bilinear-bilinear"
    net = build(Architecture.parse(f"{STEMS[stem]},{neck}")).eval()
    nn.init.normal_(net.head.weight, std=0.5)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_var, 0.7, 1.5)
    exported = export_tflite(net, tmp_path / "model.tflite")
    # white, so that what lies outside matters; blocks, so that the resize leaves something to see
    rgb = np.random.default_rng(7).integers(160, 256, (1, 12, 16, 3), dtype=np.uint8)
    rgb = rgb.repeat(40, 1).repeat(40, 2)
    picture = torch.from_numpy(rgb).permute(0, 3, 1, 2).double()
    expected = unfolded(net, black=True)(picture)[0, 0].numpy()
    folded = net(picture.float())[0, 0].double().numpy()
    deployed = TFLiteDepth(exported.path).predict(rgb)[0]

    border = np.ones(expected.shape, dtype=bool)
    border[BORDER:-BORDER, BORDER:-BORDER] = False
    for got in (folded, deployed):
        error = np.abs(got - expected) / np.abs(expected).max()
        assert error[border].max() <= 1e-4
        assert error[~border].max() <= 1e-4
    # the fold that pads normalised pixels would show here, and only here
    naive = unfolded(net, black=False)(picture)[0, 0].numpy()
    assert np.abs(naive - expected)[border].max() > 0.01 * np.abs(expected).max()
