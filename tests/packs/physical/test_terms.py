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
def test_no_term_is_negative_or_falls_with_a_size(name):
    amount = TERMS[name].of
    for kernel in KERNELS:
        assert amount(kernel) >= 0
        for dimension, larger in enlarged(kernel):
            assert amount(larger) >= amount(kernel) - 1e-12, f"{name}: {dimension} of {kernel}"


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
