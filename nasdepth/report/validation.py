"""Predicted against measured latency, as PNG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter

from nasdepth.files import whole_file
from nasdepth.latency.measure import Checked

_BAND = 0.1


def plot_validation(checked: Sequence[Checked], table_name: str, path: Path) -> None:
    """Every model with its 90 % interval, and the ±10 % band around agreement."""
    measured = np.array([one.guess.measured_ms for one in checked])
    predicted = np.array([one.estimate.latency_ms for one in checked])
    low, high = np.array([one.estimate.interval_90 for one in checked]).T
    figure = Figure(figsize=(7, 7), layout="constrained")
    axes = figure.subplots()
    both = np.concatenate([measured, predicted])
    ends = np.array([both.min() / 1.3, both.max() * 1.3])
    axes.plot(ends, ends, c="black", lw=0.8)
    axes.fill_between(
        ends, ends * (1 - _BAND), ends * (1 + _BAND), color="tab:green", alpha=0.15, label="±10 %"
    )
    inside = np.array([one.guess.inside for one in checked])
    for chosen, color, label in (
        (inside, "tab:blue", "measured inside the 90 % interval"),
        (~inside, "tab:red", "outside"),
    ):
        if chosen.any():
            bars = [predicted[chosen] - low[chosen], high[chosen] - predicted[chosen]]
            axes.errorbar(
                measured[chosen], predicted[chosen], bars, fmt="o", ms=3, lw=0.7, c=color, label=label
            )
    axes.set(xscale="log", yscale="log", xlim=ends, ylim=ends, aspect="equal")
    axes.set(
        xlabel="measured ms", ylabel="predicted ms (estimate)", title=f"{table_name}: {len(checked)} models"
    )
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(LogFormatter(minor_thresholds=(2, 0.5)))
        axis.set_minor_formatter(LogFormatter(minor_thresholds=(2, 0.5)))
    axes.legend()
    with whole_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)
