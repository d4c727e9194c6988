"""The live display of a search and of a worker."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.progress import Progress

from nasdepth.cli.console import EpochBar, notes

if TYPE_CHECKING:
    from nasdepth.architecture import Architecture
    from nasdepth.devices import Measurement
    from nasdepth.models.pretrained import Start
    from nasdepth.searching import Search, SearchEvents, TrialRecord
    from nasdepth.searching.confirm import Confirmation
    from nasdepth.training import StepReport


class Board:
    """The live display: trials done, best so far, time left, and the training that runs.

    Args:
        bar: where it is drawn.
        budget: trials to train; None for what the study says.
    """

    def __init__(self, bar: Progress, budget: int | None) -> None:
        from nasdepth.searching import SearchEvents

        self._bar, self._budget = bar, budget
        self._events = SearchEvents
        self._said: set[str] = set()
        self._best: TrialRecord | None = None

    def events(self) -> SearchEvents:
        """What the display wants to hear; nothing is told before `start`."""
        return self._events(
            trial_started=self._trial_started,
            encoder_started=self._encoder_started,
            step=self._step,
            trial_ended=self._trial_ended,
            measuring=self._measuring,
            measured=self._measured,
            confirming=self._confirming,
            confirmed=self._confirmed,
            waiting=self._waiting,
            storage_away=self._storage_away,
            storage_back=self._storage_back,
        )

    def start(self, session: Search) -> None:
        """Show an open search from now on."""
        from nasdepth.searching.records import leader

        self._session = session
        self._budget = self._budget or session.budget
        self._best = leader(session.records, session.goal)
        self._total = self._bar.add_task("trials", total=self._budget, completed=session.spent)
        self._training = EpochBar(self._bar, "waiting", session.objective.rungs[-1])

    def _trial_started(self, architecture: Architecture, latency_ms: float) -> None:
        encoder = architecture.encoder
        self._training.relabel(
            f"{architecture.input_height}x{architecture.input_width} {encoder} ~{latency_ms:.2f} ms"
        )

    def _encoder_started(self, family: str, start: Start) -> None:
        if not start.pretrained and family not in self._said:
            self._said.add(family)
            notes.print(f"[yellow]{family} starts from random weights[/yellow]: {start.source}")

    def _step(self, report: StepReport) -> None:
        self._training.step(report)

    def _waiting(self, others: int) -> None:
        if not others:
            self._training.relabel("waiting for the search to begin")
        else:
            self._training.relabel(f"waiting for {others} candidate(s) that other workers train")

    def _storage_away(self, why: str, seconds: float) -> None:
        notes.print(
            f"[yellow]the storage does not answer[/yellow] ({escape(why)}); waiting for it, "
            f"{seconds / 60:.0f} minutes at most",
            soft_wrap=True,
        )

    def _storage_back(self) -> None:
        notes.print("the storage answers again")

    def worker_died(self, how: str) -> None:
        """Say that another process of this machine is gone."""
        notes.print(f"[yellow]{escape(how)}[/yellow]", soft_wrap=True)

    def _measuring(self, architectures: Sequence[Architecture]) -> None:
        self._training.relabel(f"measuring {len(architectures)} candidate(s)")

    def _measured(self, architecture: Architecture, measurement: Measurement) -> None:
        from nasdepth.models import name_of

        said = (
            f"[yellow]the device cannot run it[/yellow]: {escape(measurement.error)}"
            if measurement.error
            else f"{measurement.latency_ms:.3f} ms"
        )
        name = name_of(architecture) or architecture
        notes.print(f"     measured {name}: {said}", highlight=False, soft_wrap=True)

    def _confirming(self, record: TrialRecord, epochs: int) -> None:
        self._training.relabel(f"again: {record.name or record.architecture.encoder}", epochs)

    def _confirmed(self, record: TrialRecord, result: Confirmation) -> None:
        reached = f"si-RMSE {result.si_rmse:.4f}" if result.si_rmse is not None else "diverged"
        notes.print(
            f"     trained again for {result.epochs} epochs from another seed: {reached} "
            f"{record.name or record.architecture}",
            highlight=False,
            soft_wrap=True,
        )

    def _trial_ended(self, record: TrialRecord) -> None:
        from nasdepth.searching import Outcome
        from nasdepth.searching.records import leader

        self._best = leader([self._best, record] if self._best else [record], self._session.goal)
        best = f"best {self._best.score:.1f} (trial {self._best.number})" if self._best else "no score yet"
        spent = self._session.spent
        self._bar.update(self._total, completed=spent, description=f"trials, {best}")
        if record.outcome in (Outcome.REPEATED, Outcome.TOO_SLOW, Outcome.REFUSED):
            return
        score = f"{record.score:7.1f}" if record.score is not None else "      -"
        si_rmse = f"{record.si_rmse:.4f}" if record.si_rmse is not None else "     -"
        latency = f"{'~' if record.latency_source == 'estimate' else '='}{record.latency_ms or 0:6.2f} ms"
        notes.print(
            f"{spent:4d}/{self._budget} {score} si-RMSE {si_rmse} {latency} "
            f"{record.training_s:5.1f} s {record.outcome:7} {record.name or record.architecture}",
            highlight=False,
            soft_wrap=True,
        )
