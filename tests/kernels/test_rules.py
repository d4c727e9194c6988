"""Rules of runtimes: the files, and what the real runtime says to them."""

import pytest
from ai_edge_litert.interpreter import Interpreter
from latency_samples import EVERY_OPERATION

from nasdepth.errors import NasdepthError
from nasdepth.kernels.kernel import OPERATIONS
from nasdepth.kernels.rules import CONVERSION, RUNTIMES, load_rules, partitions, read_rules
from nasdepth.latency import Kernel, write_micro_model

CONV = Kernel("conv2d", 8, 12, 16, 8, 12, 16, padding="same")
NEAREST = Kernel("resize_nearest", 8, 12, 16, 16, 24, 16, sampling="asymmetric")


@pytest.mark.parametrize("kernel", EVERY_OPERATION, ids=str)
def test_xnnpack_takes_what_its_rules_say(kernel, tmp_path):
    write_micro_model(kernel, tmp_path / "micro.tflite")
    interpreter = Interpreter(model_path=str(tmp_path / "micro.tflite"))
    interpreter.allocate_tensors()
    delegated = "DELEGATE" in {one["op_name"] for one in interpreter._get_ops_details()}
    assert load_rules("xnnpack").delegates(kernel) == delegated


def test_every_operation_is_tried_in_float_and_int8():
    tried = {(kernel.op, kernel.precision) for kernel in EVERY_OPERATION}
    assert {op for op, precision in tried if precision == "float32"} == set(OPERATIONS) - {
        "quantize",
        "dequantize",
    }
    anything = {op for op, where in load_rules("xnnpack").delegated.items() if "precision" not in where}
    assert {op for op, precision in tried if precision == "int8"} >= anything


def test_what_the_rules_turn_into_something_else_in_int8_is_not_taken_as_it_is():
    """Each stands for a detour that the quantiser makes; one that XNNPACK no longer needs fails here."""
    rules = load_rules("xnnpack")
    tried = [kernel for kernel in EVERY_OPERATION if kernel.precision == "int8"]
    detours = {*rules.quantisation.clamps, "average_pool2d"}
    assert {kernel.op for kernel in tried if kernel.op in detours} == detours
    assert not any(map(rules.delegates, (kernel for kernel in tried if kernel.op in detours)))
    # and what they become is taken
    conversions = [kernel for kernel in tried if kernel.op == "quantize" and kernel.source == "int8"]
    means = [kernel for kernel in tried if kernel.op == "mean" and kernel.axes in ((), (1,), (2,))]
    assert conversions and len(means) >= 3 and all(map(rules.delegates, conversions + means))


def test_partitions_are_runs_of_either_side():
    assert partitions([CONV] * 3, "xnnpack") == 1
    assert partitions([CONV, NEAREST, CONV, CONV, NEAREST, NEAREST], "xnnpack") == 4
    assert partitions([CONV, NEAREST, CONV], "tflite") == 1
    assert partitions([CONV, NEAREST, CONV], "gpu") == 1


@pytest.mark.parametrize("name", [*RUNTIMES, CONVERSION])
def test_shipped_rules_read(name):
    assert load_rules(name).runtime == name


def test_no_rules_for_an_unknown_runtime():
    with pytest.raises(NasdepthError, match="'tpu'; there are xnnpack, tflite, gpu"):
        load_rules("tpu")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- conv2d", "expected a mapping"),
        ("runtime: mine\nsource: me\nadditions: [conv3d]", r"additions.*'conv3d' is no operation"),
        ("runtime: mine\nsource: me\ndelegated: {add: {width: [1]}}", r"'width' is no field of a kernel"),
        ("runtime: mine\nsource: me\nactivations: {of: [tanh]}", r"activations\.of\.0.*value: 'tanh'"),
        ("runtime: mine\nsource: me\nfusing: 1", r"field fusing"),
        ("runtime: other\nsource: me", r"field runtime: 'other' is not the file's name"),
        ("runtime: [", "cannot be read as YAML"),
    ],
)
def test_rules_that_cannot_be_are_refused_by_file_field_and_value(text, words, tmp_path):
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(NasdepthError, match=words) as caught:
        read_rules(tmp_path / "mine.yaml")
    assert "mine.yaml" in str(caught.value)
