"""A real OpenSSH server on this machine, with keys of its own."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

SSHD = shutil.which("sshd", path=os.environ.get("PATH", "") + ":/usr/sbin")


def children_of(pid: int) -> list[int]:
    """All descendants of a process, youngest last."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue
            parents.setdefault(int(stat.rpartition(")")[2].split()[1]), []).append(int(entry.name))
    found = []
    todo = [pid]
    while todo:
        below = parents.get(todo.pop(), [])
        found += below
        todo += below
    return found


def commands() -> list[str]:
    """The command lines of all processes."""
    lines = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                lines.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
            except OSError:
                continue
    return lines


def wait_until(true, seconds: float = 15.0) -> bool:
    stop = time.monotonic() + seconds
    while not (answer := true()) and time.monotonic() < stop:
        time.sleep(0.05)
    return bool(answer)


class Sshd:
    """An OpenSSH server on 127.0.0.1 whose only user is whoever runs the tests."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.chmod(0o700)
        for name in ("host", "client", "stranger"):
            self._keygen(name)
        (folder / "authorized_keys").write_text((folder / "client.pub").read_text())
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        (folder / "known_hosts").write_text(self._known("host"))
        (folder / "sshd_config").write_text(
            f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\n"
            f"AuthorizedKeysFile {folder}/authorized_keys\nStrictModes no\nUsePAM no\n"
            "PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin yes\nPidFile none\n"
        )
        self.config = self.client_config("config")
        self._process: subprocess.Popen | None = None
        self.frozen: list[int] = []

    def _keygen(self, name: str) -> None:
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.folder / name)]
        subprocess.run(command, check=True)

    def _known(self, key: str) -> str:
        kind, public, *_ = (self.folder / f"{key}.pub").read_text().split()
        return f"[127.0.0.1]:{self.port} {kind} {public}\n"

    def client_config(self, name: str, *, key: str = "client", host_key: str | None = "host") -> Path:
        """An ssh configuration with a host `board`, its key and its known_hosts."""
        known = self.folder / f"known_hosts_{name}"
        known.write_text(self._known(host_key) if host_key else "")
        path = self.folder / name
        path.write_text(
            f"Host board\n  HostName 127.0.0.1\n  Port {self.port}\nHost *\n"
            f"  IdentityFile {self.folder}/{key}\n"
            f"  UserKnownHostsFile {known}\n  GlobalKnownHostsFile /dev/null\n"
        )
        return path

    def uri(self, python: Path | str = sys.executable, config: Path | None = None, **options: object) -> str:
        more = "".join(f"&{name}={value}" for name, value in options.items())
        return f"ssh://board?config={config or self.config}&python={python}{more}"

    def start(self) -> None:
        with (self.folder / "log").open("a") as log:
            self._process = subprocess.Popen(self._command(), stderr=log, start_new_session=True)
        if not wait_until(self._answers, 60):
            raise RuntimeError((self.folder / "log").read_text())

    def _command(self) -> list[str]:
        Path("/run/sshd").mkdir(exist_ok=True)
        return [SSHD, "-D", "-e", "-f", str(self.folder / "sshd_config")]

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def freeze(self) -> None:
        """Connections that are open stop answering; new ones are taken."""
        self.frozen = [pid for pid in children_of(self._process.pid) if _is_sshd(pid)]
        for pid in self.frozen:
            os.kill(pid, signal.SIGSTOP)

    def kill(self) -> None:
        """The server and every connection die at once."""
        if self._process is not None:
            servers = [pid for pid in children_of(self._process.pid) if _is_sshd(pid)]
            for pid in [self._process.pid, *servers]:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            self._process.wait()
            self._process = None


def _is_sshd(pid: int) -> bool:
    try:
        return b"sshd" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
