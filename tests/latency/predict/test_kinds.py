"""A kind of predictor that somebody else registers, and what is said of a kind that nobody registered."""

from typing import Literal

import pytest

from nasdepth.errors import TableError
from nasdepth.latency import (
    CardFile,
    DeviceSetting,
    Kernel,
    LatencyEstimate,
    LatencyTable,
    Predictor,
    load_predictor,
    load_table,
    register_predictor,
    runtime_of,
)
from nasdepth.latency.predict import kinds

KERNEL = Kernel("conv2d", 8, 8, 16, 8, 8, 32, padding="same")


class RooflineCard(DeviceSetting):
    model: Literal["test-roofline"] = "test-roofline"
    gflops: float


class RooflinePredictor(Predictor):
    def __init__(self, table: CardFile[RooflineCard]) -> None:
        self.table, self.runtime = table, runtime_of(table.card.delegate)

    def estimate(self, kernels):
        times = [2e-6 * kernel.macs / self.table.card.gflops for kernel in kernels]
        answers = tuple((kernel, ms, "unknown") for kernel, ms in zip(kernels, times, strict=True))
        return LatencyEstimate(sum(times), 0.0, (sum(times), sum(times)), 0.0, 0.0, answers, 1.0)


@pytest.fixture
def registered(monkeypatch):
    monkeypatch.setattr(kinds, "_KINDS", dict(kinds._KINDS))
    return register_predictor("test-roofline", card=RooflineCard)(RooflinePredictor)


@pytest.fixture
def saved(tmp_path):
    shared = DeviceSetting.model_fields.keys() - {"kind"}
    setting = LatencyTable.load("x86-64-xnnpack-1t").card.model_dump(include=shared)
    return CardFile("mine", RooflineCard(**setting, kind="calibrated", gflops=10)).save(tmp_path)


def test_one_decorator_makes_a_card_loadable(registered, saved):
    predictor = load_predictor(saved)
    assert isinstance(predictor, registered)
    assert predictor.estimate([KERNEL]).latency_ms == pytest.approx(2e-6 * 8 * 8 * 32 * 16 / 10)
    table = load_table(saved)
    assert table.card == predictor.table.card and table.validation is None and table.kernels == 0


def test_a_kind_that_nobody_registered_is_named(saved):
    words = "mine.yaml: model is 'test-roofline'; it must be one of gpu-delegate, measured, physical-terms"
    with pytest.raises(TableError, match=words):
        load_predictor(saved)


def test_a_name_belongs_to_one_predictor(registered):
    class Other(RooflinePredictor):
        pass

    with pytest.raises(ValueError, match=r"'test-roofline' is registered already, by .*RooflinePredictor"):
        register_predictor("test-roofline", card=RooflineCard)(Other)
    assert register_predictor("test-roofline", card=RooflineCard)(registered) is registered
