"""Extraction against hand-made answers, hooks that count on their own, and converted networks."""

import copy
import random
from collections import Counter
from itertools import groupby
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from ai_edge_litert.interpreter import Interpreter
from torch import nn

from nasdepth.architecture import Architecture
from nasdepth.deploy import export_tflite
from nasdepth.errors import ModelFileError, UnknownKernelError
from nasdepth.families import families, get_family
from nasdepth.kernels.rules import RUNTIMES, load_rules, partitions
from nasdepth.latency import Kernel, architecture_kernels, module_kernels, tflite_kernels
from nasdepth.models import build, resolve
from nasdepth.space import SearchSpace
from nasdepth.tflite.flatbuffer import read_model, write_model
from nasdepth.tflite.micro_models import write_micro_model
from nasdepth.tflite.schema_codes import schema


class _SameConv(nn.Module):
    def forward(self, x):
        x = F.pad(x, (0, 1, 0, 1))
        return F.relu6(F.conv2d(x, torch.ones(8, 3, 3, 3), stride=2))


class _Lambda(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def _conv(**changes) -> Kernel:
    fields = dict(
        op="conv2d", in_height=8, in_width=12, in_channels=3, out_height=8, out_width=12, out_channels=8
    )
    return Kernel(**{**fields, "padding": "same", **changes})


K3 = {"kernel_height": 3, "kernel_width": 3}


def test_asymmetric_padding_and_relu6_become_one_same_convolution():
    expected = _conv(out_height=4, out_width=6, stride_height=2, stride_width=2, activation="relu6", **K3)
    assert module_kernels(_SameConv(), (8, 12)) == (expected,)


def test_padding_other_than_same_is_a_kernel_of_its_own_where_the_runtime_does_not_fold_it():
    strided = nn.Conv2d(3, 8, 3, stride=2, padding=1)
    kernels = module_kernels(strided, (8, 12), "tflite")
    assert [kernel.op for kernel in kernels] == ["pad", "conv2d"]
    assert (kernels[0].out_height, kernels[0].out_width, kernels[1].padding) == (10, 14, "valid")
    (folded,) = module_kernels(strided, (8, 12), "xnnpack")
    assert (folded.in_height, folded.in_width, folded.out_height, folded.out_width) == (8, 12, 4, 6)
    assert folded.pads == (1, 1, 1, 1) and folded.padding == "valid"


def test_the_gpu_adds_within_its_convolutions():
    convolution = nn.Conv2d(3, 3, 3, padding=1)

    def residual(x):
        y = F.relu(x)
        return F.relu(convolution(y) + y)

    kernels = module_kernels(_Lambda(residual), (8, 12), "gpu")
    assert [(one.op, one.operand, one.activation) for one in kernels] == [
        ("relu", "", "none"),
        ("conv2d", "tensor", "relu"),
    ]
    kernels = module_kernels(_Lambda(residual), (8, 12), "xnnpack")
    assert [(one.op, one.activation) for one in kernels] == [
        ("relu", "none"),
        ("conv2d", "none"),
        ("add", "relu"),  # by the converter: XNNPACK itself does not
    ]


def test_the_gpu_links_what_works_on_one_tensor():
    convolution = nn.Conv2d(3, 3, 3, padding=1)

    def gated(x):
        y = F.hardswish(convolution(x))
        return torch.sigmoid(y * 0.5) * y

    kernels = module_kernels(_Lambda(gated), (8, 12), "gpu")
    # the multiplication's two inputs come from two places: a kernel of its own
    assert [one.op for one in kernels] == ["conv2d", "mul", "mul"]
    assert "hard_swish" in [one.op for one in module_kernels(_Lambda(gated), (8, 12), "xnnpack")]


def test_batch_normalisation_folds_into_its_convolution():
    module = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True))
    module.train()
    assert module_kernels(module, (8, 12)) == (_conv(activation="relu", **K3),)
    assert module.training and module[1].num_batches_tracked == 0


def test_batch_normalisation_of_a_shared_convolution_stays():
    convolution, normalisation = nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8).eval()

    def both(x):
        y = convolution(x)
        return y + normalisation(y)

    assert [kernel.kind for kernel in module_kernels(_Lambda(both), (8, 12))] == [
        "conv1x1",
        "mul_vector",
        "add_vector",
        "add_tensor",
    ]


def test_activation_with_a_second_consumer_is_not_fused():
    convolution = nn.Conv2d(3, 8, 1)

    def both(x):
        y = convolution(x)
        return F.relu(y) + y

    kernels = module_kernels(_Lambda(both), (8, 12))
    assert [(kernel.op, kernel.activation) for kernel in kernels] == [
        ("conv2d", "none"),
        ("relu", "none"),
        ("add", "none"),
    ]


def test_operations_on_weights_alone_are_no_kernels():
    weight, mean = nn.Parameter(torch.ones(3, 1, 3, 3)), torch.ones(3, 1, 1, 1)

    def folded(x):
        return F.conv2d(x, weight / mean, -(weight * mean).sum((1, 2, 3)), padding=1, groups=3)

    expected = _conv(op="depthwise_conv2d", out_channels=3, groups=3, **K3)
    assert module_kernels(_Lambda(folded), (8, 12)) == (expected,)


def test_decoder_operations():
    def decoder(x):
        up = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        near = F.interpolate(x, size=(16, 24), mode="nearest")
        merged = torch.cat([up, near], 1)
        gate = torch.sigmoid(F.adaptive_avg_pool2d(merged, 1))
        return F.hardswish(merged * gate)

    kernels = module_kernels(_Lambda(decoder), (8, 12))
    assert [kernel.kind for kernel in kernels] == [
        "resize_bilinear",
        "resize_nearest",
        "concat",
        "mean",
        "logistic",
        "mul_gate",
        "hard_swish",
    ]
    assert kernels[2].in_channels == 3 and kernels[2].other_channels == (3,) and kernels[2].out_channels == 6
    assert kernels[0].sampling == "half_pixel" and kernels[1].sampling == "asymmetric"


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (torch.erf, "erf"),
        (lambda x: x.permute(0, 3, 2, 1), "permute"),
        (lambda x: x.permute(0, 2, 3, 1) * 2, "channels last"),
        (lambda x: x / 3, "div"),
        (lambda x: x.clamp(-1, 1), "clamp"),
        (lambda x: F.pixel_shuffle(torch.cat([x] * 4, 1), 2), "pixel shuffle to 3 channels"),
    ],
)
def test_unknown_operation_is_named(function, name):
    with pytest.raises(UnknownKernelError, match=name):
        module_kernels(_Lambda(function), (8, 12))


# the other named designs are in tests/models/test_zoo.py
DESIGNS = ("litedepth", "lite0-plain")


@pytest.mark.parametrize("name", DESIGNS)
def test_macs_agree_with_hooks(name):
    architecture = resolve(name)
    model = build(architecture).eval()
    counted = 0

    def count(module, _, output):
        nonlocal counted
        counted += output.numel() * module.weight[0].numel()

    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(count)
    with torch.no_grad():
        model(torch.rand(1, 3, 480, 640))
    head, stem = model.head, model.encoder.conv_stem
    strided = (architecture.input_height // 2) * (architecture.input_width // 2)
    at_head = architecture.input_height * architecture.input_width // architecture.head_stride**2
    # the stem and the head convolve with weights folded in forward, past any hook
    counted += strided * stem.weight.numel() + at_head * head.weight.numel()
    assert sum(kernel.macs for kernel in architecture_kernels(architecture)) == counted


_TRICKY = (
    # what decoders may have besides: each block, attention, skip and head, odd channels among them
    "64x96,mobilenetv2@0.5:5,none-rfdb-k3-w16,none-rfdb-k3-w16,concat-rfdb-k3-w24-se,up-bilinear-nearest",
    "64x96xy,mobilenetv2@0.5:5,none-conv-k1-w16,gate-fbnet-k3-w16-ca,concat-fbnet-k5-w24,add-fbnet-k3-w16,"
    "up-nearest-bilinear",
    "64x96,mobilenetv2@0.5:5,none-aspp-k3-w16,gate-ghost-k3-w15-ca,concat-ghost-k5-w24,add-pydnet-k3-w9,"
    "up-nearest-lpg,reparam-rep",
    "64x96,mobilenetv2@0.5:5,none-rcu-k3-w16-nonlocal,gate-lrconv-k3-w16-ca,add-doubleconv-k3-w24,"
    "add-ffm-k3-w9,none-conv-k1-w8,up-nearest-lpg,reparam-linear",
    "64x96xy,unet@0.25:4,none-conv-k1-w16,concat-doubleconv-k3-w16,gate-doubleconv-k3-w8,"
    "concat-doubleconv-k3-w8,up-nearest-nearest",
    "64x96,mobilenetv3_small@0.5:5,none-conv-k1-w16,concat-mbconv-k3-w16,add-dsconv-k5-w8,up-nearest-bilinear",
    "64x64,mobilenetv4_conv_small@0.5:3,none-mbconv-k1-w8,add-conv-k3-w1,none-conv-k1-w1,none-mbconv-k5-w8,"
    "up-bilinear-nearest",
    # as large as the picture, before the encoder and behind the head: nothing is left to resize
    "480x640,unet@0.12:2,none-conv-k1-w8,concat-conv-k3-w8,up-nearest-nearest",
)


def _convert_and_compare(architecture: Architecture, path: Path) -> None:
    export_tflite(build(architecture), path, verify=False)
    for runtime in RUNTIMES:
        from_module, from_file = architecture_kernels(architecture, runtime), tflite_kernels(path, runtime)
        assert Counter(map(str, from_module)) == Counter(map(str, from_file))
        assert Counter(from_module) == Counter(from_file)

    interpreter = Interpreter(model_path=str(path))
    interpreter.allocate_tensors()
    operations = [operation["op_name"] for operation in interpreter._get_ops_details()]
    delegated = map(load_rules("xnnpack").delegates, from_module := architecture_kernels(architecture))
    assert operations.count("DELEGATE") == [taken for taken, _ in groupby(delegated)].count(True)
    assert partitions(from_module, "xnnpack") == partitions(tflite_kernels(path), "xnnpack")


@pytest.mark.parametrize("text", [*(str(resolve(name)) for name in DESIGNS), *_TRICKY])
def test_module_and_converted_network_have_equal_kernels(text, tmp_path):
    _convert_and_compare(Architecture.parse(text), tmp_path / "model.tflite")


def test_a_network_as_large_as_the_picture_resizes_between_its_decoder_stages_only():
    architecture = Architecture.parse(_TRICKY[-1])
    resizes = [kernel for kernel in architecture_kernels(architecture) if kernel.op.startswith("resize")]
    assert [(kernel.in_height, kernel.out_height) for kernel in resizes] == [(240, 480)]


class _Gallery(nn.Module):
    """Operations that no `DepthNet` has, each between two convolutions."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 1, stride=32)
        self.branch = nn.Conv2d(8, 8, 1)
        self.prelu, self.grouped = nn.PReLU(8), nn.Conv2d(8, 8, 3, padding=1, groups=2)
        self.cropped = nn.ConvTranspose2d(8, 8, 3, stride=2, padding=1, output_padding=1)
        self.plain = nn.ConvTranspose2d(8, 8, 2, stride=2, bias=False)
        self.normalised = nn.Sequential(
            nn.ConvTranspose2d(8, 8, 4, stride=2, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU()
        )
        self.normalised[1].running_mean.fill_(0.1)
        operations = (
            self.normalised,
            self.prelu,
            self.grouped,
            self.cropped,
            self.plain,
            F.silu,
            torch.tanh,
            F.gelu,
            F.hardsigmoid,
            lambda x: F.leaky_relu(x, 0.1),
            lambda x: torch.exp(-torch.abs(x)),
            lambda x: x.clamp(0, 1),
            lambda x: x.clamp(-2, 3),
            lambda x: x.clamp(max=0.5),
            lambda x: F.softmax(x, 1),
            lambda x: torch.cat([x[:, 2:6], x[:, :4]], 1),
            lambda x: x - self.branch(x),
            lambda x: x / torch.exp(self.branch(x)),
            lambda x: torch.maximum(x, self.branch(x)),
            lambda x: x * torch.sigmoid(self.branch(x.mean((2, 3), keepdim=True))),
            lambda x: F.relu(self.branch(x) + x),
            torch.sin,
            torch.cos,
            lambda x: x * torch.sigmoid(self.branch(F.avg_pool2d(x, (1, int(x.shape[-1]))))),
            lambda x: x * torch.sigmoid(self.branch(F.avg_pool2d(x, (int(x.shape[-2]), 1)))),
            lambda x: F.max_pool2d(x, 3, 2, ceil_mode=True),
            lambda x: F.max_pool2d(x, 7, 3),
        )
        self.operations = operations
        self.between = nn.ModuleList(nn.Conv2d(8, 8, 1) for _ in operations)
        self.head = nn.Conv2d(8, 1, 1)

    def forward(self, x):
        x = self.stem(x)
        for operation, convolution in zip(self.operations, self.between, strict=True):
            x = convolution(operation(x))
        return F.interpolate(self.head(x), size=(480, 640), mode="nearest")


def test_operations_beyond_depth_networks_convert_to_the_kernels_read_off_the_module(tmp_path):
    # its lambdas keep the layers of this one when an export copies it
    model, path = _Gallery().eval().requires_grad_(False), tmp_path / "model.tflite"
    export_tflite(model, path, verify=False)
    for runtime in RUNTIMES:
        from_module, from_file = module_kernels(model, runtime=runtime), tflite_kernels(path, runtime)
        assert Counter(map(str, from_module)) == Counter(map(str, from_file))
        assert Counter(from_module) == Counter(from_file)
        assert partitions(from_module, runtime) == partitions(from_file, runtime)


# one of each make: inverted residuals with and without attention, ghosts, re-parameterised, residual
EXEMPLARS = (
    "mobilenetv2",
    "mobilenetv3_small",
    "mobilenetv4_conv_small",
    "ghostnetv2",
    "repghostnet",
    "resnet18",
)
EXHAUSTIVE = pytest.mark.exhaustive


@pytest.mark.slow
@pytest.mark.parametrize(
    "family",
    [pytest.param(one, marks=() if one in EXEMPLARS else EXHAUSTIVE) for one in families()],
)
def test_every_encoder_family_has_equal_kernels_when_converted(family, tmp_path):
    encoder = f"{family}@0.75:{len(get_family(family).stages)}"
    text = f"64x96,{encoder},none-conv-k1-w16,add-dsconv-k3-w16,up-nearest-bilinear"
    _convert_and_compare(Architecture.parse(text), tmp_path / "model.tflite")


@pytest.mark.slow
@pytest.mark.parametrize(
    "seed", [pytest.param(one, marks=EXHAUSTIVE if one > 3 else ()) for one in range(12)]
)
def test_random_networks_have_equal_kernels_when_converted(seed, tmp_path):
    architecture = SearchSpace.load("depth").sample(random.Random(f"agreement {seed}"))
    _convert_and_compare(architecture, tmp_path / "model.tflite")


@pytest.mark.parametrize(
    ("name", "count", "mmac"),
    [
        ("deeplabv3_257_mv_gpu", 70, 725.8),
        ("mediapipe_hand_landmark_lite", 65, 145.6),
        ("unet_person_128_float", 51, 191.6),
        ("vww_96_float", 31, 7.49),
        ("mobilenet_v1_0.5_160_quant", 31, 76.53),
        ("mobilenet_v2_1.0_224_quant", 66, 300.8),
    ],
)
def test_third_party_models(third_party, name, count, mmac):
    kernels = tflite_kernels(third_party / f"{name}.tflite")
    assert len(kernels) == count
    assert sum(kernel.macs for kernel in kernels) / 1e6 == pytest.approx(mmac, rel=1e-3)


@pytest.mark.parametrize("name", ["mobilenet_v1_0.5_160_quant", "mobilenet_v2_1.0_224_quant"])
def test_quantised_models_have_quantised_kernels(third_party, name):
    kernels = tflite_kernels(third_party / f"{name}.tflite")
    assert {kernel.precision for kernel in kernels} == {"uint8"}


def test_mediapipes_transposed_convolution_with_a_bias(third_party):
    path = third_party / "mediapipe_selfie_segmentation.tflite"
    window = {"kernel_height": 2, "kernel_width": 2, "stride_height": 2, "stride_width": 2}
    assert tflite_kernels(path)[-2] == Kernel(
        "transpose_conv2d", 128, 128, 16, 256, 256, 1, padding="same", **window
    )
    Interpreter(str(path)).allocate_tensors()


def test_a_third_party_operation_without_a_kernel_is_named(third_party, tmp_path):
    model = read_model(third_party / "mediapipe_selfie_segmentation.tflite")
    for code in model.operatorCodes:
        if code.customCode:
            code.customCode = b"NoSuchOperation"
    write_model(model, tmp_path / "model.tflite")
    with pytest.raises(UnknownKernelError, match="CUSTOM NoSuchOperation"):
        tflite_kernels(tmp_path / "model.tflite")


def test_sparse_weights_are_weights(tmp_path):
    """As in MediaPipe's detectors: DENSIFY unpacks them when the model is loaded."""
    path, kernel = tmp_path / "sparse.tflite", _conv(**K3)
    write_micro_model(kernel, path)
    model = read_model(path)
    graph = model.subgraphs[0]
    convolution = graph.operators[0]
    weights = graph.tensors[convolution.inputs[1]]
    dense = copy.copy(weights)
    dense.buffer, dense.name = len(model.buffers), b"dense"
    model.buffers.append(schema.BufferT())
    weights.sparsity = schema.SparsityParametersT()
    weights.sparsity.traversalOrder = [0, 1, 2, 3]
    weights.sparsity.dimMetadata = []
    for size in weights.shape:
        axis = schema.DimensionMetadataT()
        axis.format, axis.denseSize = schema.DimensionType.DENSE, int(size)
        weights.sparsity.dimMetadata.append(axis)
    code, densify = schema.OperatorCodeT(), schema.OperatorT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.DENSIFY
    densify.opcodeIndex = len(model.operatorCodes)
    densify.inputs, densify.outputs = [int(convolution.inputs[1])], [len(graph.tensors)]
    convolution.inputs = [int(convolution.inputs[0]), len(graph.tensors), *map(int, convolution.inputs[2:])]
    model.operatorCodes.append(code)
    graph.tensors.append(dense)
    graph.operators.insert(0, densify)
    write_model(model, path)
    runs = Interpreter(str(path))
    runs.allocate_tensors()
    runs.invoke()
    assert tflite_kernels(path) == (kernel,)


def test_a_file_that_is_no_model(tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(ModelFileError, match=r"model\.tflite"):
        tflite_kernels(path)
