"""adb through Debian's real client and server, against an adbd of our own (`adbd.py`)."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from adbd import Adbd
from interruption import build_lost_and_resumed

from nasdepth.devices import open_device
from nasdepth.errors import DeviceError

pytestmark = pytest.mark.skipif(not shutil.which("adb"), reason="no adb here: apt-get install adb")

STAND_IN = Path(__file__).with_name("benchmark_model_stand_in.py")
PROPERTIES = {
    "ro.product.manufacturer": "Nobody",
    "ro.product.model": "Test Phone",
    "ro.product.cpu.abi": "arm64-v8a",
    "ro.build.version.release": "14",
    "ro.board.platform": "kalama",
}


@pytest.fixture
def binary(tmp_path):
    path = tmp_path / "android_benchmark_model"
    path.write_text(f'#!/bin/sh\nexec {sys.executable} {STAND_IN} "$@"\n')
    return path


@pytest.fixture
def phone(tmp_path, monkeypatch):
    """A phone that the real adb server, on a port of its own, is connected to."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(free.getsockname()[1]))
    monkeypatch.setenv("HOME", str(tmp_path))
    root, tools = tmp_path / "phone", tmp_path / "tools"
    root.mkdir()
    tools.mkdir()
    cases = "".join(f"{name}) echo '{value}';;\n" for name, value in PROPERTIES.items())
    (tools / "getprop").write_text(f'#!/bin/sh\ncase "$1" in\n{cases}*) echo;;\nesac\n')
    (tools / "getprop").chmod(0o755)
    adbd = Adbd(root, {"PATH": f"{tools}:{os.environ['PATH']}"})
    subprocess.run(["adb", "connect", adbd.serial], check=True, capture_output=True, timeout=60)
    yield adbd
    adbd.unplug()
    subprocess.run(["adb", "kill-server"], capture_output=True, timeout=60)


def test_measures_in_order_with_the_tools_error(phone, binary, models, custom_model, tmp_path):
    asked = [models[0], custom_model, tmp_path / "missing.tflite", models[3]]
    device = open_device(f"adb://{phone.serial}?binary={binary}&cores=0", threads=1)
    measured = list(device.measure(asked, min_runs=10, min_seconds=0))
    assert [one.model for one in measured] == asked
    assert [bool(one.error) for one in measured] == [False, True, True, False]
    assert "unresolved custom op: NoSuchOperation" in measured[1].error
    assert measured[0].runs >= 10 and 0 <= measured[0].min_ms <= measured[0].latency_ms
    info = device.describe()
    assert (info.device, info.soc, info.os) == ("Nobody Test Phone", "kalama", "Android 14")
    assert (info.architecture, info.os_bits, info.pinned) == ("aarch64", 64, "0")
    assert info.runtime == "benchmark_model" and info.runtime_version.startswith("sha256:")
    assert not (phone.root / "nasdepth" / "models").exists()


def test_doctor_and_a_binary_that_is_already_there(phone, binary):
    with pytest.raises(DeviceError, match=r"no /data/local/tmp/benchmark_model.*adb\?binary="):
        open_device("adb").describe()
    shutil.copy(binary, phone.root / "benchmark_model")
    diagnosis = open_device("adb").diagnose()
    findings = {one.name: one for one in diagnosis.findings}
    assert findings["runtime"].value.startswith("benchmark_model sha256:")
    assert {"architecture", "threads", "load", "timer noise", "delegate"} <= set(findings)


def test_a_gpu_run_that_is_none_is_an_error(phone, binary):
    with pytest.raises(DeviceError, match="will not be executed by the delegate"):
        open_device(f"adb?gpu=true&binary={binary}").describe()


def test_a_build_goes_on_after_the_phone_was_unplugged(phone, binary, tmp_path, two_space_file, monkeypatch):
    uri = f"adb?binary={binary}"
    # Every run is a process that imports Python's runtime, which takes a phone's tool no time
    monkeypatch.setattr("nasdepth.devices.adb._ROUNDS", 1)
    monkeypatch.setattr("nasdepth.latency.measure.bench._ATTEMPTS", 1)
    monkeypatch.setattr("nasdepth.latency.measure.bench._FILES_AT_ONCE", 10)

    def plug_in():
        again = Adbd(phone.root, phone.environment)
        subprocess.run(["adb", "disconnect"], capture_output=True, timeout=60)
        subprocess.run(["adb", "connect", again.serial], check=True, capture_output=True, timeout=60)

    out = tmp_path / "tables"
    build_lost_and_resumed((uri, uri), phone.unplug, plug_in, two_space_file, out, monkeypatch)


def test_no_phone_and_a_wrong_serial_are_named(phone):
    with pytest.raises(DeviceError, match=rf"no ready phone 'nobody': there are {phone.serial}"):
        open_device("adb://nobody").describe()
    subprocess.run(["adb", "disconnect"], capture_output=True, timeout=60)
    with pytest.raises(DeviceError, match="adb sees no phone; switch on USB debugging"):
        open_device("adb").describe()
