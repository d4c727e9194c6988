"""What every named design costs: counted, converted, estimated and measured beside what was published."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from scipy.stats import spearmanr
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from nasdepth.architecture import OUTPUT_HW, Architecture
from nasdepth.deploy import export_tflite
from nasdepth.devices import Device, Measurement
from nasdepth.errors import UnknownKernelError
from nasdepth.families import get_family
from nasdepth.files import cache_folder
from nasdepth.kernels.rules import load_rules, partitions
from nasdepth.latency import Kernel, LatencyEstimate, Predictor, architecture_kernels, tflite_kernels
from nasdepth.models import DepthNet, build
from nasdepth.space import SearchSpace
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


class Surveyed:
    """A design and what it costs; everything is computed when it is asked for."""

    def __init__(self, design: Design) -> None:
        self.design = design
        self.architecture = design.architecture

    @cached_property
    def parameters(self) -> int:
        """Trained parameters, without over-parameterisation."""
        net = build(replace(self.architecture, reparam="none"))
        return sum(parameter.numel() for parameter in net.parameters())

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

    def layers(self) -> list[Layer]:
        """The network stage by stage."""
        architecture = replace(self.architecture, reparam="none")
        net = build(architecture).eval().to("meta")
        stem = [module for name, module in net.encoder.named_children() if name != "blocks"]
        parts = [("encoder.stem", f"{architecture.encoder.family} stem", stem)]
        for index, stage in enumerate(net.encoder.blocks, 1):
            parts.append((f"encoder.{index}", _stage_words(architecture, index), [stage]))
        decoder = [[net.neck, net.neck_attention], *([stage] for stage in net.decoder)]
        for index, (modules, stage) in enumerate(zip(decoder, architecture.decoder, strict=True)):
            parts.append((f"decoder.{index}", str(stage), modules))
        head = [net.head, *([net.guidance] if net.guidance is not None else [])]
        height, width = net.head.kernel_size
        parts.append(("head", f"{height}x{width} convolution", head))
        return list(_layers(net, parts))

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


def survey(names: Iterable[str] | None = None) -> list[Surveyed]:
    """The named designs, all of them by default.

    Raises:
        SpaceError: no such design; the message lists the names.
    """
    return [Surveyed(get_design(name)) for name in (designs() if names is None else names)]


@dataclass(frozen=True)
class Row:
    """A design as docs/zoo.md has it; None where nothing was asked for, or the device refused.

    Attributes:
        parameters: trained, without over-parameterisation.
        mmacs: 10**6 multiply-accumulates.
        size_mb: of the .tflite, in 2**20 bytes.
        partitions: pieces that XNNPACK and the runtime's own kernels run in turn.
        gpu_left: operations that the GPU delegate does not take, by its rules.
        gpu_tried: "" where a GPU ran it all, or why it did not.
        pi4: predicted for the Raspberry Pi 4.
        adreno640: predicted for the Adreno 640.
        measured_ms: on the device that was named.
        outside: why the full space does not hold it.
    """

    design: Design
    parameters: int
    mmacs: float
    size_mb: float
    partitions: int
    gpu_left: tuple[str, ...]
    gpu_tried: str | None
    pi4: LatencyEstimate | None
    adreno640: LatencyEstimate | None
    measured_ms: float | None
    outside: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Flat, for --json."""
        design = self.design
        row = {"name": design.name, "source": design.source, "published": asdict(design.published)}
        plain = ("parameters", "mmacs", "size_mb", "partitions", "gpu_left", "gpu_tried", "measured_ms")
        row |= {name: getattr(self, name) for name in plain}
        for name in ("pi4", "adreno640"):
            estimate = getattr(self, name)
            row[f"{name}_ms"] = estimate and estimate.latency_ms
            row[f"{name}_interval_90_ms"] = estimate and estimate.interval_90
            row[f"{name}_unknown_share"] = estimate and estimate.unknown_share
        return row | {"outside": self.outside}


def tabulate(
    chosen: Sequence[Surveyed],
    space: SearchSpace,
    pi4: Predictor,
    adreno640: Predictor,
    *,
    measure_on: Device | None = None,
    try_gpu: Device | None = None,
    on_step: Callable[[str, str], None] = lambda *_: None,
) -> list[Row]:
    """Every figure of docs/zoo.md; `on_step` hears (what is done, with which design) before each step.

    Raises:
        DeviceError: a device cannot be reached or has no runtime.
    """
    converted = []
    for one in chosen:
        on_step("convert", one.design.name)
        converted.append(one.converted())
    times = _runs(measure_on, chosen, converted, on_step, "measure", min_runs=10, min_seconds=1.0)
    tried = _runs(try_gpu, chosen, converted, on_step, "try the GPU", min_runs=1, min_seconds=0.0)
    rows = []
    for one, model in zip(chosen, converted, strict=True):
        time, gpu = times.get(model.path), tried.get(model.path)
        rows.append(
            Row(
                design=one.design,
                parameters=one.parameters,
                mmacs=one.mmacs,
                size_mb=model.size_mb,
                partitions=one.partitions,
                gpu_left=one.gpu_left,
                gpu_tried=None if gpu is None else gpu.error or "",
                pi4=one.estimate(pi4),
                adreno640=one.estimate(adreno640),
                measured_ms=None if time is None or time.error else time.latency_ms,
                outside=tuple(space.violations(one.architecture)),
            )
        )
    return rows


def _runs(
    device: Device | None, chosen, converted, on_step, what: str, **how: float
) -> dict[Path, Measurement]:
    if device is None:
        return {}
    found = {}
    on_step(what, chosen[0].design.name)
    for index, measurement in enumerate(device.measure([one.path for one in converted], **how), 1):
        found[converted[index - 1].path] = measurement
        if index < len(chosen):
            on_step(what, chosen[index].design.name)
    return found


@dataclass(frozen=True)
class Agreement:
    """Rank correlation of predicted and published times.

    Attributes:
        device: that both are of.
        spearman: None for fewer than three designs.
        names: of the designs.
    """

    device: str
    spearman: float | None
    names: tuple[str, ...]


def agreements(rows: Sequence[Row]) -> list[Agreement]:
    """For the Adreno 640 over what ran on the GPU; for the Pi 4 over the designs with a time, save those
    that it sized, and one deployed graph once."""
    gpu = [row for row in rows if row.design.published.on_gpu]
    deployed = {replace(row.design.architecture, reparam="none"): row for row in reversed(rows)}
    once = [row for row in rows if row in deployed.values() and not row.design.sized_by_time]
    return [
        _agreement("Adreno 640", gpu, "adreno640", "adreno640_ms"),
        _agreement("Pi 4", once, "pi4", "pi4_ms"),
    ]


def _agreement(device: str, rows: Sequence[Row], predicted: str, published: str) -> Agreement:
    pairs = {
        row.design.name: (getattr(row, predicted).latency_ms, getattr(row.design.published, published))
        for row in rows
        if getattr(row, predicted) is not None and getattr(row.design.published, published) is not None
    }
    spearman = float(spearmanr(*zip(*pairs.values(), strict=True)).statistic) if len(pairs) > 2 else None
    return Agreement(device, spearman, tuple(pairs))


def _stage_words(architecture: Architecture, index: int) -> str:
    return " ".join(get_family(architecture.encoder.family).stages[index - 1])


def _layers(net: DepthNet, parts: list[tuple[str, str, list[nn.Module]]]) -> Iterator[Layer]:
    """Look at one pass without values. What no part accounts for (the head is no call) is the last's."""
    shapes: dict[nn.Module, tuple[int, int, int]] = {}

    def note(module: nn.Module, _, output: torch.Tensor) -> None:
        if isinstance(output, torch.Tensor):
            shapes[module] = tuple(output.shape[1:])

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
            tuple(out.shape[1:]) if last else shapes[modules[-1]],
            sum(parameter.numel() for module in modules for parameter in module.parameters()),
            (left + own if last else own) / 2e6,
        )
