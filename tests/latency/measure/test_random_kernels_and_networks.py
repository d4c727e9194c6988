"""General kernels and networks: a model can hold them, and the extractor reads them back."""

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from nasdepth.kernels.graph import fuse, outputs_of
from nasdepth.kernels.kernel import OPERATIONS
from nasdepth.kernels.rules import RUNTIMES, load_rules
from nasdepth.latency import tflite_kernels, write_micro_model
from nasdepth.latency.measure.random_kernels import random_kernels
from nasdepth.latency.measure.random_networks import random_network
from nasdepth.tflite.micro_models import write_network


@pytest.mark.slow
def test_every_general_kernel_reads_back_from_its_micro_model(tmp_path):
    wrong = {}
    for kernel in random_kernels():
        path = tmp_path / "one.tflite"
        write_micro_model(kernel, path)
        if (back := tflite_kernels(path)) != (kernel,):
            wrong[str(kernel)] = back
    assert not wrong


def test_every_operation_has_general_kernels_and_a_seed_repeats_them():
    kernels = random_kernels(3)
    assert {kernel.op for kernel in kernels} == set(OPERATIONS)
    assert kernels == random_kernels(3) != random_kernels(4)
    assert len(set(kernels)) == len(kernels)


@pytest.mark.parametrize("seed", range(12))
def test_a_random_network_is_what_its_file_runs(seed, tmp_path):
    nodes, path = random_network(seed), tmp_path / "network.tflite"
    write_network(nodes, path)
    for runtime in RUNTIMES:
        fused = fuse(nodes, outputs_of(nodes), load_rules(runtime))
        assert tflite_kernels(path, runtime) == tuple(node.kernel for node in fused)
    interpreter = Interpreter(str(path))
    interpreter.allocate_tensors()
    given, made = interpreter.get_input_details(), interpreter.get_output_details()
    rng = np.random.default_rng(seed)
    interpreter.set_tensor(given[0]["index"], rng.uniform(0, 1, given[0]["shape"]).astype(np.float32))
    interpreter.invoke()
    values = np.abs(interpreter.get_tensor(made[0]["index"]))
    # neither overflowed nor faded into denormals, whose arithmetic is slow
    assert len(given) == 1 and 1e-20 < values.max() < 1e20


def test_random_networks_have_the_operations_of_other_makers():
    used = {node.kernel.op for seed in range(60) for node in random_network(seed)}
    assert used >= {
        "prelu",
        "pad",
        "max_pool2d",
        "transpose_conv2d",
        "fully_connected",
        "mul",
        "concat",
        "mean",
    }
    assert random_network(3) == random_network(3) != random_network(4)
