"""Real conversions: the file that is deployed against the network that was trained."""

from pathlib import Path

import numpy as np
import onnx2tf
import pytest
import torch
from torch import nn

from nasdepth.architecture import Architecture
from nasdepth.deploy import TFLiteDepth, evaluate_tflite, export_tflite
from nasdepth.errors import ModelFileError, NasdepthError
from nasdepth.families import families, get_family
from nasdepth.models import build, resolve
from nasdepth.tflite.flatbuffer import operator_name, read_model, write_model
from nasdepth.training import validate

UNWANTED = {"TRANSPOSE", "PAD", "PADV2", "RESHAPE", "MIRROR_PAD", "GATHER", "SPLIT", "STRIDED_SLICE", "CAST"}


def lively(architecture: Architecture) -> nn.Module:
    """A network whose batch norms are no identity."""
    torch.manual_seed(1)
    net = build(architecture).eval()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.7, 1.3)
            nn.init.uniform_(module.bias, -0.3, 0.3)
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.7, 1.5)
    nn.init.normal_(net.head.weight, std=0.5)
    return net


def design_of(family: str) -> Architecture:
    stages = len(get_family(family).stages)
    return Architecture.parse(
        f"64x96,{family}@0.5:{stages},none-mbconv-k3-w16,add-dsconv-k5-w16,concat-conv-k3-w16,up-nearest-bilinear"
    )


def check_file(path, net, operators) -> None:
    assert not UNWANTED & set(operators), set(operators) & UNWANTED
    model = read_model(path)
    assert [operator_name(model, operator) for operator in model.subgraphs[0].operators] == list(operators)
    assert len(model.subgraphs) == 1
    assert len(model.subgraphs[0].inputs) == len(model.subgraphs[0].outputs) == 1
    depth = TFLiteDepth(path)
    assert depth.input_hw == (480, 640)
    # noise of single pixels would average out in the resize, and a flat prediction agrees with any other
    blocks = np.random.default_rng(7).integers(0, 256, (1, 6, 8, 3), dtype=np.uint8)
    rgb = blocks.repeat(80, 1).repeat(80, 2)
    with torch.no_grad():
        expected = net.eval()(torch.from_numpy(rgb).permute(0, 3, 1, 2).float())[0, 0].numpy()
    error = np.abs(depth.predict(rgb)[0] - expected).max()
    assert error <= 1e-4 * expected.max()
    assert error <= 0.01 * expected.std()  # an untrained prediction is flat, and what agrees must not be


@pytest.mark.parametrize(
    "family",
    [
        family
        if family in ("mobilenetv3_small", "mobilenetv4_conv_small")
        else pytest.param(family, marks=pytest.mark.slow)
        for family in families()
    ],
)
def test_every_family_exports_clean_and_agrees(tmp_path, family):
    net = lively(design_of(family))
    result = export_tflite(net, tmp_path / "model.tflite")
    assert 0 < result.relative_error <= 1e-4
    check_file(result.path, net, result.operators)


def test_litedepth_exports_clean_and_agrees(tmp_path):
    net = lively(resolve("litedepth")).train()
    result = export_tflite(net, tmp_path / "litedepth.tflite")
    assert net.training  # as it was
    assert result.path.stat().st_size < 2_000_000
    check_file(result.path, net, result.operators)


def test_an_export_needs_no_activated_environment(tmp_path, run_python):
    """The converter looks for its helper on the PATH; `.venv/bin/nasdepth` has to do without."""
    code = (
        "from nasdepth.deploy import export_tflite; from nasdepth.models import build, resolve\n"
        f"made = export_tflite(build(resolve('litedepth')), {str(tmp_path / 'm.tflite')!r})\n"
        "print(made.relative_error <= 1e-4)"
    )
    answer = run_python(code, PATH="/usr/bin:/bin")
    assert answer.stdout.strip() == "True", answer.stderr


def test_a_failing_export_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "model.tflite"
    path.write_bytes(b"old")
    convert = onnx2tf.convert

    def wrong(**arguments):  # a converter that is off in one weight
        convert(**arguments)
        made = Path(arguments["output_folder_path"]) / "model_float32.tflite"
        model = read_model(made)
        weights = [b for b in model.buffers if b.data is not None and len(b.data) > 1000]
        values = np.frombuffer(bytes(weights[0].data), np.float32) * np.float32(1.2)
        weights[0].data = np.frombuffer(values.tobytes(), np.uint8)
        write_model(model, made)

    monkeypatch.setattr(onnx2tf, "convert", wrong)
    with pytest.raises(NasdepthError, match=r"disagrees with torch: relative error .* nothing was written"):
        export_tflite(lively(resolve("litedepth")), path)
    assert path.read_bytes() == b"old" and [p.name for p in tmp_path.iterdir()] == ["model.tflite"]


def test_evaluating_the_file_is_evaluating_the_network(tmp_path, test_scenes):
    net = lively(resolve("litedepth"))
    path = export_tflite(net, tmp_path / "model.tflite").path
    heard = []
    few = test_scenes.subset(range(4))
    got = evaluate_tflite(path, few, lambda done, total: heard.append((done, total))).compute()
    expected = validate(net, few, device=torch.device("cpu"))
    assert got["si_rmse"] == pytest.approx(expected.mean(), abs=1e-4)
    assert heard[-1] == (4, 4)


def broken_file(kind, tmp_path, litedepth_file):
    content = litedepth_file.read_bytes()
    path = tmp_path / "model.tflite"
    match kind:
        case "text":
            path.write_text("this is no model\n" * 10)
        case "empty":
            path.write_bytes(b"")
        case "header only":
            path.write_bytes(content[:8])
        case "truncated":
            path.write_bytes(content[: len(content) // 2])
        case "truncated at the end":
            path.write_bytes(content[:-1000])
        case "garbled":
            path.write_bytes(content[:8] + b"\xff" * 64 + content[72:])
        case "a folder":
            path.mkdir()
    return path


BROKEN = [
    "missing",
    "text",
    "empty",
    "header only",
    "truncated",
    "truncated at the end",
    "garbled",
    "a folder",
]


@pytest.mark.parametrize("kind", BROKEN)
def test_a_tflite_that_is_none_is_named(kind, tmp_path, litedepth_file):
    path = broken_file(kind, tmp_path, litedepth_file)
    with pytest.raises(ModelFileError, match=r"model\.tflite: "):
        TFLiteDepth(path)


@pytest.mark.parametrize(
    "name",
    [
        "vww_96_float.tflite",
        "mobilenet_v2_1.0_224_quant.tflite",
        "mediapipe_hand_landmark_lite.tflite",
        "deeplabv3_257_mv_gpu.tflite",
        "mediapipe_selfie_segmentation.tflite",
    ],
)
def test_a_model_of_something_else_is_named(third_party, name):
    try:
        accepted = TFLiteDepth(third_party / name)
    except ModelFileError as error:
        assert f"{name}: expected" in str(error) or "refuses" in str(error)
    else:  # a segmentation to one map of the input's size cannot be told from depth by its shapes
        assert name == "mediapipe_selfie_segmentation.tflite" and accepted.input_hw == (256, 256)
