"""What a search tells its front end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from nasdepth.architecture import Architecture
from nasdepth.devices import Measurement
from nasdepth.models.pretrained import Start
from nasdepth.searching.confirm import Confirmation
from nasdepth.searching.records import TrialRecord
from nasdepth.training import Epoch, StepReport


@dataclass
class SearchEvents:
    """What a front end may want to hear; every callback is optional.

    Attributes:
        confirming: a candidate is trained again, for so many epochs.
        confirmed: what it reached.
        trial_ended: a trial of this process ended, or one of another process has ended since the last.
        waiting: for so many trials of other processes, before the search can end; called every second.
        storage_away: the storage does not answer; its reason, and the seconds that are waited at most.
        storage_back: it answers again.
    """

    trial_started: Callable[[Architecture, float], None] = lambda *_: None
    encoder_started: Callable[[str, Start], None] = lambda *_: None
    step: Callable[[StepReport], None] = lambda _: None
    epoch: Callable[[Epoch], None] = lambda _: None
    measuring: Callable[[Sequence[Architecture]], None] = lambda _: None
    measured: Callable[[Architecture, Measurement], None] = lambda *_: None
    confirming: Callable[[TrialRecord, int], None] = lambda *_: None
    confirmed: Callable[[TrialRecord, Confirmation], None] = lambda *_: None
    trial_ended: Callable[[TrialRecord], None] = lambda _: None
    waiting: Callable[[int], None] = lambda _: None
    storage_away: Callable[[str, float], None] = lambda *_: None
    storage_back: Callable[[], None] = lambda: None
