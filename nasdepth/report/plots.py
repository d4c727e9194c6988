"""Plots of a search, as PNG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter

from nasdepth.files import whole_file
from nasdepth.score import C_PER_MS, SI_RMSE_EXPONENT
from nasdepth.searching.goals import SCORE, Goal
from nasdepth.searching.records import WHOLE, Outcome, TrialRecord, best, pareto_front


def plot_pareto(records: Sequence[TrialRecord], path: Path, goal: Goal = SCORE) -> None:
    """si-RMSE over latency: all trials, the Pareto front, named designs, lines of equal score.

    A measured latency is a filled marker; an estimate is a hollow one with its 90 % interval.
    """
    shown = [
        record
        for record in records
        if record.si_rmse is not None and record.latency_ms is not None and record.outcome != Outcome.REPEATED
    ]
    if not shown:
        return
    figure = Figure(figsize=(9, 6), layout="constrained")
    axes = figure.subplots()
    trained = [record for record in shown if record.outcome in WHOLE]
    pruned = [record for record in shown if record.outcome is Outcome.PRUNED]
    _estimates(axes, trained, "tab:blue", "o", "trained, latency estimated (90 % interval)")
    _estimates(axes, pruned, "lightgray", "x", "pruned early, latency estimated")
    measured = [record for record in trained if record.latency_source == "measured"]
    if measured:
        axes.scatter(
            [record.known_latency_ms for record in measured],
            [record.reached[0] for record in measured],
            marker="o",
            c="tab:blue",
            s=24,
            label="trained, latency measured",
            zorder=3,
        )
    front = pareto_front(records)
    axes.step(
        [record.known_latency_ms for record in front],
        [record.reached[0] for record in front],
        where="post",
        c="tab:orange",
        label="Pareto front",
    )
    for record in shown:
        if record.name:
            si_rmse, latency_ms = record.reached
            axes.scatter(latency_ms, si_rmse, marker="D", c="tab:red", s=40, zorder=3)
            axes.annotate(record.name, (latency_ms, si_rmse), xytext=(6, 4), textcoords="offset points")
    top = best(records, goal)
    if top is not None:
        si_rmse, latency_ms = top.reached
        axes.scatter(latency_ms, si_rmse, marker="*", c="tab:orange", s=220, zorder=4, label="best score")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(LogFormatter(labelOnlyBase=False, minor_thresholds=(2, 0.5)))
    axes.margins(x=0.12)
    limits = axes.get_xlim(), axes.get_ylim()
    latencies = np.geomspace(*limits[0], 50)
    if top is not None:
        for halvings in range(5):
            level = top.score / 2**halvings
            axes.plot(
                latencies,
                -np.log2(level * C_PER_MS * latencies) / SI_RMSE_EXPONENT,
                c="gray",
                lw=0.7,
                ls=":",
                zorder=1,
                label="equal score (each line half the one below)" if halvings == 0 else None,
            )
    axes.set_xlim(limits[0])
    axes.set_ylim(limits[1])
    axes.set_xlabel("latency in ms")
    axes.set_ylabel("si-RMSE under the proxy, held-out training images")
    axes.legend(loc="best")
    axes.grid(alpha=0.2)
    with whole_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=130)


def _estimates(axes: Axes, records: Sequence[TrialRecord], color: str, marker: str, label: str) -> None:
    """Trials at the table's estimate, with its interval as error bars."""
    if not records:
        return
    estimated_ms = np.array([record.estimated_latency_ms for record in records], float)
    low_ms = np.array([record.estimated_latency_low_ms for record in records], float)
    high_ms = np.array([record.estimated_latency_high_ms for record in records], float)
    axes.errorbar(
        estimated_ms,
        [record.reached[0] for record in records],
        xerr=[estimated_ms - low_ms, high_ms - estimated_ms],
        fmt=marker,
        mfc="none",
        c=color,
        ms=5,
        elinewidth=0.6,
        label=label,
        zorder=2,
    )
