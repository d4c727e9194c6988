"""From a trained network to a verified .tflite."""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import os
import sysconfig
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from nasdepth.architecture import OUTPUT_HW
from nasdepth.deploy.clean_up import clean_up
from nasdepth.deploy.quantise import (
    Calibration,
    Converted,
    convert_precision,
    read_float,
    require_calibration,
)
from nasdepth.errors import NasdepthError
from nasdepth.files import whole_file
from nasdepth.kernels.precision import Ends, Precision
from nasdepth.models.reparam import collapse
from nasdepth.tflite.depth_model import TFLiteDepth
from nasdepth.tflite.flatbuffer import operator_name, read_model, write_model

MAX_RELATIVE_ERROR = 1e-4
_ONNX_OPSET = 17


@dataclass(frozen=True)
class Export:
    """What was written.

    Attributes:
        path: of the file.
        operators: in order.
        relative_error: largest difference of the float32 file's depth and torch's over the largest depth; NaN
            where nobody looked.
        converted: how the file became one of lower precision, how far it is from the float32 one; None for
            float32 itself.
    """

    path: Path
    operators: tuple[str, ...]
    relative_error: float
    converted: Converted | None = None

    @property
    def precision(self) -> Precision:
        """Of the file."""
        return self.converted.precision if self.converted else "float32"


@contextlib.contextmanager
def _quiet():
    """The converter prints bars, banners and warnings that say nothing to a user."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            try:
                yield
            finally:
                logging.disable(level)


@contextlib.contextmanager
def _beside_this_python():
    """The converter starts `onnxsim` by its name, which is on the PATH of an activated environment only."""
    before = os.environ.get("PATH", "")
    os.environ["PATH"] = os.pathsep.join([sysconfig.get_path("scripts"), before])
    try:
        yield
    finally:
        os.environ["PATH"] = before


def export_tflite(model: nn.Module, path: str | Path, *, verify: bool = True) -> Export:
    """Convert a depth network to a float32 .tflite of 480x640 raw RGB in, depth in millimetres out.

    Args:
        model: (1, 3, 480, 640) float RGB on 0-255 -> (1, 1, 480, 640) depth in millimetres. What is
            over-parameterised in it is collapsed; it is left as it is itself.
        path: written whole or not at all.
        verify: run the file and compare it with torch on an image of noise.

    Raises:
        NasdepthError: the converted model disagrees with torch by more than 1e-4 of the largest depth.
    """
    import onnx2tf  # two seconds of imports that only an export should pay

    path = Path(path)
    broken = [name for name, one in model.state_dict().items() if not torch.isfinite(one).all()]
    if broken:
        raise NasdepthError(
            f"{len(broken)} weights of the network are not finite, the first of them {broken[0]}: its "
            "training has diverged. Nothing was written; take an earlier checkpoint, or train with a lower "
            "learning rate"
        )
    trained = copy.deepcopy(model).eval().cpu()
    deployed = collapse(trained)
    rgb = torch.randint(0, 256, (1, 3, *OUTPUT_HW), generator=torch.Generator().manual_seed(0)).float()
    with tempfile.TemporaryDirectory() as folder, _quiet(), _beside_this_python(), torch.no_grad():
        onnx_path = Path(folder) / "model.onnx"
        torch.onnx.export(
            deployed,
            (rgb,),
            onnx_path,
            dynamo=False,
            opset_version=_ONNX_OPSET,
            input_names=["rgb"],
            output_names=["depth_mm"],
        )
        onnx2tf.convert(
            input_onnx_file_path=str(onnx_path),
            output_folder_path=folder,
            non_verbose=True,
            verbosity="error",
        )
        flatbuffer = read_model(Path(folder) / "model_float32.tflite")
        expected = trained(rgb)[0, 0].numpy() if verify else None
    clean_up(flatbuffer)
    operators = tuple(operator_name(flatbuffer, op) for op in flatbuffer.subgraphs[0].operators)
    with whole_file(path) as temporary:
        write_model(flatbuffer, temporary)
        error = _relative_error(temporary, rgb, expected) if verify else float("nan")
    return Export(path, operators, error)


def deploy(
    network: nn.Module | Path,
    path: Path,
    precision: Precision = "float32",
    calibration: Calibration | None = None,
    ends: Ends = "uint8",
    progress: Callable[[int, int], None] = lambda *_: None,
) -> Export:
    """Write a network in a precision.

    Args:
        network: in torch (see `export_tflite`), or a float32 depth .tflite.
        path: written whole or not at all.
        precision: of the file; see `convert_precision` for this and what follows.
        calibration: photographs, for int8.
        ends: what an int8 file takes.
        progress: hears (done, total) calibration images.

    Raises:
        ModelFileError: a .tflite that is damaged, no depth model or quantised already; a result that differs
            too much from the float32 file. Nothing is written then.
        DataError: int8 without calibration images.
        NasdepthError: the conversion disagrees with torch.
    """
    require_calibration(precision, calibration)
    with tempfile.TemporaryDirectory(prefix="nasdepth-") as folder:
        plain = path if precision == "float32" else Path(folder) / "float32.tflite"
        exported = _cleaned(network, plain) if isinstance(network, Path) else export_tflite(network, plain)
        if precision == "float32":
            return exported
        converted = convert_precision(plain, path, precision, calibration, ends, progress)
    return Export(path, converted.operators, exported.relative_error, converted)


def _cleaned(source: Path, path: Path) -> Export:
    """A float .tflite without what nothing in it uses."""
    model = read_float(source)
    clean_up(model)
    with whole_file(path) as temporary:
        write_model(model, temporary)
    operators = tuple(operator_name(model, op) for op in model.subgraphs[0].operators)
    return Export(path, operators, float("nan"))


def _relative_error(path: Path, rgb: torch.Tensor, expected: np.ndarray) -> float:
    got = TFLiteDepth(path, trusted=True).predict(rgb.permute(0, 2, 3, 1).numpy())[0]
    error = float(np.abs(got - expected).max() / max(np.abs(expected).max(), 1e-6))
    if not error <= MAX_RELATIVE_ERROR:
        raise NasdepthError(
            f"the converted model disagrees with torch: relative error {error:.2e} is above "
            f"{MAX_RELATIVE_ERROR:.0e}; nothing was written. Please report the architecture."
        )
    return error
