"""A Linux board over SSH, with the user's own configuration, keys and known hosts."""

from __future__ import annotations

import atexit
import io
import json
import shlex
import socket
import tarfile
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import paramiko
from fabric import Config, Connection
from paramiko.ssh_exception import (
    AuthenticationException,
    BadHostKeyException,
    NoValidConnectionsError,
    SSHException,
)

from nasdepth.devices.runner_device import (
    RUNNER,
    SILENCE_SECONDS,
    Run,
    RunnerDevice,
    exit_words,
    last_words,
)
from nasdepth.devices.uri import DeviceUri
from nasdepth.errors import ConnectionLost, DeviceError
from nasdepth.files import at_home

_CONNECT_SECONDS = 15.0
_COMMAND_SECONDS = 60.0
# Less is taken for the reason where copying fails
_ROOM_KIB = 1024
_KEEPALIVE_SECONDS = 10
_FIRST_DELAY_SECONDS, _LONGEST_DELAY_SECONDS = 0.5, 10.0
_GONE = (SSHException, EOFError, OSError)


class SshDevice(RunnerDevice):
    """A board that is reached by SSH; it needs python3, numpy and a TFLite runtime.

    The runner is copied into a private folder there once, and removed when this object goes. A connection
    that is lost is made again for `retry_seconds`, and what was being measured is measured again.

    Args:
        setting: a parsed ssh:// URI.
    """

    def __init__(self, setting: DeviceUri) -> None:
        super().__init__(setting)
        self._session: _Session | None = None

    def close(self) -> None:
        """Remove what was copied, and disconnect."""
        if self._session is not None:
            self._session.close()
            self._session = None

    def _connected(self) -> _Session:
        if self._session is None or not self._session.alive:
            try:
                self._session = _Session(self.setting, self._session.folder if self._session else None)
            except ConnectionLost as error:
                # One that was never there is not waited for
                raise error if self._session else DeviceError(str(error)) from None
        return self._session

    def _persistently(self, action: Callable):
        stop, delay = None, _FIRST_DELAY_SECONDS
        while True:
            try:
                return action()
            except ConnectionLost as lost:
                now = time.monotonic()
                stop = stop or now + self.setting.retry_seconds
                if now + delay > stop:
                    raise ConnectionLost(
                        f"{lost}; tried again for {self.setting.retry_seconds:.0f} s. When it is back, start "
                        "the same command again: what was measured is kept"
                    ) from None
                time.sleep(delay)
                delay = min(2 * delay, _LONGEST_DELAY_SECONDS)

    def _start(self, job: dict) -> Run:
        return _SshRun(self._connected(), job)

    @contextmanager
    def _placed(self, models: Sequence[Path]) -> Iterator[list[str]]:
        session = self._connected()
        folder = f"{session.folder}/models"
        names = [f"{folder}/{index}.tflite" for index in range(len(models))]
        session.upload(folder, models)
        try:
            yield names
        finally:
            # Where the connection is gone, the next upload clears the folder
            with suppress(DeviceError, *_GONE):
                session.run(f"rm -rf {shlex.quote(folder)}")


class _Session:
    """A connection and our private folder at its other end."""

    def __init__(self, setting: DeviceUri, folder: str | None) -> None:
        self._setting = setting
        self.uri = setting.text
        self.python = setting.python
        self._connection = _connect(setting)
        self._transport = self._connection.transport
        self._transport.set_keepalive(_KEEPALIVE_SECONDS)
        try:
            new = not (folder and self.run(f"test -s {shlex.quote(folder)}/runner.py")[0] == 0)
            self.folder = self._make_folder() if new else folder
        except BaseException:
            self._connection.close()
            raise
        self._finalizer = weakref.finalize(self, _leave, self._connection, self.folder)
        # paramiko ends its connections at exit; what is registered later comes before that
        atexit.register(self._finalizer)
        if new:
            try:
                self._fill_folder()
            except BaseException:
                self.close()
                raise

    @property
    def alive(self) -> bool:
        return self._transport.is_active()

    def close(self) -> None:
        atexit.unregister(self._finalizer)
        self._finalizer()

    def _make_folder(self) -> str:
        parent = shlex.quote(self._setting.tmp) if self._setting.tmp else '"${TMPDIR:-/tmp}"'
        code, out, err = self.run(f"umask 077; mktemp -d {parent}/nasdepth.XXXXXXXX")
        if code:
            raise DeviceError(
                f"device {self.uri}: cannot make a folder there ({err}); free some space, or name a folder "
                "with room: ?tmp=/path"
            )
        # The last line: login scripts may print
        return out.splitlines()[-1]

    def _fill_folder(self) -> None:
        place = shlex.quote(self.folder)
        code, _, err = self.run(f"cat > {place}/runner.py", RUNNER.read_bytes())
        if code:
            raise self._cannot_copy(err, place)
        code, _, err = self.run(f"{shlex.quote(self.python)} -c ''")
        if code:
            raise DeviceError(
                f"device {self.uri}: no Python there as {self.python!r} ({err}); install it "
                "(sudo apt-get install python3), or name another one: ?python=/path/to/python3"
            )

    def _cannot_copy(self, err: str, place: str) -> DeviceError:
        words = err.partition("\n")[0]
        # tar does not say why it "wrote only" a part
        _, table, _ = self.run(f"df -Pk {place}")
        if (free := (table.splitlines() or [""])[-1].split()[3:4]) and int(free[0]) < _ROOM_KIB:
            words += f" ({free[0]} KiB free there: the disk is full; free some, or name a folder with room: "
            words += "?tmp=/path)"
        return DeviceError(f"device {self.uri}: cannot copy files there: {words}")

    def upload(self, folder: str, models: Sequence[Path]) -> None:
        """Put `models` into `folder` as 0.tflite, 1.tflite, ..."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=1, dereference=True) as archive:
            for index, model in enumerate(models):
                archive.add(model, f"{index}.tflite", recursive=False)
        place = shlex.quote(folder)
        code, _, err = self.run(
            f"umask 077; rm -rf {place} && mkdir {place} && tar -xzf - -C {place}", packed.getvalue()
        )
        if code:
            raise self._cannot_copy(err, place)

    def open(self, command: str) -> paramiko.Channel:
        """Start a command in a plain shell.

        Raises:
            ConnectionLost: the connection is gone.
        """
        try:
            channel = self._transport.open_session(timeout=_COMMAND_SECONDS)
            # Whatever the login shell is
            channel.exec_command(f"exec sh -c {shlex.quote(command)}")  # nosec B601: quoted
            channel.settimeout(_COMMAND_SECONDS)
        except _GONE as error:
            raise self.lost(error) from None
        return channel

    def run(self, command: str, given: bytes = b"") -> tuple[int, str, str]:
        """Run a short command; its exit status, output and errors.

        Raises:
            ConnectionLost: the connection is gone.
        """
        channel = self.open(command)
        try:
            # A command that ends early says why in its errors
            with suppress(OSError):
                channel.sendall(given)
            channel.shutdown_write()
            out = channel.makefile("rb").read().decode(errors="replace")
            err = channel.makefile_stderr("rb").read().decode(errors="replace")
            code = channel.recv_exit_status()
        except _GONE as error:
            raise self.lost(error) from None
        finally:
            channel.close()
        if code < 0:
            raise self.lost("no exit status")
        return code, out.strip(), err.strip()

    def lost(self, why: object) -> ConnectionLost:
        """The error for a connection that is gone; also ends what is left of it."""
        self._connection.close()
        return ConnectionLost(f"device {self.uri}: the connection is lost ({why or type(why).__name__})")


def _leave(connection: Connection, folder: str) -> None:
    with suppress(*_GONE):
        if connection.transport is not None and connection.transport.is_active():
            channel = connection.transport.open_session(timeout=_CONNECT_SECONDS)
            channel.settimeout(_CONNECT_SECONDS)
            channel.exec_command(f"rm -rf {shlex.quote(folder)}")  # nosec B601: quoted
            channel.recv(1)
    connection.close()


class _SshRun(Run):
    def __init__(self, session: _Session, job: dict) -> None:
        self._session = session
        self._job = json.dumps(job) + "\n"
        self._end = ""

    def lines(self) -> Iterator[str]:
        folder = shlex.quote(self._session.folder)
        # The shell stays, so that a signal that kills the runner becomes an exit status
        command = f"{shlex.quote(self._session.python)} {folder}/runner.py 2>{folder}/stderr; exit $?"
        channel = self._session.open(command)
        try:
            channel.settimeout(SILENCE_SECONDS)
            channel.sendall(self._job.encode())
            yield from channel.makefile("r")
            code = channel.recv_exit_status()
            if code < 0:
                raise self._session.lost("the other end is gone")
            self._end = exit_words(code)
        except TimeoutError:
            # Raises where it is the connection, and not the runner, that has fallen silent
            self._session.run("true")
            self._end = f"silent for {SILENCE_SECONDS:.0f} s"
        except _GONE as error:
            raise self._session.lost(error) from None
        finally:
            # The runner sees its stdin close, and ends
            channel.close()

    def last_words(self) -> str:
        _, out, _ = self._session.run(f"tail -c 4000 {shlex.quote(self._session.folder)}/stderr")
        return last_words(self._end, out)


def _connect(setting: DeviceUri) -> Connection:
    uri = setting.text
    config = Config(runtime_ssh_path=str(setting.config) if setting.config else None)
    connection = Connection(
        setting.host,
        user=setting.user,
        port=setting.port,
        config=config,
        connect_timeout=_CONNECT_SECONDS,
    )
    _trust_known_hosts(connection)
    try:
        connection.open()
    except BadHostKeyException as error:
        name = _known_name(connection)
        raise DeviceError(
            f"device {uri}: its host key is not the one that known_hosts holds for {error.hostname}; someone "
            f"may be listening. If the board was set up anew: ssh-keygen -R {shlex.quote(name)}"
        ) from None
    except AuthenticationException as error:
        raise DeviceError(
            f"device {uri}: {connection.host} does not let {connection.user} in ({error}); copy a key there "
            f"with `ssh-copy-id -p {connection.port} {connection.user}@{connection.host}`; a key with a "
            "passphrase must be in ssh-agent (ssh-add)"
        ) from None
    except socket.gaierror as error:
        raise DeviceError(f"device {uri}: no host {connection.host!r} ({error.strerror}); check it") from None
    except (NoValidConnectionsError, TimeoutError, ConnectionError) as error:
        raise ConnectionLost(
            f"device {uri}: {connection.host} port {connection.port} cannot be reached ({error}); is it on, "
            "and does its sshd run?"
        ) from None
    except SSHException as error:
        if "not found in known_hosts" in str(error):
            raise DeviceError(
                f"device {uri}: the host key of {connection.host} is not known; log in once by hand, or "
                f"check and add it: ssh-keyscan -p {connection.port} {connection.host} >> ~/.ssh/known_hosts"
            ) from None
        raise ConnectionLost(f"device {uri}: no SSH connection: {error}") from None
    except (OSError, EOFError) as error:
        raise ConnectionLost(f"device {uri}: no SSH connection: {error}") from None
    return connection


def _known_name(connection: Connection) -> str:
    return connection.host if connection.port == 22 else f"[{connection.host}]:{connection.port}"


def _trust_known_hosts(connection: Connection) -> None:
    """Fabric accepts any host key; we accept what the user's ssh would."""
    hop = connection
    while isinstance(hop, Connection):
        options = hop.ssh_config
        files = options.get("userknownhostsfile", "~/.ssh/known_hosts ~/.ssh/known_hosts2").split()
        files += options.get("globalknownhostsfile", "/etc/ssh/ssh_known_hosts").split()
        for name in files:
            path = at_home(name)
            if path.is_file() and name != "/dev/null":
                hop.client.load_system_host_keys(str(path))
        lenient = options.get("stricthostkeychecking", "ask") in ("no", "off", "accept-new")
        hop.client.set_missing_host_key_policy(
            paramiko.AutoAddPolicy() if lenient else paramiko.RejectPolicy()
        )
        hop = hop.gateway
