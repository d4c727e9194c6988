"""ssh:// against a real OpenSSH server on this machine."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from interruption import build_lost_and_resumed
from sshd_server import commands, wait_until
from typer.testing import CliRunner

import nasdepth.devices.ssh
from nasdepth.cli import app
from nasdepth.devices import open_device
from nasdepth.errors import ConnectionLost, DeviceError


def _doctor(uri):
    done = CliRunner().invoke(app, ["doctor", "--device", uri, "--json"])
    return done.exit_code, json.loads(done.stdout)


def _left_there(folder):
    return [one for one in commands() if str(folder) in one and "runner.py" in one]


def test_doctor_looks_at_the_board(sshd):
    _, said = _doctor(sshd.uri(threads=2))
    assert said["schema"] == "nasdepth-doctor-1" and said["info"]["threads"] == 2
    findings = {one["name"]: one for one in said["findings"]}
    assert findings["runtime"]["value"].startswith("ai-edge-litert ")
    assert findings["delegate"]["value"] == "xnnpack"
    assert findings["partitions of the probe model"]["value"].startswith("1; 5 of 5")
    assert "ms in" in findings["timer noise"]["value"]
    printed = CliRunner().invoke(app, ["doctor", "--device", sshd.uri(threads=2)]).stdout
    assert "timer noise" in printed and "what to change" in printed


def test_measures_in_order_and_cleans_up(sshd, models, custom_model, tmp_path):
    there = tmp_path / "there"
    there.mkdir()
    asked = [*models[:2], custom_model, tmp_path / "missing.tflite", models[3]]
    with open_device(sshd.uri(tmp=there)) as device:
        measured = list(device.measure(asked, min_runs=5, min_seconds=0))
        info = device.describe()
        assert len(list(there.iterdir())) == 1
        assert (next(there.iterdir()).stat().st_mode & 0o777) == 0o700
    assert [one.model for one in measured] == asked
    assert [bool(one.error) for one in measured] == [False, False, True, True, False]
    assert "NoSuchOperation" in measured[2].error
    assert all(one.latency_ms > 0 and one.runs >= 5 for one in measured if not one.error)
    assert info == open_device("local").describe()
    assert not list(there.iterdir())


def test_a_crash_there_costs_only_its_model(sshd, models, tmp_path, monkeypatch):
    crashing = tmp_path / "runner.py"
    head = "def open_model(path, job):\n"
    source = nasdepth.devices.ssh.RUNNER.read_text()
    assert head in source
    crash = "    if path.endswith('/1.tflite'):\n        os.kill(os.getpid(), 11)\n"
    crashing.write_text(source.replace(head, head + crash))
    monkeypatch.setattr(nasdepth.devices.ssh, "RUNNER", crashing)
    with open_device(sshd.uri()) as device:
        measured = list(device.measure(models, min_runs=5, min_seconds=0))
    assert [bool(one.error) for one in measured] == [False, True, False, False]
    assert "signal 11" in measured[1].error


def test_a_runner_that_hangs_is_not_waited_for(sshd, models, tmp_path, monkeypatch):
    hanging = tmp_path / "runner.py"
    head = "def open_model(path, job):\n"
    hang = "    if path.endswith('/1.tflite'):\n        time.sleep(1000)\n"
    hanging.write_text(nasdepth.devices.ssh.RUNNER.read_text().replace(head, head + hang))
    monkeypatch.setattr(nasdepth.devices.ssh, "RUNNER", hanging)
    monkeypatch.setattr(nasdepth.devices.ssh, "SILENCE_SECONDS", 3.0)
    with open_device(sshd.uri()) as device:
        measured = list(device.measure(models, min_runs=5, min_seconds=0))
    assert [bool(one.error) for one in measured] == [False, True, False, False]
    assert "silent for 3 s" in measured[1].error


def test_a_connection_that_falls_silent_is_made_again(sshd, models, monkeypatch):
    """As where a cable is pulled: nothing arrives, and nothing says that it ended."""
    monkeypatch.setattr(nasdepth.devices.ssh, "SILENCE_SECONDS", 3.0)
    monkeypatch.setattr(nasdepth.devices.ssh, "_COMMAND_SECONDS", 3.0)
    with open_device(sshd.uri(retry=30)) as device:
        device.describe()
        freezing = threading.Timer(0.5, sshd.freeze)
        freezing.start()
        measured = list(device.measure(models, min_runs=5, min_seconds=0.5))
        freezing.join()
    assert [one.model for one in measured] == models and not any(one.error for one in measured)
    assert sshd.frozen


def test_ctrl_c_ends_the_process_there(sshd, models, tmp_path):
    there = tmp_path / "there"
    there.mkdir()
    command = [sys.executable, "-c", "from nasdepth.cli import main; main()", "benchmark"]
    command += [*map(str, models), "--min-runs", "10000000", "--device", sshd.uri(tmp=there)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert wait_until(lambda: _left_there(f"{there}/nasdepth."), 60)
    process.send_signal(2)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode != 0, stderr
    assert wait_until(lambda: not _left_there(f"{there}/nasdepth."))
    assert wait_until(lambda: not list(there.iterdir()))


def test_a_short_interruption_loses_nothing(sshd, models, tmp_path):
    with open_device(sshd.uri(retry=30)) as device:
        device.describe()

        def interrupt():
            time.sleep(1.0)
            sshd.kill()
            time.sleep(1.5)
            sshd.start()

        interrupting = threading.Thread(target=interrupt)
        interrupting.start()
        measured = list(device.measure(models, min_runs=5, min_seconds=0.7))
        interrupting.join()
        assert [one.model for one in measured] == models and not any(one.error for one in measured)


def test_a_build_goes_on_where_the_connection_was_lost(sshd, tmp_path, tiny_space_file, monkeypatch):
    uris = sshd.uri(retry=1), sshd.uri()
    build_lost_and_resumed(uris, sshd.kill, sshd.start, tiny_space_file, tmp_path / "tables", monkeypatch)


@pytest.mark.parametrize(
    "key, host_key, words",
    [
        ("client", None, "is not known.*ssh-keyscan -p"),
        ("client", "stranger", "is not the one that known_hosts holds.*ssh-keygen -R"),
        ("stranger", "host", "does not let .* in .*ssh-copy-id"),
    ],
)
def test_strangers_are_refused(sshd, key, host_key, words, monkeypatch):
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    config = sshd.client_config("other", key=key, host_key=host_key)
    with pytest.raises(DeviceError, match=words):
        open_device(sshd.uri(config=config)).describe()


def test_the_users_configuration_counts(sshd):
    """A name, a port and a key from the file, and a host in between, whose key is checked too."""
    behind = "Host behind\n  HostName 127.0.0.1\n  Port {port}\n  ProxyJump board\n"
    config = sshd.folder / "jump"
    config.write_text(behind.format(port=sshd.port) + sshd.config.read_text())
    uri = sshd.uri(config=config).replace("ssh://board", "ssh://behind")
    assert open_device(uri).describe().runtime == "ai-edge-litert"
    strange = sshd.client_config("strange", host_key=None)
    strange.write_text(behind.format(port=sshd.port) + strange.read_text())
    with pytest.raises(DeviceError, match="host key"):
        open_device(uri.replace(str(config), str(strange))).describe()


def test_a_board_that_is_off_is_not_waited_for(sshd):
    sshd.kill()
    start = time.monotonic()
    with pytest.raises(DeviceError, match="cannot be reached") as caught:
        open_device(sshd.uri()).describe()
    assert time.monotonic() - start < 10 and not isinstance(caught.value, ConnectionLost)
    code, said = _doctor(sshd.uri())
    assert code == 1 and said["verdict"] == "problem" and "cannot be reached" in said["findings"][0]["advice"]
    with pytest.raises(DeviceError, match=r"no host 'no-such-board\.invalid'"):
        open_device("ssh://pi@no-such-board.invalid").describe()


def _bare_python(folder, *packages):
    """This Python with these packages alone."""
    import importlib

    folder.mkdir()
    for name in packages:
        origin = Path(importlib.import_module(name).__file__).parent
        for part in (origin, origin.with_name(f"{name}.libs")):
            if part.exists():
                (folder / part.name).symlink_to(part)
    script = folder / "python"
    script.write_text(f'#!/bin/sh\nPYTHONPATH={folder} exec {sys.executable} -S "$@"\n')
    script.chmod(0o755)
    return script


def test_what_the_board_lacks_is_named(sshd, tmp_path):
    with pytest.raises(DeviceError, match=r"no numpy for .*python.* -m pip install numpy"):
        open_device(sshd.uri(_bare_python(tmp_path / "nothing"))).describe()
    with pytest.raises(DeviceError, match=r"no TFLite runtime .*-m pip install ai-edge-litert"):
        open_device(sshd.uri(_bare_python(tmp_path / "numpy", "numpy"))).describe()
    with pytest.raises(DeviceError, match=r"no Python there as '/no/python3'.*not found.*apt-get install"):
        open_device(sshd.uri("/no/python3")).describe()
    with pytest.raises(DeviceError, match=r"cannot make a folder there .*\?tmp="):
        open_device(sshd.uri(tmp="/no/such/folder")).describe()
    with pytest.raises(DeviceError, match=r"cores \[999\] cannot be pinned to"):
        open_device(sshd.uri(cores=999)).describe()


def test_a_full_disk_there_is_named(sshd, tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", small]).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        large = tmp_path / "large.tflite"
        large.write_bytes(os.urandom(1 << 20))
        with (
            open_device(sshd.uri(tmp=small)) as device,
            pytest.raises(DeviceError, match=r"KiB free there: the disk is full.*\?tmp=/path"),
        ):
            next(device.measure([large]))
    finally:
        subprocess.run(["umount", small], check=True)
