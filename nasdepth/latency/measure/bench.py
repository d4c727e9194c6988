"""Measuring kernels and networks on a device: differences of chains, reference kernels, a journal."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import batched
from pathlib import Path

import numpy as np

from nasdepth.devices import Device, Measurement
from nasdepth.errors import DeviceError
from nasdepth.kernels.kernel import Kernel
from nasdepth.latency.measure.journal import Journal
from nasdepth.latency.measure.networks import write_untrained
from nasdepth.models import resolve
from nasdepth.tflite.micro_models import write_micro_model

Progress = Callable[[int, int, str], None]
Write = Callable[[Path], None]

# One that computes and one that moves memory: a machine can be slow at either
REFERENCES = {
    "conv1x1": Kernel("conv2d", 28, 28, 128, 28, 28, 128, padding="same"),
    "add": Kernel("add", 96, 96, 32, 96, 96, 32, operand="tensor"),
}
# References fit into a cache of their own; networks feel what others do to the shared ones and are judged by
# networks: one of built-in resizes, two of narrow convolutions, one of wide ones
REFERENCE_NETWORKS = (
    "litedepth",
    "lite0-plain",
    "128x160,mobilenetv1@0.5:3,none-conv-k3-w96,concat-conv-k3-w64,up-nearest-bilinear",
    "160x224,mobilenetv3_large@0.75:4,none-dsconv-k5-w64,add-mbconv-k5-w48,add-dsconv-k3-w32,up-nearest-bilinear",
)
# So little work that all its time is the interpreter's
_NOTHING = Kernel("add", 1, 1, 8, 1, 1, 8, operand="tensor")
_LEAST_MS = 1e-4
# What a device interleaves in one process: many, as starting one takes as long as measuring a dozen kernels;
# not more than a small board's memory holds
_FILES_AT_ONCE, _BYTES_AT_ONCE = 90, 2.5e8
_NETWORKS_AT_ONCE = 15
# References this much slower than usual: something else was running, measure again. Usual is a low quantile;
# the fastest ever can be a fluke, beside which everything would look slow
_DRIFT = 1.06
# The median of several networks is steadier than each of two kernels
_NETWORK_DRIFT = 1.04
_USUAL_QUANTILE = 0.2
# Before so many passes nobody knows what is usual
_PASSES_TO_KNOW = 8
_ATTEMPTS = 3
# Nine in ten kernels of a quiet machine spread less; a disturbance as long as a kernel's runs shows as more
_UNSTEADY = 0.5
# Enough for a low percentile: five times as long repeats hardly better, and more kernels tell more
_RUNS, _SECONDS = 10, 0.01
_NETWORK_RUNS, _NETWORK_SECONDS = 30, 0.3
_NETWORK_PASSES, _AGREE = 6, 1.03
# The call is nothing beside such kernels, and copies of their outputs would crowd a cache that they have to
# themselves in a network: alone they predict networks better (docs/latency.md)
_LARGE_MACS, _LARGE_BYTES = 2e7, 3e5


def chain_lengths(kernel: Kernel, delegate: str) -> tuple[int, ...]:
    """Copies of a kernel in the two models whose difference is its time; one length where one is better.

    On a GPU every copy would read back an output of its own, so that a difference measures reading back.
    """
    large = kernel.macs > _LARGE_MACS or kernel.in_bytes + kernel.out_bytes > _LARGE_BYTES
    return (1,) if large or delegate in ("webgpu", "gpu") else (1, 4)


@dataclass(frozen=True, slots=True)
class Whole:
    """A model that was measured whole, and the machine's state then.

    Attributes:
        measurement: as the clock said.
        references_ms: the reference networks by name, as fast as in the passes that the model took part in.
    """

    measurement: Measurement
    references_ms: Mapping[str, float]

    def drift(self, usual_ms: Mapping[str, float]) -> float:
        """How many times slower than `usual_ms` the reference networks ran; 1 where that has none of them.

        What slows networks down slows some more than others: the median counts.
        """
        return _slowdown(self.references_ms, usual_ms)

    def usual_ms(self, usual_ms: Mapping[str, float]) -> float:
        """Its latency on a machine on which the references take `usual_ms`."""
        return self.measurement.latency_ms / self.drift(usual_ms)


def monotonic_s() -> float:
    """Seconds of this machine's clock."""
    return time.monotonic()


class Bench:
    """Measures what the journal does not hold yet; every result is on disk before the next begins.

    Args:
        device: what to measure on.
        journal: of an earlier, unfinished run, or new.
        scratch: folder for model files.
        total: number of things that will be measured, for `progress`.
        progress: called with (done, total, label) after each of them.
        clock: seconds; a simulated device has a clock of its own.

    Attributes:
        writing_s: seconds that writing the newest lot of networks took on this machine.
    """

    def __init__(
        self,
        device: Device,
        journal: Journal,
        scratch: Path,
        total: int = 0,
        progress: Progress | None = None,
        clock: Callable[[], float] = monotonic_s,
    ) -> None:
        self._clock, self.writing_s = clock, 0.0
        self._device, self._journal, self._scratch = device, journal, scratch
        self._delegate = device.describe().delegate
        self.total, self._progress = total, progress
        self.done = 0
        self._references = {scratch / f"reference-{name}.tflite": name for name in REFERENCES}
        for path, name in self._references.items():
            write_micro_model(REFERENCES[name], path)

    @property
    def reference_ms(self) -> dict[str, float]:
        """The reference kernels and networks, as fast as they usually ran so far."""
        names = (*REFERENCES, *REFERENCE_NETWORKS)
        seen = {name: self._journal.latencies_ms(f"reference {name} ") for name in names}
        return {name: float(np.quantile(one, _USUAL_QUANTILE)) for name, one in seen.items() if one}

    def overhead_ms(self) -> float:
        """One call of the interpreter with almost nothing to do.

        Raises:
            DeviceError: the device cannot run a single addition; its own words.
        """
        path = self._scratch / "nothing.tflite"
        write_micro_model(_NOTHING, path)
        if "overhead" not in self._journal:
            self._journal.add("overhead", self._agreed([path], self._references)[path].measurement)
        self._advance(str(_NOTHING))
        measured = self._journal["overhead"]
        if measured.error:
            raise DeviceError(f"device {self._device.uri}: cannot run a single addition: {measured.error}")
        return measured.latency_ms

    def kernels(
        self, kernels: Iterable[Kernel], overhead_ms: float, deadline: float | None = None
    ) -> dict[Kernel, Measurement]:
        """Times of kernels without the interpreter's overhead, of all that the deadline leaves time for."""
        lengths = {kernel: chain_lengths(kernel, self._delegate) for kernel in kernels}
        keys = {kernel: _key(kernel) for kernel in lengths}
        pending = []
        for kernel, key in keys.items():
            if key in self._journal:
                self._advance(str(kernel))
            else:
                pending.append(kernel)
        if pending:
            self.know_the_usual()
        for chunk in _lots(pending, lengths):
            if deadline is not None and self._clock() > deadline:
                break
            paths = {}
            for index, kernel in enumerate(chunk):
                for length in lengths[kernel]:
                    paths[kernel, length] = self._scratch / f"{index}-{length}.tflite"
                    write_micro_model(kernel, paths[kernel, length], copies=length)
            measured = self._calm(list(paths.values()))
            for kernel in chunk:
                chain = {length: measured[paths[kernel, length]] for length in lengths[kernel]}
                self._journal.add(keys[kernel], _difference(chain, overhead_ms))
                self._advance(str(kernel))
            for path in paths.values():
                path.unlink()
        return self.known_kernels(keys)

    def files(self, models: Mapping[str, tuple[str, Path | Write]]) -> dict[str, Whole]:
        """Times of whole models, by key; a value is a label and a file, or what writes the file."""
        pending = []
        for key, (label, _) in models.items():
            if key in self._journal:
                self._advance(label)
            else:
                pending.append(key)
        references = self._network_references() if pending else {}
        for lot in batched(pending, _NETWORKS_AT_ONCE):
            paths = {}
            begun = self._clock()
            for index, key in enumerate(lot):
                source = models[key][1]
                paths[key] = source if isinstance(source, Path) else self._scratch / f"model-{index}.tflite"
                if not isinstance(source, Path):
                    source(paths[key])
            self.writing_s = self._clock() - begun
            measured = self._agreed(list(paths.values()), references)
            for key, path in paths.items():
                self._journal.add(key, measured[path].measurement, measured[path].references_ms)
                self._advance(models[key][0])
        return self.known_files(models)

    def known_kernels(self, kernels: Iterable[Kernel]) -> dict[Kernel, Measurement]:
        """Those of the kernels that are measured already."""
        keys = {kernel: _key(kernel) for kernel in kernels}
        return {kernel: self._journal[key] for kernel, key in keys.items() if key in self._journal}

    def known_files(self, keys: Iterable[str]) -> dict[str, Whole]:
        """Those of the whole models that are measured already."""
        return {
            key: Whole(self._journal[key], self._journal.references_ms(key))
            for key in keys
            if key in self._journal
        }

    def know_the_usual(self) -> None:
        """Run the reference kernels until it is known how fast they are, by which all else is judged."""
        while len(self._journal.latencies_ms(f"reference {next(iter(REFERENCES))} ")) < _PASSES_TO_KNOW:
            if not self._pass([], self._references, _RUNS, _SECONDS)[1]:
                break

    def _calm(self, paths: Sequence[Path]) -> dict[Path, Measurement]:
        """The fastest of several passes: of all where the references were slow, of the unsteady otherwise."""
        best: dict[Path, Measurement] = {}
        pending = list(paths)
        for _ in range(_ATTEMPTS):
            measured, now_ms = self._pass(pending, self._references, _RUNS, _SECONDS)
            for path, one in measured.items():
                if path not in best or one.error or one.latency_ms < best[path].latency_ms:
                    best[path] = one
            usual_ms = self.reference_ms
            if all(one_ms <= _DRIFT * usual_ms[name] for name, one_ms in now_ms.items()):
                pending = [path for path in pending if measured[path].spread > _UNSTEADY]
            if not pending:
                break
        return best

    def _network_references(self) -> dict[Path, str]:
        paths = {}
        for index, name in enumerate(REFERENCE_NETWORKS):
            path = self._scratch / f"reference-network-{index}.tflite"
            if not path.exists():
                write_untrained(resolve(name), path)
            paths[path] = name
        return paths

    def _agreed(self, paths: Sequence[Path], references: Mapping[Path, str]) -> dict[Path, Whole]:
        """The fastest pass, once a second one came near it; networks run long enough to meet disturbances."""
        seen: dict[Path, list[Measurement]] = {path: [] for path in paths}
        passes: list[dict[str, float]] = []
        pending = list(paths)
        for number in range(1, _NETWORK_PASSES + 1):
            measured, now_ms = self._pass(pending, references, _NETWORK_RUNS, _NETWORK_SECONDS)
            passes.append(now_ms)
            for path, one in measured.items():
                seen[path].append(one)
            calm = _slowdown(now_ms, self.reference_ms) <= _NETWORK_DRIFT or number >= _ATTEMPTS
            pending = [path for path in pending if not (calm and _agree(seen[path]))]
            if not pending:
                break
        return {
            path: Whole(min(ones, key=lambda one: one.latency_ms), _fastest(passes[: len(ones)]))
            for path, ones in seen.items()
        }

    def _pass(
        self, paths: Sequence[Path], references: Mapping[Path, str], runs: int, seconds: float
    ) -> tuple[dict[Path, Measurement], dict[str, float]]:
        """Measure with the references among them; also the time of each reference that ran."""
        files = [*references, *paths]
        with closing(self._device.measure(files, min_runs=runs, min_seconds=seconds)) as measurements:
            measured = dict(zip(files, measurements, strict=True))
        now = {name: measured.pop(path) for path, name in references.items()}
        ran = {name: one for name, one in now.items() if not one.error}
        for name, one in ran.items():
            count = len(self._journal.latencies_ms(f"reference {name} "))
            self._journal.add(f"reference {name} {count}", one)
        return measured, {name: one.latency_ms for name, one in ran.items()}

    def _advance(self, label: str) -> None:
        self.done += 1
        if self._progress:
            self._progress(self.done, max(self.total, self.done), label)


def _lots(kernels: Sequence[Kernel], lengths: Mapping[Kernel, tuple[int, ...]]) -> Iterator[list[Kernel]]:
    """Kernels in order, as many at a time as go into one process."""
    lot: list[Kernel] = []
    files, held_bytes = len(REFERENCES), 0
    for kernel in kernels:
        copies = lengths[kernel]
        own = len(copies) * kernel.in_bytes + sum(copies) * (kernel.out_bytes + kernel.weight_bytes)
        if lot and (files + len(copies) > _FILES_AT_ONCE or held_bytes + own > _BYTES_AT_ONCE):
            yield lot
            lot, files, held_bytes = [], len(REFERENCES), 0
        lot.append(kernel)
        files, held_bytes = files + len(copies), held_bytes + own
    if lot:
        yield lot


def _key(kernel: Kernel) -> str:
    return "|".join(kernel.to_row().values())


def _slowdown(now_ms: Mapping[str, float], usual_ms: Mapping[str, float]) -> float:
    """Median ratio over what both have; 1 where they have nothing in common."""
    names = [name for name in now_ms if name in usual_ms]
    return statistics.median(now_ms[name] / usual_ms[name] for name in names) if names else 1.0


def _fastest(passes_ms: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Least time of each reference."""
    names = dict.fromkeys(name for one in passes_ms for name in one)
    return {name: min(one[name] for one in passes_ms if name in one) for name in names}


def _agree(passes: Sequence[Measurement]) -> bool:
    if any(one.error for one in passes):
        return True
    fastest, *rest = sorted(one.latency_ms for one in passes)
    return bool(rest) and rest[0] <= _AGREE * fastest


def _difference(chain: Mapping[int, Measurement], overhead_ms: float) -> Measurement:
    """Time of one more copy, which has neither call nor first-touch in it."""
    short, long = chain[min(chain)], chain[max(chain)]
    for measurement in (short, long):
        if measurement.error:
            return measurement
    more = max(chain) - min(chain)
    if not more:
        low, middle = short.latency_ms - overhead_ms, short.median_ms - overhead_ms
    else:
        low = (long.latency_ms - short.latency_ms) / more
        middle = (long.median_ms - short.median_ms) / more
    # noise in both can bring a difference of tiny kernels to nothing; a copy costs a share of the chain
    low = max(low, 0.5 * (long.latency_ms - overhead_ms) / max(chain), _LEAST_MS)
    return Measurement(
        long.model,
        latency_ms=low,
        median_ms=max(middle, low),
        min_ms=low,
        spread=long.spread,
        runs=min(short.runs, long.runs),
    )
