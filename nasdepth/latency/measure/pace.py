"""How long measuring takes on a device, and what a budget of minutes is spent on there."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

from nasdepth.errors import NasdepthError

# In one process with a lot of networks, the reference networks are measured too
REFERENCE_NETWORKS_COUNT = 4
# The newest lot counts for so much: a device that throttles is slower from now on
_NEWEST = 0.4
# Share of the time for whole networks, as long as more of them are wanted
_NETWORKS_SHARE = 0.35
# With fewer, factors would be fitted to noise and a validation would say nothing
FEWEST_KERNELS, FEWEST_NETWORKS = 60, 12
# At the end: fitting and saving, as a multiple of what fitting took so far
_FITS_AT_END = 2.0


@dataclass(frozen=True, slots=True)
class BuildPlan:
    """What a build will measure.

    Attributes:
        kernels, networks: how many; of the networks, `checks` are kept out of all fitting.
        checks: networks that the table is checked against.
        minutes: that it takes, as far as the pace so far tells.
        kernel_seconds, network_seconds: that one takes on this device, everything included.
        writing_seconds: of a network's seconds, what this machine takes to write its file.
        error_percent: mean absolute error to expect on networks that were not measured; an estimate from
            builds of other processors (docs/latency.md). None where nothing is known.
    """

    kernels: int
    networks: int
    checks: int
    minutes: float
    kernel_seconds: float
    network_seconds: float
    writing_seconds: float
    error_percent: float | None


class Pace:
    """Seconds that kernels and networks take, learnt as they are measured."""

    def __init__(self) -> None:
        self.kernel_s: float | None = None
        self._slot_s: float | None = None
        self.writing_s = 0.0
        self.fit_s = 0.0

    def saw_kernels(self, count: int, seconds: float) -> None:
        """So many kernels were measured in so many seconds."""
        self.kernel_s = _blended(self.kernel_s, seconds / count)

    def saw_networks(self, count: int, seconds: float, writing_s: float) -> None:
        """A lot of networks was measured in so many seconds; `writing_s` of them wrote the files."""
        self._slot_s = _blended(self._slot_s, seconds / (count + REFERENCE_NETWORKS_COUNT))
        self.writing_s = writing_s / count

    def saw_fit(self, seconds: float) -> None:
        """Fitting a table took so many seconds."""
        self.fit_s = seconds

    def networks_s(self, count: int) -> float:
        """Seconds of a lot of so many networks."""
        return (self._slot_s or 0.0) * (count + REFERENCE_NETWORKS_COUNT) if count else 0.0

    def lot_within(self, seconds: float, most: int) -> int:
        """How many networks are measured at once within so many seconds: at least 3, or `most`."""
        if not self._slot_s:
            return most
        return min(most, max(3, int(seconds / self._slot_s) - REFERENCE_NETWORKS_COUNT))

    @property
    def reserve_s(self) -> float:
        """Seconds that the end of a build takes."""
        return _FITS_AT_END * self.fit_s

    def plan(
        self,
        seconds: float,
        kernels: int,
        networks: int,
        transferred: bool,
        done: tuple[int, int] = (0, 0),
    ) -> BuildPlan:
        """What to measure in the seconds that are left.

        Args:
            seconds: left; infinite where all is measured.
            kernels, networks: that are left to measure.
            transferred: whether the table starts from those of other processors.
            done: kernels and networks that are measured already.
        """
        kernel_s, lot = self.kernel_s or 0.0, 10
        network_s = self.networks_s(lot) / lot
        if math.isinf(seconds):
            most_kernels, most_networks = kernels, networks
        else:
            left_s = max(seconds - self.reserve_s, 0.0)
            afforded = int(_NETWORKS_SHARE * left_s / network_s) if network_s else networks
            most_networks = min(networks, max(afforded, FEWEST_NETWORKS - done[1], 0))
            # a space of few kernels leaves time for more networks
            spare_s = left_s - kernels * kernel_s
            if network_s:
                most_networks = min(networks, max(most_networks, int(spare_s / network_s)))
            for_kernels_s = max(left_s - most_networks * network_s, 0.0)
            most_kernels = min(kernels, int(for_kernels_s / kernel_s)) if kernel_s else kernels
        all_kernels, all_networks = done[0] + most_kernels, done[1] + most_networks
        return BuildPlan(
            kernels=all_kernels,
            networks=all_networks,
            checks=0,
            minutes=(most_kernels * kernel_s + most_networks * network_s + self.reserve_s) / 60,
            kernel_seconds=kernel_s,
            network_seconds=network_s,
            writing_seconds=self.writing_s,
            error_percent=expected_error_percent(all_kernels, all_networks, transferred),
        )

    def require_enough(
        self, minutes: float, spent_s: float, plan: BuildPlan, fewest: tuple[int, int]
    ) -> None:
        """Refuse a budget that leaves no table worth having.

        Args:
            minutes: the budget.
            spent_s: what went into finding out the pace.
            plan: what the rest is enough for.
            fewest: kernels and networks that a table can be made of.

        Raises:
            NasdepthError: the message says how many minutes the least is.
        """
        kernels, networks = fewest
        if plan.kernels >= kernels and plan.networks >= networks:
            return
        least_s = spent_s + kernels * plan.kernel_seconds + networks * plan.network_seconds + self.reserve_s
        raise NasdepthError(
            f"{minutes:g} minutes are too few for this device: a kernel takes {plan.kernel_seconds:.2g} s "
            f"here and a network {plan.network_seconds:.2g} s, so {kernels} kernels and {networks} networks, "
            f"the least that a table can be made of, take {math.ceil(least_s / 6) / 10:g} minutes. Give as "
            "many (`minutes`); what was measured is kept for then"
        )


def _blended(before: float | None, now: float) -> float:
    return now if before is None else (1 - _NEWEST) * before + _NEWEST * now


# Mean errors of simulated builds, three processors each built from tables of the others or from nothing
# (`python benchmarks/simulated_builds.py`, docs/latency.md): (kernels, with transfer, without), in percent
_EXPECTED = (
    (60, 9.0, None),
    (300, 6.5, 16.0),
    (1000, 5.0, 8.0),
    (3000, 4.2, 5.5),
    (10000, 3.8, 4.5),
    (30000, 3.5, 3.7),
)


def expected_error_percent(kernels: int, networks: int, transferred: bool) -> float | None:
    """Mean absolute error of a table of so many kernels and networks, as far as other builds tell."""
    if networks < FEWEST_NETWORKS or kernels < _EXPECTED[0][0]:
        return None
    known = [(math.log(count), with_, without) for count, with_, without in _EXPECTED]
    points = [(x, with_ if transferred else without) for x, with_, without in known]
    points = [(x, y) for x, y in points if y is not None]
    x = math.log(kernels)
    if x < points[0][0]:
        return None
    for (left, high), (right, low) in pairwise(points):
        if x <= right:
            return round(high + (low - high) * (x - left) / (right - left), 1)
    return points[-1][1]
