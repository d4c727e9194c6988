"""How fast kernels are extracted from architectures and their latency is predicted.

python benchmarks/latency_rate.py [--space depth] [--table x86-64-xnnpack-1t] [--count 3000]

Nothing is remembered from one architecture to the next but what the library itself learns of blocks and
kernels; the first rows start with nothing learnt.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable, Sequence

import numpy as np

from nasdepth.architecture import Architecture
from nasdepth.latency import LatencyTable, TablePredictor, architecture_kernels
from nasdepth.space import SearchSpace


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--space", default="depth")
    parser.add_argument("--table", default="x86-64-xnnpack-1t")
    parser.add_argument("--count", type=int, default=3000)
    arguments = parser.parse_args()
    space = SearchSpace.load(arguments.space)
    predictor = TablePredictor(LatencyTable.load(arguments.table))
    rng = random.Random(0)
    architectures = [space.sample(rng) for _ in range(arguments.count)]
    fresh = [space.sample(rng) for _ in range(arguments.count)]
    extract = architecture_kernels.__wrapped__  # past the cache of results
    predictor.estimate(architecture_kernels(space.sample(random.Random(1))))

    def predict(architecture: Architecture) -> None:
        predictor.estimate(extract(architecture))

    print(f"{arguments.count} architectures of {arguments.space}; ms each")
    report("extraction, nothing learnt", extract, architectures)
    report("extraction, new architectures", extract, fresh)
    report("extraction + prediction", predict, architectures)
    report("extraction + prediction, again", predict, fresh)
    bulk = [space.sample(rng) for _ in range(arguments.count)]
    started = time.perf_counter()
    predictor.estimate_all(map(extract, bulk))
    print(f"extraction + prediction in bulk  {len(bulk) / (time.perf_counter() - started):.0f} a second")


def report(
    label: str, function: Callable[[Architecture], object], architectures: Sequence[Architecture]
) -> None:
    milliseconds = []
    for architecture in architectures:
        started = time.perf_counter()
        function(architecture)
        milliseconds.append(1e3 * (time.perf_counter() - started))
    p10, p50, p90 = np.percentile(milliseconds, [10, 50, 90])
    print(
        f"{label:32s} median {p50:6.2f} (p10 {p10:.2f}, p90 {p90:.2f}), first 100: median "
        f"{np.median(milliseconds[:100]):.2f}; {1e3 / np.mean(milliseconds):.0f} a second"
    )


if __name__ == "__main__":
    main()
