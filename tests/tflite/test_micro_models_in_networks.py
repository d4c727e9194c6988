"""A micro model's operator is the one that stands in the network: field by field."""

from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from nasdepth.architecture import Architecture
from nasdepth.deploy import export_tflite
from nasdepth.latency import tflite_kernels, write_micro_model
from nasdepth.models import build
from nasdepth.tflite.flatbuffer import operator_name, read_model


class _File:
    """A .tflite with every operator described so that two of them can be compared."""

    def __init__(self, path: Path) -> None:
        self.model = read_model(path)
        self.graph = self.model.subgraphs[0]
        self.widened = set()  # half-precision constants, which DEQUANTIZE makes float32 on loading
        self.operators = []
        for operator in self.graph.operators:
            if operator_name(self.model, operator) == "DEQUANTIZE" and self._constant(operator.inputs[0]):
                self.widened.add(int(operator.outputs[0]))
            else:
                self.operators.append(self._describe(operator))

    def _constant(self, index: int) -> bool:
        buffer = self.model.buffers[self.graph.tensors[index].buffer]
        return buffer.data is not None or int(index) in self.widened

    def _tensor(self, index: int) -> tuple:
        tensor = self.graph.tensors[index]
        data = self.model.buffers[tensor.buffer].data
        is_shape = data is not None and tensor.type == schema.TensorType.INT32 and not _scales(tensor)
        values = tuple(np.frombuffer(bytes(data), np.int32).tolist()) if is_shape else None
        shape = () if tensor.shape is None else tuple(map(int, tensor.shape))
        return shape, tensor.type, self._constant(index), bool(_scales(tensor)), values

    def _describe(self, operator) -> dict:
        name = operator_name(self.model, operator)
        code = self.model.operatorCodes[operator.opcodeIndex]
        options = {} if operator.builtinOptions is None else dict(vars(operator.builtinOptions))
        inputs = [self._tensor(index) for index in operator.inputs]
        outputs = [self._tensor(index) for index in operator.outputs]
        in_hw, out_hw = inputs[0][0][1:3], outputs[0][0][1:3]
        if name == "CONV_2D" and inputs[1][0][1:3] == (1, 1):  # which never pads
            del options["padding"]
        if name in ("SUB", "DIV"):  # of two operands, a kernel does not keep which comes first
            inputs.sort(key=lambda tensor: -np.prod(tensor[0]))
        options.pop("alpha", None)  # LeakyReLU's slope
        if name == "RESHAPE":  # the second input says it too, and that is what is read; -1 is the rest
            options.pop("newShape", None)
            inputs[1] = (*inputs[1][:4], outputs[0][0])
        if name.endswith("POOL_2D"):  # spellings of the same, see `canonical`
            window, stride = (options["filterHeight"], options["filterWidth"]), options["strideH"]
            axes = zip(in_hw, window, strict=True)
            over_axes = 1 in out_hw and all(taps in (1, size) for size, taps in axes)
            if out_hw == (1, 1) or over_axes:
                del options["strideH"], options["strideW"]
            if (
                out_hw == (1, 1)
                or over_axes
                or (window == (2, 2) and stride == 2 and not any(np.mod(in_hw, 2)))
            ):
                del options["padding"]
        return dict(name=name, version=code.version, options=options, inputs=inputs, outputs=outputs)


def _scales(tensor) -> list:
    given = tensor.quantization is not None and tensor.quantization.scale is not None
    return list(tensor.quantization.scale) if given else []


def _compare(path: Path, folder: Path) -> set[str]:
    network = _File(path)
    kernels = tflite_kernels(path, "tflite")  # which fuses nothing: one operator, one kernel
    for expected, kernel in zip(network.operators, kernels, strict=True):
        write_micro_model(kernel, folder / "micro.tflite")
        (operator,) = _File(folder / "micro.tflite").operators
        assert operator == expected, str(kernel)
    return {operator["name"] for operator in network.operators}


@pytest.mark.parametrize(
    ("text", "operators"),
    [
        (
            "64x96,mobilenetv3_small@0.5:5,none-conv-k1-w16,concat-mbconv-k3-w16,add-dsconv-k5-w8,"
            "up-nearest-bilinear",
            "CONV_2D DEPTHWISE_CONV_2D RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR CONCATENATION ADD MUL "
            "HARD_SWISH AVERAGE_POOL_2D",
        ),
        (
            "64x96xy,resnet18@0.25:4,none-rfdb-k3-w16-nonlocal,gate-aspp-k3-w16-ca,add-lrconv-k3-w9,"
            "up-nearest-lpg",
            "MAX_POOL_2D LEAKY_RELU BATCH_MATMUL SOFTMAX RESHAPE SIN DIV MAXIMUM DEPTH_TO_SPACE LOGISTIC",
        ),
    ],
)
def test_every_operator_of_a_converted_network(text, operators, tmp_path):
    export_tflite(build(Architecture.parse(text)), tmp_path / "model.tflite", verify=False)
    assert _compare(tmp_path / "model.tflite", tmp_path) >= set(operators.split())


@pytest.mark.parametrize(
    "name",
    [
        "deeplabv3_257_mv_gpu",
        "mediapipe_hand_landmark_lite",
        "mobilenet_v1_0.5_160_quant",
        "mobilenet_v2_1.0_224_quant",
        "unet_person_128_float",
        "vww_96_float",
    ],
)
def test_every_operator_of_third_party_networks(third_party, name, tmp_path):
    _compare(third_party / f"{name}.tflite", tmp_path)
