"""What would spoil measurements on a device, judged from the facts that the device reports."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from nasdepth.devices.base import DeviceInfo

Verdict = Literal["ok", "warning", "problem"]

_RANK = {"ok": 0, "warning": 1, "problem": 2}
# vcgencmd get_throttled: bit, what it means; 16 bits higher the same has happened since boot
_THROTTLED = {0: "under-voltage", 1: "frequency capped", 2: "throttled", 3: "soft temperature limit"}
_SOFTWARE_GPUS = ("swiftshader", "llvmpipe", "lavapipe")
_HOT_C = 75.0
_SMALL_MEMORY_MIB = 200
_BUSY_LOAD = 0.5
# Share of the latency; a quiet machine repeats to 2 %
_SPREAD_OK, _SPREAD_USABLE = 0.10, 0.50
_DRIFT_OK = 0.05


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        name: what was looked at.
        value: what was found.
        verdict: `ok`; `warning`, figures are less good than they could be; `problem`, they cannot be trusted.
        advice: what to change; empty where all is well.
    """

    name: str
    value: str
    verdict: Verdict = "ok"
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """All findings on a device; `info` is None where it could not be reached."""

    uri: str
    info: DeviceInfo | None
    findings: tuple[Finding, ...]

    @property
    def verdict(self) -> Verdict:
        """The worst one."""
        return max((finding.verdict for finding in self.findings), key=_RANK.__getitem__, default="ok")


def judge(info: DeviceInfo, facts: dict) -> tuple[Finding, ...]:
    """Findings from a device's description and raw facts (`runner.diagnose`); missing ones are skipped."""
    findings = [Finding("runtime", f"{info.runtime} {info.runtime_version}")]
    if facts.get("python"):
        findings.append(Finding("python", facts["python"]))
    findings += [
        Finding("processor", info.soc),
        _bits(info, facts.get("kernel_machine") or info.architecture),
        _threads(info),
        _governor(info, facts.get("governors") or [info.governor]),
        *_frequency(facts.get("frequencies_khz", {})),
        *_throttling(facts.get("throttled", "")),
        *_temperature(facts.get("temperature_c")),
        *_load(facts.get("load"), facts.get("cpus")),
        *_memory(facts.get("memory_available_kib")),
        _delegate(info),
        *_partitions(info, facts.get("delegation"), ran="reference" in facts),
        *_noise(facts.get("reference")),
    ]
    if facts.get("probe_error"):
        advice = "install a runtime that fits: pip install --upgrade ai-edge-litert"
        findings.append(Finding("probe model", facts["probe_error"], "problem", advice))
    return tuple(findings)


def _bits(info: DeviceInfo, kernel: str) -> Finding:
    value = f"{info.architecture}, {info.os_bits} bit"
    if info.os_bits == 64:
        return Finding("architecture", value)
    capable = kernel in ("aarch64", "x86_64", "arm64")
    return Finding(
        "architecture",
        value + (f" on a {kernel} kernel" if capable else ""),
        "warning",
        "install a 64-bit system (Raspberry Pi OS 64-bit): 32-bit runtimes are several times slower",
    )


def _threads(info: DeviceInfo) -> Finding:
    value = f"{info.threads} of {info.cores} cores" + (f", pinned to {info.pinned}" if info.pinned else "")
    if info.threads <= info.cores:
        return Finding("threads", value)
    return Finding("threads", value, "problem", f"use at most threads={info.cores}: threads share cores now")


def _governor(info: DeviceInfo, governors: list[str]) -> Finding:
    value = ", ".join(governors)
    if set(governors) <= {"performance", "unknown"}:
        return Finding("governor", value)
    advice = "echo performance | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor"
    return Finding("governor", value, "warning", f"keep the clock at its highest: {advice}")


def _frequency(khz: dict) -> Iterator[Finding]:
    limits, tops = khz.get("scaling_max_freq") or [], khz.get("cpuinfo_max_freq") or []
    if not any(limits) or not any(tops):
        return
    value = f"{max(limits) / 1000:.0f} MHz of {max(tops) / 1000:.0f} MHz allowed"
    if all(limit >= top for limit, top in zip(limits, tops, strict=False)):
        yield Finding("clock limit", value)
        return
    advice = "raise scaling_max_freq: for p in /sys/devices/system/cpu/cpu*/cpufreq; do "
    advice += "sudo cp $p/cpuinfo_max_freq $p/scaling_max_freq; done"
    yield Finding("clock limit", value, "warning", advice)


def _throttling(said: str) -> Iterator[Finding]:
    if not said:
        return
    try:
        bits = int(said.partition("=")[2], 16)
    except ValueError:
        yield Finding("throttling", said, "warning", "vcgencmd could not tell; add the user to group video")
        return
    now = [words for bit, words in _THROTTLED.items() if bits >> bit & 1]
    before = [words for bit, words in _THROTTLED.items() if bits >> (bit + 16) & 1]
    if not bits:
        yield Finding("throttling", "none since boot")
        return
    value = "; ".join(
        f"{when}: {', '.join(words)}" for when, words in (("now", now), ("since boot", before)) if words
    )
    advice = []
    if "under-voltage" in now + before:
        advice.append("use the maker's power supply (5.1 V, 3 A) and a short cable")
    if set(now + before) - {"under-voltage"}:
        advice.append("cool the board with a heat sink or a fan")
    yield Finding(
        "throttling",
        f"{value} ({hex(bits)})",
        "problem" if now else "warning",
        "; ".join(advice) + "; reboot, then ask again",
    )


def _temperature(celsius: float | None) -> Iterator[Finding]:
    if celsius is None:
        return
    value = f"{celsius:.0f} °C"
    if celsius < _HOT_C:
        yield Finding("temperature", value)
    else:
        yield Finding("temperature", value, "warning", "boards slow down from 80 °C on: cool it, or wait")


def _load(load: float | None, cpus: int | None) -> Iterator[Finding]:
    if load is None:
        return
    value = f"{load:.2f}" + (f" on {cpus} CPUs" if cpus else "")
    if load <= _BUSY_LOAD:
        yield Finding("load", value)
    else:
        yield Finding("load", value, "warning", "something else is running: see `top`, stop it and ask again")


def _memory(kib: int | None) -> Iterator[Finding]:
    if kib is None:
        return
    value = f"{kib / 1024:.0f} MiB free"
    if kib / 1024 >= _SMALL_MEMORY_MIB:
        yield Finding("memory", value)
    else:
        yield Finding("memory", value, "warning", "models may be swapped out: stop other programs")


def _delegate(info: DeviceInfo) -> Finding:
    if info.delegate == "none":
        advice = "the runtime's own kernels are used, several times slower than XNNPACK's: "
        advice += "pip install --upgrade ai-edge-litert (64-bit wheels have it)"
        return Finding("delegate", "none", "warning", advice)
    if any(name in info.gpu.lower() for name in _SOFTWARE_GPUS):
        advice = "a GPU in software, on the CPU: its times say nothing about a real GPU; install its driver"
        return Finding("delegate", f"{info.delegate} on {info.gpu}", "warning", advice)
    return Finding("delegate", info.delegate + (f" on {info.gpu}" if info.gpu else ""))


def _partitions(info: DeviceInfo, delegation: dict | None, ran: bool) -> Iterator[Finding]:
    name = "partitions of the probe model"
    if delegation is None:
        if info.gpu and ran:
            yield Finding(name, "1; fully accelerated: the runtime refuses what the GPU cannot run whole")
        return
    delegated, parts = delegation["delegated"], delegation["partitions"]
    if delegated == 0:
        return
    # Android's tool counts its delegate's parts without saying what is in them
    share = (
        "not the whole graph"
        if delegated is None
        else f"{delegated} of {delegation['operations']} operations"
    )
    if parts == 1 and delegated is not None:
        yield Finding(name, f"{parts}; {share} delegated")
        return
    left = ", ".join(sorted(set(delegation["left"])))
    advice = "the runtime is too old for its delegate to take them: pip install --upgrade ai-edge-litert"
    yield Finding(name, f"{parts}; {share} delegated" + (f", not {left}" if left else ""), "warning", advice)


def _noise(reference: dict | None) -> Iterator[Finding]:
    if not reference:
        return
    spread, drift = reference["spread"], reference["drift"]
    value = f"{spread:.1%} spread, {drift:+.1%} drift of {reference['latency_ms']:.3f} ms"
    value += f" in {reference['runs']} runs"
    if spread <= _SPREAD_OK and abs(drift) <= _DRIFT_OK:
        yield Finding("timer noise", value)
        return
    advice = "stop other programs, fix the governor, cool the device, pin the process with cores=..."
    yield Finding("timer noise", value, "warning" if spread <= _SPREAD_USABLE else "problem", advice)
