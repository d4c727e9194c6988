"""Verdicts on facts that this machine cannot show: throttled boards, 32-bit systems, old runtimes."""

from dataclasses import replace

import pytest

from nasdepth.devices import DeviceInfo, Diagnosis
from nasdepth.devices.diagnosis import judge

INFO = DeviceInfo(
    device="pi",
    soc="Raspberry Pi 4 Model B Rev 1.4",
    architecture="aarch64",
    cores=4,
    threads=4,
    runtime="ai-edge-litert",
    runtime_version="2.1.2",
    delegate="xnnpack",
    os="Linux 6.6",
    os_bits=64,
    governor="performance",
)
QUIET = {
    "kernel_machine": "aarch64",
    "governors": ["performance"],
    "frequencies_khz": {"scaling_max_freq": [1800000] * 4, "cpuinfo_max_freq": [1800000] * 4},
    "load": 0.1,
    "cpus": 4,
    "throttled": "throttled=0x0",
    "temperature_c": 50.0,
    "memory_available_kib": 3_000_000,
    "delegation": {"operations": 5, "delegated": 5, "partitions": 1, "left": []},
    "reference": {"latency_ms": 1.0, "spread": 0.02, "drift": 0.01, "runs": 100},
}


def _named(info=INFO, **facts):
    return {one.name: one for one in judge(info, {**QUIET, **facts})}


def test_a_quiet_board_is_ok():
    assert Diagnosis("ssh://pi", INFO, judge(INFO, QUIET)).verdict == "ok"
    assert Diagnosis("ssh://pi", INFO, judge(INFO, {})).verdict == "ok"


@pytest.mark.parametrize(
    "said, verdict, value, advice",
    [
        ("throttled=0x0", "ok", "none since boot", ""),
        ("throttled=0x50005", "problem", "now: under-voltage, throttled; since boot", "power supply"),
        ("throttled=0x50000", "warning", "since boot: under-voltage, throttled", "power supply"),
        ("throttled=0x8", "problem", "now: soft temperature limit", "cool the board"),
        ("throttled=0x20000", "warning", "since boot: frequency capped", "cool the board"),
        ("VCHI initialization failed", "warning", "VCHI", "group video"),
    ],
)
def test_throttling_bits(said, verdict, value, advice):
    found = _named(throttled=said)["throttling"]
    assert found.verdict == verdict and value in found.value and advice in found.advice


@pytest.mark.parametrize(
    "name, info, facts, verdict, advice",
    [
        ("architecture", replace(INFO, os_bits=32, architecture="armv7l"), {}, "warning", "64-bit system"),
        ("threads", replace(INFO, threads=8), {}, "problem", "threads=4"),
        ("governor", INFO, {"governors": ["ondemand"]}, "warning", "echo performance | sudo tee"),
        (
            "clock limit",
            INFO,
            {"frequencies_khz": {"scaling_max_freq": [600000], "cpuinfo_max_freq": [1800000]}},
            "warning",
            "scaling_max_freq",
        ),
        ("temperature", INFO, {"temperature_c": 81.0}, "warning", "cool it"),
        ("load", INFO, {"load": 1.5}, "warning", "`top`"),
        ("memory", INFO, {"memory_available_kib": 50_000}, "warning", "stop other programs"),
        ("delegate", replace(INFO, delegate="none"), {}, "warning", "pip install --upgrade ai-edge-litert"),
        (
            "delegate",
            replace(INFO, delegate="webgpu", gpu="SwiftShader Device (Subzero)"),
            {},
            "warning",
            "a GPU in software",
        ),
        (
            "partitions of the probe model",
            INFO,
            {"delegation": {"operations": 5, "delegated": 4, "partitions": 3, "left": ["HARD_SWISH"]}},
            "warning",
            "too old",
        ),
        (
            "partitions of the probe model",
            INFO,
            {"delegation": {"operations": 5, "delegated": None, "partitions": 2, "left": []}},
            "warning",
            "too old",
        ),
        (
            "timer noise",
            INFO,
            {"reference": {"latency_ms": 1.0, "spread": 0.3, "drift": 0.0, "runs": 100}},
            "warning",
            "governor",
        ),
        (
            "timer noise",
            INFO,
            {"reference": {"latency_ms": 1.0, "spread": 0.9, "drift": 0.0, "runs": 100}},
            "problem",
            "governor",
        ),
        ("probe model", INFO, {"probe_error": "no such op"}, "problem", "pip install"),
    ],
)
def test_what_spoils_measurements_is_told_with_the_mend(name, info, facts, verdict, advice):
    found = _named(info, **facts)[name]
    assert found.verdict == verdict and advice in found.advice
    assert Diagnosis("x", info, judge(info, {**QUIET, **facts})).verdict == verdict
