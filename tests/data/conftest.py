from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("NASDEPTH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "datasets"


@pytest.fixture
def make_folder(tmp_path) -> Callable[..., Path]:
    """Write a small data set in the challenge's layout."""

    def make(names=("1", "2", "10"), sub="", size=(64, 48)) -> Path:
        rng = np.random.default_rng(len(names))
        root = tmp_path / "set"
        for kind in ("rgb", "depth"):
            (root / sub / kind).mkdir(parents=True, exist_ok=True)
        for name in names:
            rgb = rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
            depth = rng.integers(500, 9000, (size[1], size[0]), dtype=np.uint16)
            depth[:4] = 0
            Image.fromarray(rgb).save(root / sub / "rgb" / f"{name}.jpg")
            Image.fromarray(depth).save(root / sub / "depth" / f"{name}.png")
        return root

    return make
