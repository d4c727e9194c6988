"""From measurements to a table: transferred times, calibration on whole networks, validation on others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nasdepth.devices import Measurement
from nasdepth.kernels.kernel import Kernel
from nasdepth.latency.accuracy import SD_OF_DECILES
from nasdepth.latency.measure.bench import Whole
from nasdepth.latency.measure.networks import MeasurableNetwork
from nasdepth.latency.measure.validate import Checked, validation_of
from nasdepth.latency.predict import DeviceCard, LatencyTable, TablePredictor, Timing
from nasdepth.latency.predict.calibration import fit_calibration
from nasdepth.latency.predict.card import TransferNote
from nasdepth.latency.predict.transfer import Sources, Transfer


@dataclass(frozen=True)
class Tabulator:
    """Makes tables of what is measured so far.

    Attributes:
        name: of the table.
        card: of the device, without figures.
        before: an earlier table of the same device, whose kernels stand.
        sources: tables and packs of other devices; none for a table of measurements alone.
    """

    name: str
    card: DeviceCard
    before: LatencyTable | None
    sources: Sources

    def table(
        self, measured: Mapping[Kernel, Measurement], reference_ms: Mapping[str, float]
    ) -> LatencyTable:
        """A table without calibration: what is measured, and what the sources tell of the rest."""
        timings = dict(self.before.timings) if self.before else {}
        rejected = dict(self.before.rejected) if self.before else {}
        for kernel, one in measured.items():
            if one.error:
                rejected[kernel] = one.error
            else:
                timings[kernel] = Timing(one.latency_ms, one.median_ms, one.spread, one.runs)
        transferred = self._transferred(timings, rejected)
        note = TransferNote(tables=list(self.sources.names), rows=len(transferred)) if transferred else None
        table = LatencyTable(self.name, self.card, timings, rejected, transferred)
        return table.with_card(reference_ms=dict(reference_ms), transfer=note)

    def _transferred(
        self, timings: Mapping[Kernel, Timing], rejected: Mapping[Kernel, str]
    ) -> dict[Kernel, Timing]:
        if not self.sources.names:
            return {}
        # what a device refuses in one size it refuses in others, as a rule
        refused = {kernel.kind for kernel in rejected} - {kernel.kind for kernel in timings}
        wanted = [
            kernel
            for kernel in self.sources.kernels
            if kernel not in timings and kernel not in rejected and kernel.kind not in refused
        ]
        transfer = Transfer(self.sources, {kernel: one.latency_ms for kernel, one in timings.items()})
        belief = transfer.believe(wanted)
        spreads = np.exp(2 * SD_OF_DECILES * belief.relative_sd) - 1
        return {
            kernel: Timing(float(latency_ms), float(latency_ms), float(spread), 0)
            for kernel, latency_ms, spread in zip(wanted, belief.latency_ms, spreads, strict=True)
            if np.isfinite(latency_ms)
        }

    def finished(
        self,
        table: LatencyTable,
        fitted: Sequence[MeasurableNetwork],
        checked: Sequence[MeasurableNetwork],
        measured: Mapping[str, Whole],
    ) -> LatencyTable:
        """A table with its calibration and validation, from those of the networks that are measured."""
        table = _calibrated(table, [one for one in fitted if one.name in measured], measured)
        return _validated(table, [one for one in checked if one.name in measured], measured)


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
    sorts = [network.sort for network in ran]
    return table.with_card(calibration=fit_calibration(decomposed, latencies, sorts))


def _validated(
    table: LatencyTable, networks: Sequence[MeasurableNetwork], measured: Mapping[str, Whole]
) -> LatencyTable:
    predictor = TablePredictor(table)
    ran = _answered(predictor, networks, measured)
    estimates = [predictor.estimate(network.kernels) for network in ran]
    checked = [
        Checked.of(network.name, estimate, measured[network.name], table)
        for network, estimate in zip(ran, estimates, strict=True)
    ]
    changes = {"validation": validation_of(checked)}
    if table.card.transfer is not None and estimates:
        share = float(np.mean([estimate.transferred_share for estimate in estimates]))
        note = table.card.transfer.model_copy(update={"time_share_percent": round(100 * share, 1)})
        changes["transfer"] = note
    return table.with_card(**changes)
