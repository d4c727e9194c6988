"""General kernels: each is one that a model can hold and the extractor reads back."""

import pytest

from nasdepth.latency import tflite_kernels, write_micro_model
from nasdepth.latency._general import general_kernels
from nasdepth.latency.kernels import OPERATIONS


@pytest.mark.slow
def test_every_general_kernel_reads_back_from_its_micro_model(tmp_path):
    wrong = {}
    for kernel in general_kernels():
        path = tmp_path / "one.tflite"
        write_micro_model(kernel, path)
        if (back := tflite_kernels(path)) != (kernel,):
            wrong[str(kernel)] = back
    assert not wrong


def test_every_operation_has_general_kernels_and_a_seed_repeats_them():
    kernels = general_kernels(3)
    assert {kernel.op for kernel in kernels} == set(OPERATIONS)
    assert kernels == general_kernels(3) != general_kernels(4)
    assert len(set(kernels)) == len(kernels)
