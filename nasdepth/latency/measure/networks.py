"""Whole networks to measure: architectures, the same without their resizes, and random ones of other kinds.

Every architecture reads and writes 480x640, megabytes that pass through the caches each time. A calibration
made of such networks alone expects the same of a network that reads 96x96. So some networks are measured
without their first and last resize, as a model of small images is.

Files are written from the network's kernels and what they read: a hundred times faster than by conversion, of
the same operators in the same order, and as fast on the device (docs/latency.md).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
import torch

from nasdepth.architecture import Architecture
from nasdepth.files import whole_file
from nasdepth.kernels.graph import fuse, outputs_of
from nasdepth.kernels.kernel import Kernel
from nasdepth.kernels.rules import load_rules
from nasdepth.latency.extract import architecture_kernels, module_nodes
from nasdepth.latency.measure.random_networks import random_network
from nasdepth.models import build as build_model
from nasdepth.tflite import read_model, write_model, write_network

if TYPE_CHECKING:
    from nasdepth.space import SearchSpace


@dataclass(frozen=True)
class MeasurableNetwork:
    """A network that can be written as .tflite and whose kernels are known.

    Attributes:
        name: architecture string, or what it is.
        kernels: in the order in which they run.
        write: writes the file, with random weights.
        sort: `whole` for an architecture, `small` for a network of small images; a calibration's interval is
            to hold for both.
    """

    name: str
    kernels: tuple[Kernel, ...]
    write: Callable[[Path], None]
    sort: str = "whole"

    @classmethod
    def of_architecture(cls, architecture: Architecture, runtime: str) -> Self:
        """An architecture as it is deployed."""
        kernels = architecture_kernels(architecture, runtime)
        return cls(str(architecture), kernels, partial(write_untrained, architecture))

    @classmethod
    def without_resizes(cls, architecture: Architecture, runtime: str) -> Self:
        """What lies between an architecture's first and last resize."""
        kernels = kernels_without_resizes(architecture_kernels(architecture, runtime))
        write = partial(write_without_resizes, architecture)
        return cls(f"core of {architecture}", kernels, write, "small")

    @classmethod
    def drawn_at_random(cls, seed: int, runtime: str) -> Self:
        """A network of another maker's kind."""
        nodes = random_network(seed)
        kernels = tuple(node.kernel for node in fuse(nodes, outputs_of(nodes), load_rules(runtime)))
        return cls(f"general network {seed}", kernels, partial(write_network, nodes), "small")


def draw_architectures(space: SearchSpace, count: int, seed: int) -> list[Architecture]:
    """Draw different architectures of a space at random; fewer where it has fewer."""
    rng = random.Random(seed)
    drawn: dict[Architecture, None] = {}
    for _ in range(20 * count):
        if len(drawn) == count:
            break
        drawn[space.sample(rng)] = None
    return list(drawn)


def write_untrained(architecture: Architecture, path: Path) -> None:
    """Write an architecture as .tflite with random weights, which take as long as any."""
    with torch.device("meta"):
        network = build_model(architecture)
    write_network(module_nodes(network), path)


def kernels_without_resizes(kernels: Sequence[Kernel]) -> tuple[Kernel, ...]:
    """An architecture's kernels without the resizes that each begins and ends with."""
    return tuple(kernels[1:-1])


def write_without_resizes(architecture: Architecture, path: Path) -> None:
    """Write what lies between an architecture's resizes as .tflite, with random weights."""
    write_untrained(architecture, path)
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
