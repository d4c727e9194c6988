"""The published format: what was linked, what was padded, and what no row says."""

import pytest

from nasdepth.errors import TableError
from nasdepth.latency import Kernel
from nasdepth.packs.published_operations import read_end_to_end, read_models

HEADER = "model,op,input_shape,input_channel,output_shape,stride,kernel,filter,group,flops,one_us,one_kernel"


def _write(path, *rows):
    path.write_text("\n".join((HEADER, *rows)) + "\n")
    return path


@pytest.fixture
def net(tmp_path):
    return lambda *rows: read_models(_write(tmp_path / "ops.csv", *rows))["net"]


def _operations(kernels):
    return [kernel.op for kernel in kernels]


def test_linked_operations_are_in_the_kernel_on_the_gpu_and_apart_on_the_cpu(net):
    model = net("net,CONV_2D,56,24,56,1,1,24,1,9,30,convolution_2d_0_linked_:_add_1_linked_:_relu_2")
    assert model.gpu_kernels == (
        Kernel("conv2d", 56, 56, 24, 56, 56, 24, padding="same", activation="relu", operand="tensor"),
    )
    assert model.cpu_kernels == (
        Kernel("conv2d", 56, 56, 24, 56, 56, 24, padding="same"),
        Kernel("add", 56, 56, 24, 56, 56, 24, operand="tensor", activation="relu"),
    )
    assert model.operations[0].latencies_ms == {"one": 0.03}
    assert model.operations[0].names == {"one": "convolution_2d"}


def test_only_a_relu_is_fused_on_the_cpu(net):
    model = net(
        "net,CONV_2D,8,8,8,1,1,16,1,9,30,convolution_2d_0_linked_:_hard_swish_1",
        "net,CONV_2D,8,16,8,1,1,8,1,9,30,convolution_2d_2_linked_:_relu_3",
        "net,CONV_2D,8,8,8,1,1,8,1,9,30,convolution_2d_4_linked_:_add_5_linked_:_mul_6_linked_:_add_7_linked_:_relu_8",
    )
    assert _operations(model.cpu_kernels) == ["conv2d", "hard_swish", "conv2d", "conv2d", "add", "mul", "add"]
    assert [one.operand for one in model.cpu_kernels] == ["", "", "", "", "tensor", "vector", "vector"]
    assert [one.activation for one in model.cpu_kernels] == ["none", "none", "relu", *["none"] * 3, "relu"]
    assert [(one.operand, one.activation) for one in model.gpu_kernels] == [
        ("", "none"),
        ("", "relu"),
        ("tensor", "relu"),
    ]


def test_paddings_in_front_are_merged(net):
    model = net(
        "net,CONV_2D,225,3,112,2,3,16,1,9,30,convolution_2d_1_linked_:_relu_2",
        "net,DEPTHWISE_CONV_2D,114,16,112,1,3,1,1,9,30,depthwise_convolution_4_linked_:_relu_5",
        "net,DEPTHWISE_CONV_2D,114,16,56,2,3,1,1,9,30,depthwise_convolution_7",
        "net,CONV_2D,56,16,54,1,3,16,1,9,30,convolution_2d_8",
    )
    first, second, third, fourth = model.gpu_kernels
    assert (first.in_height, first.padding, first.pads) == (224, "same", ())
    assert (second.in_height, second.padding, second.pads) == (112, "same", ())
    # one pixel on every side, where TensorFlow's SAME has it below and to the right alone
    assert (third.in_height, third.padding, third.pads) == (112, "valid", (1, 1, 1, 1))
    assert (fourth.in_height, fourth.padding, fourth.pads) == (56, "valid", ())


def test_a_gate_without_a_row_multiplies_what_was_squeezed(net):
    model = net(
        "net,DEPTHWISE_CONV_2D,28,40,28,1,3,1,1,9,30,depthwise_convolution_0_linked_:_relu_1",
        "net,MEAN,28,40,40,-,1,-,-,9,30,mean_2",
        "net,CONV_2D,1,40,1,1,1,8,1,9,30,fully_connected_3_linked_:_relu_4",
        "net,CONV_2D,1,8,1,1,1,40,1,9,30,fully_connected_5_linked_:_sigmoid_6",
        "net,CONV_2D,28,40,28,1,1,24,1,9,30,convolution_2d_8",
    )
    assert model.gpu_kernels[-2] == Kernel("mul", 28, 28, 40, 28, 28, 40, operand="gate")
    assert [one.listed for one in model.operations] == [True] * 4 + [False, True]
    assert _operations(model.cpu_kernels)[-3:] == ["logistic", "mul", "conv2d"]


def test_a_normalisation_without_a_row_is_one_kernel(net):
    model = net(
        "net,CONCATENATION,14,64,14,-,3,96,-,-,30,concat_0",
        "net,CONV_2D,14,96,14,1,1,128,1,9,30,convolution_2d_4_linked_:_relu_5",
        "net,CONV_2D,16,128,14,1,3,32,1,9,30,convolution_2d_7",
    )
    assert model.gpu_kernels[0].other_channels == (16, 16)
    assert _operations(model.gpu_kernels) == ["concat", "mul", "conv2d", "conv2d"]
    assert model.gpu_kernels[1].operand == "vector"
    assert model.gpu_kernels[3].padding == "same"


def test_what_has_no_height_and_width(net):
    model = net(
        "net,MEAN,7,96,96,-,0,-,-,9,30,mean_0",
        "net,FULLY_CONNECTED,-,96,-,-,-,1000,-,9,30,fully_connected_1",
    )
    assert [one.output_shape for one in model.gpu_kernels] == [(1, 96), (1, 1000)]


def test_winograds_name_hides_its_links_on_one_device_only(tmp_path):
    path = tmp_path / "ops.csv"
    path.write_text(
        f"{HEADER},two_us,two_kernel\n"
        "net,CONV_2D,28,128,28,1,3,128,1,9,30,convolution_winograd_4x4_6x6_0,40,convolution_2d_0_linked_:_relu_1\n"
        "net,CONV_2D,28,128,28,1,3,128,1,9,,convolution_2d_2,50,convolution_2d_2\n"
    )
    first, second = read_models(path)["net"].operations
    assert first.kernel.activation == "relu"
    assert first.names == {"one": "convolution_winograd_4x4_6x6", "two": "convolution_2d"}
    assert second.latencies_ms == {"two": 0.05}


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("net,LSTM,8,8,8,1,1,8,1,9,30,lstm_0", "line 2: column op is 'LSTM'; known are CONV_2D"),
        ("net,CONV_2D,x,8,8,1,1,8,1,9,30,convolution_2d_0", "line 2: column input_shape is 'x'"),
        ("net,CONV_2D,8,8,8,1,1,8,1,9,-3,convolution_2d_0", "line 2: column one_us is '-3'"),
        ("net,CONV_2D,8,8,8,1,1,8,1,9,3,convolution", "line 2: column one_kernel is 'convolution'"),
        ("net,CONV_2D,8,8,8,1,1,8,1,9,,", "line 2: no device has a time"),
        ("net,CONV_2D,8", "line 2: not 12 cells"),
    ],
)
def test_a_damaged_row_is_named_by_file_line_and_value(row, words, tmp_path):
    with pytest.raises(TableError, match=words) as caught:
        read_models(_write(tmp_path / "ops.csv", row))
    assert "ops.csv" in str(caught.value)


def test_a_missing_column_and_a_missing_file_are_named(tmp_path):
    (tmp_path / "ops.csv").write_text("model,op\nnet,CONV_2D\n")
    with pytest.raises(TableError, match="line 1: no column input_shape"):
        read_models(tmp_path / "ops.csv")
    with pytest.raises(TableError, match=r"none\.csv: cannot be read"):
        read_models(tmp_path / "none.csv")


def test_end_to_end_times_are_milliseconds_by_device(tmp_path):
    path = tmp_path / "models.csv"
    path.write_text("model,flops,one_gpu_us,cortex_a76_1thread_us\na,1,2500,9000\nb,1,,8000\n")
    assert read_end_to_end(path) == {
        "a": {"one": 2.5, "cortex_a76_1thread": 9.0},
        "b": {"cortex_a76_1thread": 8.0},
    }
    path.write_text("model,one_gpu_us\na,fast\n")
    with pytest.raises(TableError, match=r"models\.csv, line 2: column one_gpu_us is 'fast'"):
        read_end_to_end(path)
