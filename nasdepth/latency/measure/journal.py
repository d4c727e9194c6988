"""The journal of a build: every finished measurement on disk at once, so that nothing is measured twice."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from nasdepth.devices import DeviceInfo, Measurement
from nasdepth.errors import TableError


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
        self._file = path.open("a+", encoding="utf-8")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            raise TableError(
                f"{path}: another process is measuring into it, and two would disturb each other; wait "
                "for it or stop it"
            ) from None
        self._file.seek(0)
        text = self._file.read()
        # A crash may have cut the last line: it is measured again
        whole = text[: text.rfind("\n") + 1]
        for number, line in enumerate(whole.splitlines(), start=1):
            try:
                entry = json.loads(line)
                if number == 1:
                    self._check(entry["device"], header["device"])
                else:
                    key = entry.pop("key")
                    self._references_ms[key] = dict(entry.pop("references_ms", {}))
                    self._done[key] = Measurement(path, **entry)
            except (ValueError, KeyError, TypeError) as error:
                raise TableError(
                    f"{path}, line {number}: damaged ({error}); delete it to start over"
                ) from None
        self._file.truncate(len(whole.encode()))
        if not whole:
            self._write(header)

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
        self._file.write(json.dumps(entry) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file and keep it."""
        self._file.close()

    def delete(self) -> None:
        """The table is saved: the journal has done its work."""
        self.path.unlink(missing_ok=True)
        self.close()
