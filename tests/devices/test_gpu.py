"""local-gpu on a real Vulkan driver, which may be SwiftShader's."""

import numpy as np
import pytest

from nasdepth.devices import open_device
from nasdepth.devices.probe import PROBE
from nasdepth.errors import DeviceError


@pytest.fixture(scope="module")
def gpu():
    device = open_device("local-gpu")
    try:
        device.describe()
    except DeviceError as reason:
        pytest.skip(f"no GPU that Vulkan sees, nor chromium's SwiftShader: {reason}")
    return device


def test_measures_and_refuses_in_the_runtimes_words(gpu, cpu_only_model, custom_model):
    good, refused, unknown = gpu.measure([PROBE, cpu_only_model, custom_model], min_runs=5, min_seconds=0)
    assert good.error is None and good.runs >= 5 and 0 < good.min_ms <= good.latency_ms
    assert "ZEROS_LIKE: Operation is not supported" in refused.error and refused.latency_ms == 0
    assert "NoSuchOperation" in unknown.error
    # The same file is no trouble to the CPU: it is the GPU that refused
    (on_cpu,) = open_device("local").measure([cpu_only_model], min_runs=5, min_seconds=0)
    assert on_cpu.error is None


def test_a_time_counts_with_its_output_read_back(gpu):
    """The output is the CPU's, and waiting for it is most of the time: the call alone returns at once."""
    import os
    import time

    from nasdepth.devices import runner

    runner.load_libraries()
    before = os.environ.get("VK_DRIVER_FILES")
    try:
        job = {"threads": 1, "accelerator": "gpu"}
        on_gpu, on_cpu = runner.open_model(str(PROBE), job), runner.open_model(str(PROBE), {"threads": 1})
    finally:
        if before is None:
            os.environ.pop("VK_DRIVER_FILES", None)
    on_cpu.run()
    output = on_cpu.interpreter.get_output_details()[0]
    expected = on_cpu.interpreter.get_tensor(output["index"]).ravel()
    for _ in range(3):
        on_gpu.run()
    (buffer, size, dtype), *_ = on_gpu._reads
    np.testing.assert_allclose(buffer.read(size, dtype), expected, atol=1e-3)
    call = time.perf_counter()
    on_gpu._model.run_by_index(0, on_gpu._inputs, on_gpu._outputs)
    called = time.perf_counter() - call
    buffer.read(size, dtype)
    whole = time.perf_counter() - call
    assert called < 0.5 * whole


def test_the_gpu_is_named(gpu):
    info = gpu.describe()
    assert info.delegate == "webgpu" and info.gpu and info.gpu != "unknown"
    findings = {one.name: one for one in gpu.diagnose().findings}
    assert info.gpu in findings["delegate"].value and "timer noise" in findings
    assert "fully accelerated" in findings["partitions of the probe model"].value


def test_the_gpu_of_a_board(gpu, sshd, cpu_only_model):
    with open_device(sshd.uri(gpu="true")) as board:
        good, refused = board.measure([PROBE, cpu_only_model], min_runs=3, min_seconds=0)
        assert board.describe() == gpu.describe()
    assert good.latency_ms > 0 and "ZEROS_LIKE: Operation is not supported" in refused.error


def test_a_driver_that_is_not_there_is_named():
    with pytest.raises(DeviceError, match=r"icd=/no/driver\.json: no such file"):
        open_device("local-gpu?icd=/no/driver.json").describe()


def test_a_machine_without_a_driver_says_what_to_install(tmp_path, monkeypatch):
    nothing = tmp_path / "nothing.json"
    nothing.write_text(
        '{"file_format_version": "1.0.0", "ICD": {"library_path": "/no.so", "api_version": "1.1"}}'
    )
    with pytest.raises(DeviceError, match=r"cannot run one addition.*libvulkan1 and a driver.*icd="):
        open_device(f"local-gpu?icd={nothing}").describe()
