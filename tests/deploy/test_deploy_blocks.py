"""What every block, attention, skip and head becomes as .tflite: operators, and the same depth."""

import numpy as np
import pytest
import torch
from ai_edge_litert.interpreter import Interpreter
from torch import nn

from nasdepth.architecture import Architecture
from nasdepth.decoder_blocks import BLOCKS
from nasdepth.deploy import TFLiteDepth, export_tflite
from nasdepth.models import build

SIZE = "64x96"
ENCODER = "mobilenetv2@0.5:4"  # of stride 16
ODD = 13  # a width that no vector unit likes
HEAD = "up-bilinear-bilinear"

# the only operators that XNNPACK leaves to the runtime, and how many of each
LEFT_OUT = {"aspp": 1, "lpg": 1}

CASES = {
    **{
        f"block {name} k{kernel}": f"none-conv-k1-w16,none-{name}-k{kernel}-w{ODD},{HEAD}"
        for name, kind in BLOCKS.items()
        for kernel in kind.kernels[-1:]
    },
    **{
        f"attention {name}": f"none-conv-k1-w16-{name},none-conv-k3-w{ODD}-{name},{HEAD}"
        for name in ("se", "ca", "nonlocal")
    },
    **{
        f"skip {skip} {block}": f"none-conv-k1-w16,{skip}-{block}-k3-w{ODD},{HEAD}"
        for skip in ("none", "add", "concat", "gate")
        for block in ("conv", "fbnet")
    },
    "head lpg": f"none-conv-k1-w16,none-conv-k3-w{ODD},none-conv-k1-w9,none-conv-k1-w8,up-bilinear-lpg",
    "reparam rep": f"none-conv-k1-w16,none-dsconv-k3-w{ODD},{HEAD},reparam-rep",
    "reparam linear": f"none-conv-k1-w16,none-dsconv-k3-w{ODD},{HEAD},reparam-linear",
    "coordinates": f"none-conv-k1-w16,none-dsconv-k3-w{ODD},{HEAD}",
}
QUICK = {"block rfdb k3", "attention ca", "attention nonlocal", "skip gate fbnet", "head lpg"}


def lively(architecture: Architecture) -> nn.Module:
    """A network whose batch norms are no identity, and whose depth is not flat."""
    torch.manual_seed(1)
    net = build(architecture)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.7, 1.3)
            nn.init.uniform_(module.bias, -0.3, 0.3)
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.7, 1.5)
    nn.init.normal_(net.head.weight, std=0.2)
    return net


def delegated(path) -> int:
    """Partitions that XNNPACK takes."""
    interpreter = Interpreter(model_path=str(path))
    interpreter.allocate_tensors()
    return sum(operator["op_name"] == "DELEGATE" for operator in interpreter._get_ops_details())


@pytest.mark.parametrize(
    "case", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in CASES]
)
def test_it_deploys_clean_and_agrees(tmp_path, case):
    size = f"{SIZE}xy" if case == "coordinates" else SIZE
    net = lively(Architecture.parse(f"{size},{ENCODER},{CASES[case]}"))
    result = export_tflite(net, tmp_path / "model.tflite")
    operators = set(result.operators)
    unwanted = {"TRANSPOSE", "PAD", "PADV2", "GATHER", "SPLIT", "STRIDED_SLICE", "CAST", "RELU_0_TO_1"}
    assert not operators & unwanted
    assert ("RESHAPE" in operators) == (case == "attention nonlocal")
    assert 0 < result.relative_error <= 1e-4
    assert delegated(result.path) <= 1 + LEFT_OUT.get(case.split()[1] if " " in case else case, 0)

    # noise of single pixels averages out in the resize: an image of blocks shows what the network does
    rgb = np.random.default_rng(7).integers(0, 256, (1, 6, 8, 3)).repeat(80, 1).repeat(80, 2)
    with torch.no_grad():
        expected = net.eval()(torch.from_numpy(rgb).permute(0, 3, 1, 2).float())[0, 0].numpy()
    got = TFLiteDepth(result.path).predict(rgb)[0]
    assert expected.std() > 1e-4 * expected.max()
    assert np.abs(got - expected).max() <= 1e-4 * expected.max()
    assert np.abs(got - expected).max() <= 0.01 * expected.std()
