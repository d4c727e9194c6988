"""The table and the plots of docs/search.md: how quickly each sampler finds good architectures, by replay.

    python benchmarks/search_efficiency.py
    python benchmarks/search_efficiency.py --seeds 10 --workers 4 --table rpi4-tflite2.5-ruy-4t

Every finished search is kept in `--out`; the same command goes on from there. Fifty seeds of five samplers
are hours of a core: most of the time goes to the Gaussian processes of `gp` and `latency-aware`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import typer
from matplotlib.axes import Axes
from rich.progress import Progress

from nasdepth.recording import load_records
from nasdepth.replay import (
    CHECKPOINTS,
    Setting,
    Summary,
    Trace,
    best_known,
    compare_samplers,
    regrets,
)

SAMPLERS = ("latency-aware", "tpe", "evolution", "gp", "random")
COLOURS = dict(zip(SAMPLERS, ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#7f7f7f"), strict=True))
_POINTS = 120


def main(
    records: Annotated[Path, typer.Option()] = Path("benchmarks/records/nyu-depth.csv.gz"),
    table: Annotated[str | None, typer.Option(help="By default the one of the records.")] = None,
    world: Annotated[str, typer.Option()] = "mixed",
    seeds: Annotated[int, typer.Option(min=2)] = 50,
    budget: Annotated[int, typer.Option(min=10)] = 200,
    sampler: Annotated[list[str] | None, typer.Option(help="All by default.")] = None,
    workers: Annotated[int, typer.Option(min=1)] = 1,
    out: Annotated[Path, typer.Option(help="Replayed searches, as CSV.")] = Path("runs/replays.csv"),
    plot: Annotated[Path, typer.Option()] = Path("docs/images/search_efficiency.png"),
) -> None:
    samplers = sampler or SAMPLERS
    recorded = load_records(records)
    setting = Setting("depth", table or recorded.table, world, budget)
    with Progress() as bar:
        task = bar.add_task("reading")
        compared = compare_samplers(
            recorded,
            setting,
            samplers,
            seeds,
            workers=workers,
            kept_in=out,
            on_progress=lambda what, done, total: bar.update(
                task, description=what, completed=done, total=total
            ),
        )
    traces, error = compared.traces, compared.world_error
    print(
        f"world {world} of {error.architectures} architectures; held out: RMSE {error.rmse:.4f}, "
        f"R2 {error.r2:.2f}, Kendall {error.kendall:.2f}; noise {error.noise:.4f}, own {error.own:.4f}"
    )
    print_table(compared.summaries)
    draw(traces, plot, f"{setting.table}, {seeds} searches each")
    print(f"\n{plot}")


def print_table(sums: Sequence[Summary]) -> None:
    """Regret and what the searches end with, as Markdown."""
    counts = [count for count in CHECKPOINTS if all(count in one.observed for one in sums)]
    heads = ["sampler", *(f"after {count}" for count in counts)]
    heads += ["reaches random's end at", "score of the winner against random's", "s a proposal"]
    print(f"\n| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    for one in sums:
        cells = [f"{one.observed[count].value:.2f} ± {one.observed[count].error:.2f}" for count in counts]
        cells.append(str(one.reaches_random or "-"))
        worth = one.worth_random
        cells.append(
            "1"
            if worth is None
            else f"{2**worth.value:.2f} ({2 ** (worth.value - worth.error):.2f} to "
            f"{2 ** (worth.value + worth.error):.2f})"
        )
        cells.append(f"{one.proposal_s:.2f}")
        print(f"| {' | '.join([one.sampler, *cells])} |")


def draw(traces: Sequence[Trace], path: Path, title: str) -> None:
    """Mean regret with a band of one standard error, against trials and against seconds."""
    figure, (by_trials, by_hours) = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True, layout="constrained")
    best = best_known(traces)
    groups = {name: [one for one in traces if one.sampler == name] for name in COLOURS}
    groups = {name: group for name, group in groups.items() if group}
    shortest_h = min(np.mean([one.seconds[-1] for one in group]) for group in groups.values()) / 3600
    hours = np.linspace(shortest_h / _POINTS, shortest_h, _POINTS)
    for name, group in groups.items():
        curves = regrets(group, best)
        _band(by_trials, np.arange(1, curves.shape[1] + 1), curves, name)
        timed = np.array(
            [
                _at(np.array(one.seconds) / 3600, curve[: len(one.seconds)], hours)
                for one, curve in zip(group, curves, strict=True)
            ]
        )
        _band(by_hours, hours, timed, name)
    by_trials.set(xlabel="trials", ylabel="regret, octaves of the score", xscale="log", title=title)
    by_hours.set(xlabel="hours of training", title="the same against time")
    by_trials.set_ylim(bottom=0)
    by_trials.legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    plt.close(figure)


def _at(ended: np.ndarray, curve: np.ndarray, times: np.ndarray) -> np.ndarray:
    """What a search has reached at some times; NaN before its first training has ended."""
    places = np.searchsorted(ended, times, side="right") - 1
    return np.where(places >= 0, curve[np.maximum(places, 0)], np.nan)


def _band(axes: Axes, x: np.ndarray, curves: np.ndarray, name: str) -> None:
    # a mean over those searches only that have come so far would not be one of all
    there = np.isfinite(curves).all(axis=0)
    mean, error = curves.mean(axis=0), curves.std(axis=0, ddof=1) / np.sqrt(len(curves))
    axes.plot(x[there], mean[there], color=COLOURS[name], label=name)
    axes.fill_between(
        x[there], (mean - error)[there], (mean + error)[there], color=COLOURS[name], alpha=0.2, linewidth=0
    )


if __name__ == "__main__":
    typer.run(main)
