"""Building a latency table: kernels measured on a device in turns with whole networks, as time allows."""

from __future__ import annotations

import datetime
import math
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING

from nasdepth.devices import Device, DeviceInfo, Measurement
from nasdepth.kernels.kernel import Kernel
from nasdepth.latency.measure.bench import Bench, Progress, Whole, monotonic_s
from nasdepth.latency.measure.journal import Journal
from nasdepth.latency.measure.networks import MeasurableNetwork, draw_architectures
from nasdepth.latency.measure.pace import FEWEST_KERNELS, FEWEST_NETWORKS, BuildPlan, Pace
from nasdepth.latency.measure.plan import least_sure, ordered, uses_of
from nasdepth.latency.measure.random_kernels import random_kernels
from nasdepth.latency.measure.tabulate import Tabulator
from nasdepth.latency.predict import DeviceCard, LatencyTable, Predictor, TablePredictor, runtime_of
from nasdepth.latency.predict.transfer import Sources

if TYPE_CHECKING:
    from nasdepth.space import SearchSpace

# Measured before a plan is made, to know the pace
_PROBE_KERNELS, _PROBE_NETWORKS = 30, 3
# Of the space's kernels measured in the planned order, before the uncertainty decides
_PLANNED_SHARE = 0.15
# Between two looks at what is known so far: this share of all kernels, and this many times as long as a look
_BATCH_SHARE, _BATCH_FITS = 0.1, 8.0
# At least what one process of the device measures at once
_LEAST_BATCH = 44
# Of those not measured yet, as many of the first are looked at; a full space has a hundred thousand kernels
_LEAST_SURE_AMONG = 8000
_LEAST_OF_A_KIND = 2
# In a table for other makers' networks too: networks without resizes, and of those makers' kinds
_CORES_SHARE, _GENERAL_SHARE = 1 / 4, 1 / 2
_NETWORKS_AT_ONCE = 15
# Networks to check against are all measured in this first part of the networks
_EARLY = 0.6
# A lot of networks takes at most this share of the time: a device that is slow gets smaller lots
_LOT_SHARE = 0.08
# Architectures drawn to see which kernels a space uses, for every minute: looking takes time too
_DRAWS_A_MINUTE = 100
# So few checks do not say whether a table is good enough to stop
_FEWEST_TO_STOP = 8

Announce = Callable[[BuildPlan], None]


class BuildStopped(KeyboardInterrupt):
    """Ctrl-C ended a build.

    Attributes:
        table: of what was measured until then, saved; None where that was not enough for any table.
    """

    def __init__(self, table: LatencyTable | None) -> None:
        super().__init__()
        self.table = table


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
    sources: Mapping[str, Predictor] | None = None,
    stop_when_percent: float | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    announce: Announce | None = None,
    clock: Callable[[], float] = monotonic_s,
) -> LatencyTable:
    """Measure a space's kernels and whole networks on a device and save the table.

    Every finished measurement is on disk at once in `<name>.partial.jsonl`; an interrupted build that is
    started again goes on from there. Ctrl-C saves the table of what is measured so far before it is raised,
    as soon as there is an answer for every kind of kernel of the space. A table of that name that is there
    already is extended: what it has is not measured again.

    Args:
        device: what to measure on.
        space: whose kernels to measure; see `plan_kernels`.
        out_folder: where the table goes.
        name: of the table; `table_name` by default.
        minutes: that the build takes; None measures all. How many kernels and networks that is enough for
            follows from the device's pace, which is measured first and watched all along.
        calibration, validate: whole networks at most, drawn from the space, to fit the table to and to check
            it against; fewer than 6 leave it uncalibrated, fewer than 3 unvalidated.
        general: for networks of other makers too: their kernels are also measured, and the table is fitted
            to a quarter more networks, which lack the resizes from and to 480x640, and half as many that are
            drawn from what other makers' are made of.
        sources: predictors of other devices that the table starts from, by name; none for measurements alone.
        stop_when_percent: end as soon as the mean absolute error of the checks (8 at least) is below.
        seed: of the kernels' sample and of the networks.
        progress: called with (done, total, label) after every measurement.
        announce: called with the plan before the measurements that it is about, and whenever it changes.
        clock: seconds; a simulated device has a clock of its own.

    Raises:
        BuildStopped: Ctrl-C.
        NasdepthError: so few minutes are not enough for any table; the message says how many are.
        DeviceError: the device cannot be reached, or runs nothing at all.
        TableError: a finished or unfinished build of the same name is of another device or setting.
    """
    start = clock()
    info = device.describe()
    name = name or table_name(info)
    before = LatencyTable.load_if_there(out_folder, name)
    if before is not None:
        before.card.require_same(info, before.name)
    work = _Work.of_space(
        space, before, runtime_of(info.delegate), minutes, calibration, validate, general, seed
    )
    journal = Journal(Path(out_folder) / f"{name}.partial.jsonl", info)
    with closing(journal), tempfile.TemporaryDirectory(prefix="nasdepth-") as scratch:
        bench = Bench(device, journal, Path(scratch), work.total, progress, clock)
        card = DeviceCard(
            **asdict(info),
            date=datetime.date.today(),
            kind="measured",
            space=space.name,
            kernels=1,
            overhead_ms=bench.overhead_ms(),
        )
        tabulator = Tabulator(name, card, before, Sources(sources or {}))
        build = _Build(bench, work, tabulator, start, minutes, stop_when_percent, announce, clock)
        try:
            build.run()
        except KeyboardInterrupt:
            build.collect()
            table = build.table()
            usable = work.answered_by(table)
            if usable:
                table.save(out_folder)
            raise BuildStopped(table if usable else None) from None
        table = build.table()
        table.save(out_folder)
        journal.delete()
    return table


@dataclass
class _Work:
    """What there is to measure.

    Attributes:
        kernels: most useful first.
        uses: how many architectures use each kernel.
        networks: in the order of measurement; those of `checked` are kept out of fitting.
        fitted, checked: the two parts of `networks`.
        own: kernels of the space alone.
    """

    kernels: list[Kernel]
    uses: Counter[Kernel]
    networks: list[MeasurableNetwork]
    fitted: list[MeasurableNetwork]
    checked: list[MeasurableNetwork]
    own: list[Kernel]

    @property
    def total(self) -> int:
        """Kernels, networks, and the call with nothing to do."""
        return 1 + len(self.kernels) + len(self.networks)

    @classmethod
    def of_space(
        cls,
        space: SearchSpace,
        before: LatencyTable | None,
        runtime: str,
        minutes: float | None,
        calibration: int,
        validate: int,
        general: bool,
        seed: int,
    ) -> _Work:
        draws = math.ceil(_DRAWS_A_MINUTE * minutes) if minutes else None
        uses = uses_of(space, seed, runtime, draws)
        known = before.timings.keys() | before.rejected.keys() if before else set()
        own = [kernel for kernel in ordered(uses) if kernel not in known]
        kernels = own
        if general:
            others = random_kernels(seed)
            uses.update(one for one in others if one not in uses)
            kernels = _woven(own, [one for one in others if one not in known])
        cores = round(_CORES_SHARE * calibration) if general else 0
        drawn = draw_architectures(space, calibration + validate + cores, seed + 1)
        drawn, smaller = drawn[: len(drawn) - cores], drawn[len(drawn) - cores :]
        # a small space has fewer than asked for: both get their share
        checks = min(validate, max(len(drawn) - calibration, len(drawn) // 3))
        checked = [MeasurableNetwork.of_architecture(one, runtime) for one in drawn[:checks]]
        whole = [MeasurableNetwork.of_architecture(one, runtime) for one in drawn[checks:]]
        others_count = round(_GENERAL_SHARE * calibration) if general else 0
        small = _in_turns(
            [MeasurableNetwork.without_resizes(one, runtime) for one in smaller],
            [MeasurableNetwork.drawn_at_random(index, runtime) for index in range(others_count)],
        )
        # in turns: the check is to find the machine in the states that the table was fitted in; and early:
        # however few networks there is time for, the table is checked
        networks = _in_turns(whole, small, early=checked)
        return cls(kernels, uses, networks, whole + small, checked, own)

    def answered_by(self, table: LatencyTable) -> bool:
        """Whether a table knows every kind of kernel of the space."""
        predictor = TablePredictor(table)
        kinds = {kernel.kind: kernel for kernel in self.own if kernel not in table.rejected}
        return bool(table.timings) and all(map(predictor.knows, kinds.values()))


@dataclass
class _Build:
    """A build on its way.

    Attributes:
        measured: kernels so far.
        networks: by name, so far.
        networks_judged: how many there were when the table was last judged.
    """

    bench: Bench
    work: _Work
    tabulator: Tabulator
    start: float
    minutes: float | None
    stop_when_percent: float | None
    announce: Announce | None
    clock: Callable[[], float]
    measured: dict[Kernel, Measurement] = field(default_factory=dict)
    networks: dict[str, Whole] = field(default_factory=dict)
    pace: Pace = field(default_factory=Pace)
    networks_judged: int = 0

    def run(self) -> None:
        """Measure until the time is over, everything is measured or the table is good enough."""
        self._take_up()
        self._find_the_pace()
        plan = self._planned()
        if self.minutes:
            self.pace.require_enough(self.minutes, self.clock() - self.start, plan, self._fewest())
        self._tell(plan)
        planned = len(self.work.kernels)
        if self.minutes:
            self._kernels(self._coverage(), plan)
            planned = round(_PLANNED_SHARE * plan.kernels)
        while self._goes_on(plan):
            networks_due = len(self.networks) * plan.kernels < plan.networks * len(self.measured)
            if len(self.networks) < plan.networks and (networks_due or len(self.measured) >= plan.kernels):
                self._networks(plan)
            elif len(self.measured) < planned:
                self._kernels(self._rest()[: self._batch(plan)], plan)
            elif not self._least_sure(plan):
                break
            plan = self._planned()
            self._tell(plan)

    def _coverage(self) -> list[Kernel]:
        """Some of every kind: of the space first, and of others' where no other device answers for those."""
        own = _some_of_every_kind(self.work.own)
        return own if self.tabulator.sources.names else [*own, *_some_of_every_kind(self.work.kernels)]

    def table(self) -> LatencyTable:
        """A table of what is measured so far, calibrated and validated as far as networks allow."""
        table = self.tabulator.table(self.measured, self.bench.reference_ms)
        return self.tabulator.finished(table, self.work.fitted, self.work.checked, self.networks)

    def collect(self) -> None:
        """Take over what is measured, by whichever process and however planned."""
        self.measured = self.bench.known_kernels(self.work.kernels)
        self.networks = self.bench.known_files(one.name for one in self.work.networks)

    def _take_up(self) -> None:
        self.collect()
        writers = {one.name: one.write for one in self.work.networks}
        self.bench.kernels(self.measured, self._overhead_ms)
        self.bench.files({name: (name, writers[name]) for name in self.networks})

    def _fewest(self) -> tuple[int, int]:
        """Kernels and networks without which there is no table worth having."""
        kinds = 0 if self.tabulator.sources.names else len({kernel.kind for kernel in self.work.own})
        kernels = max(FEWEST_KERNELS, kinds)
        return min(kernels, len(self.work.kernels)), min(FEWEST_NETWORKS, len(self.work.networks))

    @property
    def _overhead_ms(self) -> float:
        return self.tabulator.card.overhead_ms

    @property
    def _left_s(self) -> float:
        if not self.minutes:
            return math.inf
        return self.start + 60 * self.minutes - self.clock()

    def _rest(self) -> list[Kernel]:
        return [kernel for kernel in self.work.kernels if kernel not in self.measured]

    def _networks_rest(self) -> list[MeasurableNetwork]:
        return [network for network in self.work.networks if network.name not in self.networks]

    def _find_the_pace(self) -> None:
        if self._rest():
            self.bench.know_the_usual()
        self._kernels(self._rest()[:_PROBE_KERNELS])
        if self.minutes:
            self._measure_networks(self._networks_rest()[:_PROBE_NETWORKS])
            self._look()

    def _planned(self) -> BuildPlan:
        plan = self.pace.plan(
            self._left_s,
            len(self.work.kernels) - len(self.measured),
            len(self.work.networks) - len(self.networks),
            bool(self.tabulator.sources.names),
            (len(self.measured), len(self.networks)),
        )
        checks = {one.name for one in self.work.checked}
        first = self.work.networks[: plan.networks]
        return replace(plan, checks=sum(network.name in checks for network in first))

    def _tell(self, plan: BuildPlan) -> None:
        self.bench.total = 1 + plan.kernels + plan.networks
        if self.announce:
            self.announce(plan)

    def _goes_on(self, plan: BuildPlan) -> bool:
        left = len(self.measured) < plan.kernels or len(self.networks) < plan.networks
        return left and self._left_s > self.pace.reserve_s and not self._good_enough()

    def _batch(self, plan: BuildPlan) -> int:
        """How many kernels are measured before the next look at what is known."""
        of_fits = _BATCH_FITS * self.pace.fit_s / plan.kernel_seconds if plan.kernel_seconds else 0
        return round(max(_BATCH_SHARE * plan.kernels, of_fits, _LEAST_BATCH))

    def _kernels(self, kernels: Sequence[Kernel], plan: BuildPlan | None = None) -> None:
        kernels = [kernel for kernel in kernels if kernel not in self.measured]
        deadline = self.clock() + self._left_s - self.pace.reserve_s if self.minutes and plan else None
        begun, count = self.clock(), len(self.measured)
        self.measured |= self.bench.kernels(kernels, self._overhead_ms, deadline)
        if new := len(self.measured) - count:
            self.pace.saw_kernels(new, self.clock() - begun)

    def _networks(self, plan: BuildPlan) -> None:
        most = _NETWORKS_AT_ONCE
        if self.minutes:
            most = self.pace.lot_within(min(_LOT_SHARE * 60 * self.minutes, self._left_s), most)
        self._measure_networks(self._networks_rest()[: min(plan.networks - len(self.networks), most)])

    def _measure_networks(self, networks: Sequence[MeasurableNetwork]) -> None:
        if not networks:
            return
        begun = self.clock()
        self.networks |= self.bench.files({one.name: (one.name, one.write) for one in networks})
        self.pace.saw_networks(len(networks), self.clock() - begun, self.bench.writing_s)

    def _least_sure(self, plan: BuildPlan) -> bool:
        """Measure kernels whose answers are least sure; False where no answer can be made surer."""
        predictor = self._look()
        # what the device refuses of every kernel tried stays without an answer
        rest = [kernel for kernel in self._rest()[:_LEAST_SURE_AMONG] if predictor.knows(kernel)]
        count = min(self._batch(plan), plan.kernels - len(self.measured))
        self._kernels(least_sure(predictor, rest, self.work.uses, count), plan)
        return bool(rest)

    def _look(self) -> TablePredictor:
        """What is known so far."""
        begun = self.clock()
        predictor = TablePredictor(self.tabulator.table(self.measured, self.bench.reference_ms))
        some = self.work.kernels[:_LEAST_SURE_AMONG]
        predictor.uncertainty([kernel for kernel in some if predictor.knows(kernel)])
        self.pace.saw_fit(self.clock() - begun)
        return predictor

    def _good_enough(self) -> bool:
        # only what else was measured of networks can have changed the answer for the better
        if self.stop_when_percent is None or len(self.networks) == self.networks_judged:
            return False
        self.networks_judged = len(self.networks)
        validation = self.table().card.validation
        return (
            validation is not None
            and validation.models >= _FEWEST_TO_STOP
            and validation.mape_percent < self.stop_when_percent
        )


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


def _in_turns(
    *lists: Sequence[MeasurableNetwork], early: Sequence[MeasurableNetwork] = ()
) -> list[MeasurableNetwork]:
    """All lists in their own order, each spread evenly over the whole, `early` over its first part."""
    placed = [((index + 0.5) / len(ones), one) for ones in lists for index, one in enumerate(ones)]
    placed += [(_EARLY * (index + 0.5) / len(early), one) for index, one in enumerate(early)]
    return [one for _, one in sorted(placed, key=itemgetter(0))]
