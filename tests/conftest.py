"""What every room's tests share: one cache of rendered scenes, one tiny space and a table measured for it."""

import gzip
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

# no test downloads weights, and none finds what an earlier run of something else has downloaded
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HOME"] = str(Path(tempfile.gettempdir()) / "nasdepth-tests-without-a-hub")

# two threads on the one core that each of several test processes has would wait for each other, spinning
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# what a shell starts in its background is deaf to Ctrl-C, which tests send to processes of their own
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent

TINY_SPACE = """\
name: tiny
input: {height: 64, width: [64, 96]}
encoder: {family: mobilenetv3_small_minimal, width: 0.5, stride: 8}
decoder: {skip: [none, add], block: conv, kernel: [1, 3], width: [8, 16], upsampling: nearest}
head: {stride: 4, upsampling: nearest}
"""
TWO_ARCHITECTURES = """\
name: two
input: {height: 64, width: 64}
encoder: {family: mobilenetv3_small_minimal, width: 0.5, stride: 8}
decoder: {skip: none, block: conv, kernel: 1, width: [8, 16], upsampling: nearest}
head: {stride: 8, upsampling: nearest}
"""


@pytest.fixture(scope="session", autouse=True)
def shared_cache(tmp_path_factory):
    """One cache for the session: scenes are rendered once. Rooms that test the cache set their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NASDEPTH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield os.environ["NASDEPTH_CACHE"]


@pytest.fixture
def in_shared_cache(shared_cache, monkeypatch):
    monkeypatch.setenv("NASDEPTH_CACHE", shared_cache)


@pytest.fixture(scope="session")
def scenes(shared_cache):
    """The training split of `scenes:24+6`."""
    from nasdepth.data import load_split

    return load_split("scenes:24+6", "train", progress=False)


@pytest.fixture(scope="session")
def test_scenes(shared_cache):
    """The test split of `scenes:24+6`."""
    from nasdepth.data import load_split

    return load_split("scenes:24+6", "test", progress=False)


@pytest.fixture(scope="session")
def quick_recipe():
    """A training of one short step or so."""
    from nasdepth.training import Recipe

    return Recipe(epochs=1, batch_size=8, loss_hw=(60, 80), augmentation={"crops": ((480, 640),)})


@pytest.fixture(scope="session")
def tiny_space_file(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("spaces") / "tiny.yaml"
    path.write_text(TINY_SPACE)
    return path


@pytest.fixture(scope="session")
def two_space_file(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("spaces") / "two.yaml"
    path.write_text(TWO_ARCHITECTURES)
    return path


@pytest.fixture(scope="session")
def table_file(tmp_path_factory, tiny_space_file) -> Path:
    """A latency table measured on this machine; it answers for both small spaces. It is uncompressed."""
    from nasdepth.devices import LocalDevice
    from nasdepth.latency.measure import build_table
    from nasdepth.space import SearchSpace

    folder = tmp_path_factory.mktemp("tables")
    build_table(LocalDevice(1), SearchSpace.load(tiny_space_file), folder, "here", calibration=0, validate=0)
    rows = folder / "here.csv"
    rows.write_bytes(gzip.decompress((folder / "here.csv.gz").read_bytes()))
    (folder / "here.csv.gz").unlink()
    return rows


@pytest.fixture(scope="session")
def litedepth_file(tmp_path_factory) -> Path:
    """LiteDepth's design, untrained, as .tflite."""
    import torch

    from nasdepth.deploy import export_tflite
    from nasdepth.models import build, resolve

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("exported") / "litedepth.tflite"
    export_tflite(build(resolve("litedepth")), path)
    return path


@pytest.fixture(scope="session")
def third_party() -> Path:
    """A folder of .tflite models that are no depth models."""
    folder = REPOSITORY.parent / "shared" / "data" / "tflite"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not on this machine")
    return folder


@pytest.fixture
def run_python() -> Callable[..., subprocess.CompletedProcess]:
    """Run a piece of Python in a process of its own."""

    def run(code: str, **environment: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | environment,
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run
