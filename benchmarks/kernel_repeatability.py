"""How well kernels' times repeat, and how many are measured a second, by how long each is run.

    python benchmarks/kernel_repeatability.py [--table x86-64-xnnpack-1t] [--count 200]

Measures the same random kernels of a table twice for each of several least times and prints kernels a second,
and the median and the 90th percentile of the differences between the two.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from contextlib import closing
from pathlib import Path

import numpy as np

from nasdepth.devices import Device, open_device
from nasdepth.latency import Kernel, LatencyTable
from nasdepth.latency.measure import bench as timing
from nasdepth.latency.measure.journal import Journal

_MILLISECONDS = (2, 5, 10, 20, 50)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--table", default="x86-64-xnnpack-1t", help="whose kernels; they are measured anew")
    parser.add_argument("--device", default="local")
    parser.add_argument("--count", type=int, default=200)
    arguments = parser.parse_args()
    device = open_device(arguments.device)
    kernels = random.Random(0).sample(sorted(LatencyTable.load(arguments.table).timings), arguments.count)
    for milliseconds in _MILLISECONDS:
        timing._SECONDS = milliseconds / 1e3
        started = time.monotonic()
        first, second = _measured(device, kernels), _measured(device, kernels)
        rate = 2 * len(kernels) / (time.monotonic() - started)
        differences = np.abs(np.log(first / second))
        middle, most = np.quantile(differences, (0.5, 0.9))
        print(
            f"{milliseconds:3} ms: {rate:5.1f} kernels a second; two runs differ by {middle:.1%} (median), "
            f"{most:.1%} (90th percentile)",
            flush=True,
        )


def _measured(device: Device, kernels: list[Kernel]) -> np.ndarray:
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(Journal(Path(folder) / "journal.jsonl", device.describe())) as journal,
    ):
        bench = timing.Bench(device, journal, Path(folder))
        measured = bench.kernels(kernels, bench.overhead_ms())
    return np.array([measured[kernel].latency_ms for kernel in kernels])


if __name__ == "__main__":
    main()
