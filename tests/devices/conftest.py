"""Models and servers that the tests of devices share."""

from __future__ import annotations

import os
from pathlib import Path

import flatbuffers
import pytest
from ai_edge_litert import schema_py_generated as schema
from sshd_server import SSHD, Sshd

from nasdepth.latency import Kernel, write_micro_model


@pytest.fixture
def sshd(tmp_path):
    if SSHD is None:
        pytest.skip("no OpenSSH server here: apt-get install openssh-server")
    if os.geteuid() != 0:
        pytest.skip("Debian's sshd wants /run/sshd, which only root can make")
    folder = tmp_path / "sshd"
    folder.mkdir()
    server = Sshd(folder)
    server.start()
    yield server
    server.kill()


@pytest.fixture
def models(tmp_path):
    paths = [tmp_path / f"{index}.tflite" for index in range(4)]
    for index, path in enumerate(paths):
        write_micro_model(Kernel("relu", 4, 4, 8 + index, 4, 4, 8 + index), path)
    return paths


def write_two_operations(path: Path, builtin: str, custom: str | None = None) -> None:
    """An addition, which everything runs, and then one more operation."""
    codes = [getattr(schema.BuiltinOperator, name) for name in ("ADD", builtin)]
    tensors = [schema.TensorT(shape=[1, 8, 8, 4], buffer=0, name=name) for name in (b"in", b"mid", b"out")]
    addition = schema.OperatorT(
        inputs=[0, 0],
        outputs=[1],
        builtinOptionsType=schema.BuiltinOptions.AddOptions,
        builtinOptions=schema.AddOptionsT(),
    )
    model = schema.ModelT(
        version=3,
        operatorCodes=[
            schema.OperatorCodeT(deprecatedBuiltinCode=min(code, 127), builtinCode=code, version=1)
            for code in codes
        ],
        subgraphs=[
            schema.SubGraphT(
                tensors=tensors,
                inputs=[0],
                outputs=[2],
                operators=[addition, schema.OperatorT(opcodeIndex=1, inputs=[1], outputs=[2])],
            )
        ],
        buffers=[schema.BufferT()],
    )
    model.operatorCodes[1].customCode = custom.encode() if custom else None
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))


@pytest.fixture
def custom_model(tmp_path):
    """A model whose second operation no runtime knows."""
    path = tmp_path / "custom.tflite"
    write_two_operations(path, "CUSTOM", "NoSuchOperation")
    return path


@pytest.fixture
def cpu_only_model(tmp_path):
    """A model whose second operation the CPU runs and the GPU does not."""
    path = tmp_path / "cpu_only.tflite"
    write_two_operations(path, "ZEROS_LIKE")
    return path
