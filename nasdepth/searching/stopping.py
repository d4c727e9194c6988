"""When a search that trains nothing any more has nothing left to find."""

from __future__ import annotations

from nasdepth.errors import StudyError
from nasdepth.searching.records import SPENT, Outcome, TrialRecord

# a sampler that keeps proposing what is known has nothing left to find
_REPEATS_BEFORE_GIVING_UP = 200
# the table is asked in milliseconds, but a limit that nothing meets must not spin for ever
_TOO_SLOW_BEFORE_GIVING_UP = 500
_REFUSED_BEFORE_GIVING_UP = 30


class Idle:
    """Counts the proposals in a row that were not worth a training, by their outcome."""

    def __init__(self, max_latency_ms: float | None) -> None:
        self._max_latency_ms = max_latency_ms
        self._counts = dict.fromkeys((Outcome.REPEATED, Outcome.TOO_SLOW, Outcome.REFUSED), 0)
        self._last = ""

    def count(self, record: TrialRecord) -> None:
        """One more trial has ended."""
        if record.outcome in SPENT:
            self._counts = dict.fromkeys(self._counts, 0)
        elif record.outcome in self._counts:
            self._counts[record.outcome] += 1
            self._last = record.note

    def exhausted(self, spent: int) -> bool:
        """Whether nothing new is to be expected.

        Raises:
            StudyError: nothing was trained (`spent` is 0), since every proposal is too slow or refused.
        """
        too_slow = self._counts[Outcome.TOO_SLOW] >= _TOO_SLOW_BEFORE_GIVING_UP
        refused = self._counts[Outcome.REFUSED] >= _REFUSED_BEFORE_GIVING_UP
        if too_slow and not spent:
            raise StudyError(
                f"{_TOO_SLOW_BEFORE_GIVING_UP} proposals in a row are slower than {self._max_latency_ms:g} "
                "ms; raise `max_latency_ms` or search a space of smaller networks"
            )
        if refused and not spent:
            raise StudyError(
                f"the device refused {_REFUSED_BEFORE_GIVING_UP} proposals in a row, the last with: "
                f"{self._last}; search a space without that operation"
            )
        return too_slow or refused or self._counts[Outcome.REPEATED] >= _REPEATS_BEFORE_GIVING_UP
