"""Device URIs such as `local?cores=0,1` and `ssh://pi@board?threads=4`, parsed and checked in one place."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

from nasdepth.devices.kinds import KINDS, DeviceKind
from nasdepth.errors import DeviceError
from nasdepth.files import at_home

_MOST_THREADS = 1024


@dataclass(frozen=True, slots=True)
class DeviceUri:
    """A device and its setting.

    Attributes:
        text: as it was written.
        kind: name of a registered kind of device.
        user, host, port: of ssh://; `host` is the serial of adb://, empty for the only phone there is, and
            the whole address of a device from a plugin.
        threads: of the runtime; None where the URI does not say.
        cores: CPUs to pin the process to; empty leaves it free.
        gpu: run on the GPU, and on nothing else.
        icd: Vulkan driver file on the device, for the GPU.
        python: interpreter on an ssh device.
        config: ssh configuration file to read instead of the user's own.
        tmp: folder on an ssh device for our files; its $TMPDIR or /tmp by default.
        retry_seconds: how long a lost ssh connection is tried again.
        binary: benchmark_model on this machine, for adb.
        xnnpack: adb's CPU runs use XNNPACK.
        own: options that only this kind of device has, by name, as they were written.
    """

    text: str
    kind: str
    user: str | None = None
    host: str = ""
    port: int | None = None
    threads: int | None = None
    cores: tuple[int, ...] = ()
    gpu: bool = False
    icd: str | None = None
    python: str = "python3"
    config: Path | None = None
    tmp: str | None = None
    retry_seconds: float = 60.0
    binary: Path | None = None
    xnnpack: bool = True
    own: dict[str, str] = field(default_factory=dict, hash=False)

    def with_threads(self, threads: int | None) -> DeviceUri:
        """The same device with the threads that a command was given; 1 where nobody says.

        Raises:
            DeviceError: the URI says another number.
        """
        if threads is not None and not 1 <= threads <= _MOST_THREADS:
            raise DeviceError(f"`threads` is {threads}; it must be a whole number from 1 to {_MOST_THREADS}")
        if None not in (threads, self.threads) and threads != self.threads:
            raise DeviceError(
                f"device {self.text!r}: threads={self.threads}, but {threads} were asked for; say it once"
            )
        return replace(self, threads=threads or self.threads or 1)


def uri_to_fill_in(delegate: str) -> str:
    """How a user would name the device of a table in a shell: an Android phone's GPU by adb, a board by ssh.

    Args:
        delegate: of the table's card.
    """
    return "'adb?gpu=true'" if delegate == "gpu" else "ssh://USER@BOARD"


def parse_uri(text: str) -> DeviceUri:
    """Parse a device URI.

    Raises:
        DeviceError: unknown kind or option, or an impossible value; the message names it and what is allowed.
    """
    address, _, query = text.partition("?")
    kind = address.split(":")[0]
    if kind not in KINDS:
        known = "; ".join(f"{one.name} ({one.summary})" for one in KINDS.values())
        raise DeviceError(f"device {text!r}: no such kind of device; use 'local' or another of: {known}")
    options = _options(text, KINDS[kind], query)
    if kind == "local-gpu":
        options["gpu"] = True
    if kind == "ssh":
        options |= _ssh_address(text, address)
    elif kind == "adb":
        options["host"] = _serial(text, address)
    else:
        options["host"] = _address(text, KINDS[kind], address)
    return DeviceUri(text=text, kind=kind, **options)


def _ssh_address(text: str, address: str) -> dict:
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError:
        raise DeviceError(f"device {text!r}: the port is no number from 1 to 65535") from None
    if not parts.hostname or not address.startswith("ssh://") or parts.path.strip("/"):
        raise DeviceError(f"device {text!r}: expected ssh://user@host or ssh://user@host:port")
    if parts.password is not None:
        raise DeviceError(
            f"device {parts.scheme}://{parts.username}@{parts.hostname}: no passwords in URIs; set up a key "
            f"with `ssh-copy-id {parts.username}@{parts.hostname}`"
        )
    # urlsplit's hostname is in lower case, but names in an ssh configuration are not
    host = address[len("ssh://") :].rstrip("/").rpartition("@")[2]
    host = host[1:].split("]")[0] if host.startswith("[") else host.split(":")[0]
    return {"user": unquote(parts.username) if parts.username else None, "host": host, "port": port}


def _serial(text: str, address: str) -> str:
    match = re.fullmatch(r"adb(?:://(\S+?)/?)?:?", address)
    if not match:
        raise DeviceError(f"device {text!r}: expected adb or adb://serial; `adb devices` lists serials")
    return match[1] or ""


def _address(text: str, kind: DeviceKind, address: str) -> str:
    rest = address.removeprefix(kind.name)
    if kind.address == "none" and rest:
        raise DeviceError(f"device {text!r}: {kind.name!r} takes no address; options follow a '?'")
    host = rest.removeprefix("://")
    if (rest and host in (rest, "")) or (kind.address == "needed" and not host):
        raise DeviceError(f"device {text!r}: expected {kind.summary}")
    return host


def _options(text: str, kind: DeviceKind, query: str) -> dict:
    options: dict = {}
    own: dict[str, str] = {}
    for pair in filter(None, query.split("&")):
        name, equals, value = pair.partition("=")
        value = unquote(value)
        if name not in kind.options:
            known = f"it has {', '.join(kind.options)}" if kind.options else "it has none"
            raise DeviceError(f"device {text!r}: {kind.name} has no option {name!r}; {known}")
        attribute, read, words = _OPTIONS.get(name, (name, _text, "a value"))
        values = options if name in _OPTIONS else own
        if attribute in values:
            raise DeviceError(f"device {text!r}: option {name} is given twice")
        try:
            if not equals:
                raise ValueError
            values[attribute] = read(value)
        except ValueError:
            raise DeviceError(f"device {text!r}: {name}={value!r}; expected {words}") from None
    return options | {"own": own}


def _count(value: str) -> int:
    if not 1 <= int(value) <= _MOST_THREADS:
        raise ValueError
    return int(value)


def _cores(value: str) -> tuple[int, ...]:
    cores = tuple(sorted(int(core) for core in value.split(",")))
    if cores[0] < 0 or len(set(cores)) != len(cores):
        raise ValueError
    return cores


def _seconds(value: str) -> float:
    if not 0 <= float(value) < float("inf"):
        raise ValueError
    return float(value)


def _flag(value: str) -> bool:
    if value not in ("true", "1", "false", "0"):
        raise ValueError
    return value in ("true", "1")


def _text(value: str) -> str:
    if not value or not value.isprintable():
        raise ValueError
    return value


def _file(value: str) -> Path:
    path = at_home(_text(value))
    if not path.is_file():
        raise ValueError
    return path


_OPTIONS: dict[str, tuple[str, Callable, str]] = {
    "threads": ("threads", _count, f"a whole number from 1 to {_MOST_THREADS}"),
    "cores": ("cores", _cores, "CPU numbers such as 0 or 2,3, each once"),
    "gpu": ("gpu", _flag, "true or false"),
    "icd": ("icd", _text, "a Vulkan driver's .json file on the device"),
    "python": ("python", _text, "a Python interpreter on the device"),
    "config": ("config", _file, "an ssh configuration file that exists"),
    "tmp": ("tmp", _text, "a folder on the device"),
    "retry": ("retry_seconds", _seconds, "seconds, 0 or more"),
    "binary": ("binary", _file, "TFLite's benchmark_model, a file that exists on this machine"),
    "xnnpack": ("xnnpack", _flag, "true or false"),
}
