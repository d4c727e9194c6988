"""Times .tflite files; copied to the device, needs python3 (3.7 on), numpy and a TFLite runtime there.

Reads one job as JSON from stdin::

    {"models": [path, ...], "threads": 1, "min_runs": 30, "min_seconds": 0.15, "rounds": 5}

and writes JSON lines to stdout: `info` (the device), `touch` (the model that is about to run: the culprit
if the process dies here), and `result` for every model.
"""

import base64
import json
import os
import platform
import struct
import sys
import time

import numpy as np

try:
    from ai_edge_litert.interpreter import Interpreter

    PACKAGES = ("ai-edge-litert", "ai-edge-litert-nightly")
except ImportError:
    from tflite_runtime.interpreter import Interpreter

    PACKAGES = ("tflite-runtime", "tflite-runtime-nightly")

WARMUP_RUNS = 3
# A one-addition model, to see whether the runtime hands operations to a delegate
PROBE = (
    "GAAAAFRGTDMAAA4AGAAUABAADAAIAAQADgAAABQAAAAcAAAAOAAAAGABAAADAAAAAQAAAAQAAACo/v//GQAAAGFkZF90ZW5zb3Ig"
    "MXgxeDggLT4gMXgxeDgAAAABAAAAEAAAAAwAFAAQAAwACAAEAAwAAAAQAAAAXAAAAGAAAABoAAAAAQAAABQAAAAAAA4AFAAAABAA"
    "DAALAAQADgAAABgAAAAAAAALGAAAABwAAAAIAAgAAAAHAAgAAAAAAAAAAQAAAAIAAAACAAAAAAAAAAEAAAABAAAAAgAAAAIAAAAA"
    "AAAAAQAAAAMAAABwAAAANAAAAAQAAACo////CAAAABAAAAAGAAAAb3V0cHV0AAAEAAAAAQAAAAEAAAABAAAACAAAANT///8IAAAA"
    "EAAAAAcAAABvcGVyYW5kAAQAAAABAAAAAQAAAAEAAAAIAAAADAAMAAgAAAAAAAQADAAAAAgAAAAQAAAABQAAAGlucHV0AAAABAAA"
    "AAEAAAABAAAAAQAAAAgAAAABAAAACAAAAAQABAAEAAAA"
)


def say(**line):
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def runtime_version():
    try:
        from importlib import metadata
    except ImportError:
        import pkg_resources

        return PACKAGES[0], pkg_resources.get_distribution(PACKAGES[0]).version
    for package in PACKAGES:
        try:
            return package, metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return PACKAGES[0], "unknown"


def first_line(path, default="unknown"):
    try:
        with open(path) as file:
            return file.read().strip("\0\n ").split("\n")[0] or default
    except OSError:
        return default


def cpu_name():
    board = first_line("/proc/device-tree/model", "")
    try:
        with open("/proc/cpuinfo") as file:
            names = [line.split(":", 1)[1].strip() for line in file if line.lower().startswith("model name")]
    except OSError:
        names = []
    return board or (names[0] if names else platform.processor() or "unknown")


def delegate(threads):
    probe = Interpreter(model_content=base64.b64decode(PROBE), num_threads=threads)
    probe.allocate_tensors()
    probe.invoke()
    names = [op["op_name"] for op in probe._get_ops_details()]
    return "xnnpack" if "DELEGATE" in names else "none"


def describe(threads):
    runtime, version = runtime_version()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "device": platform.node() or "unknown",
        "soc": cpu_name(),
        "architecture": platform.machine(),
        "cores": cores,
        "threads": threads,
        "runtime": runtime,
        "runtime_version": version,
        "delegate": delegate(threads),
        "os": platform.system() + " " + platform.release(),
        "os_bits": 8 * struct.calcsize("P"),
        "governor": first_line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
    }


def open_model(path, threads):
    interpreter = Interpreter(model_path=path, num_threads=threads)
    interpreter.allocate_tensors()
    random = np.random.RandomState(0)
    for tensor in interpreter.get_input_details():
        values = random.uniform(0, 1, tensor["shape"])
        scale = 1 if np.issubdtype(tensor["dtype"], np.floating) else 100
        interpreter.set_tensor(tensor["index"], (values * scale).astype(tensor["dtype"]))
    for _ in range(WARMUP_RUNS):
        interpreter.invoke()
    return interpreter


def time_runs(interpreter, runs, seconds):
    times = []
    stop = time.perf_counter() + seconds
    while len(times) < runs or time.perf_counter() < stop:
        start = time.perf_counter()
        interpreter.invoke()
        times.append(time.perf_counter() - start)
    return times


def measure(job):
    models, rounds = job["models"], job["rounds"]
    interpreters, errors, times = {}, {}, {model: [] for model in models}
    # Every model gets a share of every round, so that a machine that drifts drifts for all alike
    for _ in range(rounds):
        for model in models:
            if model in errors:
                continue
            say(event="touch", model=model)
            try:
                if model not in interpreters:
                    interpreters[model] = open_model(model, job["threads"])
                times[model] += time_runs(
                    interpreters[model], -(-job["min_runs"] // rounds), job["min_seconds"] / rounds
                )
            except (RuntimeError, ValueError, MemoryError, OSError) as error:
                errors[model] = str(error) or type(error).__name__
    for model in models:
        if model in errors:
            say(event="result", model=model, error=errors[model])
            continue
        low, median, high = np.percentile(times[model], (10, 50, 90)) * 1e3
        say(
            event="result",
            model=model,
            latency_ms=low,
            median_ms=median,
            min_ms=min(times[model]) * 1e3,
            spread=high / low - 1,
            runs=len(times[model]),
        )


if __name__ == "__main__":
    job = json.load(sys.stdin)
    say(event="info", **describe(job["threads"]))
    measure(job)
