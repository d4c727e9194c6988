"""Networks without their resizes: the file holds what the kernels say, and the runtime runs it."""

from collections import Counter

import pytest

from nasdepth.devices import open_device
from nasdepth.latency import architecture_kernels, tflite_kernels
from nasdepth.latency.measure.networks import kernels_without_resizes, write_without_resizes
from nasdepth.models import resolve

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
