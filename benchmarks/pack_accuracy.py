"""How far off the CPU packs are, on measurements that no fit had seen; and whether they are physical.

    python benchmarks/pack_accuracy.py ../shared/data/published_latency [--seeds 20] [--sample 1000]

- Raspberry Pi 4 under TFLite with ruy, by version and precision: ten folds (fixed seed), and every family
  left out. Coefficients, noise and the scale of the intervals are fitted anew for every part.
- Ten anchors: a pack fitted under 2.5.0 is adapted by ten networks measured under another version, and
  predicts the others there. Either the pack knows all networks under 2.5.0, as the one that ships does, or
  half of them, ten of which adapt it, and those predicted are new to both fits. Beside it one common factor,
  and the pack as it is.
- Physics of a pack: coefficients, monotony and roofline over architectures of the full space.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from nasdepth.latency import architecture_kernels
from nasdepth.latency.accuracy import Guess
from nasdepth.models import named_designs
from nasdepth.packs import CalibratedPredictor, load_predictor, read_anchors, read_prior
from nasdepth.packs.anchors import Anchor
from nasdepth.packs.physical.calibrate import Seen, by_family, calibrated, folds, guess_of, left_out
from nasdepth.packs.physical.coefficients import Belief
from nasdepth.packs.physical.fit import fit, predict
from nasdepth.space import SearchSpace
from nasdepth.testing import enlarged

VERSIONS = ("2.4.1", "2.5.0", "2.7.1")
BASE = "2.5.0"
TEN = 10
# milliseconds on the challenge's own Raspberry Pi 4, thread count and harness unpublished (arXiv:2209.00961)
CHALLENGE_MS = {"litedepth": 37.0}
PACK = "rpi4-tflite2.5-ruy-4t"
_TEN = ("adapted %", "worst seed %", "in 90 %", "one factor %", "none %")
_FIGURES = ("networks", "MAPE %", "bias %", "within 10 %", "in 90 %")

console = Console(width=140)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder of the published measurements")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--sample", type=int, default=1000)
    arguments = parser.parse_args()
    file = arguments.data / "mlperf_rpi4_tflite.csv"
    left_out_table(file)
    ten_anchors_table(file, arguments.seeds)
    designs_table()
    physics(arguments.sample)


def anchors_of(file: Path, version: str, precision: str) -> list[Anchor]:
    where = {"runtime": [f"tflite-v{version}-ruy"], "precision": [precision]}
    return read_anchors(file, "tflite", latency_column="p50_ms", where=where)


def prior_of(precision: str) -> Belief:
    return read_prior("cortex-a72-ruy").precisions[precision].belief()


def left_out_table(file: Path) -> None:
    """Ten folds and families, by version and precision."""
    table = Table(title="Raspberry Pi 4, TFLite with ruy, 4 threads", title_justify="left")
    for heading in ("runtime", "precision", "left out", *_FIGURES):
        table.add_column(heading)
    for version in VERSIONS:
        for precision in ("float32", "int8"):
            prior = prior_of(precision)
            seen = Seen.of(anchors_of(file, version, precision), prior, "tflite")
            tenths = left_out(seen, prior, folds(seen.anchors))
            whole = left_out(seen, prior, by_family(seen.anchors))
            table.add_row(version, precision, "a tenth", *_figures(tenths))
            for family in sorted({one.family for one in whole}):
                chosen = [one for one in whole if one.family == family]
                table.add_row("", "", family, *_figures(chosen))
            table.add_row("", "", "all families", *_figures(whole))
            table.add_section()
    console.print(table)


def ten_anchors_table(file: Path, seeds: int) -> None:
    """What ten measurements of one's own are worth."""
    table = Table(title=f"From {BASE} to another version with ten networks", title_justify="left")
    for heading in ("to", "precision", "pack fitted to", *_TEN):
        table.add_column(heading)
    for precision in ("float32", "int8"):
        prior = prior_of(precision)
        base = Seen.of(anchors_of(file, BASE, precision), prior, "tflite")
        whole = calibrated(base, prior)
        for version in (one for one in VERSIONS if one != BASE):
            other = Seen.of(anchors_of(file, version, precision), prior, "tflite")
            for words, pack in ((f"all under {BASE}", whole), ("the other half", None)):
                rows = [_ten_anchors(base, other, prior, pack, seed) for seed in range(seeds)]
                adapted, inside, factor, none = (np.array(column) for column in zip(*rows, strict=True))
                percents = [adapted.mean(), adapted.max(), inside.mean(), factor.mean(), none.mean()]
                table.add_row(version, precision, words, *(f"{100 * one:.1f}" for one in percents))
    console.print(table)


def _ten_anchors(
    base: Seen, other: Seen, prior: Belief, pack: Belief | None, seed: int
) -> tuple[float, float, float, float]:
    rng = np.random.default_rng(seed)
    names = rng.permutation(sorted({one.name for one in other.anchors}))
    known = set(names if pack else names[: len(names) // 2])
    halved = base.chosen([i for i, one in enumerate(base.anchors) if one.name in known])
    before = pack or calibrated(halved, prior)
    known_here = rng.permutation([i for i, one in enumerate(other.anchors) if one.name in known])
    ten = list(known_here[:TEN])
    rest = list(known_here[TEN:]) if pack else [i for i, a in enumerate(other.anchors) if a.name not in known]
    adapted = fit(other.chosen(ten).observations, before.loosened())
    measured = np.array([one.latency_ms for one in other.anchors])
    plain = np.array([predict(one, before).latency_ms for one in other.observations])
    checked = [guess_of(other, index, adapted) for index in rest]
    factor = np.exp(np.median(np.log(measured[ten] / plain[ten])))

    def mape(predicted: np.ndarray) -> float:
        return float(np.mean(np.abs(predicted / measured[rest] - 1)))

    answers = np.array([one.latency_ms for one in checked])
    inside = float(np.mean([one.inside for one in checked]))
    return mape(answers), inside, mape(factor * plain[rest]), mape(plain[rest])


def designs_table() -> None:
    """Named designs beside what the challenge measured: nothing is fitted to it."""
    predictor = load_predictor(PACK)
    table = Table(title=f"Named designs under {PACK}", title_justify="left")
    for heading in ("design", "ms (estimate)", "90 % interval", "unknown share", "challenge's own Pi 4, ms"):
        table.add_column(heading)
    for name, architecture in named_designs().items():
        answer = predictor.estimate(architecture_kernels(architecture, predictor.runtime))
        low, high = answer.interval_90
        published = CHALLENGE_MS.get(name)
        table.add_row(
            name,
            f"{answer.latency_ms:.2f}",
            f"{low:.2f} to {high:.2f}",
            f"{answer.unknown_share:.0%}",
            "" if published is None else f"{published:g}",
        )
    console.print(table)


def physics(count: int) -> None:
    """Coefficients, roofline and monotony of the default pack over the full space, and its speed."""
    predictor = load_predictor(PACK)
    assert isinstance(predictor, CalibratedPredictor)
    space, rng = SearchSpace.load("depth"), random.Random(0)
    networks = [architecture_kernels(space.sample(rng), predictor.runtime) for _ in range(count)]
    fit_of = predictor.table.card.precisions["float32"]
    negative = [name for name, one in fit_of.terms.items() if one.ms < 0]
    print(f"{PACK}: {len(fit_of.terms)} coefficients, negative: {len(negative)}")
    below = 0
    for network in networks:
        moved = sum(one.in_bytes + one.out_bytes + one.weight_bytes for one in network)
        floor = max(
            2e-6 * sum(one.macs for one in network) / fit_of.peak_gflops, 1e-6 * moved / fit_of.bandwidth_gb_s
        )
        below += predictor.estimate(network).latency_ms < floor
    print(f"{count} architectures of the full space, below the roofline: {below}")
    kernels = sorted({kernel for network in networks for kernel in network})
    grown = falling = 0
    for kernel in kernels:
        before = predictor.estimate([kernel]).latency_ms
        for _, larger in enlarged(kernel):
            grown += 1
            falling += predictor.estimate([larger]).latency_ms < before * (1 - 1e-12)
    print(f"{len(kernels)} kernels enlarged {grown} times, faster when larger: {falling}")
    started = time.perf_counter()
    for network in networks:
        predictor.estimate(network)
    print(f"prediction from kernels: {1e3 * (time.perf_counter() - started) / count:.3f} ms each")
    fresh = [architecture_kernels(space.sample(rng), predictor.runtime) for _ in range(count)]
    started = time.perf_counter()
    predictor.estimate_all(fresh)
    print(f"prediction of new architectures in bulk: {count / (time.perf_counter() - started):.0f} a second")


def _figures(checked: Sequence[Guess]) -> tuple[str, ...]:
    errors = 100 * np.array([one.error for one in checked])
    return (
        str(len(checked)),
        f"{np.abs(errors).mean():.2f}",
        f"{errors.mean():+.2f}",
        f"{np.mean(np.abs(errors) <= 10):.0%}",
        f"{np.mean([one.inside for one in checked]):.0%}",
    )


if __name__ == "__main__":
    main()
