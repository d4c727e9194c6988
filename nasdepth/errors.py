"""The errors a user can mend. Everything else is a bug and keeps its traceback."""

import difflib
import reprlib
from collections.abc import Iterable
from typing import Any

SEEDS = 1 << 32
"""How many random seeds there are: numpy's oldest generator takes 32 bits."""


class NasdepthError(Exception):
    """Bad input, or a state of the machine that the user can change.

    The message names the file, the field and the value, and says what to do.
    """

    exit_code = 2


class NasdepthWarning(UserWarning):
    """What a user should know of an input that can be used all the same."""


class DataError(NasdepthError):
    """A data set that cannot be used as it is."""


class SpaceError(NasdepthError):
    """A search space, or an architecture, that is impossible or misspelt."""


class TableError(NasdepthError):
    """A latency table or device card that is damaged or does not fit."""


class UnknownKernelError(NasdepthError):
    """An architecture needs a kind of kernel that the latency table does not hold."""


class DeviceError(NasdepthError):
    """A device that cannot be reached, or that refuses a model."""


class ConnectionLost(DeviceError):
    """A device that went away while measuring; what it had measured is kept."""


class StudyError(NasdepthError):
    """A study or run folder that does not fit what was asked."""


class CheckpointError(NasdepthError):
    """A checkpoint that is damaged or belongs to another model or recipe."""


class ModelFileError(NasdepthError):
    """A .tflite file that is damaged or is not a depth model."""


class PluginError(NasdepthError):
    """A plugin that is not found, or whose import fails."""


class DivergedError(NasdepthError):
    """A training whose loss is no longer finite."""


def check_seed(seed: int) -> None:
    """Refuse a random seed that not every generator takes.

    Raises:
        NasdepthError: it is no whole number from 0 to 2^32 - 1.
    """
    if not 0 <= seed < SEEDS:
        raise NasdepthError(f"`seed` is {brief(seed)}; it must be a whole number from 0 to {SEEDS - 1}")


def nearest(name: str, names: Iterable[str]) -> str:
    """` (did you mean X?)` for a misspelt name, empty where none comes near."""
    close = difflib.get_close_matches(name, list(names), n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def brief(value: Any) -> str:
    """A value as it is written in code, cut short: what is wrong may be of any size.

    >>> brief("x" * 500)[:20], brief([1, 2, 3])
    ("'xxxxxxxxxxxxxxxxxxx", '[1, 2, 3]')
    """
    try:
        return _SHORT.repr(value)
    except ValueError:  # a number of more digits than Python writes
        return f"a {type(value).__name__} of very many digits"


_SHORT = reprlib.Repr(maxlevel=3, maxstring=120, maxother=120, maxlong=60)
