"""What a search costs: wall time, peak memory, and the share that is neither training nor validation.

    python benchmarks/search_cost.py --budget 20
    python benchmarks/search_cost.py --budget 40 --data path/to/nyuv2 --out runs/nyu

Every argument is handed to `nasdepth search`. Mapped pages of the data set count in the peak, although
the system takes them back when it needs them.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd


def main() -> None:
    arguments = sys.argv[1:]
    if "--out" in arguments:
        folder = Path(arguments[arguments.index("--out") + 1])
    else:
        folder = Path(tempfile.mkdtemp(prefix="nasdepth-search-")) / "run"
        arguments += ["--out", str(folder)]
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, "-c", "from nasdepth.cli import main; main()", "search", *arguments], check=True
    )
    wall_s = time.perf_counter() - started
    trials = pd.read_csv(folder / "trials.csv")
    spent = trials[trials["training_s"] > 0]
    overhead = 1 - spent["training_s"].sum() / spent["total_s"].sum()
    peak_gb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
    print(f"{len(spent)} trials in {wall_s:.0f} s, start-up and loading included")
    print(f"peak resident memory {peak_gb:.2f} GB")
    print(
        f"a trial: median {spent['total_s'].median():.1f} s, outside training and validation {overhead:.1%}"
    )


if __name__ == "__main__":
    main()
