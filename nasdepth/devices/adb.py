"""An Android phone: TFLite's `benchmark_model`, run through the `adb` client."""

from __future__ import annotations

import hashlib
import shlex
import shutil
import subprocess
from collections.abc import Generator, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath

import numpy as np

from nasdepth.devices.base import MODELS_AT_ONCE, Device, DeviceInfo, Measurement
from nasdepth.devices.benchmark_model import BenchmarkOutput, parse_benchmark, refused_by_gpu
from nasdepth.devices.diagnosis import Diagnosis, judge
from nasdepth.devices.probe import PROBE, PROBE_OPERATIONS
from nasdepth.devices.uri import DeviceUri
from nasdepth.errors import ConnectionLost, DeviceError

_FOLDER = PurePosixPath("/data/local/tmp/nasdepth")
_BINARY = PurePosixPath("/data/local/tmp/benchmark_model")
_ROUNDS = 5
_WARMUP_RUNS = 3
# An average wants more runs than a low percentile, and starting benchmark_model takes longer than they do
_LEAST_SECONDS = 0.05
_TIMEOUT_SECONDS = 600.0
_DOWNLOAD = "https://www.tensorflow.org/lite/performance/measurement#native_benchmark_binary"
_GONE = ("device offline", "not found", "no devices/emulators found", "closed", "cannot connect")
# What getprop calls a phone's 64-bit processors
_64_BIT = ("arm64-v8a", "x86_64", "riscv64")


class AdbDevice(Device):
    """A phone that is reached by adb, on its CPU (`threads`, `cores`, `xnnpack`) or its GPU (`gpu`).

    `benchmark_model` prints no percentiles: each model is run in 5 rounds, and `latency_ms`, `median_ms` and
    `spread` are of the rounds' averages.

    Args:
        setting: a parsed adb URI.
    """

    def __init__(self, setting: DeviceUri) -> None:
        self.uri = setting.text
        self.threads = setting.threads
        self.setting = setting
        self._serial: str | None = setting.host or None

    def describe(self) -> DeviceInfo:
        return self._info

    @cached_property
    def _info(self) -> DeviceInfo:
        version = self._prepare()
        abi = self._property("ro.product.cpu.abi")
        said = self._benchmark(self._push_probe(), runs=1, seconds=0.0)
        if said.error:
            raise DeviceError(f"device {self.uri}: benchmark_model cannot run the probe model: {said.error}")
        cores = self.setting.cores
        governor = self._read(f"/sys/devices/system/cpu/cpu{(cores or (0,))[0]}/cpufreq/scaling_governor")
        count = len(cores) or int(self._shell("nproc")[1].strip() or 1)
        model = " ".join(filter(None, map(self._property, ("ro.product.manufacturer", "ro.product.model"))))
        chips = map(self._property, ("ro.soc.model", "ro.board.platform", "ro.hardware"))
        return DeviceInfo(
            device=model or "unknown",
            soc=next(filter(None, chips), "unknown"),
            architecture={"arm64-v8a": "aarch64"}.get(abi, abi or "unknown"),
            cores=count,
            threads=self.threads,
            runtime="benchmark_model",
            runtime_version=version,
            delegate=said.delegate,
            os=f"Android {self._property('ro.build.version.release') or 'unknown'}",
            os_bits=64 if abi in _64_BIT else 32,
            governor=governor or "unknown",
            pinned=",".join(map(str, cores)),
            gpu=self._gpu_name() if self.setting.gpu else "",
        )

    def measure(
        self, models: Sequence[Path], *, min_runs: int = 30, min_seconds: float = 0.15
    ) -> Generator[Measurement, None, None]:
        self.describe()
        paths = [Path(model) for model in models]
        for start in range(0, len(paths), MODELS_AT_ONCE):
            yield from self._chunk(paths[start : start + MODELS_AT_ONCE], min_runs, min_seconds)

    def _chunk(self, models: list[Path], min_runs: int, min_seconds: float) -> list[Measurement]:
        errors: dict[int, str] = {}
        rounds: dict[int, list[BenchmarkOutput]] = {index: [] for index in range(len(models))}
        names = {index: f"{_FOLDER}/models/{index}.tflite" for index in rounds}
        self._shell(f"rm -rf {_FOLDER}/models; mkdir -p {_FOLDER}/models", check=True)
        try:
            for index, model in enumerate(models):
                if model.is_file():
                    self._push(model, names[index])
                else:
                    errors[index] = f"{model}: no such file"
            for _ in range(_ROUNDS):
                for index in rounds:
                    if index not in errors:
                        said = self._benchmark(
                            names[index],
                            runs=-(-min_runs // _ROUNDS),
                            seconds=max(min_seconds, _LEAST_SECONDS) / _ROUNDS,
                        )
                        if said.error:
                            errors[index] = said.error
                        rounds[index].append(said)
        finally:
            self._shell(f"rm -rf {_FOLDER}/models")
        return [
            Measurement(model, error=errors[index]) if index in errors else _summed(model, rounds[index])
            for index, model in enumerate(models)
        ]

    def diagnose(self) -> Diagnosis:
        info = self.describe()
        probe = self._push_probe()
        outputs = [self._benchmark(probe, runs=20, seconds=0.2) for _ in range(_ROUNDS)]
        averages = np.array([said.average_ms for said in outputs])
        low, high = np.percentile(averages, (10, 90))
        load = self._read("/proc/loadavg").split()
        available = self._shell("grep MemAvailable /proc/meminfo")[1].split()
        governors = self._shell("cat /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor 2>/dev/null")[1]
        temperature = self._read("/sys/class/thermal/thermal_zone0/temp")
        facts = {
            "kernel_machine": self._shell("uname -m")[1].strip(),
            "governors": sorted(set(governors.split())),
            "load": float(load[0]) if load else None,
            "cpus": int(self._shell("nproc")[1].strip() or 1),
            "memory_available_kib": int(available[1]) if len(available) > 1 else None,
            "temperature_c": int(temperature) / 1000 if temperature.isdigit() else None,
            "reference": {
                "latency_ms": float(low),
                "spread": float(high / low - 1),
                "drift": float(averages[-1] / averages[0] - 1),
                "runs": sum(said.runs for said in outputs),
            },
        }
        said = outputs[-1]
        if said.partitions is not None:
            facts["delegation"] = {
                "operations": PROBE_OPERATIONS,
                "delegated": PROBE_OPERATIONS if said.complete else None,
                "partitions": said.partitions,
                "left": [],
            }
        return Diagnosis(self.uri, info, judge(info, facts))

    def _benchmark(self, model: str, *, runs: int, seconds: float) -> BenchmarkOutput:
        arguments = {
            "graph": model,
            "num_threads": self.threads,
            "num_runs": runs,
            "min_secs": f"{seconds:g}",
            "warmup_runs": _WARMUP_RUNS,
            "warmup_min_secs": 0,
            "use_xnnpack": str(self.setting.xnnpack and not self.setting.gpu).lower(),
            "use_gpu": str(self.setting.gpu).lower(),
        }
        mask = sum(1 << core for core in self.setting.cores)
        command = " ".join(
            [*([f"taskset {mask:x}"] if mask else []), str(self._binary)]
            + [f"--{name}={shlex.quote(str(value))}" for name, value in arguments.items()]
        )
        code, text = self._shell(f"{command} 2>&1")
        if mask and "taskset" in text and code:
            raise DeviceError(
                f"device {self.uri}: cores={self.setting.cores} cannot be pinned to: {text.strip()}"
            )
        try:
            said = parse_benchmark(text)
        except DeviceError:
            said = BenchmarkOutput(error=f"benchmark_model ended with status {code}: {text.strip()[-300:]}")
        if self.setting.gpu and not said.error and (words := refused_by_gpu(text)):
            said = BenchmarkOutput(delegate=said.delegate, error=words)
        return said

    @property
    def _binary(self) -> PurePosixPath:
        return _FOLDER / "benchmark_model" if self.setting.binary else _BINARY

    def _prepare(self) -> str:
        """Find the phone and its `benchmark_model`; the binary's digest, as it tells no version."""
        if shutil.which("adb") is None:
            raise DeviceError(f"device {self.uri}: no adb on this machine; apt-get install adb")
        self._choose_phone()
        self._shell(f"mkdir -p {_FOLDER}", check=True)
        if self.setting.binary:
            self._push(self.setting.binary, str(self._binary))
            digest = hashlib.sha256(self.setting.binary.read_bytes()).hexdigest()
        elif self._shell(f"test -f {_BINARY}")[0]:
            raise DeviceError(
                f"device {self.uri}: no {_BINARY} on the phone; download benchmark_model ({_DOWNLOAD}) and "
                "name it: adb?binary=/path/to/android_aarch64_benchmark_model"
            )
        else:
            digest = self._shell(f"sha256sum {_BINARY}")[1].split(" ")[0]
        self._shell(f"chmod 755 {self._binary}")
        return f"sha256:{digest[:12]}"

    def _choose_phone(self) -> None:
        lines = self._adb("devices")[1].splitlines()
        states = dict(line.split()[:2] for line in lines if "\t" in line)
        advice = {
            "unauthorized": "allow USB debugging on its screen",
            "offline": "unplug it and plug it in again, or `adb reconnect`",
        }
        if not states:
            raise DeviceError(
                f"device {self.uri}: adb sees no phone; switch on USB debugging, or `adb connect`"
            )
        if self._serial is None:
            if len(states) > 1:
                raise DeviceError(
                    f"device {self.uri}: there are several phones ({', '.join(states)}); name one: adb://serial"
                )
            (self._serial,) = states
        state = states.get(self._serial)
        if state != "device":
            found = (
                f"it is {state}; {advice.get(state, 'wait')}" if state else f"there are {', '.join(states)}"
            )
            raise DeviceError(f"device {self.uri}: adb has no ready phone {self._serial!r}: {found}")

    def _gpu_name(self) -> str:
        said = self._shell("dumpsys SurfaceFlinger 2>/dev/null | grep -m1 GLES:")[1]
        return said.partition("GLES:")[2].strip() or "unknown"

    def _property(self, name: str) -> str:
        return self._shell(f"getprop {name}")[1].strip()

    def _read(self, path: str) -> str:
        code, text = self._shell(f"cat {path} 2>/dev/null")
        return "" if code else text.strip()

    def _push_probe(self) -> str:
        self._push(PROBE, f"{_FOLDER}/probe.tflite")
        return f"{_FOLDER}/probe.tflite"

    def _push(self, path: Path, place: str) -> None:
        code, text = self._adb("push", str(path), place)
        if code:
            self._raise_if_gone(text)
            raise DeviceError(f"device {self.uri}: cannot copy {path} to {place}: {text.strip()}")

    def _shell(self, command: str, check: bool = False) -> tuple[int, str]:
        code, text = self._adb("shell", command)
        if code:
            self._raise_if_gone(text)
        if check and code:
            raise DeviceError(f"device {self.uri}: {command!r} failed on the phone: {text.strip()}")
        return code, text

    def _adb(self, *words: str) -> tuple[int, str]:
        serial = ["-s", self._serial] if self._serial else []
        try:
            done = subprocess.run(
                ["adb", *serial, *words],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                timeout=_TIMEOUT_SECONDS,
            )
        except subprocess.TimeoutExpired:
            raise ConnectionLost(
                f"device {self.uri}: the phone has been silent for {_TIMEOUT_SECONDS:.0f} s; start the same "
                "command again: what was measured is kept"
            ) from None
        return done.returncode, done.stdout

    def _raise_if_gone(self, text: str) -> None:
        last = text.strip().rpartition("\n")[2]
        if last.startswith(("error: ", "adb: ")) and any(words in last for words in _GONE):
            raise ConnectionLost(
                f"device {self.uri}: the phone is gone ({last}); plug it in and start the same command "
                "again: what was measured is kept"
            )


def _summed(model: Path, rounds: list[BenchmarkOutput]) -> Measurement:
    averages = [said.average_ms if said.median_ms is None else said.median_ms for said in rounds]
    low, median, high = np.percentile(averages, (10, 50, 90))
    return Measurement(
        model,
        latency_ms=float(low),
        median_ms=float(median),
        # which the tool prints in whole microseconds
        min_ms=min(float(low), *(said.min_ms for said in rounds)),
        spread=float(high / low - 1) if low else 0.0,
        runs=sum(said.runs for said in rounds),
    )
