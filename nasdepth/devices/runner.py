"""Times .tflite files; copied to the device, needs python3 (3.7 on), numpy and a TFLite runtime there.

Reads one job as a line of JSON from stdin::

    {"models": [path, ...], "threads": 1, "min_runs": 30, "min_seconds": 0.15, "rounds": 5}

Optional: `task` (`measure` or `diagnose`), `cores` (CPUs to pin to), `accelerator` ("gpu" for LiteRT's GPU
accelerator), `icd` (Vulkan driver file), `watch` (stop when stdin closes, so that a caller who is gone leaves
nothing running). `diagnose` takes one model, the probe, and looks at the machine.

Writes JSON lines to stdout: `info` (the device), `touch` (the model that is about to run: the culprit if the
process dies here), `result` for every model, `facts` for a diagnosis, `failed` with what the device lacks.
"""

import base64
import glob
import json
import os
import platform
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import threading
import time

# A network of seconds would take minutes, and repeats well: fewer runs of it will do
LONGEST_ROUND_S = 1.0
WARMUP_RUNS = 3
PACKAGES = {
    "ai_edge_litert": ("ai-edge-litert", "ai-edge-litert-nightly"),
    "tflite_runtime": ("tflite-runtime", "tflite-runtime-nightly"),
}
# Debian's chromium brings this driver, which needs no GPU
SWIFTSHADER = "/usr/lib/chromium/vk_swiftshader_icd.json"
GPU_ADVICE = (
    ". The GPU needs libvulkan1 and a driver (mesa-vulkan-drivers, the maker's own, or chromium's "
    "SwiftShader); name the driver's file with icd=/path/to/icd.json"
)
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


def fail(text):
    say(event="failed", error=text)
    sys.exit(3)


def read_job():
    # os.read and not sys.stdin: the watching thread must hold no lock of Python's when the process ends
    data = b""
    while not data.endswith(b"\n"):
        more = os.read(0, 1 << 16)
        if not more:
            break
        data += more
    return json.loads(data.decode())


def watch():
    while os.read(0, 1 << 16):
        pass
    os._exit(130)


def load_libraries():
    global np, Interpreter, RUNTIME
    version = platform.python_version()
    where = f"{sys.executable} (Python {version})"
    pip = sys.executable + " -m pip install "
    if sys.version_info < (3, 7):  # noqa: UP036
        fail(f"{where} is too old; 3.7 or newer is needed: name another with python=... in the URI")
    try:
        import numpy as np
    except ImportError as error:
        fail(f"no numpy for {where}: {error}. Run there: {pip}numpy")
    reasons = []
    for module in PACKAGES:
        try:
            Interpreter = __import__(module + ".interpreter", fromlist=["Interpreter"]).Interpreter
            RUNTIME = module
            return
        except ImportError as error:
            reasons.append(str(error))
    fail(
        f"no TFLite runtime for {where}: {'; '.join(reasons)}. Run there: {pip}ai-edge-litert "
        "(or tflite-runtime, for Python up to 3.11)"
    )


def pin(cores):
    try:
        os.sched_setaffinity(0, cores)
    except (OSError, AttributeError) as error:
        there = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else "unknown"
        fail(f"cores {cores} cannot be pinned to ({error}); this process may use {there}")


def runtime_version():
    try:
        from importlib import metadata
    except ImportError:
        import pkg_resources

        return PACKAGES[RUNTIME][0], pkg_resources.get_distribution(PACKAGES[RUNTIME][0]).version
    for package in PACKAGES[RUNTIME]:
        try:
            return package, metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return PACKAGES[RUNTIME][0], "unknown"


def first_line(path, default="unknown"):
    try:
        with open(path) as file:
            return file.read().strip("\0\n ").split("\n")[0] or default
    except OSError:
        return default


def cpu_name():
    board = first_line("/proc/device-tree/model", "")
    fields = {}
    try:
        with open("/proc/cpuinfo") as file:
            for line in file:
                name, colon, value = line.partition(":")
                if colon:
                    fields.setdefault(name.strip().lower(), value.strip())
    except OSError:
        pass
    name = board or fields.get("model name") or platform.processor() or "unknown"
    # clouds hide the number: "AMD EPYC" may be a Zen 3, 4 or 5
    if not board and "cpu family" in fields:
        name += f" (family {fields['cpu family']}, model {fields.get('model', 'unknown')})"
    return name


class CapturedStderr:
    """What the runtime's C++ writes to stderr: the GPU accelerator says there why it refuses a model."""

    def __enter__(self):
        sys.stderr.flush()
        self._file = tempfile.TemporaryFile()
        self._real = os.dup(2)
        os.dup2(self._file.fileno(), 2)
        return self

    def __exit__(self, *_):
        os.dup2(self._real, 2)
        os.close(self._real)
        self._file.seek(0)
        self.text = self._file.read().decode(errors="replace")
        self._file.close()


class CpuModel:
    def __init__(self, path, threads):
        self.interpreter = Interpreter(model_path=path, num_threads=threads)
        self.interpreter.allocate_tensors()
        for tensor in self.interpreter.get_input_details():
            self.interpreter.set_tensor(tensor["index"], random_input(tensor))
        self.run = self.interpreter.invoke


class GpuModel:
    """Runs on the GPU alone: the runtime refuses a model that it cannot accelerate from end to end."""

    def __init__(self, path, threads):
        from ai_edge_litert.compiled_model import CompiledModel
        from ai_edge_litert.hardware_accelerator import HardwareAccelerator

        reader = Interpreter(model_path=path, num_threads=threads)
        dtypes = {tensor["name"]: tensor["dtype"] for tensor in reader.get_output_details()}
        given = {tensor["name"]: random_input(tensor) for tensor in reader.get_input_details()}
        captured = CapturedStderr()
        try:
            with captured:
                self._model = CompiledModel.from_file(path, HardwareAccelerator.GPU)
                signature = self._model.get_signature_by_index(0)
                self._inputs = self._model.create_input_buffers(0)
                self._outputs = self._model.create_output_buffers(0)
        except RuntimeError as error:
            raise RuntimeError(gpu_refusal(captured.text) or str(error)) from None
        for name, buffer in zip(signature["inputs"], self._inputs):
            buffer.write(given[name])
        self._reads = []
        for index, (name, buffer) in enumerate(zip(signature["outputs"], self._outputs)):
            dtype = np.dtype(dtypes[name])
            size = self._model.get_output_buffer_requirements(index)["buffer_size"] // dtype.itemsize
            self._reads.append((buffer, size, dtype.type))
        self.adapter = re.search(r"Selected adapter: (.*?), arch=", captured.text)

    def run(self):
        self._model.run_by_index(0, self._inputs, self._outputs)
        # The call above returns before the work is done; reading waits for it
        for buffer, size, dtype in self._reads:
            buffer.read(size, dtype)


def gpu_refusal(text):
    lines = text.splitlines()
    for index, line in enumerate(lines):
        if "not supported by GPU delegate" in line:
            end = index + 1
            while end < len(lines) and not re.match(r"[A-Z]\d{4} |[A-Z]+: \[", lines[end]):
                end += 1
            return " ".join(part.strip() for part in lines[index:end]).replace("ERROR: ", "", 1)
    prefix = r"E\d{4} \S+ +\d+ |ERROR: "
    errors = [re.sub(prefix, "", line, count=1) for line in lines if re.match(prefix, line)]
    warnings = [line for line in lines if line.startswith("WARNING: Attempting")]
    return "; ".join(errors or warnings)


def random_input(tensor):
    values = np.random.RandomState(0).uniform(0, 1, tensor["shape"])
    scale = 1 if np.issubdtype(tensor["dtype"], np.floating) else 100
    return np.ascontiguousarray((values * scale).astype(tensor["dtype"]))


def choose_vulkan_driver(icd):
    if icd:
        if not os.path.exists(icd):
            fail(f"icd={icd}: no such file on the device; it is the .json of a Vulkan driver")
        os.environ["VK_DRIVER_FILES"] = icd


def fall_back_to_swiftshader(error):
    """Whether that is left to try: Mesa's drivers are often installed where there is no GPU for them."""
    named = os.environ.get("VK_DRIVER_FILES") or os.environ.get("VK_ICD_FILENAMES")
    if named or "No adapters found" not in str(error) or not os.path.exists(SWIFTSHADER):
        return False
    os.environ["VK_DRIVER_FILES"] = SWIFTSHADER
    return True


def delegation(interpreter):
    """Which operations the delegates took: their nodes come after the model's own."""
    ops = interpreter._get_ops_details()
    own = [op for op in ops if op["op_name"] != "DELEGATE"]
    producer = {int(tensor): index for index, op in enumerate(own) for tensor in op["outputs"]}
    taken, parts = set(), 0
    for op in ops:
        if op["op_name"] == "DELEGATE":
            parts += 1
            stop = {int(tensor) for tensor in op["inputs"]}
            todo = [int(tensor) for tensor in op["outputs"]]
            while todo:
                tensor = todo.pop()
                index = producer.get(tensor)
                if tensor in stop or index is None or index in taken:
                    continue
                taken.add(index)
                todo += [int(one) for one in own[index]["inputs"]]
    left, previous = [], True
    for index, op in enumerate(own):
        if index not in taken:
            left.append(op["op_name"])
            parts += previous
        previous = index in taken
    return {"operations": len(own), "delegated": len(taken), "partitions": parts, "left": left}


def describe(job):
    threads, gpu, adapter = job["threads"], job.get("accelerator") == "gpu", ""
    if gpu and RUNTIME != "ai_edge_litert":
        fail(f"{RUNTIME} has no GPU accelerator; ai-edge-litert has")
    with tempfile.NamedTemporaryFile(suffix=".tflite") as probe:
        probe.write(base64.b64decode(PROBE))
        probe.flush()
        try:
            model = open_model(probe.name, job)
            model.run()
        except (ImportError, RuntimeError, ValueError) as error:
            fail(f"the runtime cannot run one addition: {error}{GPU_ADVICE if gpu else ''}")
    if gpu:
        delegate, adapter = "webgpu", model.adapter.group(1) if model.adapter else "unknown"
    else:
        delegate = "xnnpack" if delegation(model.interpreter)["delegated"] else "none"
    runtime, version = runtime_version()
    pinned = job.get("cores") or []
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "device": platform.node() or "unknown",
        "soc": cpu_name(),
        "architecture": platform.machine(),
        "cores": cores,
        "threads": threads,
        "runtime": runtime,
        "runtime_version": version,
        "delegate": delegate,
        "os": platform.system() + " " + platform.release(),
        "os_bits": 8 * struct.calcsize("P"),
        "governor": first_line(f"/sys/devices/system/cpu/cpu{(pinned or [0])[0]}/cpufreq/scaling_governor"),
        "pinned": ",".join(map(str, pinned)),
        "gpu": adapter,
    }


def open_model(path, job):
    if job.get("accelerator") != "gpu":
        return CpuModel(path, job["threads"])
    try:
        return GpuModel(path, job["threads"])
    except RuntimeError as error:
        if not fall_back_to_swiftshader(error):
            raise
        return GpuModel(path, job["threads"])


def time_runs(model, runs, seconds):
    times = []
    begun = time.perf_counter()
    while len(times) < runs or time.perf_counter() < begun + seconds:
        start = time.perf_counter()
        if times and start > begun + LONGEST_ROUND_S:
            break
        model.run()
        times.append(time.perf_counter() - start)
    return times


def measure(job):
    paths, rounds = job["models"], job["rounds"]
    models, errors, times = {}, {}, {path: [] for path in paths}
    # Every model gets a share of every round, so that a machine that drifts drifts for all alike
    for _ in range(rounds):
        for path in paths:
            if path in errors:
                continue
            say(event="touch", model=path)
            try:
                if path not in models:
                    model = open_model(path, job)
                    for _ in range(WARMUP_RUNS):
                        model.run()
                    models[path] = model
                share = -(-job["min_runs"] // rounds)
                times[path] += time_runs(models[path], share, job["min_seconds"] / rounds)
            except (RuntimeError, ValueError, MemoryError, OSError) as error:
                errors[path] = str(error) or type(error).__name__
    for path in paths:
        if path in errors:
            say(event="result", model=path, error=errors[path])
            continue
        low, median, high = np.percentile(times[path], (10, 50, 90)) * 1e3
        say(
            event="result",
            model=path,
            latency_ms=low,
            median_ms=median,
            min_ms=min(times[path]) * 1e3,
            spread=high / low - 1,
            runs=len(times[path]),
        )


def command(*words):
    if not shutil.which(words[0]):
        return ""
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return done.stdout.decode(errors="replace").strip()


def diagnose(job):
    """Facts without verdicts: what they mean is decided where the caller runs."""
    load = first_line("/proc/loadavg", "")
    cpufreq = "/sys/devices/system/cpu/cpu*/cpufreq/"
    numbers = {}
    for name in ("scaling_cur_freq", "scaling_max_freq", "cpuinfo_max_freq"):
        numbers[name] = [int(first_line(path, "0")) for path in sorted(glob.glob(cpufreq + name))]
    governors = sorted({first_line(path) for path in glob.glob(cpufreq + "scaling_governor")})
    try:
        with open("/proc/meminfo") as file:
            memory = {line.split(":")[0]: int(line.split()[1]) for line in file}
    except OSError:
        memory = {}
    facts = {
        "python": platform.python_version(),
        "kernel_machine": os.uname().machine,
        "governors": governors,
        "frequencies_khz": numbers,
        "load": float(load.split()[0]) if load else None,
        "cpus": os.cpu_count(),
        "throttled": command("vcgencmd", "get_throttled"),
        "memory_available_kib": memory.get("MemAvailable"),
        "timer_resolution_ns": time.get_clock_info("perf_counter").resolution * 1e9,
    }
    temperature = first_line("/sys/class/thermal/thermal_zone0/temp", "")
    facts["temperature_c"] = int(temperature) / 1000 if temperature.lstrip("-").isdigit() else None
    (path,) = job["models"]
    say(event="touch", model=path)
    try:
        model = open_model(path, job)
        gpu = job.get("accelerator") == "gpu"
        facts["delegation"] = None if gpu else delegation(model.interpreter)
        time_runs(model, WARMUP_RUNS, 0.1)
        times = np.array(time_runs(model, job["min_runs"], job["min_seconds"])) * 1e3
        low, median, high = np.percentile(times, (10, 50, 90))
        halves = [float(np.percentile(half, 10)) for half in np.array_split(times, 2)]
        facts["reference"] = {
            "latency_ms": low,
            "median_ms": median,
            "spread": high / low - 1,
            "drift": halves[1] / halves[0] - 1,
            "runs": len(times),
        }
    except (RuntimeError, ValueError, MemoryError, OSError) as error:
        facts["probe_error"] = str(error) or type(error).__name__
    say(event="facts", **facts)


def main():
    job = read_job()
    if job.get("watch"):
        threading.Thread(target=watch, daemon=True).start()
    if job.get("cores"):
        pin(job["cores"])
    if job.get("accelerator") == "gpu":
        choose_vulkan_driver(job.get("icd"))
    load_libraries()
    say(event="info", **describe(job))
    if job.get("task") == "diagnose":
        diagnose(job)
    else:
        measure(job)
    sys.stdout.flush()
    # GPU drivers are known to hang or crash in their own clean-up, after every answer is given
    if job.get("accelerator") == "gpu":
        os._exit(0)


if __name__ == "__main__":
    main()
