"""What a named design costs: counted, converted and estimated, stage by stage and as a whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from nasdepth.architecture import OUTPUT_HW, Architecture
from nasdepth.deploy import export_tflite
from nasdepth.errors import UnknownKernelError
from nasdepth.families import get_family
from nasdepth.files import cache_folder
from nasdepth.kernels.rules import load_rules, partitions
from nasdepth.latency import Kernel, LatencyEstimate, Predictor, architecture_kernels, tflite_kernels
from nasdepth.models import DepthNet, build
from nasdepth.packs import load_predictor
from nasdepth.tflite.flatbuffer import read_model
from nasdepth.zoo import Design, designs, get_design

MIB = 2**20


@dataclass(frozen=True)
class Layer:
    """A stage of a network.

    Attributes:
        name: `encoder.1`, `decoder.0` (the deepest), `head`.
        what: as the architecture or the family spells it.
        out_shape: channels, height and width of what it gives.
        parameters: trained, without over-parameterisation.
        mmacs: millions of multiply-accumulates of its convolutions and matrix products.
    """

    name: str
    what: str
    out_shape: tuple[int, int, int]
    parameters: int
    mmacs: float


@dataclass(frozen=True)
class Converted:
    """A design as .tflite.

    Attributes:
        path: in the cache.
        size_mb: of the file, in 2**20 bytes.
        operators: in the file.
    """

    path: Path
    size_mb: float
    operators: int


@dataclass(frozen=True)
class Predicted:
    """What a latency table says of a design.

    Attributes:
        table: name or file of the table or device pack.
        estimate: None where the device refuses the design.
        without: operations that a GPU's delegate leaves to the CPU, which the estimate does not contain.
    """

    table: str
    estimate: LatencyEstimate | None
    without: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Flat, as JSON has it."""
        estimate = self.estimate
        return {
            "table": self.table,
            "latency_ms": estimate and estimate.latency_ms,
            "interval_90_ms": estimate and estimate.interval_90,
            "unknown_share": estimate and estimate.unknown_share,
        }


class Surveyed:
    """A design and what it costs; everything is computed when it is asked for."""

    def __init__(self, design: Design) -> None:
        self.design = design
        self.architecture = design.architecture

    @cached_property
    def parameters(self) -> int:
        """Trained parameters, without over-parameterisation."""
        return _parameters(build(replace(self.architecture, reparam="none")))

    @property
    def kernels(self) -> tuple[Kernel, ...]:
        """What XNNPACK runs."""
        return architecture_kernels(self.architecture)

    @property
    def mmacs(self) -> float:
        """Millions of multiply-accumulates."""
        return sum(kernel.macs for kernel in self.kernels) / 1e6

    @property
    def partitions(self) -> int:
        """Pieces that XNNPACK and the runtime's own kernels run in turn."""
        return partitions(self.kernels, "xnnpack")

    @property
    def gpu_left(self) -> tuple[str, ...]:
        """Operations that the GPU delegate does not take; empty where it runs the whole network."""
        rules = load_rules("gpu")
        kernels = architecture_kernels(self.architecture, "gpu")
        return tuple(sorted({kernel.op for kernel in kernels if not rules.delegates(kernel)}))

    def estimate(self, predictor: Predictor) -> LatencyEstimate | None:
        """Its predicted latency, on a GPU of the kernels that the delegate takes (see `gpu_left`); None where
        the device refuses one of them."""
        kernels = architecture_kernels(self.architecture, predictor.runtime)
        if predictor.runtime == "gpu":
            kernels = tuple(filter(load_rules("gpu").delegates, kernels))
        try:
            return predictor.estimate(kernels)
        except UnknownKernelError:
            return None

    def predicted(self, table: str) -> Predicted:
        """Its latency by a table or device pack, which is a file or the name of one that ships.

        Raises:
            TableError: the table cannot be read.
        """
        predictor = load_predictor(table)
        without = self.gpu_left if predictor.runtime == "gpu" else ()
        return Predicted(table, self.estimate(predictor), without)

    def layers(self) -> list[Layer]:
        """The network stage by stage."""
        return layers_of(self.architecture)

    def converted(self) -> Converted:
        """The untrained network as .tflite; big ones take a minute, unless they are in the cache."""
        path = cache_folder("designs") / f"{self.architecture.key}.tflite"
        if not self._is_this(path):
            with torch.random.fork_rng():
                torch.manual_seed(0)
                export_tflite(build(self.architecture), path)
        model = read_model(path)
        return Converted(path, path.stat().st_size / MIB, len(model.subgraphs[0].operators))

    def _is_this(self, path: Path) -> bool:
        # an older version may have built another network under the same name
        return path.is_file() and Counter(tflite_kernels(path)) == Counter(self.kernels)


@dataclass(frozen=True)
class Size:
    """How large a network is.

    Attributes:
        encoder_parameters, decoder_parameters: trained, over-parameterised where the architecture says so.
        kernels: what XNNPACK runs, in order.
    """

    encoder_parameters: int
    decoder_parameters: int
    kernels: tuple[Kernel, ...]

    @property
    def parameters(self) -> int:
        """Trained parameters of the whole network."""
        return self.encoder_parameters + self.decoder_parameters

    @property
    def mmacs(self) -> float:
        """Millions of multiply-accumulates."""
        return sum(kernel.macs for kernel in self.kernels) / 1e6


def size_of(architecture: Architecture) -> Size:
    """Count a network's parameters and kernels."""
    network = build(architecture)
    encoder = _parameters(network.encoder)
    return Size(encoder, _parameters(network) - encoder, architecture_kernels(architecture))


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def survey(names: Iterable[str] | None = None) -> list[Surveyed]:
    """The named designs, all of them by default.

    Raises:
        SpaceError: no such design; the message lists the names.
    """
    return [Surveyed(get_design(name)) for name in (designs() if names is None else names)]


def layers_of(architecture: Architecture) -> list[Layer]:
    """A network stage by stage, without over-parameterisation."""
    architecture = replace(architecture, reparam="none")
    net = build(architecture).eval().to("meta")
    stem = [module for name, module in net.encoder.named_children() if name != "blocks"]
    parts = [("encoder.stem", f"{architecture.encoder.family} stem", stem)]
    for index, stage in enumerate(net.encoder.blocks, 1):
        parts.append((f"encoder.{index}", _stage_words(architecture, index), [stage]))
    decoder = [[net.neck, net.neck_attention], *([stage] for stage in net.decoder)]
    for index, (modules, spelt) in enumerate(zip(decoder, architecture.decoder, strict=True)):
        parts.append((f"decoder.{index}", str(spelt), modules))
    head = [net.head, *([net.guidance] if net.guidance is not None else [])]
    height, width = net.head.kernel_size
    parts.append(("head", f"{height}x{width} convolution", head))
    return list(_layers(net, parts))


def _stage_words(architecture: Architecture, index: int) -> str:
    return " ".join(get_family(architecture.encoder.family).stages[index - 1])


def _layers(net: DepthNet, parts: list[tuple[str, str, list[nn.Module]]]) -> Iterator[Layer]:
    """Look at one pass without values. What no part accounts for (the head is no call) is the last's."""
    shapes: dict[nn.Module, tuple[int, int, int]] = {}

    def note(module: nn.Module, _: Any, output: Any) -> None:
        if isinstance(output, torch.Tensor):
            shapes[module] = _shape(output)

    names = {module: name for name, module in net.named_modules()}
    hooks = [module.register_forward_hook(note) for _, _, modules in parts for module in modules]
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        out = net(torch.empty(1, 3, *OUTPUT_HW, device="meta"))
    for hook in hooks:
        hook.remove()
    flops = {name: sum(by.values()) for name, by in counter.get_flop_counts().items()}
    left = counter.get_total_flops()
    for name, what, modules in parts:
        own = sum(flops.get(f"{type(net).__name__}.{names[module]}", 0) for module in modules)
        left -= own
        last = name == parts[-1][0]
        yield Layer(
            name,
            what,
            _shape(out) if last else shapes[modules[-1]],
            sum(map(_parameters, modules)),
            (left + own if last else own) / 2e6,
        )


def _shape(batch: torch.Tensor) -> tuple[int, int, int]:
    _, channels, height, width = batch.shape
    return channels, height, width
