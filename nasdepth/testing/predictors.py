"""Conformance of predictors: what a latency has to obey, whoever estimates it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from nasdepth.errors import UnknownKernelError
from nasdepth.kernels.kernel import CONVOLUTIONS
from nasdepth.latency import Kernel, LatencyTable, Predictor

# Operations whose output follows from the input in a way that `enlarged` knows
_ELEMENTWISE = ("add", "mul", "relu", "relu6", "leaky_relu", "hard_swish", "logistic", "softmax")
_KNOWN = (*CONVOLUTIONS, *_ELEMENTWISE, "average_pool2d", "max_pool2d", "mean", "concat", "pad",
          "resize_bilinear", "resize_nearest")  # fmt: skip
# A table may hold thousands of kernels; so many of every kind stand for it
_OF_A_KIND = 12
_ROUNDING = 1e-9
# A multiple of any runtime's vectors, in pairs, in floats
_PAIRS_OF_VECTORS = 64

# (dimension, kernel, larger kernel)
_Growing = list[tuple[str, Kernel, Kernel]]


def enlarged(kernel: Kernel) -> Iterator[tuple[str, Kernel]]:
    """Kernels that do more work than this one: (the dimension that has grown, the larger kernel).

    Channels grow by a little and to about the double, height and width to the double, windows of convolutions
    by 2; each with the output that follows from it. Nothing for operations whose shapes do not follow from
    sizes alone.
    """
    if kernel.op not in _KNOWN:
        return
    step = kernel.groups if kernel.groups > 1 and kernel.op != "depthwise_conv2d" else 1
    for more in _more(kernel.out_channels):
        channels = kernel.in_channels + more * step
        if kernel.op == "depthwise_conv2d":
            multiplier = kernel.out_channels // kernel.in_channels
            grown = replace(kernel, in_channels=channels, groups=channels, out_channels=channels * multiplier)
        elif kernel.op in CONVOLUTIONS:
            yield "out_channels", replace(kernel, out_channels=kernel.out_channels + more * step)
            grown = replace(kernel, in_channels=channels)
        else:
            grown = replace(kernel, in_channels=channels, out_channels=kernel.out_channels + more)
        yield "in_channels", grown
    if kernel.op != "fully_connected":
        yield "height", _doubled(kernel, "height")
        yield "width", _doubled(kernel, "width")
    if kernel.op in ("conv2d", "depthwise_conv2d", "transpose_conv2d") and kernel.padding == "same":
        height, width = kernel.kernel_height + 2, kernel.kernel_width + 2
        yield "kernel size", replace(kernel, kernel_height=height, kernel_width=width)


def _more(channels: int) -> tuple[int, int]:
    """Channels to add: such that what they leave over of a runtime's vectors stays, or was nothing.

    A runtime may really be faster where larger kernels fill vectors that smaller ones did not.
    """
    if channels % _PAIRS_OF_VECTORS == 0:
        return 1, channels
    return _PAIRS_OF_VECTORS, -(-channels // _PAIRS_OF_VECTORS) * _PAIRS_OF_VECTORS


def _doubled(kernel: Kernel, axis: str) -> Kernel:
    size, out = getattr(kernel, f"in_{axis}"), getattr(kernel, f"out_{axis}")
    window, stride = getattr(kernel, f"kernel_{axis}"), getattr(kernel, f"stride_{axis}")
    if kernel.padding and kernel.op.endswith("pool2d") and window == size:
        return replace(kernel, **{f"in_{axis}": 2 * size, f"kernel_{axis}": 2 * size})
    if kernel.op == "transpose_conv2d":
        grown = out + stride * size
    elif kernel.padding == "same":
        grown = -(-2 * size // stride)
    elif kernel.padding == "valid":
        grown = (2 * size - getattr(kernel, f"dilation_{axis}") * (window - 1) - 1) // stride + 1
    elif kernel.op == "mean":
        grown = 1
    elif kernel.op == "pad":
        grown = out + size
    else:
        grown = 2 * out
    return replace(kernel, **{f"in_{axis}": 2 * size, f"out_{axis}": grown})


class PredictorConformance(ABC):
    """Subclass as `class TestMine(PredictorConformance)` and say how your predictor is made.

    The table is the one that ships for x86-64; override the `table` fixture to use one of your own. It should
    hold several operations, some kernels of each. A predictor that answers from something else (its `table`
    is not the one it was given) is asked for the table's kernels; what presumes a table's times is skipped.
    """

    @abstractmethod
    def create(self, table: LatencyTable) -> Predictor:
        """The predictor under test, answering from a table if it answers from any."""

    @pytest.fixture(scope="class")
    def table(self) -> LatencyTable:
        return LatencyTable.load("x86-64-xnnpack-1t")

    @pytest.fixture(scope="class")
    def predictor(self, table: LatencyTable) -> Predictor:
        return self.create(table)

    @pytest.fixture(scope="class")
    def from_table(self, table: LatencyTable, predictor: Predictor) -> None:
        """Skips where the predictor does not answer from the table."""
        if getattr(predictor, "table", table) is not table:
            pytest.skip("the predictor does not answer from a table of measured kernels")

    @pytest.fixture(scope="class")
    def some(self, table: LatencyTable) -> list[Kernel]:
        """A few measured kernels of every kind."""
        kinds: dict[str, list[Kernel]] = defaultdict(list)
        for kernel in table.timings:
            kinds[kernel.kind].append(kernel)
        return [
            kernel
            for members in kinds.values()
            for kernel in sorted(members)[:: max(1, len(members) // _OF_A_KIND)]
        ]

    @pytest.fixture(scope="class")
    def growing(self, table: LatencyTable, some: list[Kernel]) -> _Growing:
        """(dimension, kernel, larger kernel of a kind that the table has), neither of them in the table."""
        kinds = {kernel.kind for kernel in table.timings}
        pairs = []
        for measured in some:
            starts = [kernel for dimension, kernel in enlarged(measured) if dimension == "in_channels"]
            for start in starts[:1]:
                for dimension, larger in enlarged(start):
                    held = start in table.timings or larger in table.timings
                    if not held and larger.kind in kinds:
                        pairs.append((dimension, start, larger))
        assert pairs, "the table holds no kernel that can be enlarged"
        return pairs

    def test_nothing_is_negative_and_the_interval_holds_the_estimate(
        self, predictor: Predictor, some: list[Kernel], growing: _Growing
    ) -> None:
        for kernel in [*some, *(larger for _, _, larger in growing)]:
            estimate = predictor.estimate([kernel])
            low_ms, high_ms = estimate.interval_90
            assert 0 <= low_ms <= estimate.latency_ms <= high_ms, kernel
            assert estimate.latency_ms > 0 and estimate.sd_ms >= 0, kernel
            assert all(latency_ms >= 0 for _, latency_ms, _ in estimate.kernels), kernel

    def test_shares_of_the_time_add_up_to_one(
        self, predictor: Predictor, some: list[Kernel], growing: _Growing
    ) -> None:
        unseen = [larger for _, _, larger in growing]
        for kernels in (some, unseen, [*some, *unseen]):
            estimate = predictor.estimate(kernels)
            shares = estimate.measured_share, estimate.interpolated_share, estimate.unknown_share
            assert all(0 <= share <= 1 for share in shares)
            assert sum(shares) == pytest.approx(1)

    def test_every_kernel_is_answered_in_order(self, predictor: Predictor, some: list[Kernel]) -> None:
        kernels = [*some, *reversed(some)]
        estimate = predictor.estimate(kernels)
        assert [kernel for kernel, _, _ in estimate.kernels] == kernels
        summed_ms = sum(latency_ms for _, latency_ms, _ in estimate.kernels)
        assert summed_ms <= estimate.latency_ms * (1 + _ROUNDING)
        assert predictor.estimate(kernels) == estimate

    def test_more_kernels_take_longer(self, predictor: Predictor, some: list[Kernel]) -> None:
        alone = predictor.estimate(some[:1]).latency_ms
        assert predictor.estimate(some[:1] * 2).latency_ms >= alone
        assert predictor.estimate(some[:2]).latency_ms >= alone

    def test_measured_kernels_are_the_tables(
        self, from_table: None, table: LatencyTable, some: list[Kernel]
    ) -> None:
        """As they are where nothing calibrates them; a calibration leaves them measured."""
        bare = LatencyTable(
            table.name, table.card.model_copy(update={"calibration": None}), table.timings, table.rejected
        )
        for kernel, latency_ms, source in self.create(bare).estimate(some).kernels:
            assert source == "measured", kernel
            assert latency_ms == pytest.approx(table.timings[kernel].latency_ms), kernel
        assert all(source == "measured" for _, _, source in self.create(table).estimate(some).kernels)

    @pytest.mark.parametrize("dimension", ["in_channels", "out_channels", "height", "width", "kernel size"])
    def test_larger_kernels_never_take_less(
        self, predictor: Predictor, growing: _Growing, dimension: str
    ) -> None:
        checked = 0
        for grown, smaller, larger in growing:
            if grown != dimension:
                continue
            less, more = predictor.estimate([smaller]), predictor.estimate([larger])
            # a larger window may be another kind, and a guess at one kind is no statement about the other
            guessed = less.unknown_share + more.unknown_share > 0
            if smaller.kind != larger.kind and guessed:
                continue
            words = f"{smaller}: {less.latency_ms} ms, {larger}: {more.latency_ms} ms"
            if smaller.kind != larger.kind:  # two regressions, each as sure as it says
                assert less.interval_90[0] <= more.interval_90[1], words
                continue
            assert less.latency_ms <= more.latency_ms * (1 + _ROUNDING), words
            checked += 1
        assert checked, f"the table holds no kernel whose {dimension} can grow"

    def test_an_unknown_operation_is_an_error_that_names_it(
        self, from_table: None, table: LatencyTable, some: list[Kernel]
    ) -> None:
        for op in sorted({kernel.op for kernel in some}):
            timings = {kernel: timing for kernel, timing in table.timings.items() if kernel.op != op}
            if not timings:
                continue
            card = table.card.model_copy(update={"kernels": len(timings)})
            lacking = self.create(LatencyTable(table.name, card, timings))
            with pytest.raises(UnknownKernelError, match=op):
                lacking.estimate([kernel for kernel in some if kernel.op == op][:1])

    def test_a_kernel_that_the_device_refuses_is_an_error_with_its_words(
        self, from_table: None, table: LatencyTable, some: list[Kernel]
    ) -> None:
        words = "Didn't find op for builtin opcode 'NASDEPTH'"
        timings = {kernel: timing for kernel, timing in table.timings.items() if kernel != some[0]}
        with pytest.raises(UnknownKernelError, match=words):
            self.create(LatencyTable(table.name, table.card, timings, {some[0]: words})).estimate([some[0]])

    def test_a_table_answers_alike_after_a_round_trip_through_csv(
        self,
        from_table: None,
        table: LatencyTable,
        some: list[Kernel],
        growing: _Growing,
        tmp_path: Path,
    ) -> None:
        asked = [*some, *(larger for _, _, larger in growing)]
        # what is saved has six digits: written twice, it has to be the same to the last one
        once = LatencyTable.load(table.save(tmp_path / "once"))
        twice = LatencyTable.load(once.save(tmp_path / "twice"))
        answer = self.create(twice).estimate(asked)
        assert answer == self.create(once).estimate(asked)
        assert answer.latency_ms == pytest.approx(self.create(table).estimate(asked).latency_ms, rel=1e-4)
