"""Whatever is in a file: an answer, or one error that names it; never a traceback and never a hang."""

import os
import shutil
import tempfile
import warnings
from pathlib import Path

import pytest
from damaged import KINDS, damage, in_time
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nasdepth.errors import NasdepthError

# `make test-fuzz` tries more
_EXAMPLES = int(os.environ.get("NASDEPTH_FUZZ_EXAMPLES", "12"))
_LONG = _EXAMPLES > 50


@pytest.fixture(params=KINDS)
def kind(request):
    return KINDS[request.param]


def test_a_valid_file_is_read(kind, tmp_path):
    path = kind.write(tmp_path)
    if kind is not KINDS["prior"] and kind is not KINDS["traces"]:
        with in_time():
            kind.read(path)


@settings(
    max_examples=_EXAMPLES,
    deadline=None,
    derandomize=not _LONG,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(data=st.data())
def test_a_damaged_file_is_an_error_that_names_it(kind, data):
    folder = Path(tempfile.mkdtemp(prefix="nasdepth-damaged-"))
    try:
        path = kind.write(folder)
        path.write_bytes(data.draw(damage(path.read_bytes(), kind.text)))
        with in_time(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                kind.read(path)
            except NasdepthError as error:
                message = str(error)
                assert path.name in message or folder.name in message, message
                assert len(message) < 5000, message[:200]
    finally:
        shutil.rmtree(folder)
