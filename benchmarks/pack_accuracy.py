"""How far off the CPU packs are, on measurements that no fit had seen; and whether they are physical.

    python benchmarks/pack_accuracy.py ../shared/data/published_latency [--only PART ...]

- `xnnpack`: Raspberry Pi 4 under XNNPACK, by precision. YOLOBench's detectors, every group (a network at all
  input sizes) left out; the classifiers of XNNPACK's README, predicted from the detectors alone; ten networks
  of one's own, which adapt a pack that knows half of the groups, and others of the other half.
- `ruy`: Raspberry Pi 4 under TFLite with ruy, by version and precision: ten folds (fixed seed), and every
  family left out. Coefficients, noise and the scale of the intervals are fitted anew for every part.
- `ten`: a pack fitted under 2.5.0 is adapted by ten networks measured under another version, and predicts
  the others there. Either the pack knows all networks under 2.5.0, as the one that ships does, or half of
  them, ten of which adapt it, and those predicted are new to both fits. Beside it one common factor, and the
  pack as it is.
- `designs`: named designs.
- `physics`: coefficients, monotony and roofline over architectures of the full space.
"""

from __future__ import annotations

import argparse
import itertools
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
from nasdepth.packs.kernel_lists import read_kernel_lists
from nasdepth.packs.physical.calibrate import Seen, by_family, calibrated, folds, guesses_of, left_out
from nasdepth.packs.physical.coefficients import Belief
from nasdepth.packs.physical.fit import fit, predict
from nasdepth.space import SearchSpace
from nasdepth.testing import enlarged

VERSIONS = ("2.4.1", "2.5.0", "2.7.1")
BASE = "2.5.0"
TEN = 10
# milliseconds on the challenge's own Raspberry Pi 4, thread count and harness unpublished (arXiv:2209.00961)
CHALLENGE_MS = {"litedepth": 37.0}
PACK, XNNPACK_PACK = "rpi4-tflite2.5-ruy-4t", "rpi4-xnnpack-4t"
PARTS = ("xnnpack", "ruy", "ten", "designs", "physics")
# Groups by group leaves out 66 parts
_TEN_SEEDS = 10
_TEN = ("adapted %", "worst seed %", "in 90 %", "one factor %", "none %")
_FIGURES = ("networks", "MAPE %", "bias %", "within 10 %", "in 90 %")

console = Console(width=140)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder of the published measurements")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--sample", type=int, default=1000)
    parser.add_argument("--only", nargs="*", choices=PARTS, default=PARTS, help="parts, all by default")
    arguments = parser.parse_args()
    file = arguments.data / "mlperf_rpi4_tflite.csv"
    if "xnnpack" in arguments.only:
        xnnpack_table(arguments.data)
    if "ruy" in arguments.only:
        left_out_table(file)
    if "ten" in arguments.only:
        ten_anchors_table(file, arguments.seeds)
    if "designs" in arguments.only:
        designs_table()
    if "physics" in arguments.only:
        for pack in (PACK, XNNPACK_PACK):
            physics(pack, arguments.sample)


def xnnpack_table(data: Path) -> None:
    """Detectors with groups left out, classifiers that no fit has seen, and ten networks of one's own."""
    table = Table(title="Raspberry Pi 4, XNNPACK, 4 threads", title_justify="left")
    for heading in ("precision", "fitted to", "predicted", *_FIGURES):
        table.add_column(heading)
    lists = read_kernel_lists(data / "rpi4_yolobench.csv.gz")
    for precision, column in (("float32", "latency_ms"), ("int8", "latency_int8_ms")):
        prior = read_prior("cortex-a72-xnnpack").precisions[precision].belief()
        detectors = read_anchors(
            data / "rpi4_yolobench_models.csv",
            "xnnpack",
            latency_column=column,
            listed=lists,
            precision=precision,
        )
        seen = Seen.of(detectors, prior, "xnnpack")
        checked = left_out(seen, prior, _by_group(detectors))
        table.add_row(precision, "other groups", "each of 66 groups", *_figures(checked))
        classifiers = Seen.of(_classifiers(data, precision), prior, "xnnpack")
        guesses = guesses_of(classifiers, calibrated(seen, prior))
        for one in guesses:
            low, high = one.interval_90
            words = f"{one.name}, {one.measured_ms:g} ms: {one.latency_ms:.1f} ({low:.1f} to {high:.1f})"
            table.add_row(precision, "detectors", words, *_figures([one]))
        ten = [guess for seed in range(_TEN_SEEDS) for guess in _ten_detectors(seen, prior, seed)]
        table.add_row(precision, "half of the groups, then ten networks", "other groups", *_figures(ten))
        table.add_section()
    console.print(table)


def _by_group(anchors: Sequence[Anchor]) -> list[list[int]]:
    groups: dict[str, list[int]] = {}
    for index, one in enumerate(anchors):
        groups.setdefault(one.group, []).append(index)
    return list(groups.values())


def _classifiers(data: Path, precision: str) -> list[Anchor]:
    return read_anchors(
        data / "rpi_xnnpack.csv",
        "xnnpack",
        latency_column="ms",
        size_column="input_size",
        where={"runtime": ["xnnpack end2end-bench 2022-02"], "os_bits": ["64"], "precision": [precision]},
    )


def _ten_detectors(seen: Seen, prior: Belief, seed: int) -> list[Guess]:
    """Ten networks adapt a pack of half of the groups; those predicted are of groups new to both fits."""
    rng = np.random.default_rng(seed)
    groups = [np.array(part) for part in _by_group(seen.anchors)]
    order = rng.permutation(len(groups))
    known, own, rest = np.split(order, [len(groups) // 2, len(groups) // 2 + TEN])
    before = calibrated(seen.chosen(np.concatenate([groups[i] for i in known])), prior)
    ten = seen.chosen([int(rng.choice(groups[i])) for i in own])
    adapted = fit(ten.observations, before.loosened())
    return guesses_of(seen.chosen(np.concatenate([groups[i] for i in rest])), adapted)


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
    plain = np.array([one.latency_ms for one in predict(other.observations, before)])
    checked = guesses_of(other.chosen(rest), adapted)
    factor = np.exp(np.median(np.log(measured[ten] / plain[ten])))

    def mape(predicted: np.ndarray) -> float:
        return float(np.mean(np.abs(predicted / measured[rest] - 1)))

    answers = np.array([one.latency_ms for one in checked])
    inside = float(np.mean([one.inside for one in checked]))
    return mape(answers), inside, mape(factor * plain[rest]), mape(plain[rest])


def designs_table() -> None:
    """Named designs beside what the challenge measured: nothing is fitted to it."""
    table = Table(title="Named designs", title_justify="left")
    headings = (
        "pack",
        "design",
        "ms (estimate)",
        "90 % interval",
        "unknown share",
        "challenge's own Pi 4, ms",
    )
    for heading in headings:
        table.add_column(heading)
    for pack, (name, architecture) in itertools.product((PACK, XNNPACK_PACK), named_designs().items()):
        predictor = load_predictor(pack)
        answer = predictor.estimate(architecture_kernels(architecture, predictor.runtime))
        low, high = answer.interval_90
        published = CHALLENGE_MS.get(name)
        table.add_row(
            pack,
            name,
            f"{answer.latency_ms:.2f}",
            f"{low:.2f} to {high:.2f}",
            f"{answer.unknown_share:.0%}",
            "" if published is None else f"{published:g}",
        )
    console.print(table)


def physics(pack: str, count: int) -> None:
    """Coefficients, roofline and monotony of a pack over the full space, and its speed."""
    predictor = load_predictor(pack)
    assert isinstance(predictor, CalibratedPredictor)
    space, rng = SearchSpace.load("depth"), random.Random(0)
    networks = [architecture_kernels(space.sample(rng), predictor.runtime) for _ in range(count)]
    fit_of = predictor.table.card.precisions["float32"]
    negative = [name for name, one in fit_of.terms.items() if one.ms < 0]
    print(f"{pack}: {len(fit_of.terms)} coefficients, negative: {len(negative)}")
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
