"""nasdepth search."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.markup import escape

from nasdepth.cli._board import Board
from nasdepth.cli._defaults import DEFAULT_TABLE
from nasdepth.cli.console import Json, notes, out, print_json, progress
from nasdepth.cli.data import DATA_HELP
from nasdepth.errors import DeviceError, StudyError

STORAGE_HELP = (
    "Where the study is kept: postgresql://USER:PASSWORD@HOST/DATABASE, mysql://..., sqlite:////PATH or "
    "journal:///PATH (a file on a shared file system). The variable NASDEPTH_STORAGE keeps a password out of "
    "the list of processes."
)


def register(app: typer.Typer) -> None:
    app.command()(search)


def search(
    budget: Annotated[int, typer.Option(help="Trials to train; the study's total when resuming.")] = 200,
    training_minutes: Annotated[
        float | None,
        typer.Option(help="Begin no further trial once all together were trained for so many minutes."),
    ] = None,
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
    pruner: Annotated[
        str | None,
        typer.Option(help="What ends trainings early: median (default), forecast, halving, hyperband, none."),
    ] = None,
    rung: Annotated[
        list[int] | None,
        typer.Option(
            min=1,
            help="Also judge candidates after so many epochs; only the promising ones go on. May be given "
            "several times.",
        ),
    ] = None,
    confirm_top: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Of the best, trained once more before a winner is named; 5 by default, at most a tenth of "
            "the trials.",
        ),
    ] = None,
    confirm_epochs: Annotated[
        int | None, typer.Option(min=1, help="Epochs of that training; 12 by default.")
    ] = None,
    workers: Annotated[
        int, typer.Option(min=1, help="Processes on this machine; each gets its share of the cores.")
    ] = 1,
    storage: Annotated[str | None, typer.Option(help=STORAGE_HELP)] = None,
    study_name: Annotated[
        str | None, typer.Option(help="Of the study in a storage that holds many; nasdepth by default.")
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

    Ctrl-C loses nothing; `--resume` continues. `nasdepth worker` joins the study of a `--storage` from any
    machine.

    Examples: `nasdepth search --budget 200`; `nasdepth search --workers 4`;
    `nasdepth search --budget 40 --data my_data --space quick --max-latency-ms 8`;
    `nasdepth search --pretrained-only --sampler tpe`;
    `nasdepth search --from runs/search-1 --table cortexa76-1t`; `nasdepth search --resume --budget 400`
    """
    import torch

    from nasdepth.data.scenes import parse_scenes
    from nasdepth.report.plots import plot_pareto
    from nasdepth.report.terminal import table_words, trials_table
    from nasdepth.search import (
        LocalWorkers,
        Outcome,
        Run,
        Settings,
        best,
        describe_table,
        latest_run_folder,
        named,
        pareto_front,
        share_of_cores,
        shown,
    )
    from nasdepth.search.storage import VARIABLE
    from nasdepth.training import load_recipe

    if budget < 1:
        raise StudyError(f"--budget is {budget}; at least one trial must be trained")
    if training_minutes is not None and not training_minutes > 0:
        raise StudyError(f"--training-minutes is {training_minutes:g}; it must be above 0")
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
        "sampler": sampler,
        "pruner": pruner,
        "rungs": tuple(rung) if rung else None,
        "confirm_top": confirm_top,
        "confirm_epochs": confirm_epochs,
        "from_runs": tuple(str(one.resolve()) for one in from_run) if from_run else None,
        "families": tuple(family) if family else None,
        "pretrained_only": pretrained_only or None,
        # a run that is resumed knows where its study is
        "storage": storage or (None if resume else os.environ.get(VARIABLE)),
        "study_name": study_name,
        "seed": seed,
        "proxy": load_recipe("proxy", {"epochs": epochs}) if epochs else None,
    }
    given = {name: value for name, value in given.items() if value is not None}
    if resume:
        run = Run.open(out_folder or latest_run_folder())
        run = Run(run.folder, run.settings.model_copy(update=given))
    else:
        run = Run.create(out_folder, Settings(**{"table": DEFAULT_TABLE} | given))
    if workers > 1 and run.settings.measure_when_unsure:
        raise StudyError(
            "--measure-when-unsure measures while others train, which would disturb it; search with "
            "--workers 1, or leave it to --measure-top, which measures when all trainings are done"
        )
    with progress() as bar:
        board = Board(bar, budget)
        if run.estimate_words:
            notes.print(f"[yellow]{escape(run.estimate_words)}[/yellow]", soft_wrap=True)
        session = run.search(board.events())
        notes.print(
            f"{run.folder}: {session.space.name} space, {run.settings.data} "
            f"({len(session.objective.fit)} images to train, {len(session.objective.validation)} held out), "
            f"latencies estimated from {table_words(run.table)}, sampler {run.settings.sampler}"
        )
        trivial = session.objective.trivial
        notes.print(
            f"without a network: the mean depth map has si-RMSE {trivial.mean_map:.4f}, a constant depth "
            f"{trivial.constant:.4f} on the images held out"
        )
        _say_starts(session.space.definition.encoder.family)
        if session.earlier:
            reused = sum(record.outcome is Outcome.REUSED for record in session.records)
            sources = ", ".join(run.settings.from_runs)
            notes.print(
                f"{len(session.earlier)} trainings are known from {sources}; {reused} results count here, "
                "with latencies of this table",
                soft_wrap=True,
            )
        if run.unmeasured_because:
            notes.print(
                f"[yellow]the winner will be called by estimate[/yellow]: {escape(run.unmeasured_because)}",
                soft_wrap=True,
            )
        board.start(session)
        again = f"nasdepth search --resume --out {run.folder} --budget {budget}"
        try:
            if workers > 1:
                threads = share_of_cores(workers)
                torch.set_num_threads(threads)
                others = LocalWorkers(
                    workers - 1, run.storage, session.study_name, run.folder, threads, board.worker_died
                )
                again += f" --workers {workers}"
                with others:
                    records = session.run(budget, training_minutes)
            else:
                records = session.run(budget, training_minutes)
            if confirmed := min(run.settings.confirm_top, math.ceil(session.spent / 10)):
                records = session.confirm_top(confirmed, run.settings.confirm_epochs)
            if session.bench and run.settings.measure_top:
                records = session.measure_top(run.settings.measure_top)
        except (KeyboardInterrupt, DeviceError):
            run.write_results(session.records)
            notes.print(f"stopped; continue with: {again}")
            raise
        finally:
            if session.bench:
                session.bench.device.close()
    run.write_results(records)
    plot_pareto(records, run.folder / "pareto.png")
    if session.spent < budget and not training_minutes:
        notes.print(f"stopped after {session.spent} trials: no remaining candidate is expected to win")
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
        if not top.useful:
            notes.print(
                "[red]no network is better than the mean depth map[/red] (si-RMSE "
                f"{top.si_rmse:.4f} against {trivial.mean_map:.4f}): do not use any; search longer, or with "
                "more data or epochs"
            )
        by = "measured latency" if top.latency_source == "measured" else "estimated latency"
        out.print(trials_table(f"Best, by {by}", [top]))
    out.print(
        f"{run.folder}/: trials.csv, pareto.csv, results.json, pareto.png\n"
        "est. = estimated from the table; scores take the measured latency where there is one.\n"
        f"next: nasdepth retrain --run {run.folder}\n"
        f"look: optuna-dashboard {shown(run.storage)}"
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
