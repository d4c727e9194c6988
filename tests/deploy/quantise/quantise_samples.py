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

    def blocks(seed: int) -> torch.Tensor:
        drawn = torch.randint(0, 256, (4, 3, 12, 16), generator=torch.Generator().manual_seed(seed))
        return nn.functional.interpolate(drawn.float(), (480, 640), mode="bilinear")

    # as after a training: every channel of a batch normalisation has seen images
    net.train()
    with torch.no_grad():
        for seed in range(6):
            net(blocks(seed))
        net.eval()
        decoded = net.decode(net.resize(blocks(9)))
        nn.init.normal_(net.head.weight)
        varies = nn.functional.conv2d(decoded, net.head.weight)
        net.head.weight *= 0.8 / varies.std()
        net.head.bias.fill_(3.0 - 0.8 * float(varies.mean() / varies.std()))
    return net
