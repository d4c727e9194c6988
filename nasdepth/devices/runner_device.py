"""Devices that run `runner.py`, here or elsewhere."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Generator, Iterator, Sequence
from contextlib import AbstractContextManager, closing
from functools import cached_property
from pathlib import Path

from nasdepth.devices.base import MODELS_AT_ONCE, Device, DeviceInfo, Measurement
from nasdepth.devices.diagnosis import Diagnosis, judge
from nasdepth.devices.probe import PROBE
from nasdepth.devices.uri import DeviceUri
from nasdepth.errors import DeviceError

RUNNER = Path(__file__).with_name("runner.py")
SILENCE_SECONDS = 300.0

_ROUNDS = 5
_PROBE_RUNS, _PROBE_SECONDS = 50, 2.0


class Run:
    """One runner process."""

    @abstractmethod
    def lines(self) -> Iterator[str]:
        """Yield what it says until it ends, dies or falls silent; closing the iterator ends the process."""

    @abstractmethod
    def last_words(self) -> str:
        """How it ended and the last line it wrote to stderr."""


class RunnerDevice(Device):
    """A device under one setting, measured by the runner."""

    def __init__(self, setting: DeviceUri) -> None:
        self.uri = setting.text
        self.threads = setting.threads
        self.setting = setting

    @abstractmethod
    def _start(self, job: dict) -> Run:
        """A process that will do `job`."""

    @abstractmethod
    def _placed(self, models: Sequence[Path]) -> AbstractContextManager[list[str]]:
        """The models' names on the device, for as long as the context lasts."""

    def _persistently(self, action):
        """Do `action`, again where the device went away and came back."""
        return action()

    @cached_property
    def _info(self) -> DeviceInfo:
        return self._persistently(self._describe)

    def _describe(self) -> DeviceInfo:
        run = self._start(self._job([], min_runs=1, min_seconds=0))
        for event, line in self._events(run):
            if event == "info":
                return DeviceInfo(**line)
        raise DeviceError(f"device {self.uri}: the runner did not start: {run.last_words()}")

    def describe(self) -> DeviceInfo:
        return self._info

    def measure(
        self, models: Sequence[Path], *, min_runs: int = 30, min_seconds: float = 0.15
    ) -> Generator[Measurement, None, None]:
        self.describe()
        paths = [Path(model) for model in models]
        for start in range(0, len(paths), MODELS_AT_ONCE):
            chunk = paths[start : start + MODELS_AT_ONCE]
            yield from self._persistently(lambda chunk=chunk: self._chunk(chunk, min_runs, min_seconds))

    def diagnose(self) -> Diagnosis:
        info = self.describe()
        facts = self._persistently(self._facts)
        return Diagnosis(self.uri, info, judge(info, facts))

    def _facts(self) -> dict:
        with self._placed([PROBE]) as names:
            job = self._job(names, min_runs=_PROBE_RUNS, min_seconds=_PROBE_SECONDS)
            run = self._start({**job, "task": "diagnose"})
            for event, line in self._events(run):
                if event == "facts":
                    return line
        return {"probe_error": f"the runtime died on the probe model: {run.last_words()}"}

    def _chunk(self, models: list[Path], min_runs: int, min_seconds: float) -> list[Measurement]:
        crashed: dict[str, str] = {}
        results: dict[str, dict] = {}
        present = [model for model in models if model.is_file()]
        with self._placed(present) as names:
            while missing := list(dict.fromkeys(name for name in names if name not in results | crashed)):
                run = self._start(self._job(missing, min_runs=min_runs, min_seconds=min_seconds))
                touched = None
                for event, line in self._events(run):
                    if event == "touch":
                        touched = line["model"]
                    elif event == "result":
                        results[line.pop("model")] = line
                if all(name in results for name in missing):
                    break
                if touched is None:
                    raise DeviceError(f"device {self.uri}: the runner died at once: {run.last_words()}")
                crashed[touched] = f"the runtime died on this model: {run.last_words()}"
        answers = iter(names)
        return [
            _measurement(model, next(answers), results, crashed)
            if model in present
            else Measurement(model, error=f"{model}: no such file")
            for model in models
        ]

    def _job(self, names: Sequence[str], *, min_runs: int, min_seconds: float) -> dict:
        return {
            "models": list(names),
            "threads": self.threads,
            "min_runs": min_runs,
            "min_seconds": min_seconds,
            "rounds": _ROUNDS,
            "cores": list(self.setting.cores),
            "accelerator": "gpu" if self.setting.gpu else "cpu",
            "icd": self.setting.icd,
            "watch": True,
        }

    def _events(self, run: Run) -> Iterator[tuple[str, dict]]:
        with closing(run.lines()) as lines:
            for text in lines:
                try:
                    line = json.loads(text)
                    event = line.pop("event")
                except (ValueError, AttributeError, KeyError):
                    # A login script that prints, or the runtime itself
                    continue
                if event == "failed":
                    raise DeviceError(f"device {self.uri}: {line['error']}")
                yield event, line


def _measurement(model: Path, name: str, results: dict[str, dict], crashed: dict[str, str]) -> Measurement:
    if name in crashed:
        return Measurement(model, error=crashed[name])
    result = dict(results[name])
    if "error" in result:
        # The runtime may speak of a file that is there and not here
        result["error"] = result["error"].replace(name, str(model))
    return Measurement(model, **result)


def last_words(end: str, stderr: str) -> str:
    """`end` and the last telling line of `stderr`."""
    lines = [line for line in stderr.splitlines() if line.strip() and not line.startswith("INFO:")]
    return f"{end}: {lines[-1]}" if lines else end


def exit_words(code: int) -> str:
    """An exit status in words; a shell says 128 and more for a signal."""
    if code < 0 or code > 128:
        return f"signal {-code if code < 0 else code - 128}"
    return f"exit status {code}"
