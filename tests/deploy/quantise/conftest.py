"""A float file with something to quantise, and images to do it on."""

import pytest
from quantise_samples import RICH, lively

from nasdepth.architecture import Architecture
from nasdepth.deploy import Calibration, export_tflite


@pytest.fixture(scope="session")
def rich_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("rich") / "float32.tflite"
    return export_tflite(lively(Architecture.parse(RICH)), path).path


@pytest.fixture(scope="session")
def calibration(scenes):
    return Calibration.of(scenes, "scenes:24+6", 20)
