"""Networks without their first and last resize: what a model of small images does, as others publish them.

Every architecture reads and writes 480x640, megabytes that pass through the caches each time. A calibration
made of such networks alone expects the same of a network that reads 96x96.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nasdepth.architecture import Architecture
from nasdepth.deploy.tflite_file import read_model, write_model
from nasdepth.files import whole_file
from nasdepth.latency.kernels import Kernel


def core_kernels(kernels: Sequence[Kernel]) -> tuple[Kernel, ...]:
    """An architecture's kernels without the resizes that each begins and ends with."""
    return tuple(kernels[1:-1])


def export_core(architecture: Architecture, path: Path) -> None:
    """Write what lies between an architecture's resizes as .tflite, with random weights."""
    from nasdepth.latency.build import export_untrained

    export_untrained(architecture, path)
    model = read_model(path)
    graph = model.subgraphs[0]
    first, *core, last = graph.operators
    graph.operators = core
    graph.inputs = np.array(first.outputs, np.int32)
    graph.outputs = np.array([last.inputs[0]], np.int32)
    # they name the tensors that were inputs and outputs
    model.signatureDefs = None
    with whole_file(path) as temporary:
        write_model(model, temporary)
