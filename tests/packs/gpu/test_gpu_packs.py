"""The packs that ship: physics, conformance, and the networks that they were not fitted to."""

import random
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import yaml

from nasdepth.architecture import DecoderStage
from nasdepth.decoder_blocks import BLOCKS
from nasdepth.errors import TableError, UnknownKernelError
from nasdepth.kernels.rules import load_rules
from nasdepth.latency import Kernel, LatencyTable, architecture_kernels
from nasdepth.models import named_designs
from nasdepth.packs import load_predictor, load_table
from nasdepth.packs.gpu import GpuPredictor
from nasdepth.packs.gpu.delegate import load_delegate
from nasdepth.packs.gpu.fit import adapt, fit_pack
from nasdepth.packs.gpu.prior import gpu_priors, read_gpu_prior
from nasdepth.packs.gpu.validation import check_pack, folds, left_out
from nasdepth.space import SearchSpace
from nasdepth.testing import PredictorConformance

PACKS = {name: f"{name.replace('_', '-')}-gpu" for name in gpu_priors()}
MALI = "malig76-gpu"


@pytest.fixture(scope="module", params=PACKS.values())
def predictor(request):
    return load_predictor(request.param)


class _OnlyDelegated(PredictorConformance):
    """Asked for the kernels of the x86-64 table that the delegate runs."""

    name = ""

    def create(self, table):
        return load_predictor(self.name)

    @pytest.fixture(scope="class")
    def table(self):
        table = LatencyTable.load("x86-64-xnnpack-1t")
        delegates = load_rules("gpu").delegates
        timings = {kernel: timing for kernel, timing in table.timings.items() if delegates(kernel)}
        return LatencyTable(table.name, table.card.model_copy(update={"kernels": len(timings)}), timings)


class TestAdreno(_OnlyDelegated):
    name = "adreno640-gpu"


class TestMali(_OnlyDelegated):
    name = MALI


class TestPowerVR(_OnlyDelegated):
    name = "powervr-ge8320-gpu"


def test_a_pack_is_an_estimate_and_says_so(predictor):
    card = predictor.table.card
    assert isinstance(predictor, GpuPredictor) and predictor.runtime == "gpu"
    assert card.kind == "calibrated" and card.sources
    assert card.validation is not None and card.operations is not None
    estimate = predictor.estimate(architecture_kernels(named_designs()["litedepth"], "gpu"))
    assert estimate.measured_share == 0
    # resizes and concatenations of decoders are in no published classifier, or answered by the prior
    assert 0 < estimate.unknown_share < 1
    assert {source for _, _, source in estimate.kernels} == {"interpolated", "unknown"}


def test_no_coefficient_is_negative(predictor):
    card = predictor.table.card
    assert all(value > 0 for form in card.forms.values() for value in form.ms.values())
    assert all(value >= 0 for value in (*card.network.factors.values(), card.network.base_ms))


def test_kinds_that_nobody_timed_widen_the_interval(predictor):
    convolutions = [Kernel("conv2d", 28, 28, 64, 28, 28, 64, padding="same")] * 20
    resizes = [Kernel("resize_bilinear", 28, 28, 64, 56, 56, 64, sampling="half_pixel")] * 20
    known, both = predictor.estimate(convolutions), predictor.estimate(convolutions + resizes)
    assert known.unknown_share == 0 < both.unknown_share
    assert both.sd_ms / both.latency_ms > known.sd_ms / known.latency_ms


def _next_kernel(stage: DecoderStage) -> int:
    """The next that its block comes in, or its own."""
    return min((one for one in BLOCKS[stage.block].kernels if one > stage.kernel), default=stage.kernel)


def test_larger_architectures_of_the_full_space_take_no_less(predictor):
    space, rng = SearchSpace.load("depth"), random.Random(0)
    checked = {"width": 0, "resolution": 0, "kernel": 0, "decoder width": 0}
    for _ in range(60):
        network = space.sample(rng)
        stages = network.decoder
        larger = {
            "width": replace(network, encoder=replace(network.encoder, width=network.encoder.width + 0.25)),
            "resolution": replace(
                network, input_height=network.input_height + 32, input_width=network.input_width + 32
            ),
            "kernel": replace(
                network, decoder=tuple(replace(one, kernel=_next_kernel(one)) for one in stages)
            ),
            "decoder width": replace(
                network, decoder=tuple(replace(one, width=one.width + 8) for one in stages)
            ),
        }
        kernels = architecture_kernels(network, "gpu")
        small_ms = predictor.estimate(kernels).latency_ms
        for name, grown in larger.items():
            more = architecture_kernels(grown, "gpu")
            if Counter(one.op for one in kernels) - Counter(one.op for one in more):
                continue  # a skip that added by itself now has a 1x1 convolution that does
            grown_ms = predictor.estimate(more).latency_ms
            assert grown_ms >= small_ms * (1 - 1e-9), f"{name}: {network} -> {grown}"
            checked[name] += 1
    assert min(checked.values()) > 40


@pytest.mark.parametrize("window", [1, 3, 5])
def test_convolutions_take_no_less_where_the_delegate_changes_its_kernel(predictor, window):
    """Along channels and sizes on both sides of every border of the rules."""

    def ms(size, ins, outs):
        kernel = Kernel(
            "conv2d", size, size, ins, size, size, outs,
            kernel_height=window, kernel_width=window, padding="same",
        )  # fmt: skip
        return predictor.estimate([kernel]).latency_ms

    for size in (7, 14, 28, 56):
        times = np.array(
            [[ms(size, ins, outs) for outs in range(8, 200, 8)] for ins in (8, 60, 64, 128, 256)]
        )
        assert np.all(np.diff(times, axis=0) >= -1e-9) and np.all(np.diff(times, axis=1) >= -1e-9), size
    for ins, outs in ((8, 8), (64, 64), (128, 128), (256, 512)):
        assert np.all(np.diff([ms(size, ins, outs) for size in range(1, 64)]) >= -1e-9), (ins, outs)


def test_what_the_delegate_refuses_is_named(predictor):
    with pytest.raises(UnknownKernelError, match="does not run add"):
        predictor.estimate([Kernel("add", 8, 8, 8, 8, 8, 8, operand="tensor", precision="int8")])


def test_a_pack_answers_alike_after_a_round_trip(predictor, tmp_path):
    path = predictor.table.save(tmp_path)
    kernels = architecture_kernels(named_designs()["lite0-plain"], "gpu")
    assert load_predictor(path).estimate(kernels) == predictor.estimate(kernels)
    assert path.stat().st_size < 20_000


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"family": "apple"}, "family: .*must be one of adreno6xx"),
        ({"forms": {}}, "forms: .*has no 'generic'"),
        ({"network": None}, "network is None"),
        ({"cores": 0}, "cores is 0"),
    ],
)
def test_a_damaged_pack_is_named_by_file_field_and_value(change, words, tmp_path):
    content = yaml.safe_load(load_table(MALI).card.to_yaml()) | change
    (tmp_path / "bad.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(TableError, match=words) as caught:
        load_table(tmp_path / "bad.yaml")
    assert "bad.yaml" in str(caught.value)


def test_a_coefficient_that_is_negative_or_of_no_term_is_refused(tmp_path):
    for change, words in (
        ({"launch": -1.0}, r"forms\.generic\.ms\.launch is -1"),
        ({"fish": 1.0}, "'fish' is no term"),
    ):
        content = yaml.safe_load(load_table(MALI).card.to_yaml())
        content["forms"]["generic"]["ms"] |= change
        (tmp_path / "bad.yaml").write_text(yaml.safe_dump(content))
        with pytest.raises(TableError, match=words):
            load_table(tmp_path / "bad.yaml")


def test_eight_networks_adapt_a_pack_to_another_board():
    pack = load_table(MALI)
    predictor, space, rng = load_predictor(MALI), SearchSpace.load("depth"), random.Random(1)
    networks = [architecture_kernels(space.sample(rng), "gpu") for _ in range(28)]
    times = [1.3 * one.latency_ms + 1.0 for one in predictor.estimate_all(networks)]
    adapted = adapt("mine", pack, list(zip(networks[:8], times[:8], strict=True)), {"device": "Mine"})
    ours = GpuPredictor(adapted).estimate_all(networks[8:])
    errors = [one.latency_ms / ms - 1 for one, ms in zip(ours, times[8:], strict=True)]
    assert np.mean(np.abs(errors)) < 0.04
    assert adapted.card.device == "Mine" and adapted.card.validation is None


def test_a_pack_from_files_predicts_their_networks(invented):
    prior = read_gpu_prior("adreno640")
    pack = fit_pack(
        "invented", *invented, prior.name, prior.family, prior.setting, load_table(MALI).card.sources
    )
    held = check_pack(pack, *invented, "adreno640")
    assert max(abs(one.error) for one in held.networks) < 0.08
    assert np.mean(np.abs(held.ratios - 1) <= 0.2) > 0.9


@pytest.mark.parametrize("device", PACKS)
def test_published_networks_that_a_fit_has_not_seen(device, shared_gpu):
    """One fold of the benchmark's ten; benchmarks/gpu_pack_accuracy.py runs them all."""
    models, _ = shared_gpu
    (held,) = left_out(
        *shared_gpu, device, load_delegate(gpu_priors()[device].family), folds(list(models))[:1]
    )
    errors = np.abs([one.error for one in held.networks])
    assert np.mean(errors) < 0.1
    assert np.mean(np.abs(held.ratios - 1) <= 0.2) > 0.75


@pytest.mark.parametrize("device", PACKS)
def test_the_shipped_packs_are_those_of_the_published_files(device, shared_gpu):
    prior = read_gpu_prior(device)
    shipped = load_table(PACKS[device])
    pack = fit_pack(shipped.name, *shared_gpu, device, prior.family, prior.setting, shipped.card.sources)
    # which of several terms that say nearly the same gets the weight is up to the processor's rounding
    assert shipped.card.forms.keys() == pack.card.forms.keys()
    one, other = (check_pack(card, *shared_gpu, device) for card in (shipped, pack))
    np.testing.assert_allclose(one.ratios, other.ratios, rtol=1e-3)
    np.testing.assert_allclose(
        [guess.latency_ms for guess in one.networks],
        [guess.latency_ms for guess in other.networks],
        rtol=1e-3,
    )
    assert shipped.card.network.factors == pytest.approx(pack.card.network.factors, rel=1e-3)
