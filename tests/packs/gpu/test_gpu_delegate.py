"""The delegate's choices: at their borders, and against what its profiler printed."""

from dataclasses import replace

import pytest

from nasdepth.errors import NasdepthError
from nasdepth.latency import Kernel
from nasdepth.packs.gpu.delegate import load_delegate, load_delegates
from nasdepth.packs.gpu.prior import gpu_priors
from nasdepth.packs.gpu.validation import _agreements

MALI, ADRENO = load_delegate("mali-bifrost"), load_delegate("adreno6xx")


def _conv(size, ins, outs, window, **more):
    return Kernel(
        "conv2d", size, size, ins, size, size, outs,
        kernel_height=window, kernel_width=window, padding="same", **more,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("delegate", "kernel", "choice"),
    [
        (MALI, _conv(28, 64, 64, 3), "winograd"),
        (MALI, _conv(28, 60, 64, 3), "generic"),
        (MALI, _conv(28, 61, 61, 3), "winograd"),
        (MALI, _conv(20, 64, 64, 3), "generic"),  # 25 tiles
        (MALI, _conv(24, 64, 64, 3), "winograd"),  # 36 tiles
        (MALI, _conv(28, 64, 64, 5), "generic"),
        (MALI, replace(_conv(28, 64, 64, 3), dilation_height=2, dilation_width=2), "generic"),
        (MALI, replace(_conv(28, 64, 64, 3), groups=2), "grouped"),
        (MALI, _conv(56, 16, 8, 1), "generic"),
        (ADRENO, _conv(56, 64, 64, 3), "generic"),
        (ADRENO, _conv(56, 128, 128, 3), "winograd"),
        (ADRENO, _conv(40, 128, 128, 3), "generic"),  # 100 tiles
        (ADRENO, _conv(56, 56, 32, 1), "constants"),  # 3584 bytes
        (ADRENO, _conv(56, 60, 32, 1), "generic"),
        (ADRENO, _conv(56, 16, 36, 1), "generic"),  # nine slices
        (ADRENO, _conv(56, 1, 32, 3), "constants"),
        (ADRENO, _conv(1, 72, 18, 1), "fully_connected"),
        (ADRENO, _conv(1, 72, 18, 3), "generic"),
    ],
)
def test_choices_at_their_borders(delegate, kernel, choice):
    assert delegate.choose(kernel) == choice


def test_depthwise_convolutions_of_3x3_have_a_kernel_of_their_own():
    plain = Kernel(
        "depthwise_conv2d", 28, 28, 40, 28, 28, 40, kernel_height=3, kernel_width=3, groups=40, padding="same"
    )
    assert MALI.choose(plain) == "depthwise_3x3"
    strided = replace(plain, out_height=14, out_width=14, stride_height=2, stride_width=2)
    assert MALI.choose(strided) == "depthwise"
    assert MALI.choose(replace(plain, padding="valid", out_height=26, out_width=26)) == "depthwise"


def test_every_phone_has_a_family_that_is_known():
    assert {prior.family for prior in gpu_priors().values()} == set(load_delegates())
    with pytest.raises(NasdepthError, match="'apple'; there are adreno6xx"):
        load_delegate("apple")


@pytest.mark.parametrize("device", gpu_priors())
def test_the_rules_name_kernels_as_the_profiler_did(device, shared_gpu):
    agreed = _agreements(shared_gpu[0], device, load_delegate(gpu_priors()[device].family))
    assert len(agreed) > 3000
    assert sum(agreed) / len(agreed) > 0.999
