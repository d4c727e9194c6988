"""Records that a formula stands for."""

import pytest
from replay_formula import drawn_architectures, quick_records


@pytest.fixture(scope="session")
def drawn():
    """Architectures of the quick space, the first 60 of which are recorded."""
    return drawn_architectures()


@pytest.fixture(scope="session")
def records():
    return quick_records()
