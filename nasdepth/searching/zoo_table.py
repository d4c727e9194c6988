"""The table of docs/zoo.md: every named design, estimated and measured beside what was published."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

from scipy.stats import spearmanr

from nasdepth.devices import Device, Measurement, open_device
from nasdepth.errors import NasdepthError
from nasdepth.latency import LatencyEstimate, Predictor
from nasdepth.packs import load_predictor
from nasdepth.searching.survey import Converted, Surveyed, survey
from nasdepth.space import SearchSpace
from nasdepth.zoo import Design


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
        """Flat, as JSON has it."""
        design = self.design
        row = {"name": design.name, "source": design.source, "published": asdict(design.published)}
        plain = ("parameters", "mmacs", "size_mb", "partitions", "gpu_left", "gpu_tried", "measured_ms")
        row |= {name: getattr(self, name) for name in plain}
        for name in ("pi4", "adreno640"):
            estimate = getattr(self, name)
            row[f"{name}_ms"] = estimate and estimate.latency_ms
            row[f"{name}_interval_90_ms"] = estimate and estimate.interval_90
            row[f"{name}_unknown_share"] = estimate and estimate.unknown_share
        return row | {"sized_by_time": design.sized_by_time, "outside": self.outside}


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
    device: Device | None,
    chosen: Sequence[Surveyed],
    converted: Sequence[Converted],
    on_step: Callable[[str, str], None],
    what: str,
    *,
    min_runs: int,
    min_seconds: float,
) -> dict[Path, Measurement]:
    if device is None:
        return {}
    found = {}
    on_step(what, chosen[0].design.name)
    measurements = device.measure([one.path for one in converted], min_runs=min_runs, min_seconds=min_seconds)
    for index, measurement in enumerate(measurements, 1):
        found[converted[index - 1].path] = measurement
        if index < len(chosen):
            on_step(what, chosen[index].design.name)
    return found


@dataclass(frozen=True)
class ZooSurvey:
    """All that docs/zoo.md says.

    Attributes:
        rows: the designs.
        agreements: of predicted and published times.
        pi4, adreno640: names of the packs that predicted.
        measured_on: device and runtime of `measured_ms`; None where nothing was measured.
    """

    rows: tuple[Row, ...]
    agreements: tuple[Agreement, ...]
    pi4: str
    adreno640: str
    measured_on: str | None


def survey_zoo(
    names: Iterable[str] | None,
    space: str,
    pi4: str,
    adreno640: str,
    *,
    measure: str | None = None,
    threads: int | None = None,
    try_gpu: str | None = None,
    on_step: Callable[[str, int, int], None] = lambda *_: None,
) -> ZooSurvey:
    """Convert named designs, predict and measure them, and compare predictions with published times.

    Args:
        names: of the designs; all by default.
        space: the search space that may hold them.
        pi4, adreno640: packs that predict.
        measure: URI of a device that times every design.
        threads: of the runtime on that device.
        try_gpu: URI of a GPU that every design is run on once.
        on_step: called with what is done, the number of steps done and that of all, before each step.

    Raises:
        SpaceError: there is no such design or space.
        DeviceError: a device cannot be reached or has no runtime.
        NasdepthError: threads of a device that is not named, or a pack that cannot be read.
    """
    if threads is not None and measure is None:
        raise NasdepthError(f"`threads` is {threads}, but nothing is measured; name a device as `measure`")
    chosen = survey(names)
    steps = count(0)
    total = len(chosen) * (1 + (measure is not None) + (try_gpu is not None))
    with ExitStack() as opened:
        timing = opened.enter_context(open_device(measure, threads)) if measure else None
        gpu = opened.enter_context(open_device(try_gpu)) if try_gpu else None
        info = timing.describe() if timing else None
        rows = tabulate(
            chosen,
            SearchSpace.load(space),
            load_predictor(pi4),
            load_predictor(adreno640),
            measure_on=timing,
            try_gpu=gpu,
            on_step=lambda what, name: on_step(f"{what} {name}", next(steps), total),
        )
    measured_on = None
    if info is not None:
        measured_on = f"{info.soc}, {info.threads} thread(s), {info.runtime} {info.runtime_version}"
    return ZooSurvey(tuple(rows), tuple(agreements(rows)), pi4, adreno640, measured_on)


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
