"""Planes: what is written in lots, by several hands, is what is mapped."""

import numpy as np
import pytest

from nasdepth.data.planes import Plane, are_whole, begin, check_space, finish, mapped, write
from nasdepth.errors import DataError

PLANES = (Plane("a.u1", "u1", (2, 3)), Plane("b.f2", "<f2", (4,)))


def test_images_written_in_any_order_are_mapped_in_theirs(tmp_path):
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 256, (5, 2, 3)), rng.normal(size=(5, 4))
    part, folder = tmp_path / ".x.part", tmp_path / "x"
    for number in range(2):  # what was there before is replaced
        begin(part, PLANES)
        write(part, PLANES, 3, [a[3:5] + number, b[3:5]])
        assert are_whole(part, PLANES, 5)  # a hole has its size, so writers in order keep count themselves
        contents = write(part, PLANES, 0, [a[0] + number, b[0]])
        assert contents == [(a[0] + number).astype("u1").tobytes(), b[0].astype("<f2").tobytes()]
        write(part, PLANES, 1, [a[1:3] + number, b[1:3]])
        finish(part, folder)
        assert not part.exists()
        assert np.array_equal(mapped(folder, PLANES[0], 5), (a + number).astype("u1"))
        assert np.array_equal(mapped(folder, PLANES[1], 5), b.astype("<f2"))
    assert not are_whole(folder, PLANES, 6)
    with pytest.raises(ValueError, match="read-only"):
        mapped(folder, PLANES[0], 5)[0] = 1


def test_a_disk_that_is_too_small_is_said_before_anything_is_written(tmp_path):
    with pytest.raises(DataError, match=r"too full .*: 1,000,000,000,000,000 bytes needed, .*Free it"):
        check_space(tmp_path, 10**15, "the images", "Free it.")
