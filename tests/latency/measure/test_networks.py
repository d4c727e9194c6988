"""Networks written without a converter: the file holds what the kernels say, and the runtime runs it."""

import random
from collections import Counter

import pytest

from nasdepth.devices import open_device
from nasdepth.latency import architecture_kernels, tflite_kernels
from nasdepth.latency.measure.networks import kernels_without_resizes, write_untrained, write_without_resizes
from nasdepth.models import resolve
from nasdepth.space import SearchSpace

DESIGNS = (
    "litedepth",
    "64x96xy,ghostnet@0.35:4,none-mbconv-k3-w16-se,concat-conv-k3-w16,up-nearest-nearest",
)


@pytest.mark.parametrize("design", DESIGNS)
def test_the_file_has_the_kernels(design, tmp_path):
    architecture = resolve(design)
    path = tmp_path / "core.tflite"
    write_without_resizes(architecture, path)
    expected = kernels_without_resizes(architecture_kernels(architecture))
    # TFLite orders branches in its own way
    assert Counter(tflite_kernels(path)) == Counter(expected)
    (measured,) = open_device("local", 1).measure([path])
    assert not measured.error


@pytest.mark.parametrize("runtime", ["xnnpack", "tflite", "gpu"])
def test_files_have_the_kernels_of_the_architecture(runtime, tmp_path):
    space = SearchSpace.load("depth")
    rng = random.Random(3)
    path = tmp_path / "network.tflite"
    for architecture in [*map(resolve, DESIGNS), *(space.sample(rng) for _ in range(6))]:
        write_untrained(architecture, path)
        assert tflite_kernels(path, runtime) == architecture_kernels(architecture, runtime)


def test_the_file_is_the_converters_operator_by_operator(tmp_path, litedepth_file):
    path = tmp_path / "written.tflite"
    write_untrained(resolve("litedepth"), path)
    assert tflite_kernels(path) == tflite_kernels(litedepth_file)
    (measured,) = open_device("local", 1).measure([path], min_runs=3, min_seconds=0)
    assert not measured.error
