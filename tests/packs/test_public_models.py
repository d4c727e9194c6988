"""Published networks have the multiplications that were published, and the operations of their files."""

from collections import Counter
from pathlib import Path

import pytest
import timm
import torch
from torch import nn

from nasdepth.errors import TableError
from nasdepth.latency import tflite_kernels
from nasdepth.packs import public_kernels
from nasdepth.packs.public_models import EXAMPLES, family_of

TFLITE = Path(__file__).resolve().parents[3] / "shared" / "data" / "tflite"

# MMAC as papers and model pages have them: MobileNet v1 (arXiv:1704.04861 and the slim page), v2 (slim page),
# v3 (slim page, "MAdds"), ResNet-50 v1.5 (MLPerf)
PUBLISHED_MMAC = {
    "mobilenet-v1-1.0-224": 569,
    "mobilenet-v1-1.0-128": 186,
    "mobilenet-v1-0.75-224": 317,
    "mobilenet-v1-0.5-224": 150,
    "mobilenet-v1-0.5-160": 77,
    "mobilenet-v1-0.25-224": 41,
    "mobilenet-v1-0.25-128": 14,
    "mobilenet-v2-1.4-224": 582,
    "mobilenet-v2-1.0-224": 300,
    "mobilenet-v2-1.0-160": 154,
    "mobilenet-v2-0.75-224": 209,
    "mobilenet-v2-0.5-224": 97,
    "mobilenet-v2-0.35-224": 59,
    "mobilenet-v2-0.35-96": 11,
    "mobilenet-v3-large_224_1.0": 217,
    "mobilenet-v3-large_224_0.75": 155,
    "mobilenet-v3-large-minimalistic_224_1.0": 209,
    "mobilenet-v3-small_224_1.0": 57,
    "mobilenet-v3-small_224_0.75": 44,
    "resnet50": 4100,
}


@pytest.mark.parametrize("name", PUBLISHED_MMAC)
def test_multiplications_are_the_published_ones(name):
    mmac = sum(kernel.macs for kernel in public_kernels(name)) / 1e6
    assert mmac == pytest.approx(PUBLISHED_MMAC[name], rel=0.04, abs=1)


# What the pages of EfficientNet-Lite and of minimalistic MobileNet v3 print is not the sum of their layers
TIMM = {
    **{f"efficientnet-lite{variant}": f"tf_efficientnet_lite{variant}" for variant in range(5)},
    "mobilenet-v3-small-minimalistic_224_1.0": "tf_mobilenetv3_small_minimal_100",
    "mobilenet-v3-large-minimalistic_224_1.0": "tf_mobilenetv3_large_minimal_100",
    "mobilenet-v3-large_224_0.75": "tf_mobilenetv3_large_075",
    "mobilenet-v3-small_224_0.75": "tf_mobilenetv3_small_075",
}


@pytest.mark.parametrize("name", TIMM)
def test_multiplications_and_weights_are_those_of_timms_networks(name):
    with torch.device("meta"):
        model = timm.create_model(TIMM[name]).eval()
    kernels = public_kernels(name)
    counted = 0

    def count(layer, _, output):
        nonlocal counted
        counted += output.numel() * layer.weight[0].numel()

    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(count)
    with torch.no_grad():
        model(torch.empty(1, 3, kernels[0].in_height, kernels[0].in_width, device="meta"))
    # MobileNet v3 of TensorFlow has a class for the background
    assert sum(kernel.macs for kernel in kernels) == pytest.approx(counted, rel=1e-4)
    weights = sum(parameter.numel() for parameter in model.parameters() if parameter.dim() > 1)
    assert sum(kernel.weight_bytes for kernel in kernels) / 4 == pytest.approx(weights, rel=0.02)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("mobilenet-v1-0.5-160", "mobilenet_v1_0.5_160_quant.tflite"),
        ("mobilenet-v2-1.0-224", "mobilenet_v2_1.0_224_quant.tflite"),
    ],
)
def test_kernels_are_those_of_the_published_file(name, file):
    if not (path := TFLITE / file).is_file():
        pytest.skip("the published .tflite files are not here")

    def shapes(kernels):
        return Counter(
            (one.op, one.input_shape, one.output_shape, one.kernel_height, one.stride_height)
            for one in kernels
            # MobileNet v2's file squeezes by a reshape, and its older one has no softmax at the end
            if one.op not in ("reshape", "softmax", "squeeze")
        )

    assert shapes(public_kernels(name, "tflite", "int8")) == shapes(tflite_kernels(path, "tflite"))


@pytest.mark.parametrize("runtime", ["tflite", "xnnpack", "gpu"])
@pytest.mark.parametrize("name", EXAMPLES)
def test_every_example_is_built_under_every_runtime(name, runtime):
    kernels = public_kernels(name, runtime)
    assert len(kernels) > 20
    assert all(kernel.precision == "float32" for kernel in kernels)
    assert family_of(name)


def test_hard_swish_is_a_kernel_and_minimalistic_variants_have_none():
    ops = Counter(kernel.op for kernel in public_kernels("mobilenet-v3-large_224_1.0"))
    assert ops["hard_swish"] == 21
    assert ops["average_pool2d"] == 8 + 1
    plain = {kernel.op for kernel in public_kernels("mobilenet-v3-large-minimalistic_224_1.0")}
    assert not plain & {"hard_swish", "mul"}


def test_integers_are_converted_where_the_published_files_do():
    ops = [kernel.op for kernel in public_kernels("efficientnet-lite0", "tflite", "int8")]
    assert (ops[0], ops[-1]) == ("quantize", "dequantize")
    ops = [kernel.op for kernel in public_kernels("mobilenet-v2-1.0-224", "tflite", "int8")]
    assert "quantize" not in ops


def test_spelling_does_not_matter():
    assert public_kernels("MobileNetV2 1.0-224") == public_kernels("mobilenet-v2-1.0-224")
    assert public_kernels("mobilenet_v3_large_224") == public_kernels("mobilenet-v3-large_224_1.0")


def test_an_unknown_name_is_an_error_with_examples():
    with pytest.raises(TableError, match=r"'mobilenet-v9' is no published network; such are mobilenet-v1"):
        public_kernels("mobilenet-v9")
