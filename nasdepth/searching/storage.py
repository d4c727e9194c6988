"""Where a study is kept: opening a storage by its URL, waiting for one that is away, hiding passwords."""

from __future__ import annotations

import os
import random
import re
import signal
import threading
import time
import warnings
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import optuna
from optuna.storages import BaseStorage, InMemoryStorage, JournalStorage, RDBStorage
from optuna.storages import get_storage as with_cache

# heartbeats have no public base class; `optuna.storages.fail_stale_trials` asks for this one
from optuna.storages._heartbeat import BaseHeartbeat
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
from sqlalchemy.engine import make_url
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    IntegrityError,
    InterfaceError,
    NoSuchModuleError,
    OperationalError,
    ProgrammingError,
    SQLAlchemyError,
)

from nasdepth.errors import StudyError

VARIABLE = "NASDEPTH_STORAGE"
HEARTBEAT_S = 10
STORAGE_ERRORS = (SQLAlchemyError, optuna.exceptions.StorageInternalError)
# a worker is given up after so many heartbeats have failed to come
_GRACE = 6
_OPENING_PATIENCE_S = 20.0
_RUNNING_PATIENCE_S = 600.0
_LONGEST_PAUSE_S = 5.0
# a plain name stands for the driver that comes with the extra
_DRIVERS = {
    "postgresql": "postgresql+psycopg",
    "postgres": "postgresql+psycopg",
    "mysql": "mysql+pymysql",
}
_EXTRAS = {"postgresql": "postgres", "mysql": "mysql"}
_FORMS = (
    "is no storage URL; it looks like postgresql://USER:PASSWORD@HOST/DATABASE, "
    "mysql://USER:PASSWORD@HOST/DATABASE, sqlite:////PATH/study.db or journal:///PATH/study.log"
)
_JOURNAL = "journal://"
MEMORY = "memory://"
_HIDDEN = "***"
# to the last @: a password may hold one that should have been written as %40
_PASSWORD = re.compile(r"^([^:/]+://[^:@/]*:)(.*)(?=@)", re.DOTALL)
_PASSWORD_IN_QUERY = re.compile(r"(?<=[?&])([^=&]*pass[^=&]*=)([^&]*)", re.IGNORECASE)
# what a server says by itself: it is up, and asking again changes nothing
_REFUSALS = ("FATAL", "Access denied", "Unknown database", "could not translate host", "not known")
_PASSING = ("starting up", "shutting down", "in recovery mode", "too many", "terminating connection")


def shown(url: str) -> str:
    """The URL for people, files and logs: its passwords are replaced by `***`."""
    hidden = _PASSWORD.sub(rf"\g<1>{_HIDDEN}", url)
    return _PASSWORD_IN_QUERY.sub(rf"\g<1>{_HIDDEN}", hidden)


def whole_url(url: str) -> str:
    """A URL to connect with, from one that `shown` may have written.

    Raises:
        StudyError: the password is hidden, and `NASDEPTH_STORAGE` does not hold the same URL with it.
    """
    if shown(url) != url or _HIDDEN not in url:
        return url
    given = os.environ.get(VARIABLE)
    if not given:
        raise StudyError(
            f"{url}: the password of this storage is kept in no file; put the whole URL into the environment "
            f"variable {VARIABLE}, or give it with `storage`"
        )
    if shown(given) != url:
        raise StudyError(
            f"{VARIABLE} is {shown(given)}, but the study is in {url}; set the variable to that one with "
            "its password, or give another `storage` URL"
        )
    return given


def why(error: BaseException, url: str) -> str:
    """The first line of what a storage's error says, without the URL's passwords."""
    if isinstance(error, optuna.exceptions.StorageInternalError) and error.__cause__ is not None:
        error = error.__cause__
    text = (str(error).strip() or type(error).__name__).splitlines()[0]
    for pattern in (_PASSWORD, _PASSWORD_IN_QUERY):
        for match in pattern.finditer(url):
            for secret in {match[2], unquote(match[2]), *match[2].split("@")} - {"", _HIDDEN}:
                text = text.replace(secret, _HIDDEN)
    return text


def absolute_url(url: str) -> str:
    """A URL that means the same in every folder: a relative SQLite file is looked for in this one.

    Raises:
        StudyError: SQLite is asked for a database without a file, which ends with this process.
    """
    if not url.startswith("sqlite:"):
        return url
    try:
        parts = make_url(url)
    except (SQLAlchemyError, ValueError):
        return url  # opening it says what is wrong
    file = parts.database or ""
    if file in ("", ":memory:") or "mode=memory" in url:
        raise StudyError(
            f"{url}: is a database in memory, which ends with this process; give a file, as "
            "sqlite:////PATH/study.db, or leave `storage` out: a run keeps its study in its folder"
        )
    if file.startswith("file:"):
        return url
    # rendered by SQLAlchemy: a folder may have ? or # in its name
    return parts.set(database=os.path.abspath(file)).render_as_string(hide_password=False)


def open_storage(url: str, heartbeat_s: int = HEARTBEAT_S) -> PatientStorage:
    """Open a storage, and create its tables where there are none yet, however many workers do so at once.

    Args:
        url: SQLAlchemy's URL of an SQLite file, PostgreSQL or MySQL, or `journal:///PATH` for a file on a
            file system that several machines share; `memory://` for one that ends with the process.
        heartbeat_s: seconds between two signs of life of a worker; all workers of a study use the same.

    Raises:
        StudyError: the URL is wrong, a driver is missing, the server refuses, or it does not answer.
    """
    if url == MEMORY:
        return PatientStorage(_Memory(heartbeat_s), url, heartbeat_s)
    if url.startswith(_JOURNAL):
        return PatientStorage(_journal(url, heartbeat_s), url, heartbeat_s)
    return PatientStorage(with_cache(_database(url, heartbeat_s)), url, heartbeat_s)


def _journal(url: str, heartbeat_s: int) -> _JournalWithHeartbeat:
    path = Path(url.removeprefix(_JOURNAL))
    if not path.is_absolute():
        raise StudyError(f"{url}: a journal needs three slashes and a whole path: journal:///PATH/study.log")
    if path.exists() and not path.is_file():
        raise StudyError(f"{url}: is no regular file; name a file on the shared file system")
    if not path.parent.is_dir():
        raise StudyError(f"{url}: the folder {path.parent} does not exist; make it on the shared file system")
    try:
        return _JournalWithHeartbeat(_JournalFile(str(path)), heartbeat_s)
    except (OSError, KeyError, TypeError, *STORAGE_ERRORS) as error:
        raise StudyError(f"{url}: cannot be opened as a study ({why(error, url)})") from error


def _database(url: str, heartbeat_s: int) -> RDBStorage:
    password = _PASSWORD.match(url)
    if password and set("@/? ") & set(password[2]):
        raise StudyError(
            f"{shown(url)}: the password holds a character that a URL spells otherwise: write @ as %40, / as "
            "%2F, ? as %3F and a space as %20"
        )
    scheme, separator, rest = url.partition("://")
    whole = f"{_DRIVERS.get(scheme, scheme)}{separator}{rest}"
    try:
        dialect = make_url(whole).get_backend_name()
    except (SQLAlchemyError, ValueError) as error:
        raise StudyError(f"{shown(url)}: {_FORMS}") from error
    sqlite = dialect == "sqlite"
    options = _engine_options(whole, sqlite)
    deadline = time.monotonic() + _OPENING_PATIENCE_S
    for pause_s in _pauses():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                return RDBStorage(
                    # Optuna fills in what stands in braces
                    whole.replace("{", "{{").replace("}", "}}"),
                    options,
                    heartbeat_interval=heartbeat_s,
                    grace_period=_GRACE * heartbeat_s,
                )
        except ImportError as error:
            package = f"'nasdepth[{_EXTRAS[dialect]}]'" if dialect in _EXTRAS else "its driver"
            raise StudyError(
                f"{shown(url)}: the driver of {dialect} is not installed; get it with: pip install {package}"
            ) from error
        except (ArgumentError, NoSuchModuleError) as error:
            raise StudyError(f"{shown(url)}: {_FORMS}") from error
        except RuntimeError as error:
            # another version of Optuna made the tables
            raise StudyError(f"{shown(url)}: cannot be opened as a study ({why(error, url)})") from error
        except STORAGE_ERRORS as error:
            hopeless = not (_made_by_another(error) or _passing(error, sqlite))
            if hopeless or time.monotonic() > deadline:
                raise StudyError(f"{shown(url)}: cannot be opened as a study ({why(error, url)})") from error
            time.sleep(pause_s)
    raise AssertionError("the pauses never end")


def _engine_options(url: str, sqlite: bool) -> dict[str, Any]:
    if sqlite:
        return {"connect_args": {"timeout": 60}}
    # a server that went away without a word must not hold a worker for the two hours of TCP's default
    silence = {"connect_timeout": 10}
    if url.startswith("postgresql+psycopg"):
        silence |= {"keepalives_idle": 30, "tcp_user_timeout": 30_000}
    return {"pool_pre_ping": True, "pool_size": 2, "connect_args": silence}


def _pauses() -> Iterator[float]:
    """Seconds to wait before the next try, longer each time; workers that fail together come back apart."""
    longest_s = 0.1
    while True:
        yield random.uniform(longest_s / 2, longest_s)
        longest_s = min(2 * longest_s, _LONGEST_PAUSE_S)


def _cause(error: BaseException) -> BaseException:
    if isinstance(error, optuna.exceptions.StorageInternalError) and error.__cause__ is not None:
        return error.__cause__
    return error


def _made_by_another(error: BaseException) -> bool:
    """Whether tables could not be made because another worker is making them at the same moment."""
    cause = _cause(error)
    racing = isinstance(cause, (IntegrityError, ProgrammingError)) or "already exists" in str(cause)
    return racing and "permission denied" not in str(cause)


def _passing(error: BaseException, sqlite: bool) -> bool:
    """Whether the same access may succeed a little later."""
    cause, text = _cause(error), str(_cause(error))
    if sqlite:
        return isinstance(cause, OperationalError) and "locked" in text
    if any(word in text for word in _PASSING):
        return True
    lost = isinstance(cause, DBAPIError) and cause.connection_invalidated
    unreachable = isinstance(cause, (OperationalError, InterfaceError))
    return (lost or unreachable) and not any(word in text for word in _REFUSALS)


class _JournalFile(JournalFileBackend):
    """A journal whose errors are a storage's errors, as a database's are."""

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        try:
            super().append_logs(logs)
        except (OSError, RuntimeError) as error:
            raise optuna.exceptions.StorageInternalError(str(error)) from error

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        try:
            yield from super().read_logs(log_number_from)
        except (OSError, ValueError) as error:
            raise optuna.exceptions.StorageInternalError(str(error)) from error


class _JournalWithHeartbeat(JournalStorage, BaseHeartbeat):
    """A journal whose running trials carry a sign of life.

    Machines' clocks may differ, so nobody compares times: a trial is stale when its sign has not changed for
    the whole grace period by the clock of the one who watches.
    """

    def __init__(self, backend: _JournalFile, heartbeat_s: int) -> None:
        super().__init__(backend)
        self._heartbeat_s = heartbeat_s
        self._seen: dict[int, tuple[Any, float]] = {}

    def record_heartbeat(self, trial_id: int) -> None:
        self.set_trial_system_attr(trial_id, "heartbeat", time.time())

    def _get_stale_trial_ids(self, study_id: int) -> list[int]:
        now, stale = time.monotonic(), []
        for trial in self.get_all_trials(study_id, deepcopy=False, states=(TrialState.RUNNING,)):
            sign = trial.system_attrs.get("heartbeat")
            last, since = self._seen.get(trial._trial_id, (None, now))
            since = since if sign == last else now
            self._seen[trial._trial_id] = sign, since
            if now - since > _GRACE * self._heartbeat_s:
                stale.append(trial._trial_id)
        return stale

    def get_heartbeat_interval(self) -> int:
        return self._heartbeat_s

    def get_heartbeat_stale_trial_callback(self) -> None:
        return None


class _Memory(InMemoryStorage, BaseHeartbeat):
    """A storage whose only worker lives as long as it does."""

    def __init__(self, heartbeat_s: int) -> None:
        super().__init__()
        self._heartbeat_s = heartbeat_s

    def record_heartbeat(self, trial_id: int) -> None:
        pass

    def _get_stale_trial_ids(self, study_id: int) -> list[int]:
        return []

    def get_heartbeat_interval(self) -> int:
        return self._heartbeat_s

    def get_heartbeat_stale_trial_callback(self) -> None:
        return None


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Hold Ctrl-C, and what else interrupts as it does, back until the block is done.

    The traceback of an interrupted access keeps its cursor, and with it SQLite's lock on the whole file:
    until this process ends, no other one can write.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    held: list[int] = []
    usual = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    interrupting = {number: handler for number, handler in usual.items() if callable(handler)}
    for number in interrupting:
        signal.signal(number, lambda number, _: held.append(number))
    try:
        yield
    finally:
        for number, handler in interrupting.items():
            signal.signal(number, handler)
        if held:
            signal.raise_signal(held[0])


def _passed_on(name: str) -> Callable:
    def access(self: PatientStorage, *arguments: Any, **keywords: Any) -> Any:
        return self._patiently(getattr(self.backend, name), *arguments, **keywords)

    access.__name__ = name
    return access


_ACCESSES = {
    name for name in vars(BaseStorage) if not name.startswith("_")
} | BaseHeartbeat.__abstractmethods__
_PassedOn: Any = type("_PassedOn", (), {name: _passed_on(name) for name in _ACCESSES})


class PatientStorage(_PassedOn, BaseStorage, BaseHeartbeat):
    """Passes every access on to another storage, and tries again while that one is away.

    Attributes:
        backend: the storage itself, for those who do not want to wait.
        heartbeat_s: seconds between two signs of life of a worker.
        grace_s: seconds without one after which a worker is given up.
        away: called when the storage stops answering, with its reason and the seconds to wait at most.
        back: called when it answers again.
    """

    def __init__(self, backend: BaseStorage, url: str, heartbeat_s: int) -> None:
        # a BaseHeartbeat too, for which optuna has no common type
        self.backend: Any = backend
        self.heartbeat_s = heartbeat_s
        self.grace_s = _GRACE * heartbeat_s
        self.away: Callable[[str, float], None] = lambda *_: None
        self.back: Callable[[], None] = lambda: None
        self._url = url
        self._sqlite = url.startswith("sqlite")
        self._patience_s = _RUNNING_PATIENCE_S
        self.silent()

    @contextmanager
    def without_patience(self) -> Iterator[None]:
        """Within the block a storage that is away is an error at once."""
        patience_s, self._patience_s = self._patience_s, 0.0
        try:
            yield
        finally:
            self._patience_s = patience_s

    def silent(self) -> None:
        """Note that the storage did not answer just now: nobody's silence counts for a while."""
        self._silent_at = time.monotonic()

    def _get_stale_trial_ids(self, study_id: int) -> list[int]:
        stale = self._patiently(self.backend._get_stale_trial_ids, study_id)
        # while the storage was away no worker could show that it lives
        return stale if time.monotonic() - self._silent_at > self.grace_s else []

    def _patiently(self, access: Callable, *arguments: Any, **keywords: Any) -> Any:
        began, failed = time.monotonic(), False
        for pause_s in _pauses():
            try:
                with _uninterrupted():
                    answer = access(*arguments, **keywords)
            except STORAGE_ERRORS as error:
                if not _passing(error, self._sqlite) or time.monotonic() - began >= self._patience_s:
                    raise
                self.silent()
                if not failed:
                    failed = True
                    self.away(why(error, self._url), self._patience_s)
                time.sleep(pause_s)
            else:
                if failed:
                    self.back()
                return answer
        raise AssertionError("the pauses never end")
