import json
import os

import pytest

from nasdepth.errors import NasdepthError
from nasdepth.files import find_shipped, shipped, whole_file, write_json, write_text


def test_a_file_is_written_whole(tmp_path):
    path = tmp_path / "new" / "folder" / "results.json"
    write_json(path, {"best": [1.5, None, "é"]})
    assert json.loads(path.read_text()) == {"best": [1.5, None, "é"]}
    write_text(path, "second")
    assert path.read_text() == "second" and os.listdir(path.parent) == ["results.json"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, OSError])
def test_a_failed_write_leaves_the_old_file(tmp_path, error):
    path = tmp_path / "model.tflite"
    path.write_text("old")
    with pytest.raises((error, NasdepthError)), whole_file(path) as temporary:
        temporary.write_text("half of the n")
        raise error("stop")
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["model.tflite"]


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(NasdepthError, match=r"taken/results\.json: cannot be written"):
        write_text(tmp_path / "taken" / "results.json", "")


FULL_DISK = """
import resource, signal, sys
from nasdepth.errors import NasdepthError
from nasdepth.files import write_text
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # then a write says "file too large", as a full disk would
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    write_text(sys.argv[1] if len(sys.argv) > 1 else {path!r}, "x" * 100_000)
except NasdepthError as error:
    print(error)
"""


def test_a_full_disk_is_said_and_harms_nothing(tmp_path, run_python):
    path = tmp_path / "trials.csv"
    path.write_text("old")
    answer = run_python(FULL_DISK.format(path=str(path)))
    assert f"{path}: cannot be written" in answer.stdout and "free some space" in answer.stdout, answer.stderr
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["trials.csv"]


@pytest.mark.parametrize("spelling", ["quick", "quick.yaml", "search_spaces/quick.yaml"])
def test_shipped_files_are_found_from_anywhere(tmp_path, monkeypatch, spelling):
    monkeypatch.chdir(tmp_path)
    assert find_shipped("search_spaces", spelling, ".yaml") == shipped("search_spaces") / "quick.yaml"


def test_a_path_wins_over_a_shipped_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "quick.yaml").write_text("")
    assert find_shipped("search_spaces", "quick.yaml", ".yaml").resolve() == tmp_path / "quick.yaml"


@pytest.mark.parametrize("spelling", ["quik", "elsewhere/quick.yaml", "/nowhere/quick.yaml"])
def test_a_missing_file_lists_what_is_shipped(tmp_path, monkeypatch, spelling):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NasdepthError) as error:
        find_shipped("search_spaces", spelling, ".yaml")
    assert spelling in str(error.value) and "depth, quick" in str(error.value)
