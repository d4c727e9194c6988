"""A device of your own: this machine's CPU while other processes compute, as on a busy board."""

import multiprocessing
from collections.abc import Generator, Sequence
from pathlib import Path

from nasdepth.devices import DeviceUri, LocalDevice, Measurement, register_device
from nasdepth.errors import DeviceError


@register_device("busy", summary="this machine's CPU beside other work", options=("threads", "cores", "load"))
class BusyDevice(LocalDevice):
    """This machine, with `load` processes that compute while it measures."""

    def __init__(self, setting: DeviceUri) -> None:
        super().__init__(setting=setting)
        load = setting.own.get("load", "1")
        if not load.isdecimal():
            raise DeviceError(f"device {setting.text!r}: load={load!r}; expected a number of processes")
        self._load = int(load)

    def measure(
        self, models: Sequence[Path], *, min_runs: int = 30, min_seconds: float = 0.15
    ) -> Generator[Measurement, None, None]:
        others = [multiprocessing.Process(target=_compute, daemon=True) for _ in range(self._load)]
        for other in others:
            other.start()
        try:
            yield from super().measure(models, min_runs=min_runs, min_seconds=min_seconds)
        finally:
            for other in others:
                other.terminate()


def _compute() -> None:
    while True:
        sum(range(100_000))
