"""nasdepth search."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.markup import escape

from nasdepth.cli._defaults import DEFAULT_TABLE
from nasdepth.cli.console import Json, notes, out, print_json, progress
from nasdepth.cli.data import DATA_HELP
from nasdepth.errors import DeviceError, StudyError


def register(app: typer.Typer) -> None:
    app.command()(search)


def search(
    budget: Annotated[int, typer.Option(help="Trials to train; the study's total when resuming.")] = 200,
    space: Annotated[str | None, typer.Option(help="YAML file, or depth (default) or quick.")] = None,
    data: Annotated[str | None, typer.Option(help=DATA_HELP)] = None,
    table: Annotated[
        str | None,
        typer.Option(help=f"Latency table or device pack; {DEFAULT_TABLE}, an estimate, by default."),
    ] = None,
    max_latency_ms: Annotated[
        float | None, typer.Option(help="Do not train what the table says is slower.")
    ] = None,
    objective: Annotated[Literal["score", "pareto"] | None, typer.Option(help="What to optimise.")] = None,
    sampler: Annotated[
        str | None,
        typer.Option(
            help="What proposes candidates: latency-aware (default), tpe, random, evolution, gp; with pareto "
            "also nsga2, but no evolution."
        ),
    ] = None,
    from_run: Annotated[
        list[Path] | None,
        typer.Option(
            "--from",
            help="Run folder whose trainings count as known: same data, proxy and seed, any table or device. "
            "May be given several times.",
        ),
    ] = None,
    family: Annotated[
        list[str] | None,
        typer.Option(help="Search this encoder family of the space only. May be given several times."),
    ] = None,
    pretrained_only: Annotated[
        bool, typer.Option("--pretrained-only", help="Only families whose ImageNet weights are at hand.")
    ] = False,
    device: Annotated[
        str | None,
        typer.Option(
            help="Where candidates are measured; must be the table's device. Tries local by default."
        ),
    ] = None,
    measure_when_unsure: Annotated[
        bool | None,
        typer.Option(
            "--measure-when-unsure/--never-when-unsure",
            help="Measure a candidate before its training when its 90 % interval is wide.",
            show_default=False,
        ),
    ] = None,
    unsure_percent: Annotated[
        float | None,
        typer.Option(help="How wide: half the interval, in percent of the estimate; 20 by default."),
    ] = None,
    measure_top: Annotated[
        int | None,
        typer.Option(min=0, help="Of the best, measured before a winner is named; 3 by default, 0 for none."),
    ] = None,
    storage: Annotated[
        str | None, typer.Option(help="Optuna storage URL; SQLite in the run folder by default.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of the sampler and of every training.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Epochs of the proxy training.")] = None,
    out_folder: Annotated[
        Path | None, typer.Option("--out", help="Run folder; runs/search-N by default.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the newest run, or the one in --out.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Search for the architecture of the highest challenge score, 2^(-20 si-RMSE) / (C * latency).

    Ctrl-C loses nothing; `--resume` continues. Several processes may share one `--storage`.

    Examples: `nasdepth search --budget 200`;
    `nasdepth search --budget 40 --data my_data --space quick --max-latency-ms 8`;
    `nasdepth search --pretrained-only --sampler tpe`;
    `nasdepth search --from runs/search-1 --table cortexa76-1t`; `nasdepth search --resume --budget 400`
    """
    from nasdepth.data.scenes import parse_scenes
    from nasdepth.report.plots import plot_pareto
    from nasdepth.report.terminal import table_words, trials_table
    from nasdepth.search import (
        Outcome,
        Run,
        Settings,
        best,
        describe_table,
        latest_run_folder,
        named,
        next_run_folder,
        pareto_front,
    )
    from nasdepth.training import load_recipe

    if budget < 1:
        raise StudyError(f"--budget is {budget}; at least one trial must be trained")
    if max_latency_ms is not None and not max_latency_ms > 0:
        raise StudyError(f"--max-latency-ms is {max_latency_ms:g}; it must be above 0")
    if unsure_percent is not None and not unsure_percent > 0:
        raise StudyError(f"--unsure-percent is {unsure_percent:g}; it must be above 0")
    given = {
        # a resume may come from another folder; names of what ships stay names
        "space": str(Path(space).resolve()) if space and Path(space).is_file() else space,
        "data": str(Path(data).resolve()) if data and not parse_scenes(data) else data,
        "table": str(Path(table).resolve()) if table and Path(table).is_file() else table,
        "max_latency_ms": max_latency_ms,
        "objective": objective,
        "device": device,
        "measure_when_unsure": measure_when_unsure,
        "unsure_percent": unsure_percent,
        "measure_top": measure_top,
        "storage": storage,
        "sampler": sampler,
        "from_runs": tuple(str(one.resolve()) for one in from_run) if from_run else None,
        "families": tuple(family) if family else None,
        "pretrained_only": pretrained_only or None,
        "seed": seed,
        "proxy": load_recipe("proxy", {"epochs": epochs}) if epochs else None,
    }
    given = {name: value for name, value in given.items() if value is not None}
    if resume:
        run = Run.open(out_folder or latest_run_folder())
        run = Run(run.folder, run.settings.model_copy(update=given))
    else:
        run = Run.create(out_folder or next_run_folder(), Settings(**{"table": DEFAULT_TABLE} | given))
    with progress() as bar:
        board = _Board(bar, budget)
        if run.estimate_words:
            notes.print(f"[yellow]{escape(run.estimate_words)}[/yellow]", soft_wrap=True)
        session = run.search(board.events())
        notes.print(
            f"{run.folder}: {session.space.name} space, {run.settings.data} "
            f"({len(session.objective.fit)} images to train, {len(session.objective.validation)} held out), "
            f"latencies estimated from {table_words(run.table)}, sampler {run.settings.sampler}"
        )
        _say_starts(session.space.definition.encoder.family)
        if session.earlier:
            reused = sum(record.outcome is Outcome.REUSED for record in session.records)
            notes.print(
                f"{len(session.earlier)} trainings are known from {', '.join(run.settings.from_runs)}; {reused} "
                "results count here, with latencies of this table",
                soft_wrap=True,
            )
        if run.unmeasured_because:
            notes.print(
                f"[yellow]the winner will be called by estimate[/yellow]: {escape(run.unmeasured_because)}",
                soft_wrap=True,
            )
        board.start(session)
        try:
            records = session.run(budget)
            if session.bench and run.settings.measure_top:
                records = session.measure_top(run.settings.measure_top)
        except (KeyboardInterrupt, DeviceError):
            run.write_results(session.records)
            notes.print(
                f"stopped; continue with: nasdepth search --resume --out {run.folder} --budget {budget}"
            )
            raise
        finally:
            if session.bench:
                session.bench.device.close()
    run.write_results(records)
    plot_pareto(records, run.folder / "pareto.png")
    if session.spent < budget:
        notes.print(f"nothing new after {session.spent} trained trials could still win")
    if as_json:
        top = best(records)
        print_json(
            "search",
            run=str(run.folder),
            table=describe_table(run.table),
            best=top and top.to_row(),
            pareto=[record.to_row() for record in pareto_front(records)],
            named_designs=[record.to_row() for record in named(records)],
        )
        if run.estimate_words:
            notes.print(escape(run.estimate_words), soft_wrap=True)
        return
    out.print(trials_table("Pareto front, fastest first", pareto_front(records)))
    out.print(trials_table("Named designs under the same proxy", named(records)))
    if top := best(records):
        by = "measured latency" if top.latency_source == "measured" else "estimated latency"
        out.print(trials_table(f"Best, by {by}", [top]))
    out.print(
        f"{run.folder}/: trials.csv, pareto.csv, results.json, pareto.png\n"
        "est. = estimated from the table; scores take the measured latency where there is one.\n"
        f"next: nasdepth retrain --run {run.folder}\n"
        f"look: optuna-dashboard {run.storage}"
    )
    if run.estimate_words:
        out.print(run.estimate_words, soft_wrap=True)


def _say_starts(families: Sequence[str]) -> None:
    """Which encoder families start from ImageNet weights here, and which from random ones."""
    from nasdepth.models.pretrained import weights_here

    pretrained = [family for family in families if weights_here(family).pretrained]
    random = [family for family in families if family not in pretrained]
    notes.print(f"ImageNet weights at hand: {', '.join(pretrained) or 'none'}", soft_wrap=True)
    if random:
        leave_out = " (--pretrained-only leaves them out)" if pretrained else ""
        notes.print(f"random weights at the start: {', '.join(random)}{leave_out}", soft_wrap=True)


class _Board:
    """The live display: trials done, best so far, time left, and the training that runs."""

    def __init__(self, bar, budget: int) -> None:
        from nasdepth.search import SearchEvents

        self._bar, self._budget = bar, budget
        self._events = SearchEvents
        self._said: set[str] = set()
        self._training = None
        self._best = None

    def events(self):
        return self._events(
            trial_started=self._trial_started,
            encoder_started=self._encoder_started,
            step=self._step,
            trial_ended=self._trial_ended,
            measuring=self._measuring,
            measured=self._measured,
        )

    def start(self, session) -> None:
        from nasdepth.cli.console import EpochBar
        from nasdepth.search import best

        self._session = session
        self._best = best(session.records)
        self._total = self._bar.add_task("trials", total=self._budget, completed=session.spent)
        self._training = EpochBar(self._bar, "waiting", session.objective.rungs[-1])

    def _trial_started(self, architecture, latency_ms: float) -> None:
        encoder = architecture.encoder
        self._training.relabel(
            f"{architecture.input_height}x{architecture.input_width} {encoder} ~{latency_ms:.2f} ms"
        )

    def _encoder_started(self, family: str, start) -> None:
        if not start.pretrained and family not in self._said:
            self._said.add(family)
            notes.print(f"[yellow]{family} starts from random weights[/yellow]: {start.source}")

    def _step(self, report) -> None:
        self._training.step(report)

    def _measuring(self, architectures) -> None:
        self._training.relabel(f"measuring {len(architectures)} candidate(s)")

    def _measured(self, architecture, measurement) -> None:
        from nasdepth.models import name_of

        said = (
            f"[yellow]the device cannot run it[/yellow]: {escape(measurement.error)}"
            if measurement.error
            else f"{measurement.latency_ms:.3f} ms"
        )
        name = name_of(architecture) or architecture
        notes.print(f"     measured {name}: {said}", highlight=False, soft_wrap=True)

    def _trial_ended(self, record) -> None:
        from nasdepth.search import Outcome

        if record.outcome is Outcome.TRAINED and (
            self._best is None or record.log2_score > self._best.log2_score
        ):
            self._best = record
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
