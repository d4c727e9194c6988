"""Predictions: exact where measured, physical where not, never silent."""

import random
from dataclasses import replace

import pytest
from latency_samples import EVERY_OPERATION, card, table

from nasdepth.errors import UnknownKernelError
from nasdepth.latency import Calibration, Kernel, LatencyTable, TablePredictor, Timing

CALIBRATION = Calibration(
    networks=20,
    factors={},
    default_factor=1.1,
    base_ms=0.5,
    partition_ms=0.1,
    relative_sd=0.03,
    sd_factor=1.0,
)


def _conv(height, width, channels, out_channels) -> Kernel:
    return Kernel("conv2d", height, width, channels, height, width, out_channels, padding="same")


def _truth(kernel: Kernel) -> float:
    return 1e-3 + kernel.macs * 2e-8 + (kernel.in_bytes + kernel.out_bytes) * 5e-8


def _convolutions(count: int, seed: int) -> list[Kernel]:
    rng = random.Random(seed)
    sizes = [8, 16, 24, 32, 48, 64, 96, 128]
    return list({_conv(*(rng.choice(sizes) for _ in range(4))): None for _ in range(count)})


@pytest.fixture(scope="module")
def predictor():
    return TablePredictor(table({kernel: _truth(kernel) for kernel in _convolutions(120, 0)}))


def test_measured_kernels_add_up_exactly():
    first, second = EVERY_OPERATION[:2]
    calibration = CALIBRATION.model_copy(update={"factors": {"conv1x1": 1.2}})
    estimate = TablePredictor(table({first: 2.0, second: 3.0}, calibration=calibration)).estimate(
        [first, second, first]
    )
    assert estimate.latency_ms == pytest.approx(0.5 + 0.1 + 4 * 1.2 + 3 * 1.1)
    assert (estimate.measured_share, estimate.interpolated_share) == (1, 0)
    assert [source for _, _, source in estimate.kernels] == ["measured"] * 3
    assert [ms for _, ms, _ in estimate.kernels] == pytest.approx([2.4, 3.3, 2.4])
    low, high = estimate.interval_90
    assert low < estimate.latency_ms < high


def test_interpolation_finds_a_physical_law(predictor):
    unseen = [kernel for kernel in _convolutions(100, 1) if kernel not in predictor.table.timings]
    assert len(unseen) > 50
    for kernel in unseen:
        estimate = predictor.estimate([kernel])
        assert estimate.interpolated_share == 1
        assert estimate.latency_ms - 0.5 == pytest.approx(_truth(kernel), rel=0.02)


def test_more_channels_or_pixels_never_cost_less(predictor):
    def ms(*shape):
        return predictor.estimate([_conv(*shape)]).latency_ms

    for larger in ([16, 16, 16, 20], [16, 16, 20, 16], [16, 20, 16, 16], [20, 16, 16, 16]):
        assert ms(*larger) > ms(16, 16, 16, 16)


def _vector_truth(kernel: Kernel) -> float:
    """What does not fill two vectors of 8 floats costs half as much again."""
    return _truth(kernel) * (1 if kernel.out_channels % 16 == 0 else 1.5)


def _that_knows(law) -> TablePredictor:
    return TablePredictor(table({kernel: law(kernel) for kernel in _convolutions(300, 0)}, overhead_ms=0))


def _by_channels(known, channels):
    return [known.estimate([_conv(20, 20, 40, one)]).kernels[0][1] for one in channels]


def test_time_never_falls_channel_by_channel():
    times = _by_channels(_that_knows(_truth), range(1, 200))
    assert times == sorted(times)


def test_channels_that_fill_no_vector_may_take_longer_than_more_that_do():
    known = _that_knows(_vector_truth)
    channels = (24, 40, 56, 72, 32, 48, 64, 80)
    for one, latency_ms in zip(channels, _by_channels(known, channels), strict=True):
        assert latency_ms == pytest.approx(_vector_truth(_conv(20, 20, 40, one)), rel=0.05)
    for alike in (range(1, 200, 16), range(15, 200, 16), range(16, 200, 16)):
        times = _by_channels(known, alike)
        assert times == sorted(times)
    full = _by_channels(known, range(16, 160, 16))
    for rest in range(1, 16):
        ragged = _by_channels(known, range(16 + rest, 160 + rest, 16))
        assert all(less <= more for less, more in zip(full, ragged, strict=True))


def test_predictions_are_positive_far_outside_and_on_nonsense():
    rng = random.Random(3)
    noise = TablePredictor(table({kernel: rng.uniform(1e-4, 10) for kernel in _convolutions(30, 4)}))
    for kernel in (_conv(1, 1, 1, 1), _conv(1024, 1024, 1024, 1024)):
        estimate = noise.estimate([kernel])
        assert estimate.latency_ms > 0 and estimate.interval_90[0] >= 0 and estimate.sd_ms > 0


def test_one_measured_kernel_of_a_kind_is_enough_to_answer_but_unsurely():
    known = TablePredictor(table({_conv(8, 8, 8, 8): 1.0}, overhead_ms=0))
    assert known.estimate([_conv(8, 8, 8, 8)]).measured_share == 1
    estimate = known.estimate([_conv(8, 8, 8, 16)])
    assert estimate.latency_ms > 0 and estimate.sd_ms / estimate.latency_ms > 0.3


def test_spread_and_calibration_set_the_interval():
    kernel = EVERY_OPERATION[0]
    timings = {kernel: Timing(1.0, 1.1, 0.5, 30)}
    noisy = TablePredictor(LatencyTable("t", card(kernels=1), timings)).estimate([kernel])
    calm = TablePredictor(table({kernel: 1.0})).estimate([kernel])
    assert noisy.sd_ms > calm.sd_ms
    sure = table({kernel: 1.0}, calibration=CALIBRATION.model_copy(update={"relative_sd": 0.01}))
    assert TablePredictor(sure).estimate([kernel]).sd_ms < calm.sd_ms


@pytest.mark.parametrize("kernel", EVERY_OPERATION, ids=str)
def test_every_operation_interpolates(kernel):
    times = {kernel: 1.0, replace(kernel, in_height=kernel.in_height * 2): 2.0}
    unseen = replace(kernel, in_height=kernel.in_height * 3)
    assert TablePredictor(table(times)).estimate([unseen]).latency_ms > 0.5


def test_a_related_kind_answers_and_says_that_it_guesses():
    k3, k5 = (
        Kernel(
            "depthwise_conv2d", 8, 8, 16, 8, 8, 16, kernel_height=k, kernel_width=k, groups=16, padding="same"
        )
        for k in (3, 5)
    )
    estimate = TablePredictor(table({k3: 1.0})).estimate([k5])
    assert estimate.latency_ms > 1 and estimate.unknown_share == 1 and estimate.sd_ms > 0.3


def _depthwise(window: int, size: int, channels: int) -> Kernel:
    return Kernel(
        "depthwise_conv2d", size, size, channels, size, size, channels,
        kernel_height=window, kernel_width=window, groups=channels, padding="same",
    )  # fmt: skip


def _slow_beyond_25_taps(kernel: Kernel) -> float:
    return kernel.macs * (1e-6 if kernel.kernel_height <= 5 else 4e-6)


def test_a_depthwise_window_is_answered_by_the_one_most_like_it():
    known = [_depthwise(window, size, 16) for window in (3, 5, 7) for size in range(8, 40, 4)]
    predictor = TablePredictor(table({one: _slow_beyond_25_taps(one) for one in known}, overhead_ms=0))
    unseen = _depthwise(9, 20, 16)
    assert predictor.estimate([unseen]).latency_ms == pytest.approx(_slow_beyond_25_taps(unseen), rel=0.2)


def test_an_unmeasured_kind_is_as_unsure_as_the_measured_ones_would_have_been():
    def answered(time_of):
        known = [_depthwise(window, size, 16) for window in (3, 5, 7) for size in range(8, 40, 4)]
        timed = table({one: time_of(one) for one in known}, overhead_ms=0)
        estimate = TablePredictor(timed).estimate([_depthwise(9, 20, 16)])
        return estimate.sd_ms / estimate.latency_ms

    steady, leaping = answered(lambda one: one.macs * 1e-6), answered(_slow_beyond_25_taps)
    assert leaping > 1.5 * steady


def test_outside_is_as_unsure_as_the_last_octave_is_when_left_out():
    def relative_sd(time_of, side):
        known = [_conv(size, size, 16, 16) for size in range(4, 65, 4)]
        timed = table({one: time_of(one) for one in known}, overhead_ms=0)
        estimate = TablePredictor(timed).estimate([_conv(side, side, 16, 16)])
        return estimate.sd_ms / estimate.latency_ms

    def spilling(one):
        return one.macs * (1e-6 if one.in_height <= 32 else 4e-6)

    def steady(one):
        return one.macs * 1e-6

    assert relative_sd(spilling, 128) > 2 * relative_sd(steady, 128)
    assert relative_sd(spilling, 60) < relative_sd(spilling, 128)


def test_far_outside_of_what_was_measured_is_unknown(predictor):
    near, far = _conv(16, 20, 12, 40), _conv(2048, 2048, 16, 16)
    assert predictor.estimate([near]).unknown_share == 0
    assert predictor.estimate([far]).unknown_share == 1


def test_many_networks_at_once_are_the_same_as_one_by_one(predictor):
    networks = [_convolutions(5, seed) for seed in range(20)]
    fresh = TablePredictor(predictor.table)
    for together, kernels in zip(fresh.estimate_all(networks), networks, strict=True):
        alone = predictor.estimate(kernels)
        assert together.latency_ms == pytest.approx(alone.latency_ms)
        assert together.interval_90 == pytest.approx(alone.interval_90)


def test_unknown_kind_is_named():
    with pytest.raises(UnknownKernelError, match=r"hard_swish 8x12x16.*pi-xnnpack-1t.*latency build"):
        hard_swish = next(kernel for kernel in EVERY_OPERATION if kernel.op == "hard_swish")
        TablePredictor(table({EVERY_OPERATION[0]: 1.0})).estimate([hard_swish])


def test_rejected_kernel_brings_the_runtimes_words():
    good, bad = EVERY_OPERATION[:2]
    with pytest.raises(UnknownKernelError, match="op is not supported"):
        TablePredictor(table({good: 1.0}, {bad: "op is not supported"})).estimate([bad])
