"""Files that are written whole or not at all, and the data files that ship with the package."""

from __future__ import annotations

import fcntl
import glob
import json
import os
import re
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import platformdirs

from nasdepth.errors import NasdepthError

# a folder may be shared by machines, whose processes have the same numbers
_HOST = re.sub(r"[^\w.]", "_", socket.gethostname())
_CHECKOUT = Path(__file__).resolve().parent.parent
_INSTALLED = Path(__file__).resolve().parent / "resources"


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` that replaces it when the block ends without an error.

    Raises:
        NasdepthError: the disk is full or the folder cannot be written; `path` is as it was before.
    """
    path = Path(path)
    start = f".{path.name}.{_HOST}-"
    temporary = path.with_name(f"{start}{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _clear(path.parent, start)
        yield temporary
        _to_disk(temporary)
        os.replace(temporary, path)
        _to_disk(path.parent)
    except OSError as error:
        raise NasdepthError(
            f"{path}: cannot be written ({error.strerror or error}); free some space or choose another "
            "folder. What was there before is untouched."
        ) from error
    finally:
        # gone already, or never there: `path` may lie below something that is no folder
        with suppress(OSError):
            temporary.unlink()


def _clear(folder: Path, start: str) -> None:
    """Delete what processes of this machine have left that were killed while they wrote."""
    for left in folder.glob(f"{glob.escape(start)}*.tmp"):
        writer = left.name.removeprefix(start).partition("-")[0]
        if writer.isdecimal() and not _lives(int(writer)):
            with suppress(OSError):
                left.unlink()


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _to_disk(path: Path) -> None:
    """Have a file or folder written, so that a loss of power after this keeps it."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_text(path: str | Path, text: str) -> None:
    """Write `text` to `path` as UTF-8, whole or not at all."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` to `path` as indented JSON, whole or not at all."""
    write_text(path, json.dumps(value, indent=2) + "\n")


@contextmanager
def locked(path: str | Path) -> Iterator[None]:
    """Hold `path` as a lock between processes: the second one waits. Its folder must exist."""
    with Path(path).open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def at_home(path: str | Path) -> Path:
    """A path with its `~` or `~USER` replaced.

    Raises:
        NasdepthError: there is no such user, or nobody knows this one's home.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise NasdepthError(f"{path}: has no home folder that is known; write the whole path") from error


def whole_path(path: str | Path) -> Path:
    """A path from the root, without `~`, `..` and links; of a circle of links as it stands.

    Raises:
        NasdepthError: see `at_home`.
    """
    path = at_home(path)
    try:
        return path.resolve()
    except (OSError, RuntimeError):  # whoever opens it says what is wrong
        return Path(os.path.abspath(path))


def cache_folder(name: str) -> Path:
    """Where what can be made again is kept: $NASDEPTH_CACHE/`name`, or in the user's cache folder.

    Raises:
        NasdepthError: the user has no home folder, and `NASDEPTH_CACHE` names none.
    """
    folder = Path(os.environ.get("NASDEPTH_CACHE") or platformdirs.user_cache_dir("nasdepth"))
    if not folder.is_absolute() and folder.parts[:1] == ("~",):
        raise NasdepthError(
            "nobody knows this user's home folder, and so not where to keep what can be made again; set "
            "NASDEPTH_CACHE to a folder"
        )
    return folder / name


def shipped(folder: str) -> Path:
    """The folder `search_spaces` or `latency_tables`, of the installed wheel or of the checkout."""
    installed = _INSTALLED / folder
    return installed if installed.is_dir() else _CHECKOUT / folder


def find_shipped(folder: str, name_or_path: str | Path, suffix: str) -> Path:
    """Resolve what a user typed for a search space or a table: a path, or the name of a shipped one.

    Raises:
        NasdepthError: neither exists; the message lists the shipped names.
    """
    path = Path(name_or_path)
    if path.is_file():
        return path
    candidate = shipped(folder) / f"{path.name.removesuffix(suffix)}{suffix}"
    if path.name == str(name_or_path).removeprefix(f"{folder}/") and candidate.is_file():
        return candidate
    names = ", ".join(sorted(p.name.removesuffix(suffix) for p in shipped(folder).glob(f"*{suffix}")))
    raise NasdepthError(f"{name_or_path}: no such file; shipped with nasdepth are: {names or 'none'}")
