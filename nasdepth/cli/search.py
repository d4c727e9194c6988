"""nasdepth search."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

from rich.markup import escape
from typer import Option

from nasdepth.cli._board import Board
from nasdepth.cli.console import App, Json, notes, out, print_json, progress, with_flags
from nasdepth.cli.data import DATA_HELP
from nasdepth.defaults import DEFAULT_TABLE

if TYPE_CHECKING:
    from nasdepth.searching import Run, Search, SearchResult

STORAGE_HELP = (
    "Where the study is kept: postgresql://USER:PASSWORD@HOST/DATABASE, mysql://..., sqlite:////PATH or "
    "journal:///PATH (a file on a shared file system). The variable NASDEPTH_STORAGE keeps a password out of "
    "the list of processes."
)
Strings = list[str] | None
Paths = list[Path] | None
Numbers = list[int] | None

Budget = Annotated[int, Option(help="Trials to train; the study's total when resuming.")]
TrainingMinutes = Annotated[
    float | None, Option(help="Begin no further trial once all together were trained for so many minutes.")
]
Space = Annotated[str | None, Option(help="YAML file, or depth (default) or quick.")]
Data = Annotated[str | None, Option(help=DATA_HELP)]
Table = Annotated[
    str | None, Option(help=f"Latency table or device pack; {DEFAULT_TABLE}, an estimate, by default.")
]
MaxLatency = Annotated[float | None, Option(help="Do not train what the table says is slower.")]
Objective = Annotated[
    str | None,
    Option(
        help="What is best: score (default; score:exponent=40 and constant= change it), quality (lowest "
        "si-RMSE within --max-latency-ms), pareto, or one that a plugin registers."
    ),
]
DeployedPrecision = Annotated[
    str | None,
    Option(
        "--precision",
        help="Of the deployed files whose latency counts: float32 (default), int8, or auto, the faster of "
        "the two for each architecture.",
    ),
]
Sampler = Annotated[
    str | None,
    Option(
        help="What proposes candidates: latency-aware (default), tpe, random, evolution, gp; with pareto "
        "also nsga2, but no evolution."
    ),
]
FromRuns = Annotated[
    Paths,
    Option(
        "--from",
        help="Run folder whose trainings count as known: same data, proxy and seed, any table or device. "
        "May be given several times.",
    ),
]
Families = Annotated[
    Strings,
    Option("--family", help="Search this encoder family of the space only. May be given several times."),
]
PretrainedOnly = Annotated[
    bool, Option("--pretrained-only", help="Only families whose ImageNet weights are at hand.")
]
Device = Annotated[
    str | None,
    Option(help="Where candidates are measured; must be the table's device. Tries local by default."),
]
MeasureWhenUnsure = Annotated[
    bool | None,
    Option(
        "--measure-when-unsure/--never-when-unsure",
        help="Measure a candidate before its training when its 90 % interval is wide.",
        show_default=False,
    ),
]
UnsurePercent = Annotated[
    float | None, Option(help="How wide: half the interval, in percent of the estimate; 20 by default.")
]
MeasureTop = Annotated[
    int | None,
    Option(min=0, help="Of the best, measured before a winner is named; 3 by default, 0 for none."),
]
Pruner = Annotated[
    str | None,
    Option(help="What ends trainings early: median (default), forecast, halving, hyperband, none."),
]
Rungs = Annotated[
    Numbers,
    Option(
        "--rung",
        min=1,
        help="Also judge candidates after so many epochs; only the promising ones go on. May be given "
        "several times.",
    ),
]
ConfirmTop = Annotated[
    int | None,
    Option(
        min=0,
        help="Of the best, trained once more before a winner is named; 5 by default, at most a tenth of the "
        "trials.",
    ),
]
ConfirmEpochs = Annotated[int | None, Option(min=1, help="Epochs of that training; 12 by default.")]
Workers = Annotated[int, Option(min=1, help="Processes on this machine; each gets its share of the cores.")]
Storage = Annotated[str | None, Option(help=STORAGE_HELP)]
StudyName = Annotated[
    str | None, Option(help="Of the study in a storage that holds many; nasdepth by default.")
]
Seed = Annotated[int | None, Option(help="Random seed of the sampler and of every training.")]
Epochs = Annotated[int | None, Option(min=1, help="Epochs of the proxy training.")]
OutFolder = Annotated[Path | None, Option("--out", help="Run folder; runs/search-N by default.")]
Resume = Annotated[bool, Option("--resume", help="Continue the newest run, or the one in --out.")]


def register(app: App) -> None:
    app.command()(search)


def search(
    budget: Budget = 200,
    training_minutes: TrainingMinutes = None,
    space: Space = None,
    data: Data = None,
    table: Table = None,
    max_latency_ms: MaxLatency = None,
    objective: Objective = None,
    precision: DeployedPrecision = None,
    sampler: Sampler = None,
    from_runs: FromRuns = None,
    families: Families = None,
    pretrained_only: PretrainedOnly = False,
    device: Device = None,
    measure_when_unsure: MeasureWhenUnsure = None,
    unsure_percent: UnsurePercent = None,
    measure_top: MeasureTop = None,
    pruner: Pruner = None,
    rungs: Rungs = None,
    confirm_top: ConfirmTop = None,
    confirm_epochs: ConfirmEpochs = None,
    workers: Workers = 1,
    storage: Storage = None,
    study_name: StudyName = None,
    seed: Seed = None,
    epochs: Epochs = None,
    out_folder: OutFolder = None,
    resume: Resume = False,
    as_json: Json = False,
) -> None:
    """Search for the architecture of the highest challenge score, 2^(-20 si-RMSE) / (C * latency), or of the
    lowest si-RMSE under a latency limit.

    Ctrl-C loses nothing; `--resume` continues. `nasdepth worker` joins the study of a `--storage` from any
    machine.

    Examples: `nasdepth search --budget 200`; `nasdepth search --workers 4`;
    `nasdepth search --budget 40 --data my_data --space quick --max-latency-ms 8`;
    `nasdepth search --objective quality --max-latency-ms 10 --table adreno640-gpu`;
    `nasdepth search --pretrained-only --sampler tpe`;
    `nasdepth search --from runs/search-1 --table cortexa76-1t`; `nasdepth search --resume --budget 400`
    """
    from nasdepth import api

    options: dict[str, Any] = {
        "space": space,
        "table": table,
        "max_latency_ms": max_latency_ms,
        "objective": objective,
        "precision": precision,
        "sampler": sampler,
        "from_runs": from_runs and tuple(map(str, from_runs)),
        "families": families and tuple(families),
        "pretrained_only": pretrained_only or None,
        "device": device,
        "measure_when_unsure": measure_when_unsure,
        "unsure_percent": unsure_percent,
        "measure_top": measure_top,
        "pruner": pruner,
        "rungs": rungs and tuple(rungs),
        "confirm_top": confirm_top,
        "confirm_epochs": confirm_epochs,
        "storage": _storage(storage, resume),
        "study_name": study_name,
        "seed": seed,
    }
    with progress() as bar:
        display = _Display(Board(bar, budget), budget, workers)
        result = api.search(
            data,
            budget=budget,
            training_minutes=training_minutes,
            epochs=epochs,
            workers=workers,
            out=out_folder,
            resume=resume,
            **display.callbacks(),
            **{name: value for name, value in options.items() if value is not None},
        )
    _print_result(result, as_json)


def _storage(storage: str | None, resume: bool) -> str | None:
    from nasdepth.searching.storage import VARIABLE

    # a run that is resumed knows where its study is
    return storage or (None if resume else os.environ.get(VARIABLE))


class _Display:
    """What a search says while it runs."""

    def __init__(self, board: Board, budget: int, workers: int) -> None:
        self.board, self._budget, self._workers = board, budget, workers

    def callbacks(self) -> dict[str, Any]:
        """What `nasdepth.search` tells as it goes."""
        return {
            "events": self.board.events(),
            "on_open": self.opened,
            "on_interrupt": self.interrupted,
            "on_worker_died": self.board.worker_died,
        }

    def opened(self, run: Run, search: Search) -> None:
        from nasdepth.data.inspect import hints
        from nasdepth.report.terminal import table_words
        from nasdepth.searching import Outcome
        from nasdepth.searching.objective import ProxyObjective

        objective = search.objective
        assert isinstance(objective, ProxyObjective), "a run trains by its proxy"
        if run.estimate_words:
            notes.print(f"[yellow]{escape(with_flags(run.estimate_words))}[/yellow]", soft_wrap=True)
        notes.print(
            f"{run.folder}: {search.space.name} space, {run.settings.data} "
            f"({len(objective.fit)} images to train, {len(objective.validation)} held out), "
            f"latencies estimated from {table_words(run.table)}, objective {run.settings.objective}, "
            f"sampler {run.settings.sampler}"
        )
        for words in hints(objective.fit):
            notes.print(f"[yellow]{escape(words)}[/yellow]", soft_wrap=True)
        trivial = objective.trivial
        notes.print(
            f"without a network: the mean depth map has si-RMSE {trivial.mean_map:.4f}, a constant depth "
            f"{trivial.constant:.4f} on the images held out"
        )
        _say_starts(search.space.definition.encoder.family)
        if search.earlier:
            reused = sum(record.outcome is Outcome.REUSED for record in search.records)
            sources = ", ".join(run.settings.from_runs)
            notes.print(
                f"{len(search.earlier)} trainings are known from {sources}; {reused} results count here, "
                "with latencies of this table",
                soft_wrap=True,
            )
        if run.unmeasured_because:
            notes.print(
                "[yellow]the winner will be called by estimate[/yellow]: "
                f"{escape(with_flags(run.unmeasured_because))}",
                soft_wrap=True,
            )
        self.board.start(search)

    def interrupted(self, run: Run) -> None:
        workers = f" --workers {self._workers}" if self._workers > 1 else ""
        notes.print(
            f"stopped; continue with: nasdepth search --resume --out {quote(str(run.folder))} --budget "
            f"{self._budget}{workers}"
        )


def _print_result(result: SearchResult, as_json: bool) -> None:
    from nasdepth.report.terminal import trials_lines
    from nasdepth.searching import describe_table, shown

    if result.exhausted:
        notes.print(f"stopped after {result.spent} trials: no remaining candidate is expected to win")
    top, front, designs = result.best, result.pareto_front, result.named_designs
    if as_json:
        print_json(
            "search",
            run=str(result.folder),
            table=describe_table(result.table),
            best=top and top.to_row(),
            pareto=[record.to_row() for record in front],
            named_designs=[record.to_row() for record in designs],
        )
    else:
        _print_lines(trials_lines("Pareto front, fastest first", front, top))
        _print_lines(trials_lines("Named designs under the same proxy", designs))
    if top and not top.useful:
        notes.print(
            f"[red]no network is better than the mean depth map[/red] (si-RMSE {top.si_rmse:.4f} against "
            f"{top.mean_map_si_rmse:.4f}): do not use any; search longer, or with more data or epochs"
        )
    if not as_json:
        next_step = ""
        if top and top.useful:
            next_step = f"next: nasdepth retrain --run {quote(str(result.folder))}{_retrain_where(result)}\n"
        if top:
            by = "measured latency" if top.latency_source == "measured" else "estimated latency"
            _print_lines(trials_lines(f"Best, by {by}", [top]))
        out.print(
            f"{result.folder}/: trials.csv, pareto.csv, results.json, pareto.png\n"
            "~ = estimated from the table; again = si-RMSE of a second, longer training; scores take it\n"
            f"{next_step}look: nasdepth report {quote(str(result.folder))}\n"
            f"look: optuna-dashboard {quote(shown(result.storage))}",
            soft_wrap=True,
            highlight=False,
        )
    if result.warning:
        (notes if as_json else out).print(escape(with_flags(result.warning)), soft_wrap=True)


def _print_lines(lines: Iterable[str]) -> None:
    for line in lines:
        out.print(escape(line), soft_wrap=True, highlight=False)
    out.print()


def _retrain_where(result: SearchResult) -> str:
    """What `retrain` must be told to measure on the table's device, where the run does not say it."""
    from nasdepth.devices.uri import uri_to_fill_in

    measured = any(record.latency_source == "measured" for record in result.records)
    return (
        ""
        if measured or result.settings.device
        else f" --device {uri_to_fill_in(result.table.card.delegate)}"
    )


def _say_starts(families: Sequence[str]) -> None:
    """Which encoder families start from ImageNet weights here, and which from random ones."""
    from nasdepth.models.pretrained import weights_here

    pretrained = [family for family in families if weights_here(family).pretrained]
    random = [family for family in families if family not in pretrained]
    notes.print(f"ImageNet weights at hand: {', '.join(pretrained) or 'none'}", soft_wrap=True)
    if random:
        leave_out = " (--pretrained-only leaves them out)" if pretrained else ""
        notes.print(f"random weights at the start: {', '.join(random)}{leave_out}", soft_wrap=True)
