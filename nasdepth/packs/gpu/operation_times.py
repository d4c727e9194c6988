"""Times of single operations on a GPU: the delegate's choice of kernel, and that kernel's fitted form."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from nasdepth.kernels.kernel import Kernel
from nasdepth.packs.gpu.card import FormFit
from nasdepth.packs.gpu.delegate import Delegate
from nasdepth.packs.gpu.terms import FORMS

DIMENSIONS = ("in_channels", "out_channels", "pixels", "window")
# Groups of forms that share a factor from profiled kernels to networks; those that a kernel changes between
# as it grows are in one, or it could get faster by that
GROUPS = {
    "generic": "convolution",
    "constants": "convolution",
    "grouped": "grouped",
    "winograd": "convolution",
    "depthwise": "depthwise",
    "depthwise_3x3": "depthwise",
    "fully_connected": "convolution",
    "mean": "reducing",
    "pool": "reducing",
    "concat": "moving",
    "moving": "moving",
}


@dataclass(frozen=True, slots=True)
class Answers:
    """For n kernels, in order.

    Attributes:
        forms: n names of the delegate's kernels.
        latency_ms: (n,) float64, above 0, as a profiler would show them.
        relative_sd: (n,) float64.
        known: (n,) bool; False where a physical prior answers, or far outside of all sizes seen.
    """

    forms: tuple[str, ...]
    latency_ms: np.ndarray
    relative_sd: np.ndarray
    known: np.ndarray


# Beyond so many octaves outside of everything measured, an answer is a guess
_OCTAVES_KNOWN = 1.0


def form_of(kernel: Kernel, delegate: Delegate) -> str:
    """The form that times a kernel."""
    choice = delegate.choose(kernel)
    if choice != "other":
        return choice
    if kernel.op == "mean" or _is_global_pool(kernel):
        return "mean"
    if kernel.op.endswith("pool2d"):
        return "pool"
    return "concat" if kernel.op == "concat" else "moving"


def _is_global_pool(kernel: Kernel) -> bool:
    window = kernel.kernel_height, kernel.kernel_width
    return kernel.op == "average_pool2d" and window == (kernel.in_height, kernel.in_width)


def as_run(kernel: Kernel) -> Kernel:
    """A global pool as the mean, a product of matrices as the 1x1 convolution, that the delegate makes of it.

    Laying the second matrix out as weights is left out: its time was never published.
    """
    if kernel.op == "batch_matmul":
        shape = (1, kernel.out_pixels, kernel.depth, 1, kernel.out_pixels, kernel.out_channels)
        return Kernel("conv2d", *shape, padding="same")
    if not _is_global_pool(kernel):
        return kernel
    return Kernel("mean", kernel.in_height, kernel.in_width, kernel.in_channels, 1, 1, kernel.out_channels)


def dimensions(kernels: Sequence[Kernel]) -> np.ndarray:
    """(n, 4) float64: `DIMENSIONS`, at least 1."""
    return np.array(
        [
            (
                one.in_channels / one.groups if one.op == "conv2d" else one.in_channels,
                one.out_channels,
                max(one.out_pixels, one.in_height * one.in_width if one.op == "mean" else 1),
                one.kernel_height * one.kernel_width,
            )
            for one in kernels
        ],
        np.float64,
    ).reshape(-1, len(DIMENSIONS))


class OperationModel:
    """Answers for kernels from fitted forms.

    Within a form nothing falls with a size, as amounts and coefficients are not negative. Between forms it is
    made so, where a larger kernel runs as another form: no convolution is faster than the layer on one pixel
    within it or slower than the larger one that runs as Winograd's, and none with weights in constant memory
    slower than without. (Phones do get faster where Winograd sets in; the last of the sizes before are
    underestimated for that.)

    Args:
        delegate: of the GPU's family.
        forms: fitted, by name.
    """

    def __init__(self, delegate: Delegate, forms: Mapping[str, FormFit]) -> None:
        self.delegate = delegate
        self.forms = dict(forms)

    def answer(self, kernels: Sequence[Kernel]) -> Answers:
        """Times of any kernels."""
        guessed = np.array([one.op == "batch_matmul" for one in kernels], bool)
        kernels = [as_run(one) for one in kernels]
        names = [form_of(one, self.delegate) for one in kernels]
        times = np.zeros(len(kernels))
        octaves = np.zeros(len(kernels))
        sd = np.zeros(len(kernels))
        prior = np.zeros(len(kernels), bool)
        members: dict[str, list[int]] = defaultdict(list)
        for index, name in enumerate(names):
            members[name].append(index)
        for name, indices in members.items():
            some = [kernels[index] for index in indices]
            fitted = self.forms[name]
            times[indices] = self._times(name, some)
            octaves[indices] = _octaves_outside(dimensions(some), fitted)
            sd[indices] = fitted.relative_sd
            prior[indices] = fitted.operations == 0
        return Answers(
            tuple(names),
            np.maximum(times, 1e-6),
            sd * (1 + octaves),
            ~prior & ~guessed & (octaves <= _OCTAVES_KNOWN),
        )

    def _times(self, name: str, kernels: Sequence[Kernel]) -> np.ndarray:
        if name == "constants":
            times = np.maximum(self._form(name, kernels), self._on_one_pixel(kernels))
            return np.minimum(times, self._times("generic", kernels))
        if name == "winograd" and not self.forms[name].operations:
            # nobody timed it on this GPU: no slower than without is all that is known
            return self._times("generic", kernels)
        times = self._form(name, kernels)
        if name == "generic":
            times = np.maximum(times, self._on_one_pixel(kernels))
            return np.minimum(times, self._as_winograd(kernels))
        if name == "depthwise":
            return self._around_3x3(kernels, times)
        return times

    def _form(self, name: str, kernels: Sequence[Kernel]) -> np.ndarray:
        """(n,) ms of one form alone."""
        fitted = self.forms[name]
        amounts = FORMS[name].amounts(kernels, self.delegate, tuple(fitted.ms))
        # row by row, so that an answer does not depend on what else was asked
        return (amounts * np.array(list(fitted.ms.values()))).sum(1)

    def _on_one_pixel(self, kernels: Sequence[Kernel]) -> np.ndarray:
        small = [
            replace(
                one,
                op="conv2d",
                in_height=1,
                in_width=1,
                out_height=1,
                out_width=1,
                kernel_height=1,
                kernel_width=1,
            )
            for one in kernels
        ]
        return self._form("fully_connected", small)

    def _as_winograd(self, kernels: Sequence[Kernel]) -> np.ndarray:
        """What the next larger kernel that runs as Winograd's takes; infinite where there is none."""
        times = np.full(len(kernels), np.inf)
        if not self.forms["winograd"].operations:
            return times
        larger = {
            index: next_one
            for index, one in enumerate(kernels)
            if (next_one := self.delegate.next_winograd(one)) is not None
        }
        if larger:
            times[list(larger)] = self._form("winograd", list(larger.values()))
        return times

    def _around_3x3(self, kernels: Sequence[Kernel], times: np.ndarray) -> np.ndarray:
        """The kernel for 3x3 windows of stride 1 is faster than the other would be; smaller windows are no
        slower than it, larger ones no faster."""
        taps = np.array([one.kernel_height * one.kernel_width for one in kernels])
        plain = np.array(
            [(one.stride_height, one.stride_width, one.dilation_height) == (1, 1, 1) for one in kernels]
        )
        middle = [replace(one, kernel_height=3, kernel_width=3) for one in kernels]
        special = self._form("depthwise_3x3", middle)
        times = np.where(plain & (taps < 9), np.minimum(times, special), times)
        return np.where(plain & (taps > 9), np.maximum(times, special), times)


def _octaves_outside(sizes: np.ndarray, fitted: FormFit) -> np.ndarray:
    """How far each kernel lies beyond the sizes that a form was fitted to."""
    if not fitted.sizes:
        return np.zeros(len(sizes))
    low, high = np.array([fitted.sizes[name] for name in DIMENSIONS]).T
    some = np.maximum(sizes, 1)
    return np.log2(np.maximum(np.maximum(some / high, low / some), 1)).max(1)
