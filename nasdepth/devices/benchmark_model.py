"""What Android's TFLite `benchmark_model` prints, read."""

from __future__ import annotations

import re
from dataclasses import dataclass

from nasdepth.errors import DeviceError

# Newer ones add p5=, median= and p95= to the line
_STATS = re.compile(r"\bcount=(\d+) .*?\bmin=(\S+) max=(\S+) avg=(\S+)(?: std=\S+)?(.*)")
_MEDIAN = re.compile(r"\bmedian=(\S+)")
_SUMMARY = re.compile(r"Inference timings in us: .*?Inference \(avg\): (\S+)")
_OLD_SUMMARY = re.compile(r"Average inference timings in us: .*?no stats: (\S+)")
_REPLACED = re.compile(
    r"Replacing (\d+)(?: out of (\d+))? node\(s\) with delegate \((\S+)\) node, yielding (\d+) partitions"
)
_APPLIED = re.compile(
    r"Explicitly applied (\S+) delegate, and the model graph will be (completely|partially) executed"
)
_NOT_APPLIED = re.compile(r"Though \S+ delegate is explicitly applied, the model graph will not be")
_KERNELS = re.compile(r"partially executed by the delegate w/ (\d+) delegate kernels")
_PREFIX = re.compile(r"^(?:\d\d-\d\d [\d:.]+ +\d+ +\d+ [VDIWEF] \S+ *: |(?:VERBOSE|INFO): )")
_FAILURE = re.compile(r"^(?:ERROR|FATAL): |^(?:Failed to|Benchmarking failed|Aborted|Segmentation fault)")


@dataclass(frozen=True, slots=True)
class BenchmarkOutput:
    """One run of `benchmark_model`.

    Attributes:
        runs: timed ones.
        average_ms, min_ms: of them.
        median_ms: of them; None where the tool is too old to say.
        delegate: `xnnpack`, `gpu` or such, as it was really applied; `none` where nothing says so.
        complete: the delegate took the whole graph.
        partitions: of the graph, or the delegate's kernels in it; None where the tool does not say.
        error: why there are no times, in the tool's words.
    """

    runs: int = 0
    average_ms: float = 0.0
    min_ms: float = 0.0
    median_ms: float | None = None
    delegate: str = "none"
    complete: bool = False
    partitions: int | None = None
    error: str | None = None


def parse_benchmark(text: str) -> BenchmarkOutput:
    """Read the tool's standard output and errors together.

    Raises:
        DeviceError: neither times nor a reason for there being none.
    """
    lines = [_PREFIX.sub("", line.strip()) for line in text.splitlines()]
    delegate, complete, partitions = _delegation(lines)
    words = _failure(lines)
    # The first statistics are the warm-up's
    stats = [match for line in lines if (match := _STATS.search(line))]
    summary = next((m for line in lines if (m := _SUMMARY.search(line) or _OLD_SUMMARY.search(line))), None)
    if not stats or not summary:
        if words:
            return BenchmarkOutput(delegate=delegate, partitions=partitions, error=words)
        tail = " ".join(line for line in lines[-3:] if line)
        raise DeviceError(f"benchmark_model said neither times nor an error; its last words: {tail!r}")
    count, least, _, _, rest = stats[-1].groups()
    median = _MEDIAN.search(rest)
    return BenchmarkOutput(
        runs=int(count),
        average_ms=float(summary[1]) / 1e3,
        min_ms=float(least) / 1e3,
        median_ms=float(median[1]) / 1e3 if median else None,
        delegate=delegate,
        complete=complete,
        partitions=partitions,
    )


def refused_by_gpu(text: str) -> str | None:
    """Why a GPU run was not one: what the delegate left to the CPU, in its words; None where it took all."""
    lines = [_PREFIX.sub("", line.strip()) for line in text.splitlines()]
    if any(match[2] == "completely" for line in lines if (match := _APPLIED.search(line))):
        return None
    for index, line in enumerate(lines):
        if "not supported by GPU delegate" in line:
            words = [line.removeprefix("ERROR: ")]
            for more in lines[index + 1 :]:
                words.append(more)
                if "run on the CPU" in more or not more:
                    break
            return " ".join(words).strip()
    telling = [line for line in lines if "GPU delegate" in line or "executed by the delegate" in line]
    return telling[-1] if telling else "the GPU delegate was not applied"


def _delegation(lines: list[str]) -> tuple[str, bool, int | None]:
    delegate, complete, partitions = "none", False, None
    for line in lines:
        if "Created TensorFlow Lite XNNPACK delegate" in line:
            delegate = "xnnpack"
        if match := _REPLACED.search(line):
            done, total, _, parts = match.groups()
            partitions = int(parts)
            complete = done == total
        if match := _APPLIED.search(line):
            delegate, complete = match[1].lower(), match[2] == "completely"
            if kernels := _KERNELS.search(line):
                partitions = int(kernels[1])
            elif complete:
                partitions = 1
        if _NOT_APPLIED.search(line):
            delegate, complete, partitions = "none", False, 0
    return delegate, complete, partitions


def _failure(lines: list[str]) -> str:
    told = [line for line in lines if _FAILURE.match(line)]
    return "; ".join(dict.fromkeys(line.removeprefix("ERROR: ") for line in told))
