"""A file as the challenge's server judged it."""

import json

import numpy as np
import pytest

from nasdepth.deploy.submission import judge, write_submission
from nasdepth.devices import LocalDevice
from nasdepth.devices.base import Device, Measurement
from nasdepth.models import build, resolve
from nasdepth.score import score
from nasdepth.tflite.flatbuffer import read_model, write_model


class Refusing(Device):
    """This machine, saying of every file that it cannot run it."""

    uri = "local"

    def describe(self):
        return LocalDevice(1).describe()

    def measure(self, models, min_runs=50, min_seconds=1.0):
        for model in models:
            yield Measurement(model, 0.0, 0.0, 0.0, 0.0, 0, error="Op type not supported: RESIZE_BILINEAR")

    def diagnose(self):
        raise NotImplementedError

    def close(self):
        pass


@pytest.fixture(scope="module")
def submission(litedepth_file, test_scenes):
    return judge(litedepth_file, test_scenes, "scenes:24+6", LocalDevice(1))


def test_fidelity_runtime_and_score(submission, tmp_path):
    row = submission.to_json()
    assert row["score"] == pytest.approx(score(row["si_rmse"], row["runtime_ms"])) and row["error"] is None
    network = build(resolve("litedepth"))
    weights = sum(one.numel() for one in network.parameters())
    # batch normalisation is folded, a bias takes the place of its two vectors
    assert 0.9 * weights < row["parameters"] <= weights
    assert row["macs"] == pytest.approx(26.7e6, rel=0.01)
    paths = write_submission(submission, tmp_path / "out")
    assert paths[0].read_bytes() == submission.model.read_bytes()
    written = json.loads(paths[1].read_text())
    assert written.pop("schema") == "nasdepth-submission-1" and written == json.loads(json.dumps(row))
    sheet = paths[2].read_text()
    assert f"{row['si_rmse']:.4f}" in sheet and f"{row['parameters']:,}" in sheet and "## Method" in sheet


def test_a_refusal_is_an_answer(litedepth_file, test_scenes, tmp_path):
    refused = judge(litedepth_file, test_scenes, "scenes:24+6", Refusing())
    assert refused.score is None and refused.metrics["si_rmse"] > 0
    sheet = write_submission(refused, tmp_path)[2].read_text()
    assert "refused: Op type not supported: RESIZE_BILINEAR" in sheet


def test_files_of_other_sizes_are_scored_at_the_datas(litedepth_file, test_scenes, tmp_path):
    """The same network without its last enlargement answers nearly as with it."""
    content = read_model(litedepth_file)
    graph = content.subgraphs[0]
    last = graph.operators[-1]
    graph.outputs = np.array([last.inputs[0]], np.int32)
    content.signatureDefs = None
    graph.operators = graph.operators[:-1]
    write_model(content, tmp_path / "small.tflite")
    small = judge(tmp_path / "small.tflite", test_scenes, "scenes", Refusing())
    whole = judge(litedepth_file, test_scenes, "scenes", Refusing())
    assert small.metrics["si_rmse"] == pytest.approx(whole.metrics["si_rmse"], abs=0.02)
