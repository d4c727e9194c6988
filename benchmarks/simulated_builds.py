"""Builds of a latency table on simulated devices: how far off tables are, by budget, pace and sources.

A simulated device answers from a shipped table, on a clock of its own. What that table does not have it
answers by its regression, which is smoother than a device; a network has an error of its own as large as the
table's.

    python benchmarks/simulated_builds.py --truth x86-64-xnnpack-1t --from zen4-xnnpack-1t --minutes 3
    python benchmarks/simulated_builds.py --truth x86-64-xnnpack-1t --slower 10 --minutes 15
"""

from __future__ import annotations

import tempfile
from typing import Annotated

import numpy as np
import pytest
import typer
from rich.console import Console
from rich.table import Table
from scipy.stats import spearmanr

from nasdepth.latency import LatencyTable, TablePredictor, architecture_kernels, load_predictor
from nasdepth.latency.measure import build_table
from nasdepth.latency.measure.networks import draw_architectures
from nasdepth.space import SearchSpace
from nasdepth.testing.simulated_device import SimulatedDevice, stand_ins

UNSEEN = 4321


def main(
    truth: str = "x86-64-xnnpack-1t",
    sources: Annotated[list[str] | None, typer.Option("--from")] = None,
    minutes: Annotated[list[float] | None, typer.Option()] = None,
    slower: float = 1.0,
    writing_s: float = 0.3,
    space: str = "depth",
    sample: int = 40,
) -> None:
    searched = SearchSpace.load(space)
    table = Table(title=f"{truth}, {slower:g} times slower, from {', '.join(sources or ()) or 'nothing'}")
    shares = ("MAPE %", "within 5 %", "within 10 %", "Spearman", "coverage %")
    for heading in ("minutes", "kernels", "networks", *shares):
        table.add_column(heading, justify="right")
    for budget in minutes or (3.0, 10.0, 30.0):
        device = SimulatedDevice(LatencyTable.load(truth), slower, writing_s=writing_s)
        with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
            stand_ins(patch, device)
            built = build_table(
                device,
                searched,
                folder,
                "simulated",
                minutes=budget,
                general=True,
                sources={name: load_predictor(name) for name in sources or ()},
                clock=device.clock,
            )
        networks = [architecture_kernels(one) for one in draw_architectures(searched, sample, UNSEEN)]
        estimates = TablePredictor(built).estimate_all(networks)
        measured = np.array([device.network_ms(one) for one in networks])
        errors = np.abs([one.latency_ms for one in estimates] / measured - 1)
        inside = [
            one.interval_90[0] <= true_ms <= one.interval_90[1]
            for one, true_ms in zip(estimates, measured, strict=True)
        ]
        calibration, validation = built.card.calibration, built.card.validation
        count = (calibration.networks if calibration else 0) + (validation.models if validation else 0)
        table.add_row(
            f"{budget:g}",
            f"{len(built.timings):,}",
            str(count),
            f"{100 * errors.mean():.1f}",
            f"{100 * np.mean(errors < 0.05):.0f}",
            f"{100 * np.mean(errors < 0.1):.0f}",
            f"{spearmanr([one.latency_ms for one in estimates], measured).statistic:.3f}",
            f"{100 * np.mean(inside):.0f}",
        )
    Console(width=120).print(table)


if __name__ == "__main__":
    typer.run(main)
