"""nasdepth replay and nasdepth fidelity: what recorded trainings say of searches and of proxies."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from rich.table import Table
from typer import Option

from nasdepth.cli.console import App, Json, Steps, notes, out, print_json, progress

if TYPE_CHECKING:
    from nasdepth.replay import Comparison, Mean, Ranking, Summary
    from nasdepth.replay.ranking import Interval

RecordsFile = Annotated[
    Path, Option("--records", help="A .csv.gz that `nasdepth record --archive` has written.")
]
Samplers = Annotated[list[str] | None, Option(help="Sampler to replay; give it several times to compare.")]
Seeds = Annotated[int, Option(min=1, help="Searches of each sampler, each in a world of its own.")]
Budget = Annotated[int, Option(min=1, help="Trials of a search that are trained.")]
Space = Annotated[str, Option(help="Search space of the records: a YAML file or a name.")]
TableName = Annotated[
    str | None, Option("--table", help="Latency table or device pack; by default the one of the records.")
]
World = Annotated[
    str,
    Option(help="What answers for architectures without a record: mixed, extra-trees or support-vectors."),
]
MaxLatency = Annotated[float | None, Option(help="As of `nasdepth search`: nothing slower counts.")]
Pruner = Annotated[str, Option(help="Rule by which a search ends trainings early.")]
Rungs = Annotated[
    list[int] | None,
    Option(
        "--rung",
        min=1,
        help="Epochs after which a candidate is judged, beside those of the proxy; may be given several "
        "times. Such trainings must have been recorded.",
    ),
]
Continued = Annotated[
    bool,
    Option("--continued/--anew", help="A rung goes on from the last one's weights, or starts anew."),
]
Workers = Annotated[int, Option(min=1, help="Processes that replay at once.")]
KeptIn = Annotated[
    Path | None,
    Option("--out", help="Keep finished searches in this CSV; the same command goes on from it."),
]
ScoreTable = Annotated[
    str | None,
    Option(
        "--table",
        help="Latency table for scores and for bins of like latency; the records' own by default.",
    ),
]


def register(app: App) -> None:
    app.command()(replay)
    app.command()(fidelity)


@contextmanager
def _extra_at_hand() -> Iterator[None]:
    """Name the extra where what it installs is missing."""
    from nasdepth.errors import NasdepthError

    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or not error.name.startswith("sklearn"):
            raise
        raise NasdepthError(
            "replays need scikit-learn; install it with `pip install nasdepth[replay]`"
        ) from None


def replay(
    records: RecordsFile,
    sampler: Samplers = None,
    seeds: Seeds = 50,
    budget: Budget = 200,
    space: Space = "depth",
    table: TableName = None,
    world: World = "mixed",
    max_latency_ms: MaxLatency = None,
    pruner: Pruner = "median",
    rungs: Rungs = None,
    continued: Continued = True,
    workers: Workers = 1,
    kept_in: KeptIn = None,
    as_json: Json = False,
) -> None:
    """Run whole searches against recorded trainings, on a virtual clock, and compare samplers.

    A regression fitted to the records answers for architectures that were not recorded. Its own error, on
    recorded architectures that it was not fitted to, is printed first. Regret is the distance in octaves of
    the score to the best that is known of the world. Ctrl-C keeps finished searches if `--out` is given.

    Examples: `nasdepth replay --records records/my_data.csv.gz --sampler latency-aware --sampler tpe`;
    `nasdepth replay --records records/my_data.csv.gz --seeds 10 --workers 4 --out replays.csv`
    """
    with _extra_at_hand():
        from nasdepth.replay import Setting, compare_samplers
    from nasdepth.recording import load_records

    def other_versions(versions: Sequence[str]) -> None:
        notes.print(f"{kept_in}: holds searches of other versions of nasdepth ({', '.join(versions)})")

    def interrupted(finished: int) -> None:
        if kept_in is not None:
            notes.print(f"stopped; {finished} searches are kept in {kept_in}, and the same command goes on")

    recorded = load_records(records)
    with progress() as bar:
        compared = compare_samplers(
            recorded,
            Setting(
                space,
                table or recorded.table,
                world,
                budget,
                max_latency_ms,
                pruner,
                tuple(sorted(rungs or ())),
                continued,
            ),
            list(dict.fromkeys(sampler or ["random", "tpe", "latency-aware"])),
            seeds,
            workers=workers,
            kept_in=kept_in,
            on_progress=Steps(bar, "reading").piece,
            on_other_versions=other_versions,
            on_interrupt=interrupted,
        )
    _print_comparison(compared, records, as_json)


def _print_comparison(compared: Comparison, records: Path, as_json: bool) -> None:
    if as_json:
        print_json(
            "replay",
            records=str(records),
            setting=asdict(compared.setting),
            world=asdict(compared.world_error),
            fidelities=compared.fidelities,
            samplers=[asdict(one) for one in compared.summaries],
        )
        return
    out.print(_world_words(compared), highlight=False, soft_wrap=True)
    for shown in _tables(compared.summaries, compared.setting.budget):
        out.print(shown)


def _world_words(compared: Comparison) -> str:
    error, setting = compared.world_error, compared.setting
    return (
        f"world {setting.world} of {error.architectures} recorded architectures, latencies of "
        f"{setting.table}; on architectures it was not fitted to: RMSE {error.rmse:.4f} of si-RMSE, "
        f"R2 {error.r2:.2f}, Spearman {error.spearman:.2f}, Kendall {error.kendall:.2f}; noise of training "
        f"{error.noise:.4f}, own deviation of an architecture {error.own:.4f}; also known: "
        f"{', '.join(compared.fidelities) or 'no other way of training'}"
    )


def _tables(sums: Sequence[Summary], budget: int) -> Iterator[Table]:
    """Regret against trials and against seconds, and what the searches end with."""
    trials = sorted({count for one in sums for count in one.observed})
    yield _regret_table("looks best", trials, {one.sampler: one.observed for one in sums}, "{} trials")
    trials = sorted({count for one in sums for count in one.believed})
    yield _regret_table("is believed best", trials, {one.sampler: one.believed for one in sums}, "{} trials")
    seconds = sorted({at for one in sums for at in one.by_seconds})
    yield _regret_table("looks best", seconds, {one.sampler: one.by_seconds for one in sums}, "{:.0f} s")
    ends = Table(title=f"after {budget} trials; the best believed are trained fully", box=None)
    for column in (
        "sampler",
        "searches",
        "reaches random's end at trial",
        "final log2 score",
        "against random",
        "against TPE",
        "virtual hours",
        "s a proposal",
    ):
        ends.add_column(column)
    for one in sums:
        ends.add_row(
            one.sampler,
            str(one.searches),
            "-" if one.reaches_random is None else str(one.reaches_random),
            _mean(one.final),
            _times(one.worth_random),
            _times(one.worth_tpe),
            f"{one.seconds.value / 3600:.2f}",
            f"{one.proposal_s:.2f}",
        )
    yield ends


def _regret_table[Column: (int, float)](
    what: str, columns: Iterable[Column], rows: Mapping[str, Mapping[Column, Mean]], heading: str
) -> Table:
    shown = Table(title=f"regret of what {what}, octaves (± standard error)", box=None)
    shown.add_column("sampler")
    for column in columns:
        shown.add_column(heading.format(column))
    for name, cells in rows.items():
        shown.add_row(name, *(_mean(cells[column]) if column in cells else "-" for column in columns))
    return shown


def _mean(mean: Mean) -> str:
    return f"{mean.value:.2f} ± {mean.error:.2f}"


def _times(mean: Mean | None) -> str:
    """A mean of log2 as a factor with the range of one standard error."""
    if mean is None:
        return "-"
    low, high = 2 ** (mean.value - mean.error), 2 ** (mean.value + mean.error)
    return f"x{2**mean.value:.2f} ({low:.2f} to {high:.2f})"


def fidelity(
    records: RecordsFile,
    table: ScoreTable = None,
    as_json: Json = False,
) -> None:
    """Compare cheap ways of training with full training: how well does each rank?

    For each recorded way of training: Kendall's tau and Spearman's correlation of its si-RMSE with that of
    full training, over all architectures and over pairs of like latency only, with 90 % intervals, and its
    cost. Then what another seed changes, and what a start from random weights loses.

    Examples: `nasdepth fidelity --records records/my_data.csv.gz`;
    `nasdepth fidelity --records records/my_data.csv.gz --table rpi4-tflite2.5-ruy-4t --json`
    """
    with _extra_at_hand():
        from nasdepth.replay import Latencies, rank_fidelities
    from nasdepth.packs import load_predictor
    from nasdepth.recording import load_records

    recorded = load_records(records)
    name = table or recorded.table
    latencies = Latencies(load_predictor(name))
    with progress() as bar:
        bar.add_task("ranking", total=None)
        ranking = rank_fidelities(recorded, lambda one: latencies.of(one).latency_ms)
    if as_json:
        print_json("fidelity", records=str(records), table=name, **asdict(ranking))
    else:
        _print_ranking(ranking, name)


def _print_ranking(ranking: Ranking, table: str) -> None:
    for shown in (_ranks_table(ranking, table), _noise_table(ranking)):
        out.print(shown)
    if ranking.random_start:
        out.print(_random_starts_table(ranking))
    if enough := [one for one in ranking.ranks if one.kendall.value >= 0.8]:
        cheapest = min(enough, key=lambda one: one.cost)
        out.print(f"cheapest with tau >= 0.8: {cheapest.fidelity} by {cheapest.by}", highlight=False)
    else:
        out.print("none reaches tau 0.8", highlight=False)


def _ranks_table(ranking: Ranking, table: str) -> Table:
    shown = Table(title=f"ranks beside full training (90 % intervals); latencies of {table}", box=None)
    for column in (
        "way of training",
        "by",
        "n",
        "tau",
        "tau within latency bins",
        "Spearman",
        "tau of scores",
        "best found again",
        "cost %",
    ):
        shown.add_column(column)
    for one in sorted(ranking.ranks, key=lambda one: -one.kendall.value):
        shown.add_row(
            one.fidelity,
            one.by,
            str(one.architectures),
            _interval(one.kendall),
            f"{_interval(one.within_bins)} of {one.bins}",
            _interval(one.spearman),
            "-" if one.score_kendall is None else _interval(one.score_kendall),
            "-" if one.top_overlap is None else f"{one.top_overlap * one.top:.0f} of {one.top}",
            f"{100 * one.cost:.1f}",
        )
    return shown


def _noise_table(ranking: Ranking) -> Table:
    noise = Table(title="what another seed changes, in si-RMSE", box=None)
    for column in ("way of training", "pairs", "between seeds", "between architectures", "of like latency"):
        noise.add_column(column)
    for one in ranking.noise:
        noise.add_row(
            one.fidelity, str(one.pairs), f"{one.sd:.4f}", f"{one.spread:.4f}", f"{one.within_bins:.4f}"
        )
    noise.caption = (
        f"with seeds as the only error, tau would be {ranking.ceiling:.2f}, and "
        f"{ranking.ceiling_within_bins:.2f} within latency bins"
    )
    return noise


def _random_starts_table(ranking: Ranking) -> Table:
    lost = Table(title="si-RMSE lost by starting from random weights (90 % intervals)", box=None)
    for column in ("family", "n", "lost", "octaves of score", "worse"):
        lost.add_column(column)
    for one in ranking.random_start:
        mean = one.si_rmse
        lost.add_row(
            one.family,
            str(one.architectures),
            f"{mean.value:.4f} ({mean.low:.4f} to {mean.high:.4f})",
            f"{20 * mean.value:.2f}",
            f"{one.worse} of {one.architectures}",
        )
    return lost


def _interval(one: Interval) -> str:
    return f"{one.value:.2f} ({one.low:.2f} to {one.high:.2f})"
