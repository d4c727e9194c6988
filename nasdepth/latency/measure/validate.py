"""How far a table can be trusted: whole models, measured now, against what the table predicts."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Self

from nasdepth.devices import Device
from nasdepth.errors import UnknownKernelError
from nasdepth.latency.accuracy import Guess, Validation, summarise
from nasdepth.latency.extract import architecture_kernels, tflite_kernels
from nasdepth.latency.measure.bench import Bench, Progress, Whole, Write
from nasdepth.latency.measure.journal import Journal
from nasdepth.latency.measure.networks import draw_architectures, write_untrained
from nasdepth.latency.predict import LatencyEstimate, LatencyTable, TablePredictor

if TYPE_CHECKING:
    from nasdepth.architecture import Architecture
    from nasdepth.space import SearchSpace

_FEWEST = 3


@dataclass(frozen=True, slots=True)
class Checked:
    """A model, what was predicted of it and what was measured.

    Attributes:
        guess: latency, interval and what was measured, on a machine as fast as when the table was built.
        estimate: from the table.
    """

    guess: Guess
    estimate: LatencyEstimate

    @classmethod
    def of(cls, name: str, estimate: LatencyEstimate, whole: Whole, table: LatencyTable) -> Self:
        """A model that was measured among reference networks, against those of a table's build."""
        drift = whole.drift(table.card.reference_ms)
        measured_ms = whole.measurement.latency_ms / drift
        guess = Guess(name, estimate.latency_ms, estimate.interval_90, measured_ms, drift=drift)
        return cls(guess, estimate)


@dataclass(frozen=True, slots=True)
class Report:
    """Outcome of `validate_table`.

    Attributes:
        checked: every model that ran, the worst first.
        refused: {name: why}: what the device or the predictor has no answer for.
        validation: None where fewer than 3 models ran.
    """

    checked: tuple[Checked, ...]
    refused: dict[str, str]
    validation: Validation | None


def validate_table(
    table: LatencyTable,
    device: Device,
    cache_folder: str | Path,
    *,
    space: SearchSpace | None = None,
    sample: int = 0,
    models: Sequence[str | Path] = (),
    seed: int = 1000,
    progress: Progress | None = None,
) -> Report:
    """Measure whole models and compare.

    Args:
        table: of the same device and setting.
        device: what to measure on.
        cache_folder: where an interrupted validation keeps what it has; started again, it goes on.
        space, sample: how many architectures to draw, and from where.
        models: .tflite files beside them.
        seed: of the draw.
        progress: called with (done, total, label) after every measurement.

    Raises:
        TableError: the device is not the table's; the message names what differs.
        DeviceError: the device cannot be reached.
        ModelFileError: a file is missing or no .tflite.
    """
    table.card.require_same(device.describe(), table.name)
    predictor = TablePredictor(table)
    estimates: dict[str, LatencyEstimate] = {}
    sources: dict[str, tuple[str, Path | Write]] = {}
    refused: dict[str, str] = {}
    for network in _drawn(space, sample, seed):
        name = str(network)
        estimates[name] = predictor.estimate(architecture_kernels(network, predictor.runtime))
        sources[name] = (name, partial(write_untrained, network))
    for path in map(Path, models):
        try:
            estimates[str(path)] = predictor.estimate(tflite_kernels(path, predictor.runtime))
        except UnknownKernelError as error:
            refused[str(path)] = str(error)
            continue
        sources[str(path)] = (path.name, path)
    keys = {
        name: _digest(source) if isinstance(source, Path) else name for name, (_, source) in sources.items()
    }
    journal = Journal(Path(cache_folder) / f"validate-{table.fingerprint}.partial.jsonl", device.describe())
    with closing(journal), tempfile.TemporaryDirectory(prefix="nasdepth-") as scratch:
        bench = Bench(device, journal, Path(scratch), len(sources), progress)
        measured = bench.files({keys[name]: source for name, source in sources.items()})
        journal.delete()
    checked = []
    for name, estimate in estimates.items():
        if words := measured[keys[name]].measurement.error:
            refused[name] = words
        else:
            checked.append(Checked.of(name, estimate, measured[keys[name]], table))
    checked.sort(key=lambda one: -abs(one.guess.error))
    return Report(tuple(checked), refused, validation_of(checked))


def validation_of(checked: Sequence[Checked]) -> Validation | None:
    """The figures of a validation; None for fewer than 3 models."""
    return summarise([one.guess for one in checked]) if len(checked) >= _FEWEST else None


# A machine this much faster or slower than in the build says little about the table
_DRIFTS = (0.9, 1.1)


def worse_than(now: Validation, before: Validation | None) -> str:
    """Why a validation is not to replace another, in words; empty where nothing speaks against it.

    A run of fewer models, or on a machine whose drift is outside of 0.9 to 1.1, does not replace one with a
    smaller error.
    """
    if before is None or now.mape_percent <= before.mape_percent:
        return ""
    low, high = _DRIFTS
    reasons = []
    if not low <= now.drift <= high:
        reasons.append(f"the machine's drift was {now.drift:g}, outside of {low:g} to {high:g}")
    if now.models < before.models:
        reasons.append(f"{now.models} models ran, and {before.models} did then")
    if not reasons:
        return ""
    better = f"the card has a better validation (MAPE {before.mape_percent:g} %, here {now.mape_percent:g} %)"
    return f"{better}, and {' and '.join(reasons)}"


def _drawn(space: SearchSpace | None, count: int, seed: int) -> list[Architecture]:
    return draw_architectures(space, count, seed) if space is not None and count else []


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
