"""Building a latency table: kernels measured on a device, then whole networks to calibrate and validate."""

from __future__ import annotations

import datetime
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING

from nasdepth.devices import Device, DeviceInfo, Measurement
from nasdepth.kernels.kernel import Kernel
from nasdepth.latency.measure.bench import Bench, Progress, Whole
from nasdepth.latency.measure.journal import Journal
from nasdepth.latency.measure.networks import MeasurableNetwork, draw_architectures
from nasdepth.latency.measure.plan import least_sure, ordered, uses_of
from nasdepth.latency.measure.random_kernels import random_kernels
from nasdepth.latency.measure.validate import Checked, validation_of
from nasdepth.latency.predict import DeviceCard, LatencyTable, TablePredictor, Timing, runtime_of
from nasdepth.latency.predict.calibration import fit_calibration

if TYPE_CHECKING:
    from nasdepth.space import SearchSpace

# Export and measurement of one network, set aside when time is limited
_SECONDS_PER_NETWORK = 6.0
# Share of a limited time that goes to the planned order; the rest to where the predictor is least sure
_PLANNED_SHARE = 0.5
_LEAST_SURE_AT_ONCE = 1400
# Of those not measured yet, as many of the first are looked at; a full space has a hundred thousand kernels
_LEAST_SURE_AMONG = 8000
_LEAST_OF_A_KIND = 2
# In a table for other makers' networks too: networks without resizes, and of those makers' kinds
_CORES_SHARE, _GENERAL_SHARE = 1 / 4, 1 / 2


def table_name(info: DeviceInfo) -> str:
    """`<device>-<runtime>-<threads>t`, such as `x86-64-xnnpack-1t`."""
    runtime = info.delegate if info.delegate != "none" else info.runtime
    return f"{info.architecture.replace('_', '-')}-{runtime}-{info.threads}t"


def build_table(
    device: Device,
    space: SearchSpace,
    out_folder: str | Path,
    name: str | None = None,
    *,
    minutes: float | None = None,
    calibration: int = 60,
    validate: int = 24,
    general: bool = False,
    seed: int = 0,
    progress: Progress | None = None,
) -> LatencyTable:
    """Measure a space's kernels on a device and save the table.

    Every finished measurement is on disk at once in `<name>.partial.jsonl`; an interrupted build that is
    started again goes on from there. A table of that name that is there already is extended: what it has
    is not measured again.

    Args:
        device: what to measure on.
        space: whose kernels to measure; see `plan_kernels`.
        out_folder: where the table goes.
        name: of the table; `table_name` by default.
        minutes: stop measuring kernels in time for the networks to end by then, once every kind of
            kernel is there; None measures all. Half of it goes to the planned order, half to where the
            predictor is least sure.
        calibration, validate: whole networks, drawn from the space, to fit the table to and to check it
            against; fewer than 6 leave it uncalibrated, fewer than 3 unvalidated.
        general: for networks of other makers too: their kernels are also measured, and the table is fitted
            to a quarter more networks, which lack the resizes from and to 480x640, and half as many that are
            drawn from what other makers' are made of.
        seed: of the kernels' sample and of the networks.
        progress: called with (done, total, label) after every measurement.

    Raises:
        DeviceError: the device cannot be reached, or runs nothing at all.
        TableError: a finished or unfinished build of the same name is of another device or setting.
    """
    start = time.monotonic()
    info = device.describe()
    name = name or table_name(info)
    runtime = runtime_of(info.delegate)
    before = LatencyTable.load_if_there(out_folder, name)
    if before is not None:
        before.card.require_same(info, before.name)
    uses = uses_of(space, seed, runtime)
    known = before.timings.keys() | before.rejected.keys() if before else set()
    kernels = [kernel for kernel in ordered(uses) if kernel not in known]
    if general:
        others = random_kernels(seed)
        uses.update(one for one in others if one not in uses)
        kernels = _woven(kernels, [one for one in others if one not in known])
    cores = round(_CORES_SHARE * calibration) if general else 0
    networks = draw_architectures(space, calibration + validate + cores, seed + 1)
    networks, smaller = networks[: len(networks) - cores], networks[len(networks) - cores :]
    # a small space has fewer than asked for: both get their share
    checks = min(validate, max(len(networks) - calibration, len(networks) // 3))
    checked = [MeasurableNetwork.of_architecture(one, runtime) for one in networks[:checks]]
    whole = [MeasurableNetwork.of_architecture(one, runtime) for one in networks[checks:]]
    drawn = round(_GENERAL_SHARE * calibration) if general else 0
    small = _in_turns(
        [MeasurableNetwork.without_resizes(one, runtime) for one in smaller],
        [MeasurableNetwork.drawn_at_random(index, runtime) for index in range(drawn)],
    )
    fitted = whole + small
    journal = Journal(Path(out_folder) / f"{name}.partial.jsonl", info)
    with closing(journal), tempfile.TemporaryDirectory(prefix="nasdepth-") as scratch:
        bench = Bench(device, journal, Path(scratch), 1 + len(kernels) + len(fitted + checked), progress)
        overhead_ms = bench.overhead_ms()
        seconds = 60 * minutes - _SECONDS_PER_NETWORK * len(fitted + checked) if minutes else None
        card = DeviceCard(
            **asdict(info),
            date=datetime.date.today(),
            kind="measured",
            space=space.name,
            kernels=1,
            overhead_ms=overhead_ms,
        )
        tabulate = partial(_table, name, card, before)
        table = tabulate(_measure(bench, kernels, uses, overhead_ms, start, seconds, tabulate))
        bench.total = bench.done + len(fitted + checked)
        # in turns: the check is to find the machine in the states that the table was fitted in
        in_turns = _in_turns(checked, whole, small)
        measured = bench.files({one.name: (one.name, one.write) for one in in_turns})
        table = table.with_card(reference_ms=bench.reference_ms)
        table = _calibrated(table, fitted, measured)
        table = _validated(table, checked, measured)
        table.save(out_folder)
        journal.delete()
    return table


def _measure(
    bench: Bench,
    kernels: list[Kernel],
    uses: Counter[Kernel],
    overhead_ms: float,
    start: float,
    seconds: float | None,
    tabulate: Callable[[Mapping[Kernel, Measurement]], LatencyTable],
) -> dict[Kernel, Measurement]:
    if seconds is None:
        return bench.kernels(kernels, overhead_ms)
    # A table without a kind could not answer for it: some of each, however little time there is
    measured = bench.kernels(_some_of_every_kind(kernels), overhead_ms)
    planned = start + _PLANNED_SHARE * seconds
    rest = [kernel for kernel in kernels if kernel not in measured]
    measured |= bench.kernels(rest, overhead_ms, planned)
    rest = [kernel for kernel in kernels if kernel not in measured]
    while rest and time.monotonic() < start + seconds:
        predictor = TablePredictor(tabulate(measured))
        # what the device refuses of every kernel tried stays without an answer
        rest = [kernel for kernel in rest if predictor.knows(kernel)]
        wanted = least_sure(predictor, rest[:_LEAST_SURE_AMONG], uses, _LEAST_SURE_AT_ONCE)
        measured |= bench.kernels(wanted, overhead_ms, start + seconds)
        rest = [kernel for kernel in rest if kernel not in measured]
    return measured


def _some_of_every_kind(kernels: Sequence[Kernel]) -> list[Kernel]:
    of_kind: Counter[str] = Counter()
    some = []
    for kernel in kernels:
        of_kind[kernel.kind] += 1
        if of_kind[kernel.kind] <= _LEAST_OF_A_KIND:
            some.append(kernel)
    return some


def _woven(first: list[Kernel], second: list[Kernel]) -> list[Kernel]:
    """Both lists in their own order, two of the first for one of the second."""
    woven: dict[Kernel, None] = {}
    for index in range(max(-(-len(first) // 2), len(second))):
        woven.update(dict.fromkeys(first[2 * index : 2 * index + 2]))
        woven.update(dict.fromkeys(second[index : index + 1]))
    return list(woven)


def _in_turns(*lists: Sequence[MeasurableNetwork]) -> list[MeasurableNetwork]:
    """All lists in their own order, each spread evenly over the whole."""
    placed = [((index + 0.5) / len(ones), one) for ones in lists for index, one in enumerate(ones)]
    return [one for _, one in sorted(placed, key=itemgetter(0))]


def _table(
    name: str, card: DeviceCard, before: LatencyTable | None, measured: Mapping[Kernel, Measurement]
) -> LatencyTable:
    timings = dict(before.timings) if before else {}
    rejected = dict(before.rejected) if before else {}
    for kernel, one in measured.items():
        if one.error:
            rejected[kernel] = one.error
        else:
            timings[kernel] = Timing(one.latency_ms, one.median_ms, one.spread, one.runs)
    return LatencyTable(name, card, timings, rejected).with_card()


def _answered(
    predictor: TablePredictor, networks: Sequence[MeasurableNetwork], measured: Mapping[str, Whole]
) -> list[MeasurableNetwork]:
    """Those that ran, of kernels that have an answer: a device may run in a network what it refused alone."""
    return [
        network
        for network in networks
        if not measured[network.name].measurement.error and all(map(predictor.knows, network.kernels))
    ]


def _calibrated(
    table: LatencyTable, networks: Sequence[MeasurableNetwork], measured: Mapping[str, Whole]
) -> LatencyTable:
    predictor = TablePredictor(table)
    ran = _answered(predictor, networks, measured)
    latencies = [measured[network.name].usual_ms(table.card.reference_ms) for network in ran]
    decomposed = [predictor.decompose(network.kernels) for network in ran]
    return table.with_card(
        calibration=fit_calibration(decomposed, latencies, [network.sort for network in ran])
    )


def _validated(
    table: LatencyTable, networks: Sequence[MeasurableNetwork], measured: Mapping[str, Whole]
) -> LatencyTable:
    predictor = TablePredictor(table)
    checked = [
        Checked.of(network.name, predictor.estimate(network.kernels), measured[network.name], table)
        for network in _answered(predictor, networks, measured)
    ]
    return table.with_card(validation=validation_of(checked))
