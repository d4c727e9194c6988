"""How fast a candidate's latency is predicted.

python benchmarks/latency_rate.py [--space depth] [--table x86-64-xnnpack-1t] [--count 500]
"""

from __future__ import annotations

import argparse
import random
import time

import numpy as np

from nasdepth.latency import LatencyTable, TablePredictor, architecture_kernels
from nasdepth.space import SearchSpace


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--space", default="depth")
    parser.add_argument("--table", default="x86-64-xnnpack-1t")
    parser.add_argument("--count", type=int, default=500)
    arguments = parser.parse_args()
    space = SearchSpace.load(arguments.space)
    predictor = TablePredictor(LatencyTable.load(arguments.table))
    rng = random.Random(0)
    predictor.estimate(architecture_kernels(space.sample(rng)))
    milliseconds = []
    for architecture in [space.sample(rng) for _ in range(arguments.count)]:
        started = time.perf_counter()
        predictor.estimate(architecture_kernels(architecture))
        milliseconds.append(1e3 * (time.perf_counter() - started))
    p10, p50, p90 = np.percentile(milliseconds, [10, 50, 90])
    print(f"{arguments.count} architectures of {arguments.space}, none asked for before")
    print(
        f"ms each: p10 {p10:.1f}, median {p50:.1f}, p90 {p90:.1f}; {1e3 / np.mean(milliseconds):.0f} a second"
    )


if __name__ == "__main__":
    main()
