"""A build that loses its device in the middle of measuring, and is started again."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from nasdepth.devices import Device, open_device
from nasdepth.errors import ConnectionLost
from nasdepth.latency import LatencyTable, tflite_kernels
from nasdepth.latency.measure import build_table, plan_kernels
from nasdepth.latency.measure.bench import REFERENCES
from nasdepth.space import SearchSpace


def _hurried(uri: str, monkeypatch: pytest.MonkeyPatch) -> tuple[Device, set]:
    """A device that takes few runs, and the kernels that it was asked for."""
    device, asked = open_device(uri), set()
    real = device.measure

    def measure(models, **_):
        for model in models:
            asked.update(tflite_kernels(model))
        return real(models, min_runs=5, min_seconds=0)

    monkeypatch.setattr(device, "measure", measure)
    return device, asked


def build_lost_and_resumed(
    uris: tuple[str, str],
    lose: Callable[[], None],
    restore: Callable[[], None],
    space_file: Path,
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> LatencyTable:
    """Build on the first URI until `lose` takes the device away; `restore` it, go on with the second."""
    space = SearchSpace.load(space_file)
    device, _ = _hurried(uris[0], monkeypatch)
    done = 0
    timer = threading.Timer(0.3, lose)

    def progress(now: int, total: int, _: str) -> None:
        nonlocal done
        done = now
        if now > 2 and not timer.ident:
            timer.start()

    settings = {"calibration": 0, "validate": 0}
    with pytest.raises(ConnectionLost, match="start the same command again"):
        build_table(device, space, out, "board", **settings, progress=progress)
    timer.join()
    planned = plan_kernels(space)
    assert 1 < done < 1 + len(planned)

    restore()
    again, asked = _hurried(uris[1], monkeypatch)
    table = build_table(again, space, out, "board", **settings)
    # The one call of the interpreter and the kernels that were done are not measured a second time
    assert asked - set(REFERENCES.values()) == set(planned[done - 1 :])
    assert {*table.timings, *table.rejected} == set(planned)
    return table
