"""The journal of a build: every finished measurement on disk at once, so that nothing is measured twice."""

from __future__ import annotations

import fcntl
import json
import math
import os
import warnings
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from nasdepth.devices import DeviceInfo, Measurement
from nasdepth.errors import NasdepthWarning, TableError, brief


class Journal:
    """Measurements by key, appended to a JSON-lines file whose first line is the device.

    Raises:
        TableError: the file belongs to another device or setting, is damaged, or another process has it open.
    """

    def __init__(self, path: Path, info: DeviceInfo) -> None:
        self.path = path
        self._done: dict[str, Measurement] = {}
        self._references_ms: dict[str, dict[str, float]] = {}
        header = {"device": asdict(info)}
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a+b")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            raise TableError(
                f"{path}: another process is measuring into it, and two would disturb each other; wait "
                "for it or stop it"
            ) from None
        self._file.seek(0)
        content = self._file.read()
        # A crash may have cut the last line: it is measured again
        whole = content[: content.rfind(b"\n") + 1]
        for number, line in enumerate(whole.split(b"\n")[:-1], start=1):
            try:
                entry = json.loads(line)
                if number == 1:
                    self._check(entry["device"], header["device"])
                else:
                    self._take(entry)
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
                if number == 1:
                    raise TableError(
                        f"{path}, line 1: damaged ({error}), so nobody knows of which device the rest is; "
                        "delete it to start over"
                    ) from None
                # what it held is measured again
                words = f"{path}, line {number}: damaged ({error}); that entry is measured again"
                warnings.warn(words, NasdepthWarning, stacklevel=2)
        self._file.truncate(len(whole))
        if not whole:
            self._write(header)

    def _take(self, entry: dict) -> None:
        key, references_ms = entry.pop("key"), dict(entry.pop("references_ms", {}))
        measured = Measurement(self.path, **entry)
        numbers = (one for one in asdict(measured).values() if isinstance(one, (int, float)))
        if not isinstance(key, str) or not all(math.isfinite(one) and one >= 0 for one in numbers):
            raise ValueError("no measurement of anything")
        if not measured.error and not (isinstance(measured.latency_ms, float) and measured.latency_ms > 0):
            raise ValueError(f"latency_ms is {brief(measured.latency_ms)}")
        self._done[key], self._references_ms[key] = measured, references_ms

    def _check(self, there: dict, here: dict) -> None:
        for field, value in here.items():
            if there.get(field) != value:
                raise TableError(
                    f"{self.path}: begun with {field} {there.get(field)!r}, but now it is {value!r}; "
                    "restore that setting, or delete the file to start over"
                )

    def __contains__(self, key: str) -> bool:
        return key in self._done

    def __getitem__(self, key: str) -> Measurement:
        return self._done[key]

    def latencies_ms(self, prefix: str) -> list[float]:
        """Of all entries whose key begins so, in order."""
        return [one.latency_ms for key, one in self._done.items() if key.startswith(prefix)]

    def references_ms(self, key: str) -> dict[str, float]:
        """Of reference networks that ran beside an entry; empty where none did."""
        return self._references_ms.get(key, {})

    def add(
        self, key: str, measurement: Measurement, references_ms: Mapping[str, float] | None = None
    ) -> None:
        """Record a finished measurement, and the references beside it."""
        entry = asdict(measurement)
        del entry["model"]
        self._done[key] = measurement
        if references_ms:
            self._references_ms[key] = entry["references_ms"] = dict(references_ms)
        self._write({"key": key, **entry})

    def _write(self, entry: dict) -> None:
        try:
            self._file.write((json.dumps(entry) + "\n").encode())
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise TableError(
                f"{self.path}: cannot be written ({error.strerror}); free some space and run the same "
                "command again: what is measured is kept"
            ) from error

    def close(self) -> None:
        """Close the file and keep it."""
        self._file.close()

    def delete(self) -> None:
        """The table is saved: the journal has done its work."""
        self.path.unlink(missing_ok=True)
        self.close()
