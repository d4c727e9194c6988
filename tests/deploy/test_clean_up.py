"""Graphs as the converter leaves them, and what is taken out of them."""

import os
import sysconfig

import numpy as np
import onnx2tf
import pytest
import torch
from ai_edge_litert import schema_py_generated as schema
from torch import nn

from nasdepth.deploy.clean_up import cancel_transposes, drop_gathers, drop_resizes, fold_padding
from nasdepth.tflite.flatbuffer import operator_name, read_model, write_model


def convert(net: nn.Module, folder, image: torch.Tensor):
    """The .tflite of a module before anything is cleaned up."""
    torch.onnx.export(net.eval(), (image,), folder / "model.onnx", dynamo=False, opset_version=17)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", sysconfig.get_path("scripts"), prepend=os.pathsep)
        onnx2tf.convert(
            input_onnx_file_path=str(folder / "model.onnx"),
            output_folder_path=str(folder),
            non_verbose=True,
            verbosity="error",
        )
    return folder / "model_float32.tflite"


def names(model):
    return [operator_name(model, operator) for operator in model.subgraphs[0].operators]


@pytest.fixture(scope="module")
def padded(tmp_path_factory):
    """A .tflite as the converter leaves it, with PADs in front of its strided convolutions."""

    class Strided(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Conv2d(3, 8, 3, stride=2)
            self.deep = nn.Conv2d(8, 8, 5, stride=2, groups=8)
            self.odd = nn.Conv2d(8, 4, 3)

        def forward(self, x):
            x = self.first(nn.functional.pad(x, (0, 1, 0, 1)))  # SAME
            x = self.deep(nn.functional.pad(x, (1, 2, 1, 2)))  # SAME
            return self.odd(nn.functional.pad(x, (2, 0, 2, 0)))  # not SAME

    torch.manual_seed(0)
    return convert(Strided(), tmp_path_factory.mktemp("padded"), torch.rand(1, 3, 32, 48))


def run_file(path, image):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path))
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def test_padding_folds_where_it_is_same_and_only_there(padded, tmp_path):
    model = read_model(padded)
    before = [operator_name(model, operator) for operator in model.subgraphs[0].operators]
    assert before.count("PAD") == 3
    assert fold_padding(model) == 2
    after = [operator_name(model, operator) for operator in model.subgraphs[0].operators]
    assert after.count("PAD") == 1 and len(after) == len(before) - 2
    write_model(model, tmp_path / "folded.tflite")
    image = np.random.default_rng(0).random((1, 32, 48, 3), np.float32)
    np.testing.assert_allclose(
        run_file(tmp_path / "folded.tflite", image), run_file(padded, image), atol=1e-6
    )
    assert fold_padding(read_model(tmp_path / "folded.tflite")) == 0


def test_a_pad_that_others_read_is_kept(padded):
    model = read_model(padded)
    graph = model.subgraphs[0]
    pad = next(operator for operator in graph.operators if operator_name(model, operator) == "PAD")
    graph.outputs = np.array([*graph.outputs, pad.outputs[0]], np.int32)
    assert fold_padding(model) == 1


class Sines(nn.Module):
    """Two sines in a row, constants concatenated, and pixel shuffles to one channel and to two."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 5, 1)
        self.second = nn.Conv2d(5, 6, 1)
        self.third = nn.Conv2d(8, 4, 1)
        self.fourth = nn.Conv2d(1, 8, 1)
        self.last = nn.Conv2d(2, 1, 1)
        self.register_buffer("grid", torch.rand(1, 2, 8, 12))

    def forward(self, x):
        x = self.second(torch.sin(torch.sin(self.first(x))))
        x = self.third(torch.cat([x, self.grid], 1))
        x = self.fourth(torch.pixel_shuffle(x, 2))
        return self.last(torch.pixel_shuffle(x, 2))


@pytest.fixture(scope="module")
def sines(tmp_path_factory):
    torch.manual_seed(0)
    return convert(Sines(), tmp_path_factory.mktemp("sines"), torch.rand(1, 3, 8, 12))


def test_transposes_around_sines_and_constants_cancel(sines, tmp_path):
    model = read_model(sines)
    before = names(model)
    assert before.count("TRANSPOSE") == 4 and before.count("SIN") == 2
    assert cancel_transposes(model) == 2
    assert names(model) == [name for name in before if name != "TRANSPOSE"]
    write_model(model, tmp_path / "cancelled.tflite")
    image = np.random.default_rng(0).random((1, 8, 12, 3), np.float32)
    got, expected = run_file(tmp_path / "cancelled.tflite", image), run_file(sines, image)
    np.testing.assert_allclose(got, expected, atol=1e-6)
    assert expected.std() > 0.01
    assert cancel_transposes(read_model(tmp_path / "cancelled.tflite")) == 0


def test_transposes_that_change_something_are_kept(sines):
    def first_transpose(model):
        return next(op for op in model.subgraphs[0].operators if operator_name(model, op) == "TRANSPOSE")

    read_elsewhere = read_model(sines)
    graph = read_elsewhere.subgraphs[0]
    graph.outputs = np.array([*graph.outputs, first_transpose(read_elsewhere).outputs[0]], np.int32)
    assert cancel_transposes(read_elsewhere) == 1

    no_inverse = read_model(sines)
    transpose = first_transpose(no_inverse)
    graph = no_inverse.subgraphs[0]
    other = schema.BufferT()
    other.data = np.frombuffer(np.array([0, 3, 2, 1], np.int32).tobytes(), np.uint8)
    no_inverse.buffers.append(other)
    graph.tensors[transpose.inputs[1]].buffer = len(no_inverse.buffers) - 1
    assert cancel_transposes(no_inverse) <= 1


def test_a_gather_that_copies_is_dropped_and_one_that_reorders_is_not(sines, tmp_path):
    model = read_model(sines)
    before = names(model)
    assert (
        before.count("GATHER") == 2
    )  # in front of each DEPTH_TO_SPACE; that of one channel reorders nothing
    assert drop_gathers(model) == 1
    after = names(model)
    assert after.count("GATHER") == 1 and after.index("DEPTH_TO_SPACE") < after.index("GATHER")
    write_model(model, tmp_path / "dropped.tflite")
    image = np.random.default_rng(0).random((1, 8, 12, 3), np.float32)
    np.testing.assert_array_equal(run_file(tmp_path / "dropped.tflite", image), run_file(sines, image))


def test_resizes_to_the_size_that_there_is_are_dropped_and_no_others(tmp_path):
    class Resized(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Conv2d(3, 4, 3, padding=1)
            self.last = nn.Conv2d(4, 1, 1)

        def forward(self, x):
            x = nn.functional.interpolate(x, size=(16, 24), mode="bilinear")
            x = nn.functional.interpolate(self.first(x).relu(), size=(16, 24), mode="nearest")
            x = nn.functional.interpolate(x, size=(32, 48), mode="bilinear")
            return nn.functional.interpolate(self.last(x).relu(), size=(32, 48), mode="nearest")

    torch.manual_seed(0)
    path = convert(Resized(), tmp_path, torch.rand(1, 3, 16, 24))
    model = read_model(path)
    resizes = [name for name in names(model) if name.startswith("RESIZE")]
    if len(resizes) < 4:
        pytest.fail(f"the converter has dropped resizes itself: {resizes} is left")
    assert drop_resizes(model) == 3
    assert [name for name in names(model) if name.startswith("RESIZE")] == ["RESIZE_BILINEAR"]
    write_model(model, tmp_path / "dropped.tflite")
    image = np.random.default_rng(0).random((1, 16, 24, 3), np.float32)
    np.testing.assert_array_equal(run_file(tmp_path / "dropped.tflite", image), run_file(path, image))
    assert drop_resizes(read_model(tmp_path / "dropped.tflite")) == 0


def test_a_resize_that_is_the_whole_model_stays(tmp_path):
    class Nothing(nn.Module):
        def forward(self, x):
            return nn.functional.interpolate(x, size=(16, 24), mode="bilinear")

    model = read_model(convert(Nothing(), tmp_path, torch.rand(1, 3, 16, 24)))
    before = names(model)
    assert "RESIZE_BILINEAR" in before and drop_resizes(model) == before.count("RESIZE_BILINEAR") - 1
