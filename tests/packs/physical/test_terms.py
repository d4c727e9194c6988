"""Terms are physical: none negative, none falling with a size, every operation in some."""

import pytest
from latency_samples import EVERY_OPERATION

from nasdepth.kernels.kernel import OPERATIONS
from nasdepth.latency import Kernel
from nasdepth.packs import prior_names, public_kernels, read_prior
from nasdepth.packs.physical.terms import TERMS
from nasdepth.testing import enlarged

KERNELS = dict.fromkeys(
    (*EVERY_OPERATION, *public_kernels("mobilenet-v3-large_224_1.0"), *public_kernels("resnet50"))
)


@pytest.mark.parametrize("name", [name for name, one in TERMS.items() if one.amount])
def test_no_term_is_negative_or_falls_with_a_size_unless_it_says_so(name):
    amount = TERMS[name].of
    falls = False
    for kernel in KERNELS:
        assert amount(kernel) >= 0
        for dimension, larger in enlarged(kernel):
            falls |= (less := amount(larger) < amount(kernel) - 1e-12)
            assert not less or not TERMS[name].monotone, f"{name}: {dimension} of {kernel}"
    assert falls != TERMS[name].monotone


def _convolution(pixels, channels=1024):
    return Kernel("conv2d", 1, pixels, channels, 1, pixels, channels, padding="same")


def test_weights_that_outgrow_the_cache_are_read_again_for_every_four_tiles_of_pixels():
    beyond_mb = (4 * 1024 * 1025 - 512e3) / 1e6

    def streamed(pixels, channels=1024):
        kernel = _convolution(pixels, channels)
        return TERMS["streamed_mb"].of(kernel) + TERMS["unshared_mb"].of(kernel)

    assert streamed(400, channels=256) == 0
    # one tile is divided by channels, and each weight is read once: that stands in weights_mb
    assert streamed(4) == 0
    # 25 pixels are 7 tiles, which the cores begin at four places: 7 times, less the first
    assert streamed(25) == pytest.approx(6 * beyond_mb)
    # 18 tiles begin at two places
    assert streamed(72) == pytest.approx(8 * beyond_mb)
    # 16 tiles, and 20 and more, are read by all cores in step
    assert streamed(64) == pytest.approx(3 * beyond_mb)
    assert streamed(81) == pytest.approx(5 * beyond_mb)


def test_only_what_spills_out_of_half_the_cache_costs_memory():
    small, large = (Kernel("add", 1, size, 16, 1, size, 16, operand="tensor") for size in (1000, 10_000))
    assert TERMS["spill_mb"].of(small) == 0
    assert TERMS["spill_mb"].of(large) == pytest.approx((3 * 4 * 160_000 - 512e3) / 1e6)
    convolution = _convolution(10_000, 16)
    assert TERMS["spill_mb"].of(convolution) == 0
    assert TERMS["conv_spill_mb"].of(convolution) == pytest.approx((2 * 4 * 160_000 - 512e3) / 1e6)


@pytest.mark.parametrize("prior", prior_names())
def test_every_operation_costs_something_beside_its_start(prior):
    for precision in read_prior(prior).precisions.values():
        names = [name for name in precision.terms if TERMS[name].amount and name not in ("op",)]
        lacking = {
            kernel.op for kernel in EVERY_OPERATION if not any(TERMS[name].of(kernel) for name in names)
        }
        assert lacking == set()
    assert {kernel.op for kernel in EVERY_OPERATION} == set(OPERATIONS)


def test_terms_of_a_network_count_what_surrounds_its_kernels():
    kernels = public_kernels("mobilenet-v1-1.0-128", "xnnpack")
    assert TERMS["call"].of_network(kernels, "xnnpack") == 1
    assert TERMS["input_mvalues"].of_network(kernels, "xnnpack") == pytest.approx(128 * 128 * 3 / 1e6)
    assert TERMS["partition"].of_network(kernels, "xnnpack") == 1
    nearest = Kernel("resize_nearest", 8, 8, 16, 16, 16, 16, sampling="asymmetric")
    assert TERMS["partition"].of_network([*kernels[:2], nearest, *kernels[2:]], "xnnpack") == 3
