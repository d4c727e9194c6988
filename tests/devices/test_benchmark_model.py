"""The reader of benchmark_model's output, on what real phones and boards printed (lines from public logs)."""

import pytest

from nasdepth.devices.benchmark_model import parse_benchmark, refused_by_gpu
from nasdepth.errors import DeviceError

# github.com/google/XNNPACK issue 999: a Raspberry Pi, 4 threads
RASPBERRY = """\
STARTING!
Log parameter values verbosely: [0]
Num threads: [4]
#threads used for CPU inference: [4]
INFO: Created TensorFlow Lite XNNPACK delegate for CPU.
The input model file size (MB): 3.67827
Initialized session in 18.777ms.
Running benchmark for at least 1 iterations and at least 0.5 seconds but terminate if exceeding 150 seconds.
count=9 first=64791 curr=56295 min=54873 max=65831 avg=57758.2 std=4065

Running benchmark for at least 50 iterations and at least 1 seconds but terminate if exceeding 150 seconds.
count=50 first=58154 curr=53809 min=53077 max=60727 avg=55043.2 std=1562

Inference timings in us: Init: 18777, First inference: 64791, Warmup (avg): 57758.2, Inference (avg): 55043.2
Memory footprint delta from the start of the tool (MB): init=8.97656 overall=18.7227
"""
# github.com/tensorflow/tensorflow issue 43541: a phone's GPU through adb
PHONE_GPU = """\
Use gpu: [1]
INFO: Initialized TensorFlow Lite runtime.
INFO: Created TensorFlow Lite delegate for GPU.
INFO: Initialized OpenCL-based API.
INFO: Created 1 GPU delegate kernels.
Explicitly applied GPU delegate, and the model graph will be completely executed by the delegate.
Initialized session in 870.557ms.
count=4 first=130565 curr=120829 min=117370 max=130565 avg=122373 std=4930

count=50 first=119212 curr=118055 min=113737 max=124776 avg=119375 std=1948

Inference timings in us: Init: 870557, First inference: 130565, Warmup (avg): 122373, Inference (avg): 119375
"""
# github.com/tensorflow/tensorflow issue 56301: logcat of the benchmark app, a delegate with many partitions
LOGCAT = """\
05-30 15:16:44.857  3380  3380 I tflite  : Explicitly applied NNAPI delegate, and the model graph will be \
partially executed by the delegate w/ 44 delegate kernels.
05-30 15:16:45.362  3380  3380 I tflite  : count=40 first=32942 curr=12594 min=11340 max=32942 avg=12581.9 \
std=3331
05-30 15:16:46.365  3380  3380 I tflite  : count=75 first=12840 curr=11853 min=11787 max=13649 avg=12167.6 \
std=325
05-30 15:16:46.366  3380  3380 I tflite  : Inference timings in us: Init: 126059, First inference: 32942, \
Warmup (avg): 12581.9, Inference (avg): 12167.6
"""
# github.com/yuenshome/yuenshome.github.io issue 77: TFLite 1.x
OLD = """\
nnapi error: unable to open library libneuralnetworks.so
resolved reporter
count=7 first=127425 curr=66709 min=66709 max=127425 avg=76605.9 std=20944

count=15 first=66753 curr=66800 min=66699 max=66838 avg=66767.6 std=39

Average inference timings in us: Warmup: 76605.9, Init: 9933, no stats: 66767.6
"""
# github.com/tensorflow/tensorflow issues 57907 and 49012: what a GPU delegate leaves to the CPU
PARTLY = """\
ERROR: Following operations are not supported by GPU delegate:
ARG_MAX: Operation is not supported.
GATHER_ND: Operation is not supported.
97 operations will run on the GPU, and the remaining 200 operations will run on the CPU.
"""
NOTHING = """\
INFO: Created TensorFlow Lite delegate for GPU.
ERROR: Couldn't get node and registration info for op: -1793924896
INFO: Created 0 GPU delegate kernels.
Though GPU delegate is explicitly applied, the model graph will not be executed by the delegate.
"""


def test_times_of_a_board():
    said = parse_benchmark(RASPBERRY)
    assert (said.runs, said.average_ms, said.min_ms, said.median_ms) == (50, 55.0432, 53.077, None)
    assert (said.delegate, said.partitions, said.error) == ("xnnpack", None, None)
    assert parse_benchmark(OLD).average_ms == 66.7676 and parse_benchmark(OLD).delegate == "none"


def test_times_of_a_phones_gpu():
    said = parse_benchmark(PHONE_GPU)
    assert (said.delegate, said.complete, said.partitions, said.average_ms) == ("gpu", True, 1, 119.375)
    assert refused_by_gpu(PHONE_GPU) is None


def test_logcats_prefix_is_taken_off():
    said = parse_benchmark(LOGCAT)
    assert (said.runs, said.average_ms, said.partitions) == (75, 12.1676, 44)
    assert (said.delegate, said.complete) == ("nnapi", False)


def test_partitions_are_read():
    line = "VERBOSE: Replacing 63 out of 64 node(s) with delegate (TfLiteXNNPackDelegate) node, yielding 2 "
    said = parse_benchmark(line + "partitions for the whole graph.\n" + RASPBERRY)
    assert (said.partitions, said.complete) == (2, False)


def test_what_runs_on_the_cpu_after_all_is_not_a_gpu_time():
    assert refused_by_gpu(PARTLY + PHONE_GPU.replace("completely", "partially")) == (
        "Following operations are not supported by GPU delegate: ARG_MAX: Operation is not supported. "
        "GATHER_ND: Operation is not supported. 97 operations will run on the GPU, and the remaining 200 "
        "operations will run on the CPU."
    )
    assert "will not be executed by the delegate" in refused_by_gpu(NOTHING)
    assert parse_benchmark(NOTHING + RASPBERRY).delegate == "xnnpack"


def test_errors_are_the_tools_own():
    said = parse_benchmark(
        "ERROR: Encountered unresolved custom op: Enter.\nERROR: Node number 8 (Enter) failed to prepare.\n"
        "Failed to allocate tensors!\nBenchmarking failed.\n"
    )
    assert said.error.startswith("Encountered unresolved custom op: Enter.; Node number 8") and said.runs == 0
    with pytest.raises(DeviceError, match=r"neither times nor an error.*'sh: not a tool'"):
        parse_benchmark("sh: not a tool")
