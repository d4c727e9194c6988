"""What the tests of packs share."""

from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent.parent
PUBLISHED = TESTS.parents[1] / "shared" / "data" / "published_latency"


@pytest.fixture(scope="session")
def published() -> Path:
    """The folder of published measurements."""
    if not PUBLISHED.is_dir():
        pytest.skip("the published measurements are not here")
    return PUBLISHED
