"""Whether an architecture's kernels are those of its module and of its converted .tflite, on every runtime.

python benchmarks/extractor_agreement.py [--space depth] [--sample 200] [--seed 0] [--skip 0] [--count N]

Traces and converts every named design and a sample of the space (from four seconds each) and compares kernels
one by one. Exits with 1 if any differs. `--skip` and `--count` pick those that are converted, for a run in
pieces; all are traced, with `--no-trace` none.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections import Counter
from pathlib import Path

from nasdepth.architecture import Architecture
from nasdepth.deploy import export_tflite
from nasdepth.kernels.rules import RUNTIMES, partitions
from nasdepth.latency import architecture_kernels, module_kernels, tflite_kernels
from nasdepth.models import build, named_designs
from nasdepth.space import SearchSpace


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--space", default="depth")
    parser.add_argument("--sample", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--skip", type=int, default=0)
    parser.add_argument("--count", type=int)
    parser.add_argument("--no-trace", action="store_true")
    arguments = parser.parse_args()
    space, rng = SearchSpace.load(arguments.space), random.Random(arguments.seed)
    architectures = [*named_designs().values(), *(space.sample(rng) for _ in range(arguments.sample))]
    compared, kernels, differing = 0, 0, []
    traced = [] if arguments.no_trace else architectures
    for architecture in traced:
        if architecture_kernels(architecture) != module_kernels(build(architecture).to("meta")):
            differing.append(architecture)
            print(f"{architecture}: its kernels are not those of its module", flush=True)
    print(f"{len(traced)} architectures traced: {len(differing)} differ", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.tflite"
        for architecture in architectures[arguments.skip :][: arguments.count]:
            export_tflite(build(architecture), path, verify=False)
            compared += 1
            kernels += len(architecture_kernels(architecture))
            for runtime in RUNTIMES:
                if lines := differences(architecture, path, runtime):
                    differing.append(architecture)
                    print(f"{architecture} on {runtime}", *lines, sep="\n  ", flush=True)
    print(
        f"{compared} architectures converted (named designs and {arguments.space}, seed {arguments.seed}, "
        f"after the first {arguments.skip}), {kernels} kernels, runtimes {', '.join(RUNTIMES)}: "
        f"{len(set(differing))} architectures differ"
    )
    sys.exit(bool(differing))


def differences(architecture: Architecture, path: Path, runtime: str) -> list[str]:
    """What one side has and the other has not."""
    of_module, of_file = architecture_kernels(architecture, runtime), tflite_kernels(path, runtime)
    lines = [f"module only: {kernel}" for kernel in (Counter(of_module) - Counter(of_file)).elements()]
    lines += [f"file only: {kernel}" for kernel in (Counter(of_file) - Counter(of_module)).elements()]
    pieces = partitions(of_module, runtime), partitions(of_file, runtime)
    return lines + ([f"partitions: {pieces[0]} and {pieces[1]}"] if pieces[0] != pieces[1] else [])


if __name__ == "__main__":
    main()
