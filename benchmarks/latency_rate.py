"""How fast kernels are extracted from architectures and their latency is predicted.

python benchmarks/latency_rate.py [--space depth] [--table x86-64-xnnpack-1t] [--count 2000]

Cold is a fresh process whose library has imported torch and timm and predicted a named design, LiteDepth: it
has seen none of the other blocks, widths and sizes, and what it learns of them on the way is in the figure.
Warm are as many other architectures of the space afterwards. Seconds are those of the process, on one core.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import time
from collections.abc import Sequence

import numpy as np

from nasdepth.architecture import Architecture
from nasdepth.latency import LatencyTable, TablePredictor, architecture_kernels
from nasdepth.models import named_designs
from nasdepth.space import SearchSpace

EXTRACT = architecture_kernels.__wrapped__  # past the cache of results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--space", default="depth")
    parser.add_argument("--table", default="x86-64-xnnpack-1t")
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--only", choices=("bulk", "single"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only is None:
        print(f"{arguments.count} architectures of {arguments.space}, {arguments.table}", flush=True)
        for way in ("bulk", "single"):  # each in a process of its own: the second would find all learnt
            subprocess.run([sys.executable, __file__, *sys.argv[1:], "--only", way], check=True)
        return
    space = SearchSpace.load(arguments.space)
    predictor = TablePredictor(LatencyTable.load(arguments.table))
    rng = random.Random(0)
    cold = [space.sample(rng) for _ in range(arguments.count)]
    warm = [space.sample(rng) for _ in range(arguments.count)]
    predictor.estimate(architecture_kernels(named_designs()["litedepth"]))
    report = bulk if arguments.only == "bulk" else single
    for label, architectures in (("cold", cold), ("warm", warm)):
        report(label, architectures, predictor)


def bulk(label: str, architectures: Sequence[Architecture], predictor: TablePredictor) -> None:
    """All at once, as `nasdepth latency predict` does it."""
    started = time.process_time()
    kernels = [EXTRACT(one) for one in architectures]
    extracted = time.process_time()
    predictor.estimate_all(kernels)
    ended = time.process_time()
    print(
        f"in bulk, {label}: {len(architectures) / (ended - started):5.0f} a second (ms each: extraction "
        f"{1e3 * (extracted - started) / len(architectures):.2f}, estimate "
        f"{1e3 * (ended - extracted) / len(architectures):.2f})",
        flush=True,
    )


def single(label: str, architectures: Sequence[Architecture], predictor: TablePredictor) -> None:
    """One by one, as a search does it."""
    milliseconds = []
    for architecture in architectures:
        started = time.process_time()
        predictor.estimate(EXTRACT(architecture))
        milliseconds.append(1e3 * (time.process_time() - started))
    p10, p50, p90 = np.percentile(milliseconds, [10, 50, 90])
    print(
        f"one by one, {label}: median {p50:.2f} ms (p10 {p10:.2f}, p90 {p90:.2f}), mean "
        f"{np.mean(milliseconds):.2f}; the first 100: median {np.median(milliseconds[:100]):.2f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
