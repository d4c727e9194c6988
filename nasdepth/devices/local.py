"""This machine's CPU, measured in a process of its own."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

from nasdepth.devices.base import Device, DeviceInfo, Measurement
from nasdepth.errors import DeviceError

RUNNER = Path(__file__).with_name("runner.py")

# Models interleaved in one process: enough that drift averages out, few enough to hold in memory
_CHUNK = 16
_ROUNDS = 5
_SILENCE_SECONDS = 300.0


class LocalDevice(Device):
    """This machine's CPU through ai-edge-litert.

    Args:
        threads: of the runtime, 1 or more.
    """

    def __init__(self, threads: int = 1) -> None:
        if threads < 1:
            raise DeviceError(f"threads is {threads}; it must be 1 or more")
        self.uri = "local"
        self.threads = threads

    @cached_property
    def _info(self) -> DeviceInfo:
        run = _Run([], self.threads, min_runs=1, min_seconds=0)
        for line in run.lines():
            if line.pop("event") == "info":
                return DeviceInfo(**line)
        raise DeviceError(f"device {self.uri}: the runner did not start: {run.last_words()}")

    def describe(self) -> DeviceInfo:
        return self._info

    def measure(
        self, models: Sequence[Path], *, min_runs: int = 30, min_seconds: float = 0.15
    ) -> Iterator[Measurement]:
        self.describe()
        paths = [Path(model) for model in models]
        for start in range(0, len(paths), _CHUNK):
            yield from self._chunk(paths[start : start + _CHUNK], min_runs, min_seconds)

    def _chunk(self, models: list[Path], min_runs: int, min_seconds: float) -> Iterator[Measurement]:
        crashed: dict[str, str] = {}
        results: dict[str, Measurement] = {}
        while missing := [str(model) for model in models if str(model) not in results | crashed]:
            run = _Run(missing, self.threads, min_runs=min_runs, min_seconds=min_seconds)
            touched = None
            for line in run.lines():
                event = line.pop("event")
                if event == "touch":
                    touched = line["model"]
                elif event == "result":
                    model = line.pop("model")
                    results[model] = Measurement(model=Path(model), **line)
            if all(model in results for model in missing):
                break
            if touched is None:
                raise DeviceError(f"device {self.uri}: the runner died at once: {run.last_words()}")
            crashed[touched] = f"the runtime died on this model: {run.last_words()}"
        for model in models:
            error = crashed.get(str(model))
            yield Measurement(model, error=error) if error else results[str(model)]


class _Run:
    """One runner process and what it says."""

    def __init__(self, models: list[str], threads: int, *, min_runs: int, min_seconds: float) -> None:
        self._job = json.dumps(
            {
                "models": models,
                "threads": threads,
                "min_runs": min_runs,
                "min_seconds": min_seconds,
                "rounds": _ROUNDS,
            }
        )
        self._stderr = ""
        self._end = ""

    def lines(self) -> Iterator[dict]:
        """Yield the runner's lines until it ends, dies or falls silent; ends the process when closed."""
        with tempfile.TemporaryFile("w+") as stderr:
            # A session of its own: Ctrl-C reaches us, and we decide when the runner ends
            process = subprocess.Popen(
                [sys.executable, str(RUNNER)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                start_new_session=True,
            )
            said: queue.Queue[str | None] = queue.Queue()
            reader = threading.Thread(target=_pump, args=(process, self._job, said), daemon=True)
            reader.start()
            try:
                while (line := said.get(timeout=_SILENCE_SECONDS)) is not None:
                    yield json.loads(line)
                process.wait()
            except queue.Empty:
                self._end = f"silent for {_SILENCE_SECONDS:.0f} s"
            finally:
                process.kill()
                code = process.wait()
                reader.join()
                process.stdout.close()
                self._end = self._end or (f"signal {-code}" if code < 0 else f"exit status {code}")
                stderr.seek(0)
                self._stderr = stderr.read()

    def last_words(self) -> str:
        """How the process ended and the last line it wrote to stderr."""
        lines = [line for line in self._stderr.splitlines() if not line.startswith("INFO:")]
        return f"{self._end}: {lines[-1]}" if lines else self._end


def _pump(process: subprocess.Popen, job: str, said: queue.Queue[str | None]) -> None:
    try:
        process.stdin.write(job)
        process.stdin.close()
    except BrokenPipeError:
        pass  # it died before reading; its exit status tells
    for line in process.stdout:
        said.put(line)
    said.put(None)
