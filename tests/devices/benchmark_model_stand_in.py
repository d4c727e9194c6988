"""Stands in for Android's `benchmark_model`: same flags, same lines, times of LiteRT on this machine."""

from __future__ import annotations

import statistics
import sys
import time

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType


def _timed(interpreter: Interpreter, runs: int, seconds: float) -> list[float]:
    print(
        f"INFO: Running benchmark for at least {runs} iterations and at least {seconds:g} seconds but "
        "terminate if exceeding 150 seconds."
    )
    times: list[float] = []
    stop = time.perf_counter() + seconds
    while len(times) < runs or time.perf_counter() < stop:
        start = time.perf_counter()
        interpreter.invoke()
        times.append(1e6 * (time.perf_counter() - start))
    print(
        f"INFO: count={len(times)} first={times[0]:.0f} curr={times[-1]:.0f} min={min(times):.0f} "
        f"max={max(times):.0f} avg={statistics.fmean(times):g} std={statistics.pstdev(times):.0f}\n"
    )
    return times


def main() -> int:
    flags = dict(argument.removeprefix("--").split("=", 1) for argument in sys.argv[1:])
    print("INFO: STARTING!\nINFO: Log parameter values verbosely: [0]")
    print(f"INFO: Num threads: [{flags['num_threads']}]\nINFO: Graph: [{flags['graph']}]")
    try:
        xnnpack = flags["use_xnnpack"] == "true"
        resolver = OpResolverType.AUTO if xnnpack else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        interpreter = Interpreter(
            flags["graph"],
            num_threads=int(flags["num_threads"]),
            experimental_op_resolver_type=resolver,
        )
        print(f"INFO: Loaded model {flags['graph']}")
    except ValueError as error:
        print(f"ERROR: {error}\nERROR: Failed to load model {flags['graph']}\nERROR: Benchmarking failed.")
        return 1
    if flags["use_gpu"] == "true":
        print("INFO: Created TensorFlow Lite delegate for GPU.\nINFO: GPU delegate created.")
        print(
            "Though GPU delegate is explicitly applied, the model graph will not be executed by the delegate."
        )
    try:
        interpreter.allocate_tensors()
    except RuntimeError as error:
        print(f"ERROR: {error}\nERROR: Failed to allocate tensors!\nERROR: Benchmarking failed.")
        return 1
    for tensor in interpreter.get_input_details():
        interpreter.set_tensor(tensor["index"], np.zeros(tensor["shape"], tensor["dtype"]))
    print("INFO: Initialized session in 1ms.")
    warm = _timed(interpreter, int(flags["warmup_runs"]), float(flags["warmup_min_secs"]))
    times = _timed(interpreter, int(flags["num_runs"]), float(flags["min_secs"]))
    print(
        f"INFO: Inference timings in us: Init: 1000, First inference: {warm[0]:.0f}, "
        f"Warmup (avg): {statistics.fmean(warm):g}, Inference (avg): {statistics.fmean(times):g}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
