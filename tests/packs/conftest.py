"""What the tests of packs share."""

import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent.parent
# one sample of every operation, as the tests of tables have them
sys.path.insert(0, str(TESTS / "latency"))
PUBLISHED = TESTS.parents[1] / "shared" / "data" / "published_latency"


@pytest.fixture(scope="session")
def published() -> Path:
    """The folder of published measurements."""
    if not PUBLISHED.is_dir():
        pytest.skip("the published measurements are not here")
    return PUBLISHED
