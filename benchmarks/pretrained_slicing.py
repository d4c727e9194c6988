"""What starting a narrow encoder from a slice of the ImageNet weights is worth against a random start.

    python benchmarks/pretrained_slicing.py [DATA] [--family efficientnet_lite0] [--width 0.5] [--images 320]
        [--epochs 5] [--seeds 2] [--minutes 10] [--threads 1]

Both starts see the same images in the same order under the proxy's recipe; the sliced encoder learns at the
recipe's ratio, as in a search. Judged on images held out of the training split. `--minutes` stops before a
run that would not end in time, and says so.
"""

from __future__ import annotations

import argparse
import time
from itertools import product

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from nasdepth.architecture import Architecture
from nasdepth.data import hold_out, load_split
from nasdepth.families import get_family
from nasdepth.models import build
from nasdepth.models.pretrained import load_pretrained, pretrained_source
from nasdepth.training import load_recipe
from nasdepth.training.loop import train

SI_OF_TWICE_THE_RUNTIME = 0.05  # score = 2^(-20 si) / ms
DECODER = "none-conv-k1-w64,concat-dsconv-k3-w32,concat-dsconv-k3-w16,up-nearest-bilinear"

console = Console(width=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="?", default="scenes", help="data set; built-in scenes if left out")
    parser.add_argument("--family", default="efficientnet_lite0")
    parser.add_argument("--width", type=float, default=0.5)
    parser.add_argument("--images", type=int, default=320, help="of the training split, validation included")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    source = pretrained_source(arguments.family)
    if not source.pretrained:
        raise SystemExit(f"nothing to slice: {source.source}")

    split = load_split(arguments.data, "train")
    chosen = np.linspace(0, len(split) - 1, min(arguments.images, len(split))).astype(int)
    fit, validation = hold_out(split.subset(chosen, split.name), 0.2, seed=0)
    stages = len(get_family(arguments.family).stages)
    architecture = Architecture.parse(f"128x160,{arguments.family}@{arguments.width:g}:{stages},{DECODER}")
    recipe = load_recipe("proxy", {"epochs": arguments.epochs})
    console.print(f"{architecture}", soft_wrap=True)
    console.print(f"{source.source}; {len(fit)} images of {arguments.data} to fit, ", end="")
    console.print(f"{len(validation)} held out; {arguments.epochs} epochs of batch {recipe.batch_size}")

    begun, longest = time.perf_counter(), 0.0
    curves: dict[bool, list[list[float]]] = {True: [], False: []}
    for seed, sliced in product(range(arguments.seeds), (True, False)):
        name = f"seed {seed}, {'sliced' if sliced else 'random'}"
        started = time.perf_counter()
        if started - begun + longest > 60 * arguments.minutes:
            console.print(f"stopped before {name}: it would not end within {arguments.minutes:g} minutes")
            break
        torch.manual_seed(seed)
        model = build(architecture)
        if sliced:
            load_pretrained(model.encoder, architecture.encoder)
        epochs = train(model, fit, recipe, seed=seed, validation=validation, pretrained=sliced)
        curves[sliced].append([epoch.si_rmse for epoch in epochs])
        seconds = time.perf_counter() - started
        longest = max(longest, seconds)
        console.print(f"{name}: {curves[sliced][-1][-1]:.4f} in {seconds:.0f} s")
    report(curves)


def report(curves: dict[bool, list[list[float]]]) -> None:
    """si-RMSE after every epoch, per start and seed, and the mean difference."""
    table = Table(title="si-RMSE on the held-out images")
    count = max(len(curve) for runs in curves.values() for curve in runs)
    for column in ("start", "seed", *(f"epoch {epoch + 1}" for epoch in range(count))):
        table.add_column(column, justify="right")
    for sliced, runs in curves.items():
        for seed, curve in enumerate(runs):
            start = "sliced" if sliced else "random"
            table.add_row(start, str(seed), *(f"{value:.4f}" for value in curve))
    pairs = min(map(len, curves.values()))
    gains = np.array([np.subtract(curves[False][seed], curves[True][seed]) for seed in range(pairs)])
    if pairs:
        table.add_row("gain", "mean", *(f"{value:+.4f}" for value in gains.mean(0)))
    console.print(table)
    if pairs:
        gain = gains.mean(0)[-1]
        worst, best = gains[:, -1].min(), gains[:, -1].max()
        worth = 2 ** (gain / SI_OF_TWICE_THE_RUNTIME)
        console.print(f"gain {gain:+.4f} si-RMSE, of single seeds {worst:+.4f} to {best:+.4f}")
        console.print(f"in the challenge's score as much as {worth:.2f} times the speed")


if __name__ == "__main__":
    main()
