import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from gpu_samples import write_published

from nasdepth.packs.published_operations import read_end_to_end, read_models


@pytest.fixture(scope="session")
def invented(tmp_path_factory):
    """(models, latencies) of invented networks on one invented phone."""
    operations, networks = write_published(tmp_path_factory.mktemp("published"))
    return read_models(operations), read_end_to_end(networks)


@pytest.fixture(scope="session")
def shared_gpu():
    """(models, latencies) as published, where the shared folder is."""
    folder = Path(__file__).resolve().parents[4] / "shared" / "data" / "published_latency"
    if not folder.is_dir():
        pytest.skip(f"needs the published measurements in {folder}")
    return (
        read_models(folder / "gpu_delegate_ops.csv"),
        read_end_to_end(folder / "gpu_delegate_models.csv"),
    )
