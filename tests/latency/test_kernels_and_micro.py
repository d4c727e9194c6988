"""Kernels as values, and the micro models that hold one each."""

import pytest
from ai_edge_litert.interpreter import Interpreter
from latency_samples import EVERY_OPERATION

from nasdepth.latency import Kernel, tflite_kernels, write_micro_model
from nasdepth.latency._schema import BUILTIN_OF_OP
from nasdepth.latency.kernels import OPERATIONS


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
    (output,) = interpreter.get_output_details()
    assert output["shape"].tolist() == [1, kernel.out_height, kernel.out_width, kernel.out_channels]
    assert sum(tensor["shape"].prod() * 4 for tensor in interpreter.get_input_details()) == kernel.in_bytes
    operations = {operation["op_name"] for operation in interpreter._get_ops_details()}
    assert operations - {"DELEGATE"} == {BUILTIN_OF_OP[kernel.op]}


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
