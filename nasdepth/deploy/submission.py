"""What the challenge's server said of a file: fidelity, runtime or the runtime's own error, and the score."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nasdepth.data import DepthSplit
from nasdepth.deploy.evaluation import evaluate_tflite
from nasdepth.devices import Device, DeviceInfo, Measurement
from nasdepth.errors import NasdepthError
from nasdepth.files import whole_file, write_json, write_text
from nasdepth.score import score
from nasdepth.tflite.depth_model import TFLiteDepth
from nasdepth.tflite.file_kernels import tflite_kernels
from nasdepth.tflite.flatbuffer import operator_name, read_model

# float32, float16 and int8, as the schema numbers them
_REAL = (0, 1, 9)
_TO_BE_WRITTEN = ("Team", "Method", "Training data", "Training")


@dataclass(frozen=True)
class Submission:
    """A file as it was judged.

    Attributes:
        model: the .tflite that was submitted.
        data: what it was scored on, and `images` how many.
        metrics: of the challenge; `si_rmse` decides.
        device: that measured.
        measured: its runtime, or the runtime's own error.
        parameters: values of its constant tensors, weights and biases.
        macs: multiply-accumulates of convolutions and matrix products; None where its kernels are unknown.
        operators: how many of each kind the file holds.
    """

    model: Path
    data: str
    images: int
    metrics: dict[str, float]
    device: DeviceInfo
    measured: Measurement
    parameters: int
    macs: int | None
    operators: dict[str, int]

    @property
    def score(self) -> float | None:
        """The challenge's score on that device; None where it refused the file."""
        if self.measured.error:
            return None
        return score(self.metrics["si_rmse"], self.measured.latency_ms)

    def to_json(self) -> dict[str, Any]:
        """Flat, as `result.json` has it."""
        return {
            "model": str(self.model),
            "model_bytes": self.model.stat().st_size,
            "data": self.data,
            "images": self.images,
            **{name: self.metrics[name] for name in ("si_rmse", "rmse_m", "log10", "rel")},
            "device": self.device.device,
            "soc": self.device.gpu or self.device.soc,
            "runtime": f"{self.device.runtime} {self.device.runtime_version}",
            "threads": self.device.threads,
            "runtime_ms": None if self.measured.error else self.measured.latency_ms,
            "error": self.measured.error,
            "score": self.score,
            "parameters": self.parameters,
            "macs": self.macs,
            "operators": self.operators,
        }


def judge(
    model: str | Path,
    split: DepthSplit,
    data: str,
    device: Device,
    on_image: Callable[[int, int], None] = lambda *_: None,
) -> Submission:
    """Score a file on a test split, and run it on a device.

    Args:
        model: a depth .tflite, of nasdepth or of anybody.
        split: test images with metric depth.
        data: what the split is called.
        device: that measures.
        on_image: hears (done, total).

    Raises:
        ModelFileError: no depth .tflite.
        DeviceError: the device cannot be reached. One that refuses the file is an answer.
    """
    path = Path(model)
    TFLiteDepth(path)
    measured = next(iter(device.measure([path])))
    metrics = evaluate_tflite(path, split, on_image).compute()
    content = read_model(path)
    graph = content.subgraphs[0]
    names = Counter(operator_name(content, operator) for operator in graph.operators)
    try:
        macs: int | None = sum(kernel.macs for kernel in tflite_kernels(path))
    except NasdepthError:
        macs = None
    return Submission(
        path, data, len(split), metrics, device.describe(), measured, _parameters(content), macs, dict(names)
    )


def write_submission(submission: Submission, folder: Path) -> list[Path]:
    """Write what the challenge asks for: `model.tflite`, `result.json` and `FACTSHEET.md`.

    Raises:
        NasdepthError: the folder cannot be written.
    """
    target = folder / "model.tflite"
    if target.resolve() != submission.model.resolve():
        with whole_file(target) as temporary:
            shutil.copyfile(submission.model, temporary)
    write_json(folder / "result.json", {"schema": "nasdepth-submission-1", **submission.to_json()})
    write_text(folder / "FACTSHEET.md", fact_sheet(submission))
    return [target, folder / "result.json", folder / "FACTSHEET.md"]


def fact_sheet(submission: Submission) -> str:
    """The facts of a submission as Markdown, with places for what a file cannot tell."""
    row, place = submission.to_json(), submission.device
    runtime = (
        f"refused: {row['error']}"
        if row["error"]
        else f"{row['runtime_ms']:.3f} ms (10th percentile of {submission.measured.runs} runs)"
    )
    threads = f"{place.threads} thread{'' if place.threads == 1 else 's'}"
    facts = {
        "si-RMSE": f"{row['si_rmse']:.4f}",
        "RMSE": f"{row['rmse_m']:.3f} m",
        "LOG10": f"{row['log10']:.4f}",
        "REL": f"{row['rel']:.4f}",
        "scored on": f"{row['data']}, {row['images']} images",
        "runtime": runtime,
        "device": f"{place.device}, {row['soc']}, {row['runtime']}, {place.delegate}, {threads}",
        "score on that device": "none" if row["score"] is None else f"{row['score']:.2f}",
        "parameters": f"{row['parameters']:,}",
        "multiply-accumulates": "unknown" if row["macs"] is None else f"{row['macs'] / 1e6:.1f} million",
        "file": f"{row['model_bytes']:,} bytes",
        "operators": ", ".join(f"{count} {name}" for name, count in sorted(row["operators"].items())),
    }
    lines = [
        "# Fact sheet",
        "",
        "| | |",
        "|---|---|",
        *(f"| {name} | {value} |" for name, value in facts.items()),
    ]
    lines += [
        "",
        *(f"## {one}\n\n(to be written)\n" for one in ("Team", "Method", "Training data", "Training")),
    ]
    return "\n".join(lines)


def _parameters(content: Any) -> int:
    """Values of constant tensors that are a network's numbers, not shapes or indices."""
    graph = content.subgraphs[0]
    made = {int(one) for operator in graph.operators for one in operator.outputs}
    total = 0
    for index, tensor in enumerate(graph.tensors):
        data = content.buffers[tensor.buffer].data
        if index in made or data is None or tensor.shape is None or not len(tensor.shape):
            continue
        quantised = tensor.quantization is not None and tensor.quantization.scale is not None
        if tensor.type in _REAL or quantised:
            total += int(np.prod(tensor.shape))
    return total
