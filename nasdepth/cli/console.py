"""What every command shares: where it prints, how it reports progress, how it fails."""

from __future__ import annotations

import json
import math
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text
from typer.core import TyperCommand

from nasdepth.errors import NasdepthError

if TYPE_CHECKING:
    from nasdepth.training import StepReport

# tables are read by people and by pipes: a narrow default would fold architectures to pieces
_PIPE_WIDTH = 260
_OTHER_BRACKETS = re.compile(r"(?<!\\)\[(?!/?(?:bold |dim )?(?:bold|dim|red|yellow|green)\])")
# Without a terminal progress is a line so often
_LINE_SECONDS = 30.0


class _Console(Console):
    """A console whose markup is a few styles: a folder named `runs[v2]` is printed as it is."""

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(_OTHER_BRACKETS.sub(r"\\[", text), **options)


out = _Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH, emoji=False)
notes = _Console(stderr=True, width=None if sys.stderr.isatty() else _PIPE_WIDTH, emoji=False)

# of the command that runs, by parameter
_flags: ContextVar[dict[str, str]] = ContextVar("flags")
_PARAMETER = re.compile(r"`([a-z][a-z_]*)`")

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]


def print_json(schema: str, **content: Any) -> None:
    """One JSON object on standard output; `schema` names its layout, which `docs/json.md` describes."""
    whole = {"schema": f"nasdepth-{schema}-1", **content}
    sys.stdout.write(json.dumps(_finite(whole), indent=2, default=str, allow_nan=False) + "\n")


def _finite(value: Any) -> Any:
    """JSON has no word for what is not finite: null."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {name: _finite(one) for name, one in value.items()}
    return [_finite(one) for one in value] if isinstance(value, (list, tuple)) else value


class App(typer.Typer):
    """A group of commands whose errors speak of options, where the library speaks of parameters."""

    def command(self, *arguments: Any, **options: Any) -> Any:
        return super().command(*arguments, **{"cls": _Command} | options)


class _Command(TyperCommand):
    def invoke(self, ctx: Any) -> Any:
        _flags.set({one.name.removesuffix("_folder"): _flag(one) for one in self.params})
        try:
            return super().invoke(ctx)
        except NasdepthError as error:
            error.args = (with_flags(str(error)), *error.args[1:])
            raise


def _flag(parameter: Any) -> str:
    """How a user writes a parameter of a command."""
    return next((one for one in parameter.opts if one.startswith("--")), parameter.name.upper())


def with_flags(text: str) -> str:
    """A text of the library with `max_latency_ms` and the like written as --max-latency-ms.

    A name is known where the command that runs has a parameter of that name.
    """
    flags = _flags.get({})
    return _PARAMETER.sub(lambda match: flags.get(match[1], match[0]), text)


@contextmanager
def progress() -> Iterator[Progress]:
    """A progress display on standard error, gone when it is done; into a file, a line now and then."""
    columns = (
        TextColumn("{task.description}", style="progress.description", markup=False),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    if not notes.is_terminal:
        yield _Lines(disable=True, console=notes)
        return
    with Progress(*columns, console=notes, transient=True) as bar:
        yield bar


class _Lines(Progress):
    """Progress for a file: a line when some time has passed since the last one."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._said = time.monotonic()
        # of each task, when its first step was done and how many were done then
        self._begun: dict[TaskID, tuple[float, float]] = {}

    def update(self, task_id: TaskID, **changes: Any) -> None:
        super().update(task_id, **changes)
        now, task = time.monotonic(), self._tasks[task_id]
        begun, before = self._begun.setdefault(task_id, (now, task.completed))
        if task.completed < before:
            begun, before = self._begun[task_id] = now, task.completed
        if now - self._said < _LINE_SECONDS:
            return
        self._said, words = now, task.description
        if task.total:
            done = task.completed - before
            left = (now - begun) * (task.total - task.completed) / done if done else None
            words += f": {task.completed:g} of {task.total:g}, {_clock(task.elapsed)} so far"
            words += f", about {_clock(left)} left"
        notes.print(words, soft_wrap=True, markup=False)


def _clock(seconds: float | None) -> str:
    return "?" if seconds is None else f"{int(seconds) // 60}:{int(seconds) % 60:02d} min"


class Steps:
    """A bar over the steps of some work.

    Args:
        bar: where it is drawn.
        label: of what comes before the first step.
    """

    def __init__(self, bar: Progress, label: str = "") -> None:
        self._bar, self._label = bar, label
        self._task = bar.add_task(label, total=None)

    def piece(self, what: str, done: int, total: int) -> None:
        """So many steps of a piece of work are done; each piece has a clock and a forecast of its own."""
        if what != self._label:
            self._bar.reset(self._task)
            self._label = what
        self.step(what, done, total)

    def step(self, what: str, done: int, total: int) -> None:
        """So many of all steps are done, and this one is next."""
        self._bar.update(self._task, description=what, completed=done, total=total)


class EpochBar:
    """A bar over the steps of one training."""

    def __init__(self, bar: Progress, label: str, epochs: int) -> None:
        self._bar, self._epochs = bar, epochs
        self._task: TaskID = bar.add_task(label, total=None)
        self._label = label

    def step(self, report: StepReport) -> None:
        self._bar.update(
            self._task,
            total=self._epochs * report.steps_per_epoch,
            completed=report.epoch * report.steps_per_epoch + report.step + 1,
            description=f"{self._label}, epoch {report.epoch + 1}/{self._epochs}, loss {report.loss:.3f}",
        )

    def relabel(self, label: str, epochs: int | None = None) -> None:
        """Begin anew for another training, of as many epochs as the last where none are given."""
        self._label, self._epochs = label, epochs or self._epochs
        self._bar.reset(self._task, description=label, total=None)

    def close(self) -> None:
        self._bar.remove_task(self._task)
