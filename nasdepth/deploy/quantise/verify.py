"""How far a file of lower precision is from the float file it was made of, on images it was not fitted to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from nasdepth.deploy.quantise.ranges import AllTensors
from nasdepth.deploy.quantise.weights import Affine
from nasdepth.devices.runner import delegation
from nasdepth.errors import ModelFileError
from nasdepth.metrics import si_rmse
from nasdepth.tflite.depth_model import TFLiteDepth
from nasdepth.tflite.quiet import without_info_lines

WARN_SI_RMSE, REFUSE_SI_RMSE = 0.025, 0.05
"""Good int8 files are .005 to .022 from their float file, bad calibrations .047 and more (docs/deploy.md)."""

_FAR_SCALE = 0.05
_SQNR_IMAGES = 4
_WORST = 3


@dataclass(frozen=True, slots=True)
class LayerNoise:
    """What quantisation did to one tensor.

    Attributes:
        layer: operator, its place in the float file, and the tensor's shape.
        sqnr_db: power of the float values over the power of the error, in decibels; infinite without any.
    """

    layer: str
    sqnr_db: float


@dataclass(frozen=True)
class Verification:
    """A file beside the float file that it was made of.

    Attributes:
        compared_on: what the images are, in words.
        images: how many were compared.
        si_rmse: mean si-RMSE of the file's depth against the float file's, in log depth.
        scale: geometric mean of the ratio of depths, which si-RMSE cannot see.
        partitions, float_partitions: into how many pieces XNNPACK cuts the file, and the float file.
        planned_partitions: how many the rules of XNNPACK promise.
        left: operators of the file that XNNPACK does not take, in order.
        layers: of int8, in the order in which they run.
    """

    compared_on: str
    images: int
    si_rmse: float
    scale: float
    partitions: int
    float_partitions: int
    planned_partitions: int
    left: tuple[str, ...]
    layers: tuple[LayerNoise, ...] = ()

    @property
    def worst_layers(self) -> tuple[LayerNoise, ...]:
        """The three layers of the lowest SQNR."""
        return tuple(sorted(self.layers, key=lambda one: one.sqnr_db)[:_WORST])

    def warnings(self) -> list[str]:
        """What somebody who deploys the file should know."""
        found = []
        if self.si_rmse > WARN_SI_RMSE:
            found.append(
                f"depth differs from the float file's by an si-RMSE of {self.si_rmse:.4f} (good files are "
                f"below {WARN_SI_RMSE}). {self._advice()}"
            )
        if abs(self.scale - 1) > _FAR_SCALE:
            found.append(f"depth is {self.scale:.3f} times the float file's")
        if self.partitions > self.planned_partitions:
            found.append(
                f"XNNPACK cuts the file into {self.partitions} pieces, {self.planned_partitions} were "
                "expected; it may be slower than it could be"
            )
        return found

    def require_good(self, path: Path) -> None:
        """Refuse a file that no longer is the network.

        Raises:
            ModelFileError: the message has the si-RMSE and the worst layers.
        """
        if not self.si_rmse <= REFUSE_SI_RMSE:
            raise ModelFileError(
                f"{path}: nothing was written, as depth would differ from the float file's by an si-RMSE of "
                f"{self.si_rmse:.4f} (at most {REFUSE_SI_RMSE} is allowed). {self._advice()}"
            )

    def _advice(self) -> str:
        layers = ", ".join(f"{one.layer} {one.sqnr_db:.1f} dB" for one in self.worst_layers)
        return "Calibrate on more images, like those that the camera will see" + (
            f". Layers of the lowest SQNR: {layers}" if layers else ""
        )

    def to_json(self) -> dict[str, Any]:
        """As reports have it."""
        return {
            "compared_on": self.compared_on,
            "images": self.images,
            "si_rmse_against_float": self.si_rmse,
            "mean_scale": self.scale,
            "partitions": self.partitions,
            "partitions_of_float": self.float_partitions,
            "outside_xnnpack": list(self.left),
            "layers": [{"layer": one.layer, "sqnr_db": _finite(one.sqnr_db)} for one in self.layers],
        }


def compare(
    path: Path,
    float_path: Path,
    images: Sequence[np.ndarray],
    compared_on: str,
    planned_partitions: int,
    layers: Sequence[LayerNoise] = (),
    threads: int = 1,
) -> Verification:
    """Run two files on the same images.

    Args:
        path: the file in question.
        float_path: what it was made of.
        images: each (H, W, 3) uint8.
        compared_on: what they are, in words.
        planned_partitions: see `Verification`.
        layers: see there.
        threads: of the runtime.

    Raises:
        ModelFileError: a file does not run.
    """
    ours, theirs = TFLiteDepth(path, threads), TFLiteDepth(float_path, threads)
    errors, scales = [], []
    for rgb in images:
        # what is not above 1 mm would count as unknown
        depth_mm, float_mm = (np.maximum(one.predict(rgb[None]), 2.0) for one in (ours, theirs))
        errors.append(si_rmse(depth_mm, float_mm)[0])
        scales.append(float(np.mean(np.log(depth_mm) - np.log(float_mm))))
    after, before = _delegated(path), _delegated(float_path)
    return Verification(
        compared_on,
        len(images),
        float(np.mean(errors)),
        float(np.exp(np.mean(scales))),
        after["partitions"],
        before["partitions"],
        planned_partitions,
        tuple(after["left"]),
        tuple(layers),
    )


def noise_by_layer(
    path: Path,
    float_path: Path,
    tensors: Mapping[str, tuple[int, int, Affine]],
    images: Sequence[np.ndarray],
    threads: int = 1,
) -> list[LayerNoise]:
    """The signal-to-noise ratio of every quantised tensor.

    Args:
        path, float_path: the two files.
        tensors: by layer, the tensor's number in the float file, in the quantised file, and what its integers
            stand for.
        images: each (H, W, 3) uint8; the first few count.
        threads: of the runtime.
    """
    quantised, plain = AllTensors(path, threads), AllTensors(float_path, threads)
    signal, noise = dict.fromkeys(tensors, 0.0), dict.fromkeys(tensors, 0.0)
    for rgb in images[:_SQNR_IMAGES]:
        quantised.run(rgb)
        plain.run(rgb)
        for layer, (before, after, numbers) in tensors.items():
            wanted = plain.values(before)
            signal[layer] += float(np.square(wanted, dtype=np.float64).sum())
            got = numbers.values(quantised.values(after))
            noise[layer] += float(np.square(got - wanted, dtype=np.float64).sum())
    return [LayerNoise(layer, _decibels(signal[layer], noise[layer])) for layer in tensors]


def _decibels(signal: float, noise: float) -> float:
    if noise == 0:
        return float("inf")
    return 10 * float(np.log10(signal / noise)) if signal else float("-inf")


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _delegated(path: Path) -> dict[str, Any]:
    with without_info_lines():
        interpreter = Interpreter(model_path=str(path))
        interpreter.allocate_tensors()
    return delegation(interpreter)
