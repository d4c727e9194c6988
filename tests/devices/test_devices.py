"""The local device and its runner, as real processes."""

import ast
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from sshd_server import children_of, wait_until

from nasdepth.devices import LocalDevice, open_device
from nasdepth.devices import local as local_module
from nasdepth.errors import DeviceError

RUNNER = local_module.RUNNER


def test_runner_stands_alone(models, tmp_path):
    """Isolated from the package: a copy in an empty folder, as on a device."""
    copy = tmp_path / "elsewhere" / "runner.py"
    copy.parent.mkdir()
    copy.write_bytes(RUNNER.read_bytes())
    models[1].write_bytes(b"not a model at all")
    job = {"models": list(map(str, models)), "threads": 1, "min_runs": 7, "min_seconds": 0, "rounds": 2}
    done = subprocess.run(
        [sys.executable, "-I", str(copy)], input=json.dumps(job), capture_output=True, text=True, cwd="/"
    )
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert lines[0]["event"] == "info" and lines[0]["delegate"] == "xnnpack"
    results = {Path(line["model"]).name: line for line in lines if line["event"] == "result"}
    assert list(results) == ["0.tflite", "1.tflite", "2.tflite", "3.tflite"]
    assert "error" in results["1.tflite"] and results["1.tflite"]["error"]
    good = results["3.tflite"]
    assert good["runs"] >= 7 and 0 < good["min_ms"] <= good["latency_ms"] <= good["median_ms"]
    touched = [Path(line["model"]).name for line in lines if line["event"] == "touch"]
    assert touched == ["0.tflite", "1.tflite", "2.tflite", "3.tflite", "0.tflite", "2.tflite", "3.tflite"]


def test_local_device_describes_itself():
    info = open_device("local", threads=2).describe()
    assert (info.runtime, info.threads, info.os_bits) == ("ai-edge-litert", 2, 64)
    assert info.cores >= 1 and info.soc and info.architecture and info.runtime_version[0].isdigit()
    if info.architecture == "x86_64":  # "AMD EPYC" alone may be several
        assert re.search(r" \(family \d+, model \d+\)$", info.soc)


def test_measurements_come_in_order_with_the_runtimes_error(models):
    models[2].write_bytes(models[2].read_bytes()[:100])
    models.append(models[0].with_name("missing.tflite"))
    measured = list(LocalDevice().measure(models, min_runs=5, min_seconds=0))
    assert [one.model for one in measured] == models
    assert [bool(one.error) for one in measured] == [False, False, True, False, True]
    assert all(one.latency_ms > 0 and one.runs >= 5 and one.spread >= 0 for one in measured if not one.error)


def test_a_crash_costs_only_the_model_that_crashed(models, tmp_path, monkeypatch):
    """The real runner with one line in front that kills the process on a chosen model."""
    crashing = tmp_path / "runner.py"
    crash = f"    if path == {str(models[1])!r}:\n        os.kill(os.getpid(), {signal.SIGSEGV})\n"
    head = "def open_model(path, job):\n"
    source = RUNNER.read_text()
    assert head in source
    crashing.write_text(source.replace(head, head + crash))
    monkeypatch.setattr(local_module, "RUNNER", crashing)
    measured = list(LocalDevice().measure(models, min_runs=5, min_seconds=0))
    assert [one.model for one in measured] == models
    assert [bool(one.error) for one in measured] == [False, True, False, False]
    assert "signal 11" in measured[1].error


def test_closing_the_iterator_ends_the_runner(models):
    measuring = LocalDevice().measure(models * 8, min_runs=5, min_seconds=0)
    next(measuring)
    measuring.close()
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    assert not any(b"runner.py" in Path(f"/proc/{child}/cmdline").read_bytes() for child in children)


def test_a_runner_whose_caller_was_killed_ends_too(models):
    script = "import sys; from nasdepth.devices import LocalDevice; "
    script += "list(LocalDevice().measure(sys.argv[1:], min_seconds=100))"
    caller = subprocess.Popen([sys.executable, "-c", script, *map(str, models)])
    try:
        assert wait_until(lambda: len(children_of(caller.pid)) == 1, 60)
        (child,) = children_of(caller.pid)
    finally:
        caller.kill()
        caller.wait()
    assert wait_until(lambda: not Path(f"/proc/{child}/cmdline").exists())


def test_the_runner_is_python_3_7():
    ast.parse(RUNNER.read_text(), feature_version=(3, 7))


def test_a_runner_that_cannot_start_is_a_device_error(tmp_path, monkeypatch):
    broken = tmp_path / "runner.py"
    broken.write_text("raise ImportError('no runtime here')\n")
    monkeypatch.setattr(local_module, "RUNNER", broken)
    with pytest.raises(DeviceError, match="no runtime here"):
        LocalDevice().describe()


def test_impossible_devices_are_refused():
    with pytest.raises(DeviceError, match="`threads` is 0"):
        open_device("local", threads=0)
    with pytest.raises(DeviceError, match="use 'local'"):
        open_device("toaster")
