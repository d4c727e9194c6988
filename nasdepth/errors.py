"""The errors a user can mend. Everything else is a bug and keeps its traceback."""

import difflib
from collections.abc import Iterable


class NasdepthError(Exception):
    """Bad input, or a state of the machine that the user can change.

    The message names the file, the field and the value, and says what to do.
    """

    exit_code = 2


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


def nearest(name: str, names: Iterable[str]) -> str:
    """` (did you mean X?)` for a misspelt name, empty where none comes near."""
    close = difflib.get_close_matches(name, list(names), n=1)
    return f" (did you mean {close[0]}?)" if close else ""
