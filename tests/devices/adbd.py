"""An adbd of our own: Android's transport protocol over TCP, with commands run on this machine.

What adb's documentation calls protocol.txt (CNXN, OPEN, OKAY, WRTE, CLSE) with the services `shell,v2` and
`sync:`. Debian's real adb client and server talk to it. Commands see a PATH with `getprop`, and
`/data/local/tmp` is a folder of this machine.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
import subprocess
import threading
from pathlib import Path

_HEADER = struct.Struct("<4sIIIII")
_VERSION, _MAX_DATA = 0x01000001, 1 << 18
_BANNER = b"device::ro.product.name=test;ro.product.model=Test;ro.product.device=test;features=shell_v2,cmd"
_STDOUT, _STDERR, _EXIT = 1, 2, 3


class Adbd:
    """Listens on 127.0.0.1; serves one client at a time, as adbd does."""

    def __init__(self, root: Path, environment: dict[str, str]) -> None:
        self.root, self.environment = root, environment
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self._client: socket.socket | None = None
        self._running: set[subprocess.Popen] = set()
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def serial(self) -> str:
        return f"127.0.0.1:{self.port}"

    def unplug(self) -> None:
        """The connection and everything that it runs end at once."""
        for process in list(self._running):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        self._server.close()
        if self._client is not None:
            with contextlib.suppress(OSError):
                self._client.shutdown(socket.SHUT_RDWR)
            self._client.close()

    def _serve(self) -> None:
        while True:
            try:
                self._client, _ = self._server.accept()
            except OSError:
                return
            with contextlib.suppress(OSError, EOFError):
                _Connection(self._client, self._open).serve()

    def _open(self, stream: _Stream, service: str) -> None:
        name, _, command = service.partition(":")
        if name == "sync":
            self._sync(stream)
        elif name.split(",")[0] == "shell":
            self._shell(stream, command)
        stream.close()

    def _path(self, name: str) -> Path:
        return Path(name.replace("/data/local/tmp", str(self.root), 1))

    def _shell(self, stream: _Stream, command: str) -> None:
        process = subprocess.Popen(
            ["/bin/sh", "-c", command.replace("/data/local/tmp", str(self.root))],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self._running.add(process)
        out, err = process.communicate()
        self._running.discard(process)
        for kind, data in ((_STDOUT, out), (_STDERR, err)):
            for start in range(0, len(data), 1 << 15):
                part = data[start : start + (1 << 15)]
                stream.write(struct.pack("<BI", kind, len(part)) + part)
        stream.write(struct.pack("<BIB", _EXIT, 1, process.returncode & 0xFF))

    def _sync(self, stream: _Stream) -> None:
        while True:
            request, length = struct.unpack("<4sI", stream.read(8))
            if request == b"QUIT":
                return
            if request == b"STAT":
                path = self._path(stream.read(length).decode())
                found = path.stat() if path.exists() else None
                fields = (found.st_mode, found.st_size, int(found.st_mtime)) if found else (0, 0, 0)
                stream.write(b"STAT" + struct.pack("<III", *fields))
            elif request == b"SEND":
                name, _, mode = stream.read(length).decode().rpartition(",")
                self._receive(stream, self._path(name), int(mode) & 0o777)
            else:
                raise EOFError(f"sync request {request!r}")

    def _receive(self, stream: _Stream, path: Path, mode: int) -> None:
        content = b""
        while True:
            kind, length = struct.unpack("<4sI", stream.read(8))
            if kind == b"DONE":
                break
            content += stream.read(length)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            path.chmod(mode)
            stream.write(struct.pack("<4sI", b"OKAY", 0))
        except OSError as error:
            words = str(error).encode()
            stream.write(struct.pack("<4sI", b"FAIL", len(words)) + words)


class _Stream:
    """One OPENed service: bytes in both directions, each write acknowledged before the next."""

    def __init__(self, connection: _Connection, local: int, remote: int) -> None:
        self._connection, self.local, self.remote = connection, local, remote
        self._arrived = threading.Condition()
        self._data, self._ready, self._over = b"", 0, False

    def feed(self, data: bytes = b"", ready: bool = False, over: bool = False) -> None:
        with self._arrived:
            self._data += data
            self._ready += ready
            self._over |= over
            self._arrived.notify_all()

    def read(self, size: int) -> bytes:
        with self._arrived:
            self._arrived.wait_for(lambda: len(self._data) >= size or self._over)
            if len(self._data) < size:
                raise EOFError
            taken, self._data = self._data[:size], self._data[size:]
            return taken

    def write(self, data: bytes) -> None:
        self._connection.send(b"WRTE", self.local, self.remote, data)
        with self._arrived:
            self._arrived.wait_for(lambda: self._ready or self._over)
            if self._over:
                raise EOFError
            self._ready -= 1

    def close(self) -> None:
        self._connection.send(b"CLSE", self.local, self.remote)


class _Connection:
    def __init__(self, client: socket.socket, open_service) -> None:
        self._client, self._open_service = client, open_service
        self._sending = threading.Lock()
        self._streams: dict[int, _Stream] = {}

    def send(self, command: bytes, first: int, second: int, data: bytes = b"") -> None:
        magic = struct.unpack("<I", command)[0] ^ 0xFFFFFFFF
        with self._sending:
            header = _HEADER.pack(command, first, second, len(data), sum(data) & 0xFFFFFFFF, magic)
            self._client.sendall(header + data)

    def _read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            part = self._client.recv(size - len(data))
            if not part:
                raise EOFError
            data += part
        return data

    def serve(self) -> None:
        try:
            while True:
                command, first, second, length, _, _ = _HEADER.unpack(self._read(_HEADER.size))
                self._handle(command, first, second, self._read(length))
        finally:
            for stream in self._streams.values():
                stream.feed(over=True)

    def _handle(self, command: bytes, first: int, second: int, data: bytes) -> None:
        if command == b"CNXN":
            self.send(b"CNXN", _VERSION, _MAX_DATA, _BANNER)
        elif command == b"OPEN":
            stream = _Stream(self, len(self._streams) + 1, first)
            self._streams[stream.local] = stream
            self.send(b"OKAY", stream.local, first)
            service = data.rstrip(b"\0").decode()
            threading.Thread(target=self._run, args=(stream, service), daemon=True).start()
        elif command == b"WRTE":
            self._streams[second].feed(data)
            self.send(b"OKAY", second, first)
        elif command == b"OKAY":
            self._streams[second].feed(ready=True)
        elif command == b"CLSE" and second in self._streams:
            self._streams[second].feed(over=True)

    def _run(self, stream: _Stream, service: str) -> None:
        with contextlib.suppress(OSError, EOFError):
            self._open_service(stream, service)
