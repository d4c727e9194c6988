"""A PostgreSQL server of one's own: a fresh cluster below /tmp, reachable on this machine alone."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from urllib.parse import quote

import psycopg

USER, PASSWORD = "searcher", "s3cret@home"


def binaries() -> Path | None:
    """The folder of initdb and postgres, which Debian does not put on the path; None if there is none."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    found = shutil.which("initdb")
    folders += [Path(found).resolve().parent] if found else []
    return next((one for one in folders if (one / "initdb").exists() and (one / "postgres").exists()), None)


class PrivatePostgres:
    """A running server; `stop` and `start` keep its data and its port."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="nasdepth-postgres-", dir="/tmp"))
        # the server refuses to run as root
        self._owner = {}
        if os.getuid() == 0:
            names = {entry.pw_name for entry in pwd.getpwall()}
            self._owner = {"user": "postgres" if "postgres" in names else "nobody", "group": None}
            shutil.chown(self._folder, self._owner["user"])
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        secret = self._folder / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        self._run("initdb", "-D", "data", "-U", USER, "-A", "scram-sha-256", "--pwfile", str(secret))
        self.start()

    def _command(self, name: str, *arguments: str) -> dict:
        return {"args": [str(binaries() / name), *arguments], "cwd": self._folder, **self._owner}

    def _run(self, name: str, *arguments: str) -> None:
        done = subprocess.run(**self._command(name, *arguments), capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr

    def start(self) -> None:
        log = (self._folder / "log").open("ab")
        options = ("-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-c", "max_connections=150")
        command = self._command(
            "postgres", "-D", "data", "-p", str(self.port), "-k", str(self._folder), *options
        )
        self._server = subprocess.Popen(**command, stdout=log, stderr=log)
        log.close()
        for _ in range(200):
            try:
                self.connect().close()
                return
            except psycopg.OperationalError:
                time.sleep(0.1)
        raise AssertionError((self._folder / "log").read_text())

    def stop(self) -> None:
        """Break every connection and shut down, as a restart of the machine does."""
        self._run("pg_ctl", "-D", "data", "-m", "fast", "-w", "stop")
        self._server.wait()

    def close(self) -> None:
        self._server.kill()
        self._server.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def connect(self, database: str = "postgres") -> psycopg.Connection:
        return psycopg.connect(
            host="127.0.0.1", port=self.port, user=USER, password=PASSWORD, dbname=database, autocommit=True
        )

    def database(self, name: str) -> str:
        """The URL of a new, empty database."""
        with self.connect() as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        return f"postgresql://{USER}:{quote(PASSWORD, safe='')}@127.0.0.1:{self.port}/{name}"
