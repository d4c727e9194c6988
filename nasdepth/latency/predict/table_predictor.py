"""From kernels and a measured table to a latency with its uncertainty, without running anything."""

from __future__ import annotations

import gc
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import groupby
from operator import attrgetter
from typing import get_args

import numpy as np

from nasdepth.errors import UnknownKernelError
from nasdepth.kernels.kernel import CONVOLUTIONS, Kernel
from nasdepth.kernels.rules import load_rules
from nasdepth.latency.accuracy import SD_OF_DECILES, interval_90
from nasdepth.latency.predict.calibration import Decomposition, coldness, group_of, moved_bytes, taps
from nasdepth.latency.predict.card import DeviceCard
from nasdepth.latency.predict.interpolate import KindModel, dimensions, physical_features
from nasdepth.latency.predict.kinds import register_predictor
from nasdepth.latency.predict.predictor import LatencyEstimate, Predictor, Source, runtime_of
from nasdepth.latency.predict.table import LatencyTable, Timing

# A low percentile repeats far better than its runs spread, and what disturbed a kernel's runs for long does
# not say how far off it is: a little of the spread, up to some of the time, foretells networks' errors best
_SD_OF_SPREAD, _MOST_MEASURED_SD = 0.08, 0.04
# Without networks measured whole nobody knows how far off a sum of kernels is; so much it often was
_UNCALIBRATED_SD = 0.15
# Share of its variance that an interpolated kernel has in common with the others of its kind
_SHARED = 0.5
# Beyond so many octaves outside of everything measured, an interpolation is a guess
_OCTAVES_KNOWN = 1.0
# Where other kinds of an operation answer for one that was never measured, and nothing tells how badly
_OTHER_KIND_SD = 0.3
# Kinds of fewer kernels say nothing of others, and more of one kind than this say the same
_FEWEST_OF_KIND, _MOST_OF_KIND = 8, 300
# An interpolation within a kind whose rows are mostly transferred stands on these
_MOSTLY = 0.5


@dataclass(frozen=True, slots=True)
class _Part:
    """A kernel's time before calibration, and what else of it an estimate asks for.

    Attributes:
        warm_ms, cold_ms: the calibrated time, and what a network adds to it where its caches are cold.
    """

    latency_ms: float
    sd_ms: float
    source: Source
    group: str
    delegated: bool
    moved_bytes: int
    warm_ms: float
    cold_ms: float


@register_predictor("measured", card=DeviceCard, table=LatencyTable)
class TablePredictor(Predictor):
    """The table's own time where it has the kernel, a monotone regression within its kind otherwise.

    Attributes:
        table: where the times come from.
        runtime: whose fusion and partition rules apply, as `nasdepth.latency.extract` takes it.
    """

    table: LatencyTable

    def __init__(self, table: LatencyTable) -> None:
        self.table = table
        self.runtime = runtime_of(table.card.delegate)
        self._timings = {**table.transferred, **table.timings}
        self._by_kind: dict[str, list[Kernel]] = defaultdict(list)
        for kernel in self._timings:
            self._by_kind[kernel.kind].append(kernel)
        self._transferred = _transferred_kinds(table)
        # a build asks of a hundred thousand kernels at a time whether they are known
        self._operations = {(kernel.op, kernel.precision) for kernel in self._timings}
        self._models: dict[str, KindModel] = {}
        self._instead: dict[str, list[Kernel]] = {}
        self._sd_of_others: dict[tuple[str, str], float] = {}
        self._rules = load_rules(self.runtime)
        self._parts: dict[Kernel, _Part] = {}

    def estimate(self, kernels: Sequence[Kernel]) -> LatencyEstimate:
        parts = self._parts_of(kernels)
        calibration = self.table.card.calibration
        common = calibration.default_factor if calibration else 1.0
        moved = sum(part.moved_bytes for part in parts)
        felt = coldness(moved, calibration.half_cold_bytes) if calibration and moved else 0.0
        shares: dict[Source, float] = dict.fromkeys(get_args(Source), 0.0)
        answers = []
        for kernel, part in zip(kernels, parts, strict=True):
            latency_ms = part.warm_ms + felt * part.cold_ms
            shares[part.source] += latency_ms
            answers.append((kernel, latency_ms, part.source))
        kernels_ms = sum(shares.values())
        rest_ms = (
            calibration.base_ms + calibration.partition_ms * _pieces(parts)
            if calibration
            else self.table.card.overhead_ms
        )
        total_ms = rest_ms + kernels_ms
        relative_sd = calibration.relative_sd if calibration else _UNCALIBRATED_SD
        sd_ms = (_variance(parts) * common**2 + (relative_sd * total_ms) ** 2) ** 0.5
        sd_ms *= calibration.sd_factor if calibration else 1.0
        share = {source: ms / kernels_ms if kernels_ms else 0.0 for source, ms in shares.items()}
        return LatencyEstimate(
            latency_ms=total_ms,
            sd_ms=sd_ms,
            interval_90=interval_90(total_ms, sd_ms),
            measured_share=share["measured"] if kernels_ms else 1.0,
            interpolated_share=share["interpolated"],
            unknown_share=share["unknown"],
            transferred_share=share["transferred"],
            kernels=tuple(answers),
        )

    def estimate_all(self, networks: Iterable[Sequence[Kernel]]) -> list[LatencyEstimate]:
        networks = list(networks)
        with _no_collection():
            self._learn({kernel: None for kernels in networks for kernel in kernels})
            return [self.estimate(kernels) for kernels in networks]

    def decompose(self, kernels: Sequence[Kernel]) -> Decomposition:
        """The uncalibrated sums that a calibration is fitted to."""
        parts = self._parts_of(kernels)
        groups: dict[str, float] = defaultdict(float)
        for part in parts:
            groups[part.group] += part.latency_ms
        convolutions = tuple(
            (part.group, part.latency_ms, kernel.macs, taps(kernel))
            for kernel, part in zip(kernels, parts, strict=True)
            if kernel.op in CONVOLUTIONS
        )
        moved = sum(part.moved_bytes for part in parts)
        return Decomposition(dict(groups), _pieces(parts), _variance(parts), convolutions, moved)

    def uncertainty(self, kernels: Sequence[Kernel]) -> list[tuple[float, float]]:
        """(ms, standard deviation in ms) of every kernel by itself, before calibration."""
        return [(part.latency_ms, part.sd_ms) for part in self._parts_of(kernels)]

    def knows(self, kernel: Kernel) -> bool:
        """Whether there is any answer for a kernel."""
        known = kernel.kind in self._by_kind or (kernel.op, kernel.precision) in self._operations
        return known and kernel not in self.table.rejected

    def _relatives(self, kernel: Kernel) -> list[Kernel]:
        """Measured kernels of its kind, else of its operation.

        Of depthwise convolutions those whose window is most alike: runtimes have code of their own for small
        windows.
        """
        if kernel.kind in self._by_kind:
            return self._by_kind[kernel.kind]
        if kernel.kind not in self._instead:
            self._instead[kernel.kind] = self._instead_of(kernel, self._sisters(kernel))
        return self._instead[kernel.kind]

    def _sisters(self, kernel: Kernel) -> dict[str, list[Kernel]]:
        """Measured kernels of the same operation and precision, by kind."""
        operation = (kernel.op, kernel.precision)
        return {
            kind: known
            for kind, known in self._by_kind.items()
            if (known[0].op, known[0].precision) == operation
        }

    @staticmethod
    def _instead_of(kernel: Kernel, sisters: Mapping[str, list[Kernel]]) -> list[Kernel]:
        if kernel.op == "depthwise_conv2d":
            sisters = {k: known for k, known in sisters.items() if len(known) >= _FEWEST_OF_KIND} or sisters
            far = {
                kind: abs(math.log2(_window(known[0]) / _window(kernel))) for kind, known in sisters.items()
            }
            sisters = {kind: known for kind, known in sisters.items() if far[kind] <= min(far.values())}
        return [one for known in sisters.values() for one in known]

    def _as_measured(self, kernel: Kernel) -> tuple[Kernel, float]:
        """A kernel as its relatives are measured, and how much more work it is than that."""
        if kernel.op != "depthwise_conv2d" or kernel.kind in self._by_kind:
            return kernel, 1.0
        relatives = self._relatives(kernel)
        return _with_window_of(relatives[0], kernel) if relatives else (kernel, 1.0)

    def _other_kind_sd(self, kernel: Kernel) -> float:
        """How wrong it is to answer for a kind by others of its operation: each kind in turn is left out."""
        operation = (kernel.op, kernel.precision)
        if operation not in self._sd_of_others:
            sisters = self._sisters(kernel)
            errors = [self._left_out_error(kind, sisters) for kind in sisters]
            known = [error**2 for error in errors if error is not None]
            sd = (sum(known) / len(known)) ** 0.5 if known else 0.0
            self._sd_of_others[operation] = max(sd, _OTHER_KIND_SD)
        return self._sd_of_others[operation]

    def _left_out_error(self, kind: str, sisters: Mapping[str, list[Kernel]]) -> float | None:
        """Root mean square of the logarithmic error, if one kind had never been measured."""
        asked = sisters[kind][:_MOST_OF_KIND]
        others = {other: known[:_MOST_OF_KIND] for other, known in sisters.items() if other != kind}
        known = self._instead_of(asked[0], others)
        if min(len(asked), len(known)) < _FEWEST_OF_KIND:
            return None
        model = KindModel(known, [self._timings[one].latency_ms for one in known])
        times = np.array([self._timings[one].latency_ms for one in asked])
        alike, work = zip(*(_with_window_of(known[0], one) for one in asked), strict=True)
        guess = model.predict(alike).latency_ms * np.array(work)
        return float(np.sqrt(np.mean(np.log(guess / times) ** 2)))

    def _parts_of(self, kernels: Sequence[Kernel]) -> list[_Part]:
        parts = self._parts
        try:
            return [parts[kernel] for kernel in kernels]
        except KeyError:
            self._learn(kernels)
            return [parts[kernel] for kernel in kernels]

    def _learn(self, kernels: Iterable[Kernel]) -> None:
        """Make sure that `_parts` has every kernel."""
        missing: dict[str, dict[Kernel, None]] = defaultdict(dict)
        for kernel in kernels:
            if kernel in self._parts:
                continue
            if timing := self.table.timings.get(kernel):
                sd_ms = timing.latency_ms * min(_SD_OF_SPREAD * timing.spread, _MOST_MEASURED_SD)
                self._parts[kernel] = self._part(kernel, timing.latency_ms, sd_ms, "measured")
            elif timing := self.table.transferred.get(kernel):
                sd_ms = timing.latency_ms * _sd_of_belief(timing)
                self._parts[kernel] = self._part(kernel, timing.latency_ms, sd_ms, "transferred")
            elif kernel in self.table.rejected:
                raise UnknownKernelError(
                    f"{kernel}: {self.table.card.device} cannot run it; its runtime says: "
                    f"{self.table.rejected[kernel]}"
                )
            else:
                missing[kernel.kind][kernel] = None
        if not missing:
            return
        # all kinds in one go: for one network, most of the time is NumPy's for each call
        everything = [kernel for unknown in missing.values() for kernel in unknown]
        alike, work = zip(*map(self._as_measured, everything), strict=True)
        sizes = dimensions(alike)
        features = physical_features(alike, sizes)
        end = 0
        for kind, unknown in missing.items():
            asked = list(unknown)
            start, end = end, end + len(asked)
            works = work[start:end]
            answer = self._model(kind, asked[0]).predict_sizes(features[start:end], sizes[start:end])
            related = kind not in self._by_kind
            share, transferred_sd = self._transferred.get(kind, (0.0, 0.0))
            for kernel, times_work, latency_ms, sd, octaves in zip(
                asked,
                works,
                answer.latency_ms.tolist(),
                answer.relative_sd.tolist(),
                answer.octaves_outside.tolist(),
                strict=True,
            ):
                far = related or octaves > _OCTAVES_KNOWN
                if related:
                    latency_ms *= times_work
                    sd = max(sd, self._other_kind_sd(kernel))
                else:
                    sd = math.hypot(sd, transferred_sd)
                near: Source = "transferred" if share > _MOSTLY else "interpolated"
                source: Source = "unknown" if far else near
                self._parts[kernel] = self._part(kernel, latency_ms, latency_ms * sd, source)

    def _part(self, kernel: Kernel, latency_ms: float, sd_ms: float, source: Source) -> _Part:
        group, warm_ms, cold_ms = group_of(kernel), latency_ms, 0.0
        if calibration := self.table.card.calibration:
            warm_ms *= calibration.factors.get(group, calibration.default_factor)
            if kernel.op in CONVOLUTIONS:
                bound_ms = calibration.cold_ms_per_tap * taps(kernel)
                cold_ms = calibration.cold.get(group, 0.0) * min(latency_ms, bound_ms)
        delegated = self._rules.delegates(kernel)
        moved = moved_bytes(kernel)
        return _Part(latency_ms, sd_ms, source, group, delegated, moved, warm_ms, cold_ms)

    def _model(self, kind: str, kernel: Kernel) -> KindModel:
        if kind not in self._models:
            known = self._relatives(kernel)
            if not known:
                raise UnknownKernelError(
                    f"{kernel}: table {self.table.name} holds no kernel of kind {kind!r} nor any other "
                    f"{kernel.op} ({kernel.precision}); build a table for a space that has it with "
                    "`nasdepth latency build`"
                )
            self._models[kind] = KindModel(known, [self._timings[one].latency_ms for one in known])
        return self._models[kind]


def _window(kernel: Kernel) -> int:
    return kernel.kernel_height * kernel.kernel_width


def _with_window_of(known: Kernel, kernel: Kernel) -> tuple[Kernel, float]:
    """A depthwise convolution with the window of another, and how much more work its own window is."""
    if kernel.op != "depthwise_conv2d":
        return kernel, 1.0
    alike = replace(kernel, kernel_height=known.kernel_height, kernel_width=known.kernel_width)
    return alike, _window(kernel) / _window(known)


def _sd_of_belief(timing: Timing) -> float:
    """The standard deviation of the logarithm of a transferred time."""
    return math.log1p(timing.spread) / (2 * SD_OF_DECILES)


def _transferred_kinds(table: LatencyTable) -> dict[str, tuple[float, float]]:
    """Of each kind with transferred rows, their share, and how far off they make what lies between rows."""
    rows: Counter[str] = Counter(kernel.kind for kernel in table.timings)
    variances: dict[str, list[float]] = defaultdict(list)
    for kernel, timing in table.transferred.items():
        variances[kernel.kind].append(_sd_of_belief(timing) ** 2)
    known = {}
    for kind, ones in variances.items():
        share = len(ones) / (len(ones) + rows[kind])
        known[kind] = share, math.sqrt(share * sum(ones) / len(ones))
    return known


@contextmanager
def _no_collection() -> Iterator[None]:
    """Where a million objects are made that live on, Python's garbage collector takes a third of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _pieces(parts: Iterable[_Part]) -> int:
    """As `nasdepth.kernels.rules.partitions`."""
    return sum(1 for _ in groupby(parts, attrgetter("delegated")))


def _variance(parts: Iterable[_Part]) -> float:
    own, shared = 0.0, defaultdict[str, float](float)
    for part in parts:
        if part.source == "measured":
            own += part.sd_ms**2
        else:
            own += (1 - _SHARED) * part.sd_ms**2
            shared[part.group] += part.sd_ms
    return own + _SHARED * sum(sd_ms**2 for sd_ms in shared.values())
