"""ssh:// to an arm64 Debian with the aarch64 runtime, emulated as a Cortex-A72 (`make test-arm64`).

Its times mean nothing; its answers, its errors, its sshd and its wheels are those of a Raspberry Pi 4.
"""

import json

import pytest
from debian_root import OLD_PYTHON, OLD_WHEELS, Arm64Sshd, NotHere, debian_root
from interruption import build_lost_and_resumed
from typer.testing import CliRunner

from nasdepth.cli import app
from nasdepth.devices import open_device

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def root():
    try:
        return debian_root()
    except NotHere as reason:
        pytest.skip(f"no emulated arm64 Debian: {reason}")


@pytest.fixture
def board(root, tmp_path):
    folder = tmp_path / "sshd"
    folder.mkdir()
    server = Arm64Sshd(folder, root)
    server.start()
    yield server
    server.kill()


def _answer(*words):
    done = CliRunner().invoke(app, [*map(str, words), "--json"])
    return done, json.loads(done.stdout)


def test_doctor(board):
    _, said = _answer("doctor", "--device", board.uri(threads=2))
    info = said["info"]
    assert (info["architecture"], info["os_bits"], info["threads"]) == ("aarch64", 64, 2)
    assert (info["runtime"], info["delegate"]) == ("ai-edge-litert", "xnnpack")
    findings = {one["name"]: one for one in said["findings"]}
    assert findings["architecture"]["verdict"] == "ok"
    assert findings["partitions of the probe model"]["value"].startswith("1; 5 of 5")
    assert "ms in" in findings["timer noise"]["value"]


def test_benchmark_and_an_unsupported_model(board, litedepth_file, custom_model):
    uri = board.uri()
    done, said = _answer("benchmark", litedepth_file, "--min-runs", 3, "--device", uri)
    assert done.exit_code == 0 and said["device"]["architecture"] == "aarch64"
    (measured,) = said["measurements"]
    assert measured["error"] is None and measured["latency_ms"] > 0 and measured["runs"] >= 3
    with open_device(uri) as device:
        (refused,) = device.measure([custom_model], min_runs=1, min_seconds=0)
    assert "NoSuchOperation" in refused.error


def test_the_older_runtime_does_too(board, models, custom_model):
    with open_device(board.uri(python=OLD_PYTHON)) as device:
        info = device.describe()
        good, refused = device.measure([models[0], custom_model], min_runs=3, min_seconds=0)
    assert (info.runtime, info.runtime_version) == ("tflite-runtime", OLD_WHEELS["tflite-runtime"])
    assert good.latency_ms > 0 and "NoSuchOperation" in refused.error


def test_a_build_goes_on_after_the_server_was_killed(board, tmp_path, tiny_space_file, monkeypatch):
    uris, out = (board.uri(retry=1), board.uri()), tmp_path / "tables"
    table = build_lost_and_resumed(uris, board.kill, board.start, tiny_space_file, out, monkeypatch)
    assert table.card.architecture == "aarch64" and not table.rejected
