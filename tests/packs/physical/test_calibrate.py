"""What ships is what the published measurements give, as good as asked, and holds none of them."""

import re

import pytest
import yaml

from nasdepth.errors import TableError
from nasdepth.packs import (
    CalibratedPredictor,
    Source,
    calibrate_pack,
    load_predictor,
    public_kernels,
    read_anchors,
    read_prior,
    shipped_tables,
)
from nasdepth.packs.physical.calibrate import FOLDS

PI = "rpi4-tflite2.5-ruy-4t"


@pytest.fixture(scope="module")
def anchors(published):
    return read_anchors(
        published / "mlperf_rpi4_tflite.csv",
        "tflite",
        latency_column="p50_ms",
        where={"runtime": ["tflite-v2.5.0-ruy"], "precision": ["float32"]},
    )


@pytest.fixture(scope="module")
def pack(anchors):
    setting, source = {"runtime_version": "2.5.0"}, Source(used="all", url="https://a.org", licence="MIT")
    return calibrate_pack("again", anchors, read_prior("cortex-a72-ruy"), setting=setting, sources=[source])


def test_the_shipped_pack_is_what_the_measurements_give(anchors, pack):
    shipped = load_predictor(PI)
    made = CalibratedPredictor(pack)
    for anchor in anchors:
        assert made.estimate(anchor.kernels) == shipped.estimate(anchor.kernels)


def test_goals_on_networks_left_out(pack):
    check = pack.card.precisions["float32"].validation
    assert check.folds.models == 38
    assert check.folds.mape_percent <= 3
    assert check.folds.within_10_percent >= 95
    assert 85 <= check.folds.interval_90_coverage_percent <= 95 + 100 / 38
    wanted = {"mobilenet-v1", "mobilenet-v2", "mobilenet-v3", "efficientnet-lite"}
    assert {name: one.mape_percent for name, one in check.families.items() if one.mape_percent > 8} == {}
    assert wanted <= set(check.families)


def test_ten_networks_adapt_the_pack(published, anchors):
    others = read_anchors(
        published / "mlperf_rpi4_tflite.csv",
        "tflite",
        latency_column="p50_ms",
        where={"runtime": ["tflite-v2.7.1-ruy"], "precision": ["float32"]},
    )
    adapted = CalibratedPredictor(
        calibrate_pack("mine", others[::4], load_predictor(PI).table, setting={"threads": 4})
    )
    rest = [one for index, one in enumerate(others) if index % 4]
    errors = [adapted.estimate(one.kernels).latency_ms / one.latency_ms - 1 for one in rest]
    assert sum(map(abs, errors)) / len(errors) < 0.04
    # integers were not measured there: they follow what all have in common
    kernels = public_kernels("mobilenet-v1-1.0-224", "tflite", "int8")
    before, after = load_predictor(PI).estimate(kernels), adapted.estimate(kernels)
    assert after.sd_ms / after.latency_ms > before.sd_ms / before.latency_ms


def test_no_published_measurement_is_in_a_pack(published):
    """Neither a model nor one of the times, which have seven digits and more."""
    text = "".join(path.read_text() for path in published.glob("*.csv"))
    raw = {one for one in re.findall(r"\d+\.\d+", text) if len(one.replace(".", "").lstrip("0")) >= 6}
    models = {line.split(",")[0] for line in text.splitlines()} - {"model", "team", "year"}
    assert len(raw) > 1000 and len(models) > 100
    for name in shipped_tables():
        table = load_predictor(name).table
        if table.card.kind == "measured":
            continue
        content = table.card.to_yaml()
        assert not raw & set(re.findall(r"\d+\.\d+", content)), name
        assert [one for one in models if re.search(rf"^\s*{re.escape(one)},", content, re.MULTILINE)] == []


def test_few_networks_keep_the_priors_scale(anchors):
    prior = read_prior("cortex-a72-ruy")
    few = calibrate_pack("few", anchors[:5], prior, setting={"runtime_version": "2.5.0"},
                    sources=[Source(used="all", url="https://a.org", licence="MIT")])  # fmt: skip
    fit = few.card.precisions["float32"]
    assert fit.validation.folds.models == 5
    two = calibrate_pack("two", anchors[:2], load_predictor(PI).table)
    assert two.card.precisions["float32"].validation is None
    assert fit.sd_factor == prior.precisions["float32"].belief().sd_factor
    assert FOLDS == 10 and yaml.safe_load(few.card.to_yaml())["precisions"]["float32"]["networks"] == 5


def test_what_the_card_lacks_is_named(anchors):
    with pytest.raises(TableError, match="field runtime_version is not known; give it by `setting`"):
        calibrate_pack("x", anchors, read_prior("cortex-a72-ruy"))
    with pytest.raises(TableError, match="'colour' is no field of a device card"):
        calibrate_pack("x", anchors, read_prior("cortex-a72-ruy"), setting={"colour": "red"})
    with pytest.raises(TableError, match="field threads is 'four'; it must be an integer"):
        calibrate_pack("x", anchors, read_prior("cortex-a72-ruy"), setting={"threads": "four"})
