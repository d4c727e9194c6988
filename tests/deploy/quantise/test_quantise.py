"""Real files quantised, run by the real runtime, and compared with the float file."""

from collections import Counter

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from quantise_samples import RICH

from nasdepth.architecture import Architecture
from nasdepth.deploy import Calibration, TFLiteDepth, deploy, evaluate_tflite
from nasdepth.deploy.quantise import convert_for_timing, convert_precision
from nasdepth.errors import DataError, ModelFileError, UnknownKernelError
from nasdepth.kernels.kernel import CONVOLUTIONS
from nasdepth.kernels.precision import KEEP_SCALE
from nasdepth.latency import architecture_kernels, tflite_kernels
from nasdepth.models import build
from nasdepth.tflite.file_kernels import FileGraph
from nasdepth.tflite.flatbuffer import operator_name, read_model, write_model

FIXED = {"logistic": (1 / 256, -128), "tanh": (1 / 128, 0)}


@pytest.fixture(scope="module")
def converted(rich_file, calibration, tmp_path_factory):
    heard = []
    path = tmp_path_factory.mktemp("int8") / "int8.tflite"
    result = convert_precision(
        rich_file, path, "int8", calibration, progress=lambda done, total: heard.append((done, total))
    )
    assert heard == [(done, len(calibration.seen)) for done in range(1, len(calibration.seen) + 1)]
    return result


def numbers(graph: FileGraph, tensor: int) -> tuple[float, int]:
    quantization = graph.graph.tensors[tensor].quantization
    return float(quantization.scale[0]), int(quantization.zeroPoint[0])


def test_an_int8_file_is_near_its_float_file_and_says_how_near(converted, rich_file):
    checked = converted.verification
    assert 0 < checked.si_rmse < 0.05 and abs(checked.scale - 1) < 0.05
    assert checked.images == 4 and converted.calibrated_on == 20
    assert checked.partitions == checked.planned_partitions
    assert converted.kept_float.keys() == {"HARD_SWISH"}
    assert any("HARD_SWISH" in one and "partitions" in one for one in converted.warnings())
    assert all(one.sqnr_db > 0 for one in checked.layers)
    assert checked.worst_layers == tuple(sorted(checked.layers, key=lambda one: one.sqnr_db)[:3])
    assert converted.path.stat().st_size < rich_file.stat().st_size


def test_it_takes_the_cameras_bytes_and_gives_millimetres(converted, rich_file, calibration):
    depth, plain = TFLiteDepth(converted.path), TFLiteDepth(rich_file)
    assert depth.precisions == ("uint8", "float32")
    image = calibration.held_back[0][None]
    ratio = depth.predict(image) / plain.predict(image)
    assert 0.8 < np.median(ratio) < 1.25
    # float images are rounded to bytes
    assert np.array_equal(depth.predict(image.astype(np.float32) + 0.2), depth.predict(image))


def test_the_file_keeps_the_rules_of_tflite(converted):
    graph = FileGraph.read(converted.path)
    tensors = graph.graph.tensors
    assert numbers(graph, int(graph.graph.inputs[0])) == (1.0, 0)
    seen = Counter()
    for node, place in zip(graph.nodes, graph.operators, strict=True):
        kernel, operator = node.kernel, graph.graph.operators[place]
        seen[kernel.op, kernel.precision] += 1
        if kernel.precision == "float32":
            continue
        if kernel.op in KEEP_SCALE or kernel.op == "concat":
            same = {numbers(graph, one) for one in (*node.inputs, node.output)}
            assert len(same) == 1, kernel
        if kernel.op in FIXED:
            assert numbers(graph, node.output) == pytest.approx(FIXED[kernel.op])
        if kernel.op in CONVOLUTIONS:
            filters, bias = (tensors[int(operator.inputs[one])] for one in (1, 2))
            axis = 3 if kernel.op == "depthwise_conv2d" else 0
            assert filters.quantization.quantizedDimension == axis
            assert len(filters.quantization.scale) == filters.shape[axis] == kernel.out_channels
            assert not filters.quantization.zeroPoint.any() and bias.type == schema.TensorType.INT32
            in_scale = np.float32(numbers(graph, node.inputs[0])[0])
            assert bias.quantization.scale == pytest.approx(in_scale * filters.quantization.scale)
            values = np.frombuffer(bytes(graph.model.buffers[filters.buffer].data), np.int8)
            assert values.min() >= -127
    # ReLU on its own has become a conversion, pools have become means, the last resize has stayed in float
    assert not {op for op, _ in seen} & {"relu", "average_pool2d", "logistic_float32"}
    assert seen["mean", "int8"] and seen["resize_bilinear", "uint8"] == 1 and seen["hard_swish", "float32"]
    assert graph.nodes[-1].kernel.op == "resize_bilinear" and graph.nodes[-1].kernel.precision == "float32"
    requantised = [node.kernel for node in graph.nodes if node.kernel.op == "quantize" and node.kernel.source]
    assert Counter(kernel.source for kernel in requantised)["uint8"] == 1
    assert sum(kernel.source == "int8" for kernel in requantised) >= 2


def test_nothing_in_a_file_is_unused(converted, rich_file):
    for path in (converted.path, rich_file):
        model = read_model(path)
        graph = model.subgraphs[0]
        used = {int(one) for op in graph.operators for one in (*op.inputs, *op.outputs)}
        assert used == set(range(len(graph.tensors)))
        assert {int(op.opcodeIndex) for op in graph.operators} == set(range(len(model.operatorCodes)))
        buffers = {int(tensor.buffer) for tensor in graph.tensors}
        buffers |= {int(one.buffer) for one in model.metadata or ()}
        assert buffers | {0} == set(range(len(model.buffers)))


def test_float_ends_take_floats(rich_file, calibration, tmp_path):
    made = convert_precision(rich_file, tmp_path / "ends.tflite", "int8", calibration, "float32")
    depth = TFLiteDepth(made.path)
    assert depth.precisions == ("float32", "float32") and made.verification.si_rmse < 0.05
    assert made.verification.partitions == made.verification.planned_partitions
    assert "uint8" not in {kernel.precision for kernel in tflite_kernels(made.path)}


@pytest.mark.parametrize(
    ("text", "ends"),
    [
        (RICH, "uint8"),
        (RICH, "float32"),
        ("480x640,unet@0.1:2,none-conv-k1-w8,concat-conv-k3-w8,up-nearest-nearest", "uint8"),
        ("64x96xy,resnet18@0.2:3,none-lrconv-k3-w16,gate-dsconv-k3-w16,up-bilinear-bilinear", "uint8"),
        ("64x64,efficientnet_b1@0.3:4,none-conv-k1-w16-nonlocal,add-conv-k3-w16,up-nearest-lpg", "uint8"),
    ],
)
def test_kernels_of_an_architecture_are_those_of_the_quantised_file(text, ends, tmp_path, calibration):
    architecture = Architecture.parse(text)
    few = Calibration("scenes", calibration.seen[:1], calibration.held_back[:1])
    plain = deploy(build(architecture), tmp_path / "float32.tflite").path
    path = tmp_path / "int8.tflite"
    convert_precision(plain, path, "int8", few, ends)
    for runtime in ("xnnpack", "tflite"):
        kernels = architecture_kernels(architecture, runtime, "int8", ends)
        assert Counter(kernels) == Counter(tflite_kernels(path, runtime)), runtime
    assert Counter(tflite_kernels(plain, "xnnpack", "int8")) == Counter(
        architecture_kernels(architecture, "xnnpack", "int8")
    )
    convert_for_timing(plain, path, "int8")
    assert Counter(tflite_kernels(path)) == Counter(architecture_kernels(architecture, "xnnpack", "int8"))
    TFLiteDepth(path).predict(few.seen[0][None])


def test_int8_on_a_gpu_is_refused_by_name():
    with pytest.raises(UnknownKernelError, match="use fp16"):
        architecture_kernels(Architecture.parse(RICH), "gpu", "int8")


def test_quantised_outputs_and_int8_inputs_are_read_by_their_scale(tmp_path, calibration):
    """Files of other makers end in int8: here what converts the ends is cut off."""
    text = "480x640,unet@0.1:2,none-conv-k1-w8,concat-conv-k3-w8,up-nearest-nearest"
    plain = deploy(build(Architecture.parse(text)), tmp_path / "float32.tflite").path
    whole = convert_precision(plain, tmp_path / "int8.tflite", "int8", calibration).path
    model = read_model(whole)
    graph = model.subgraphs[0]
    assert operator_name(model, graph.operators[0]) == "QUANTIZE"
    assert operator_name(model, graph.operators[-1]) == "DEQUANTIZE"
    graph.inputs, graph.outputs = graph.operators[0].outputs, graph.operators[-1].inputs
    graph.operators, model.signatureDefs = graph.operators[1:-1], None
    write_model(model, tmp_path / "core.tflite")
    core = TFLiteDepth(tmp_path / "core.tflite")
    assert core.precisions == ("int8", "int8")
    image = calibration.held_back[0][None]
    assert np.allclose(core.predict(image), TFLiteDepth(whole).predict(image), rtol=1e-5)


def test_half_precision_halves_the_file_and_keeps_its_partitions(rich_file, tmp_path, test_scenes):
    made = convert_precision(rich_file, tmp_path / "half.tflite", "fp16")
    checked = made.verification
    assert checked.partitions == checked.float_partitions and checked.si_rmse < 0.005
    assert tflite_kernels(made.path) == tflite_kernels(rich_file)
    weights = sum(len(buffer.data) for buffer in read_model(rich_file).buffers if buffer.data is not None)
    assert rich_file.stat().st_size - made.path.stat().st_size > 0.3 * weights
    few = test_scenes.subset(range(2))
    assert evaluate_tflite(made.path, few).compute()["si_rmse"] == pytest.approx(
        evaluate_tflite(rich_file, few).compute()["si_rmse"], abs=1e-3
    )


def test_a_value_beyond_half_precision_keeps_its_convolution_in_float(rich_file, tmp_path):
    model = read_model(rich_file)
    graph = model.subgraphs[0]
    head = [op for op in graph.operators if operator_name(model, op) == "CONV_2D"][-1]
    buffer = model.buffers[graph.tensors[head.inputs[2]].buffer]
    buffer.data = np.frombuffer(np.float32([70000]).tobytes(), np.uint8)
    write_model(model, tmp_path / "large.tflite")
    made = convert_precision(tmp_path / "large.tflite", tmp_path / "half.tflite", "fp16")
    assert made.verification.si_rmse < 0.005 and made.verification.scale == pytest.approx(1, abs=0.01)


def test_bad_calibration_is_refused_with_the_worst_layers(rich_file, tmp_path, calibration):
    black = tuple(np.zeros_like(image) for image in calibration.seen)
    path = tmp_path / "int8.tflite"
    path.write_bytes(b"old")
    with pytest.raises(ModelFileError, match=r"nothing was written.*at most 0\.05.*lowest SQNR") as caught:
        convert_precision(rich_file, path, "int8", Calibration("black", black, calibration.held_back))
    assert str(caught.value).count(" dB") == 3
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_quantised_says_why(rich_file, converted, calibration, scenes, tmp_path):
    target = tmp_path / "x.tflite"
    with pytest.raises(DataError, match="needs photographs to calibrate on"):
        convert_precision(rich_file, target, "int8")
    with pytest.raises(ModelFileError, match=r"int8.tflite: is quantised already \(it has int8 and uint8"):
        convert_precision(converted.path, target, "int8", calibration)
    half = convert_precision(rich_file, tmp_path / "half.tflite", "fp16").path
    with pytest.raises(ModelFileError, match=r"quantised already \(it has fp16"):
        convert_precision(half, target, "int8", calibration)
    damaged = tmp_path / "damaged.tflite"
    damaged.write_bytes(rich_file.read_bytes()[:5000])
    with pytest.raises(ModelFileError, match=r"damaged\.tflite"):
        convert_precision(damaged, target, "int8", calibration)
    with pytest.raises(DataError, match="`calibration_images` is 4; at least 5"):
        Calibration.of(scenes, "scenes", 4)
    with pytest.raises(DataError, match="few: has 4 training images; int8 needs at least 5"):
        Calibration.of(scenes.subset(range(4)), "few")
    assert not target.exists()


def test_calibration_images_are_spread_and_none_is_compared_on_too(scenes):
    chosen = Calibration.of(scenes, "scenes", 10)
    assert (len(chosen.seen), len(chosen.held_back)) == (10, 4)
    five = Calibration.of(scenes.subset(range(5)), "five")
    assert (len(five.seen), len(five.held_back)) == (4, 1)
    both = [image.tobytes() for image in (*chosen.seen, *chosen.held_back)]
    assert len(set(both)) == len(both)
