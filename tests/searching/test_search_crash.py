"""A search that is killed before any statement of its database is put right by its resume."""

import os

import pytest
from crash import count_statements, killed_before, sqlite_databases

_SAMPLE = 6


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_kill_before_any_statement_is_put_right():
    """A few statements, `make test-crash` kills before all of them."""
    new = sqlite_databases()
    # heartbeats are statements too, so that no two runs have quite as many
    total = count_statements(new) * 9 // 10
    step = total // _SAMPLE
    first = 1 + int(os.environ.get("NASDEPTH_CRASH_FIRST", "0")) % step
    wrong = {one: problem for one in range(first, total + 1, step) if (problem := killed_before(one, new))}
    assert not wrong
