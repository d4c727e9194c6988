"""A network with everything that quantisation treats apart."""

import torch
from torch import nn

from nasdepth.architecture import Architecture
from nasdepth.models import build

# hard-swish, ReLU on its own, gates, pools over rows and columns, sums, concatenations of what others read
RICH = (
    "64x96,mobilenetv3_small@0.5:4,none-dsconv-k3-w16-ca,concat-rcu-k3-w16,concat-ghost-k3-w16-se,"
    "up-nearest-bilinear"
)


def lively(architecture: Architecture) -> nn.Module:
    """A network whose depth varies, though it is not trained."""
    torch.manual_seed(1)
    net = build(architecture).eval()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.9, 1.3)
            nn.init.uniform_(module.bias, -0.1, 0.3)
    # as after a training: every channel of a batch normalisation has seen images
    net.train()
    with torch.no_grad():
        for seed in range(6):
            blocks = torch.randint(0, 256, (4, 3, 12, 16), generator=torch.Generator().manual_seed(seed))
            net(nn.functional.interpolate(blocks.float(), (480, 640), mode="bilinear"))
    nn.init.normal_(net.head.weight, std=4.0)
    return net.eval()
