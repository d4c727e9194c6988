import platform
import resource

import pytest
import torch

from nasdepth.training.memory import freed_memory_kept

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
CPU = torch.device("cpu")
FLOATS = 50 * 2**20  # 200 MB, more than the tests before these leave in the heap


def pages_asked_for(floats: int = FLOATS) -> int:
    """By two tensors, one after the other, once some have been there before them.

    One is not enough: where it lay may be too small for the next by the bytes of an alignment.
    """
    for _ in range(4):
        torch.empty(floats).fill_(0)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(2):
        torch.empty(floats).fill_(1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def test_large_tensors_find_the_memory_of_those_before_them():
    # how many it is depends on the size of the system's pages
    usual = pages_asked_for()
    with freed_memory_kept(CPU):
        kept = pages_asked_for()
    assert 10 * kept < usual
    # what was kept may still lie in the middle of the heap, so this asks for more than fits there
    assert pages_asked_for(3 * FLOATS) > 0.5 * 3 * usual, "it goes on after its end"


def test_it_ends_with_an_error_too():
    usual = pages_asked_for(3 * FLOATS)
    with pytest.raises(KeyError), freed_memory_kept(CPU):
        raise KeyError
    assert usual > 0
    assert pages_asked_for(3 * FLOATS) > 0.5 * usual


def test_a_gpu_has_memory_of_its_own():
    usual = pages_asked_for(3 * FLOATS)
    with freed_memory_kept(torch.device("cuda")):
        assert usual > 0
        assert pages_asked_for(3 * FLOATS) > 0.5 * usual
