"""This machine's CPU or GPU, measured in a process of its own."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from nasdepth.devices.runner_device import (
    RUNNER,
    SILENCE_SECONDS,
    Run,
    RunnerDevice,
    exit_words,
    last_words,
)
from nasdepth.devices.uri import DeviceUri, parse_uri


class LocalDevice(RunnerDevice):
    """This machine through ai-edge-litert.

    Args:
        threads: of the runtime, 1 or more; where not given, the setting's.
        setting: a parsed `local` or `local-gpu` URI.

    Raises:
        DeviceError: threads below 1, or other than the setting's.
    """

    def __init__(self, threads: int | None = None, setting: DeviceUri | None = None) -> None:
        super().__init__((setting or parse_uri("local")).with_threads(threads))

    def _start(self, job: dict) -> Run:
        return _LocalRun(job)

    @contextmanager
    def _placed(self, models: Sequence[Path]) -> Iterator[list[str]]:
        yield [str(model) for model in models]


class _LocalRun(Run):
    def __init__(self, job: dict) -> None:
        self._job = json.dumps(job) + "\n"
        self._stderr = ""
        self._end = ""

    def lines(self) -> Iterator[str]:
        with tempfile.TemporaryFile("w+", errors="replace") as stderr:
            # A session of its own: Ctrl-C reaches us, and we decide when the runner ends
            process = subprocess.Popen(
                [sys.executable, str(RUNNER)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                errors="replace",
                start_new_session=True,
            )
            said: queue.Queue[str | None] = queue.Queue()
            reader = threading.Thread(target=_pump, args=(process, self._job, said), daemon=True)
            reader.start()
            try:
                while (line := said.get(timeout=SILENCE_SECONDS)) is not None:
                    yield line
                process.wait()
            except queue.Empty:
                self._end = f"silent for {SILENCE_SECONDS:.0f} s"
            finally:
                process.kill()
                code = process.wait()
                reader.join()
                process.stdout.close()
                # What a dead runner did not read is still in the buffer
                with suppress(BrokenPipeError):
                    process.stdin.close()
                self._end = self._end or exit_words(code)
                stderr.seek(0)
                self._stderr = stderr.read()

    def last_words(self) -> str:
        return last_words(self._end, self._stderr)


def _pump(process: subprocess.Popen, job: str, said: queue.Queue[str | None]) -> None:
    try:
        # Left open: the runner ends when it closes, whatever becomes of us
        process.stdin.write(job)
        process.stdin.flush()
    except BrokenPipeError:
        pass  # it died before reading; its exit status tells
    for line in process.stdout:
        said.put(line)
    said.put(None)
