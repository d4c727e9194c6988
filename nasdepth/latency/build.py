"""Building a latency table: every kernel of a space measured on a device, then whole networks to validate."""

from __future__ import annotations

import datetime
import random
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import spearmanr

from nasdepth.architecture import Architecture
from nasdepth.devices import Device, DeviceInfo, Measurement
from nasdepth.errors import DeviceError
from nasdepth.latency._journal import Journal
from nasdepth.latency.card import DeviceCard, Validation
from nasdepth.latency.extract import architecture_kernels
from nasdepth.latency.kernels import Kernel
from nasdepth.latency.micro import write_micro_model
from nasdepth.latency.plan import plan
from nasdepth.latency.predictor import TablePredictor
from nasdepth.latency.table import LatencyTable, Timing

if TYPE_CHECKING:
    from nasdepth.space import SearchSpace

__all__ = ["build", "plan", "table_name"]

Progress = Callable[[int, int, str], None]

# So little work that all its time is the interpreter's
_NOTHING = Kernel("add", 1, 1, 8, 1, 1, 8, operand="tensor")
_LEAST_MS = 1e-4
_CHUNK = 16
# Export and measurement of one network, set aside when time is limited
_SECONDS_PER_MODEL = 6.0
_FEWEST_TO_VALIDATE = 3


def table_name(info: DeviceInfo) -> str:
    """`<device>-<runtime>-<threads>t`, such as `x86-64-xnnpack-1t`."""
    runtime = info.delegate if info.delegate != "none" else info.runtime
    return f"{info.architecture.replace('_', '-')}-{runtime}-{info.threads}t"


def build(
    device: Device,
    space: SearchSpace,
    out_folder: str | Path,
    name: str | None = None,
    *,
    minutes: float | None = None,
    validate: int = 12,
    seed: int = 0,
    progress: Progress | None = None,
) -> LatencyTable:
    """Measure a space's kernels on a device and save the table.

    Every finished measurement is on disk at once in `<name>.partial.jsonl`; an interrupted build that is
    started again goes on from there.

    Args:
        device: what to measure on.
        space: whose kernels to measure; see `plan`.
        out_folder: where the table goes.
        name: of the table; `table_name` by default.
        minutes: stop measuring kernels in time for the validation to end by then, once every kind of
            kernel is there; None measures all.
        validate: whole networks, drawn from the space, to measure against the table; fewer than 3 leave
            it unvalidated.
        seed: of the kernels' sample and of the validation networks.
        progress: called with (done, total, label) after every measurement.

    Raises:
        DeviceError: the device cannot be reached, or runs nothing at all.
        TableError: an unfinished build of the same name is of another device or setting.
    """
    start = time.monotonic()
    info = device.describe()
    name = name or table_name(info)
    kernels = plan(space, seed)
    networks = _draw(space, validate, seed + 1)
    journal = Journal(Path(out_folder) / f"{name}.partial.jsonl", info)
    with closing(journal), tempfile.TemporaryDirectory(prefix="nasdepth-") as scratch:
        bench = _Bench(device, journal, Path(scratch), 1 + len(kernels) + len(networks), progress)
        deadline = start + 60 * minutes - _SECONDS_PER_MODEL * len(networks) if minutes else None
        overhead = bench.kernels([_NOTHING])[_NOTHING]
        if overhead.error:
            raise DeviceError(f"device {device.uri}: cannot run a single addition: {overhead.error}")
        # The plan starts with every kind there is; a table without one could not answer
        least = 2 * len({kernel.kind for kernel in kernels})
        measured = bench.kernels(kernels[:least]) | bench.kernels(kernels[least:], deadline)
        table = _table(name, info, space.name, overhead.latency_ms, measured)
        table = _validated(table, bench.networks(networks))
        table.save(out_folder)
        journal.delete()
    return table


def _draw(space: SearchSpace, count: int, seed: int) -> list[Architecture]:
    rng = random.Random(seed)
    drawn: dict[Architecture, None] = {}
    # A small space may have fewer than that many
    for _ in range(20 * count):
        if len(drawn) == count:
            break
        drawn[space.sample(rng)] = None
    return list(drawn)


class _Bench:
    """Measures what the journal does not hold yet."""

    def __init__(
        self, device: Device, journal: Journal, scratch: Path, total: int, progress: Progress | None
    ) -> None:
        self._device, self._journal, self._scratch = device, journal, scratch
        self._total, self._progress = total, progress
        self._done = 0

    def kernels(self, kernels: list[Kernel], deadline: float | None = None) -> dict[Kernel, Measurement]:
        labels = {kernel: str(kernel) for kernel in kernels}
        keys = {kernel: "|".join(kernel.to_row().values()) for kernel in kernels}
        return self._measure(labels, keys, write_micro_model, deadline)

    def networks(self, networks: list[Architecture]) -> dict[Architecture, Measurement]:
        keys = {network: str(network) for network in networks}
        return self._measure(keys, keys, _export, None)

    def _measure(self, labels: Mapping, keys: Mapping, write: Callable, deadline: float | None) -> dict:
        pending = []
        for item, key in keys.items():
            if key in self._journal:
                self._advance(labels[item])
            else:
                pending.append(item)
        for first in range(0, len(pending), _CHUNK):
            if deadline is not None and time.monotonic() > deadline:
                break
            chunk = pending[first : first + _CHUNK]
            paths = [self._scratch / f"{index}.tflite" for index in range(len(chunk))]
            for item, path in zip(chunk, paths, strict=True):
                write(item, path)
            with closing(self._device.measure(paths)) as measurements:
                for item, measurement in zip(chunk, measurements, strict=True):
                    self._journal.add(keys[item], measurement)
                    self._advance(labels[item])
        return {item: self._journal[key] for item, key in keys.items() if key in self._journal}

    def _advance(self, label: str) -> None:
        self._done += 1
        if self._progress:
            self._progress(self._done, self._total, label)


def _export(architecture: Architecture, path: Path) -> None:
    from nasdepth.deploy import export_tflite
    from nasdepth.models import build as build_model

    export_tflite(build_model(architecture), path, verify=False)


def _table(
    name: str, info: DeviceInfo, space: str, overhead_ms: float, measured: Mapping[Kernel, Measurement]
) -> LatencyTable:
    timings = {
        kernel: Timing(
            max(one.latency_ms - overhead_ms, _LEAST_MS),
            max(one.median_ms - overhead_ms, _LEAST_MS),
            one.spread,
            one.runs,
        )
        for kernel, one in measured.items()
        if not one.error
    }
    rejected = {kernel: one.error for kernel, one in measured.items() if one.error}
    card = DeviceCard(
        **asdict(info),
        date=datetime.date.today(),
        kind="measured",
        space=space,
        kernels=len(measured),
        overhead_ms=overhead_ms,
    )
    return LatencyTable(name, card, timings, rejected)


def _validated(table: LatencyTable, networks: Mapping[Architecture, Measurement]) -> LatencyTable:
    """The table with its scale and its errors on whole networks, each held out from its own scale."""
    measured = {network: one.latency_ms for network, one in networks.items() if not one.error}
    if len(measured) < _FEWEST_TO_VALIDATE:
        return table
    predictor = TablePredictor(table)
    summed = np.array([predictor.estimate(architecture_kernels(network)).latency_ms for network in measured])
    whole = np.array(list(measured.values()))
    ratios = whole / summed
    held_out = np.array([np.median(np.delete(ratios, index)) for index in range(len(ratios))])
    errors = 100 * (summed * held_out / whole - 1)
    within = {
        f"within_{limit}_percent": round(float(np.mean(np.abs(errors) <= limit) * 100), 1)
        for limit in (5, 10, 15)
    }
    validation = Validation(
        models=len(whole),
        mape_percent=round(float(np.abs(errors).mean()), 2),
        bias_percent=round(float(errors.mean()), 2),
        spearman=round(float(spearmanr(summed, whole).statistic), 4),
        **within,
    )
    card = table.card.model_copy(update={"scale": float(np.median(ratios)), "validation": validation})
    return LatencyTable(table.name, card, table.timings, table.rejected)
