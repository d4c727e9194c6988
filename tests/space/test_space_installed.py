"""What an installed wheel carries."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from nasdepth import __version__

ROOT = Path(__file__).resolve().parents[2]


def test_a_wheel_carries_spaces_tables_and_recipes(tmp_path, run_python):
    pytest.importorskip("hatchling")
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "-q",
        "-w",
        tmp_path,
        ROOT,
    ]
    built = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        archive.extractall(tmp_path / "site")
    for folder, suffix in (
        ("search_spaces", ".yaml"),
        ("latency_tables", ".csv.gz"),
        ("latency_tables", ".yaml"),
    ):
        shipped = {f"nasdepth/resources/{folder}/{path.name}" for path in (ROOT / folder).glob(f"*{suffix}")}
        assert shipped <= names, shipped - names
    assert "nasdepth/resources/search_spaces/depth.yaml" in names
    assert "nasdepth/py.typed" in names and f"nasdepth-{__version__}-" in wheel.name
    recipes = ROOT / "nasdepth" / "training" / "recipes"
    assert {f"nasdepth/training/recipes/{path.name}" for path in recipes.glob("*.yaml")} <= names
    code = (
        f"import sys, os; sys.path.insert(0, {str(tmp_path / 'site')!r}); os.chdir('/')\n"
        "import nasdepth; from nasdepth.space import SearchSpace; from nasdepth.files import shipped\n"
        "print(SearchSpace.load('quick').name, shipped('latency_tables'), nasdepth.__file__)"
    )
    answer = run_python(code)
    name, tables, module = answer.stdout.split()
    assert name == "quick", answer.stderr
    assert module.startswith(str(tmp_path)) and (
        tables.startswith(str(tmp_path)) or not list((ROOT / "latency_tables").glob("*.csv.gz"))
    )
