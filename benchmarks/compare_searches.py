"""The table and the plot of real searches in docs/search.md: what each sampler's searches found.

    common="--data nyuv2 --table zen4-xnnpack-1t --measure-top 0"
    for seed in 0 1 2; do
        # the named designs, once for all samplers
        nasdepth search $common --seed $seed --budget 7 --pruner none --confirm-top 0 --out runs/named-$seed
        for sampler in latency-aware tpe random; do
            nasdepth search $common --seed $seed --budget 1000 --training-minutes 18 --sampler $sampler \\
                --from runs/named-$seed --out runs/$sampler-$seed
            nasdepth retrain --run runs/$sampler-$seed --baseline none --out runs/trained
        done
    done
    python benchmarks/compare_searches.py runs/{latency-aware,tpe,random}-{0,1,2} --trained runs/trained

Searches are compared at equal training seconds, so those of one seed should run at once, on equal shares of a
machine. Scores take the table's estimate of the latency, because the machine is busy while others train; the
measured latency of each fully trained winner stands beside it.
"""

from __future__ import annotations

import json
import math
import statistics
from collections import defaultdict
from pathlib import Path
from typing import Annotated

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import pandas as pd
import typer

from nasdepth.architecture import Architecture
from nasdepth.score import score
from nasdepth.searching.records import SPENT

HEAD = (
    "| sampler | seed | trials | winner | si-RMSE (proxy) | again, 12 epochs | trained fully, test split "
    "| ms (est.) | ms measured | score |\n|" + "---|" * 10
)
COLOURS = {"latency-aware": "#0072b2", "tpe": "#d55e00", "random": "#7f7f7f"}


def main(
    runs: Annotated[list[Path], typer.Argument(help="Run folders of searches.")],
    trained: Annotated[Path, typer.Option(help="Folder of `nasdepth retrain --out`.")],
    plot: Annotated[Path, typer.Option()] = Path("docs/images/real_searches.png"),
) -> None:
    found: dict[str, dict[int, float]] = defaultdict(dict)
    axes = plt.figure(figsize=(7, 4.2), layout="constrained").subplots()
    print(HEAD)
    for run in runs:
        results = json.loads((run / "results.json").read_text())
        sampler, seed = results["settings"]["sampler"], results["settings"]["seed"]
        best, trials = results["best"], pd.read_csv(run / "trials.csv")
        file = trained / Architecture.parse(best["architecture"]).key / "result.json"
        fully = json.loads(file.read_text()) if file.is_file() else {"si_rmse": math.nan}
        worth = score(fully["si_rmse"], best["latency_ms"]) if file.is_file() else math.nan
        found[sampler][seed] = worth
        winner = best["name"] or best["architecture"]
        cells = [
            f"`{sampler}`",
            seed,
            trials.outcome.isin(SPENT).sum(),
            f"`{winner}`",
            f"{best['si_rmse']:.4f}",
            f"{best['confirmed_si_rmse'] or math.nan:.4f}",
            f"{fully['si_rmse']:.4f}",
            f"{best['latency_ms']:.2f}",
            f"{fully.get('measured_latency_ms') or math.nan:.2f}",
            f"{worth:,.0f}",
        ]
        print(f"| {' | '.join(map(str, cells))} |")
        draw(axes, trials, sampler, seed)
    for other in sorted(set(found) - {"latency-aware"}):
        seeds = sorted(found["latency-aware"].keys() & found[other].keys())
        ratios = [found["latency-aware"][seed] / found[other][seed] for seed in seeds]
        print(f"latency-aware / {other}: {', '.join(f'{one:.2f}' for one in ratios)}; geometric mean "
              f"{statistics.geometric_mean(ratios):.2f}")  # fmt: skip
    axes.set(xlabel="seconds of training", ylabel="best score by the proxy, useful candidates", yscale="log")
    axes.legend(frameon=False)
    axes.grid(alpha=0.3)
    plot.parent.mkdir(parents=True, exist_ok=True)
    plt.savefig(plot, dpi=110)


def draw(axes, trials: pd.DataFrame, sampler: str, seed: int) -> None:
    """The best score so far against the seconds that went into trainings."""
    useful = trials.outcome.isin(["trained", "reused"]) & (trials.si_rmse < trials.mean_map_si_rmse)
    best = trials.score.where(useful).cummax().ffill()
    seconds = trials.training_s.where(trials.outcome.isin(SPENT), 0.0).cumsum()
    axes.step(seconds, best, where="post", c=COLOURS.get(sampler), label=sampler if seed == 0 else None)


if __name__ == "__main__":
    typer.run(main)
