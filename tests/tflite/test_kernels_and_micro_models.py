"""Kernels as values, and the micro models that hold one each."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from latency_samples import EVERY_OPERATION

from nasdepth.kernels.kernel import OPERATIONS
from nasdepth.latency import Kernel, tflite_kernels, write_micro_model
from nasdepth.tflite.flatbuffer import read_model
from nasdepth.tflite.schema_codes import BUILTIN_OF_OP, schema


def test_the_samples_hold_every_operation():
    assert {kernel.op for kernel in EVERY_OPERATION} == set(OPERATIONS) == set(BUILTIN_OF_OP)


@pytest.mark.parametrize("kernel", EVERY_OPERATION, ids=str)
def test_micro_model_runs_and_is_exactly_the_kernel(kernel: Kernel, tmp_path):
    path = tmp_path / "micro.tflite"
    write_micro_model(kernel, path)
    assert tflite_kernels(path) == (kernel,)

    interpreter = Interpreter(model_path=str(path))
    interpreter.allocate_tensors()
    interpreter.invoke()
    outputs = interpreter.get_output_details()
    assert [tuple(output["shape"].tolist()) for output in outputs] == [kernel.output_shape] * kernel.outputs
    assert _bytes(interpreter.get_input_details()) == kernel.in_bytes
    assert _bytes(outputs) == kernel.out_bytes
    operations = {operation["op_name"] for operation in interpreter._get_ops_details()}
    assert operations - {"DELEGATE"} == {BUILTIN_OF_OP[kernel.op]}


def _bytes(tensors) -> int:
    return sum(tensor["shape"].prod() * np.dtype(tensor["dtype"]).itemsize for tensor in tensors)


@pytest.mark.parametrize("kernel", EVERY_OPERATION, ids=str)
def test_copies_share_their_inputs_and_nothing_else(kernel: Kernel, tmp_path):
    path = tmp_path / "micro.tflite"
    write_micro_model(kernel, path, copies=3)
    assert tflite_kernels(path) == (kernel,) * 3

    model = read_model(path)
    graph = model.subgraphs[0]
    assert len(set(map(int, graph.outputs))) == 3 * kernel.outputs
    # runtimes find inputs by name
    assert len({graph.tensors[index].name for index in graph.inputs}) == len(graph.inputs)
    weights = [
        [
            bytes(model.buffers[graph.tensors[index].buffer].data)
            for index in operator.inputs
            if _is_weight(model, index)
        ]
        for operator in graph.operators
    ]
    assert len({tuple(one) for one in weights}) == (3 if weights[0] else 1)
    assert {tuple(i for i in operator.inputs if i in graph.inputs) for operator in graph.operators} == {
        tuple(graph.inputs)
    }

    interpreter = Interpreter(model_path=str(path))
    interpreter.allocate_tensors()
    interpreter.invoke()
    assert len(interpreter.get_output_details()) == 3 * kernel.outputs


def _is_weight(model, index) -> bool:
    tensor = model.subgraphs[0].tensors[index]
    # shapes and axes are int32 too, but stand for nothing quantised
    is_float = tensor.type == schema.TensorType.FLOAT32
    return (is_float or tensor.quantization is not None) and model.buffers[tensor.buffer].data is not None


@pytest.mark.parametrize("kernel", EVERY_OPERATION, ids=str)
def test_row_round_trip(kernel: Kernel):
    assert Kernel.from_row(kernel.to_row()) == kernel


def test_micro_models_repeat_to_the_byte(tmp_path):
    for name in "ab":
        write_micro_model(EVERY_OPERATION[0], tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_counts():
    conv = Kernel("conv2d", 8, 8, 16, 4, 4, 32, kernel_height=3, kernel_width=3, groups=4, padding="same")
    assert conv.macs == 4 * 4 * 32 * 9 * 16 // 4
    assert conv.weight_bytes == 4 * (32 * 9 * 4 + 32)
    assert (conv.in_bytes, conv.out_bytes) == (4 * 8 * 8 * 16, 4 * 4 * 4 * 32)
    assert EVERY_OPERATION[12].in_bytes == 4 * (8 * 12 * 16 + 16)


def test_equal_kernels_hash_alike_however_they_were_made():
    kernel = Kernel("conv2d", 8, 8, 16, 8, 8, 24, padding="same")
    hash(kernel)
    for same in (Kernel.from_row(kernel.to_row()), replace(kernel), pickle.loads(pickle.dumps(kernel))):
        assert hash(same) == hash(kernel)
        assert same == kernel
    assert hash(replace(kernel, groups=2)) != hash(kernel)
