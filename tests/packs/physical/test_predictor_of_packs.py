"""A pack answers like any predictor, says what it does not know, and survives its file."""

import time
from dataclasses import replace

import pytest
import yaml

from nasdepth.architecture import Architecture
from nasdepth.errors import NasdepthError, TableError, UnknownKernelError
from nasdepth.latency import Kernel, LatencyTable, TablePredictor, architecture_kernels
from nasdepth.latency.predict.files import every_table
from nasdepth.models import resolve
from nasdepth.packs import (
    CalibratedPredictor,
    PackCard,
    load_predictor,
    load_table,
    public_kernels,
    shipped_tables,
)
from nasdepth.packs.kernel_lists import quantised
from nasdepth.testing import PredictorConformance

PI = "rpi4-tflite2.5-ruy-4t"
PACKS = [name for name in shipped_tables() if isinstance(load_table(name).card, PackCard)]


class TestEveryPack(PredictorConformance):
    """All of CPUs; a pack that knows no integers is asked for none."""

    @pytest.fixture(scope="class", params=PACKS)
    def pack(self, request):
        return load_predictor(request.param).table

    @pytest.fixture(scope="class")
    def table(self, pack):
        whole = LatencyTable.load("x86-64-xnnpack-1t")
        known = {"float32"} | ({"int8", "uint8"} if "int8" in pack.card.precisions else set())
        timings = {kernel: timing for kernel, timing in whole.timings.items() if kernel.precision in known}
        return LatencyTable(whole.name, whole.card, timings)

    @pytest.fixture(scope="class")
    def predictor(self, pack):
        return CalibratedPredictor(pack)

    def create(self, table):
        raise AssertionError("a pack is not made from a table")


@pytest.fixture(scope="module")
def predictor():
    return load_predictor(PI)


def test_nothing_is_measured_and_what_no_anchor_has_is_unknown(predictor):
    estimate = predictor.estimate(architecture_kernels(resolve("litedepth"), predictor.runtime))
    assert estimate.measured_share == 0
    sources = {}
    for kernel, _, source in estimate.kernels:
        sources.setdefault(kernel.op, set()).add(source)
    assert sources["conv2d"] == {"interpolated"}
    for op in ("resize_bilinear", "resize_nearest", "concat"):
        assert sources[op] == {"unknown"}
    assert 0 < estimate.unknown_share < 1
    anchor = predictor.estimate(public_kernels("mobilenet-v2-0.5-160", predictor.runtime))
    # that depthwise convolutions are there does not tell what their parts cost
    assert anchor.unknown_share < estimate.unknown_share / 2
    assert {kernel.op for kernel, _, source in anchor.kernels if source == "unknown"} >= {"depthwise_conv2d"}

    def width(one):
        return one.interval_90[1] / one.interval_90[0]

    assert width(estimate) > 1.5 * width(anchor)


def test_no_kernel_is_faster_than_the_roofline(predictor):
    fit = predictor.table.card.precisions["float32"]
    assert (fit.peak_gflops, fit.bandwidth_gb_s) == (48, 5.5)
    for name in ("mobilenet-v1-1.0-224", "resnet50", "mobilenet-v3-large_224_1.0"):
        estimate = predictor.estimate(public_kernels(name, predictor.runtime))
        for kernel, latency_ms, _ in estimate.kernels:
            assert latency_ms >= 2e-6 * kernel.macs / 48
            assert latency_ms >= 1e-6 * (kernel.in_bytes + kernel.out_bytes + kernel.weight_bytes) / 5.5


def test_a_larger_image_may_be_faster_where_all_cores_read_the_same_weights():
    """The exception to monotony: 13 tiles of pixels are begun at four places of the weights, 16 at one."""
    predictor = load_predictor("rpi4-xnnpack-4t")

    def latency_ms(size, channels=1024):
        kernel = Kernel("conv2d", size, size, channels, size, size, channels, padding="same")
        return predictor.estimate([kernel]).latency_ms

    assert latency_ms(8) < latency_ms(7)
    assert latency_ms(8, 256) > latency_ms(7, 256)
    assert latency_ms(10) > latency_ms(8)


def test_integers_of_any_architecture_are_answered_with_what_is_unknown():
    predictor = load_predictor("rpi4-xnnpack-4t")
    for network in (architecture_kernels(resolve(name), predictor.runtime) for name in ("litedepth", "bts")):
        estimate = predictor.estimate(quantised(network))
        low_ms, high_ms = estimate.interval_90
        assert 0 < low_ms < estimate.latency_ms < high_ms
        assert 0 < estimate.unknown_share < 1
        sources = {kernel.op: source for kernel, _, source in estimate.kernels}
        assert {sources[op] for op in sources if op.startswith("resize")} == {"unknown"}


@pytest.mark.parametrize("name", PACKS)
def test_a_pack_answers_alike_after_a_round_trip(name, tmp_path):
    pack = load_predictor(name).table
    again = load_table(pack.save(tmp_path))
    assert again.card == pack.card
    assert again.fingerprint == pack.fingerprint
    kernels = public_kernels("mobilenet-v2-1.0-224", CalibratedPredictor(pack).runtime)
    assert CalibratedPredictor(again).estimate(kernels) == CalibratedPredictor(pack).estimate(kernels)


@pytest.mark.parametrize("name", PACKS)
def test_a_pack_is_calibrated_says_from_what_and_has_no_negative_coefficient(name):
    card = load_predictor(name).table.card
    assert card.kind == "calibrated"
    assert card.sources and all(one.url.startswith("https://") and one.licence for one in card.sources)
    for fit in card.precisions.values():
        assert all(one.ms > 0 for one in fit.terms.values())
        assert any(one.anchored for one in fit.terms.values())
        assert fit.networks >= 2


def test_a_damaged_pack_is_named_by_file_field_and_value(tmp_path, predictor):
    path = replace(predictor.table, name="mine").save(tmp_path)
    content = yaml.safe_load(path.read_text())

    def damaged(change):
        copy = yaml.safe_load(path.read_text())
        change(copy)
        (tmp_path / "bad.yaml").write_text(yaml.safe_dump(copy))
        with pytest.raises(TableError) as error:
            load_table(tmp_path / "bad.yaml")
        return str(error.value)

    first = next(iter(content["precisions"]["float32"]["terms"]))
    coefficients = ("precisions", "float32", "terms", first)

    def set_to(keys, value):
        def change(copy):
            for key in keys[:-1]:
                copy = copy[key]
            copy[keys[-1]] = value

        return change

    assert "bad.yaml: precisions.float32.terms" in damaged(set_to((*coefficients, "ms"), -1.0))
    assert "is -1.0" in damaged(set_to((*coefficients, "ms"), -1.0))
    assert "'warp_drive' is no term" in damaged(
        set_to(
            ("precisions", "float32", "terms", "warp_drive"), content["precisions"]["float32"]["terms"][first]
        )
    )
    assert "covariance: expected the lower triangle" in damaged(
        lambda copy: copy["precisions"]["float32"]["covariance"].pop()
    )
    assert "threads" in damaged(lambda copy: copy.pop("threads"))
    assert "kind is 'measured'" in damaged(set_to(("kind",), "measured"))


def test_a_precision_without_coefficients_is_an_error_that_says_what_to_do():
    predictor = load_predictor("cortexa76-1t")
    kernel = Kernel("conv2d", 8, 8, 8, 8, 8, 8, padding="same", precision="int8")
    with pytest.raises(UnknownKernelError, match=r"cortexa76-1t knows float32 only; calibrate one on int8"):
        predictor.estimate([kernel])


def test_a_network_costs_a_fraction_of_five_milliseconds(predictor):
    kernels = architecture_kernels(resolve("litedepth"), predictor.runtime)
    predictor.estimate(kernels)
    started = time.perf_counter()
    for _ in range(50):
        predictor.estimate(kernels)
    assert (time.perf_counter() - started) / 50 < 5e-3


def test_names_and_paths_load_tables_and_packs_alike(tmp_path, predictor):
    assert isinstance(load_predictor("x86-64-xnnpack-1t"), TablePredictor)
    assert isinstance(predictor, CalibratedPredictor)
    path = replace(predictor.table, name="mine").save(tmp_path)
    assert load_predictor(path).table.card == predictor.table.card
    table = LatencyTable.load("x86-64-xnnpack-1t")
    rows = table.save(tmp_path)
    # a measured table is a CSV with a card beside it; either names it
    names = (rows, tmp_path / f"{table.name}.csv", tmp_path / f"{table.name}.yaml")
    assert {load_predictor(one).table.name for one in names} == {table.name}
    with pytest.raises(NasdepthError, match=f"no-such: no such file; shipped with nasdepth are: .*{PI}"):
        load_predictor("no-such")
    assert rows in every_table([tmp_path]) and path in every_table([tmp_path])


# Attentions, gates, planes, pools over one axis or of 7x7, dilations, coordinates: where operations come from
MIXED = (
    "64x96,mobilenetv2@0.5:5,none-rfdb-k3-w16-ca,gate-fbnet-k3-w16-se,concat-ghost-k5-w24,up-bilinear-nearest",
    "64x96xy,resnet18@0.5:4,none-aspp-k3-w16,gate-rcu-k3-w16-ca,add-lrconv-k3-w24,none-pydnet-k3-w8,up-nearest-lpg",
    "64x96,ghostnetv2@0.5:9,none-doubleconv-k3-w16,concat-ffm-k3-w16,up-nearest-bilinear",
)
NONLOCAL = "64x96,mobilenetv2@0.5:5,none-conv-k1-w16-nonlocal,up-nearest-nearest"
MODELLED = [name for name in shipped_tables() if not isinstance(load_table(name), LatencyTable)]


@pytest.mark.parametrize("name", MODELLED)
def test_every_pack_answers_for_every_kind_of_kernel_that_its_device_runs(name):
    predictor = load_predictor(name)
    for text in MIXED:
        estimate = predictor.estimate(architecture_kernels(Architecture.parse(text), predictor.runtime))
        low, high = estimate.interval_90
        assert 0 < low < estimate.latency_ms < high
        assert all(latency_ms > 0 for _, latency_ms, _ in estimate.kernels)
    kernels = architecture_kernels(Architecture.parse(NONLOCAL), predictor.runtime)
    if predictor.runtime == "gpu":  # the delegate ignores that a matrix is transposed
        with pytest.raises(UnknownKernelError, match="the GPU delegate does not run batch_matmul"):
            predictor.estimate(kernels)
    else:
        assert predictor.estimate(kernels).latency_ms > 0
