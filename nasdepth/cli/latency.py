"""nasdepth latency: measure tables, check them, predict from them."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any, Literal

from typer import Argument, Exit, Option

from nasdepth.cli.console import App, Json, Steps, notes, out, print_json, progress
from nasdepth.defaults import DEFAULT_TABLE
from nasdepth.errors import NasdepthError
from nasdepth.report.terminal import figures_table, layers_table, table_words, worst_table

if TYPE_CHECKING:
    from nasdepth.api import ValidatedTable
    from nasdepth.latency import LatencyEstimate, LatencyTable
    from nasdepth.latency.measure import BuildPlan

app = App(help="Latency tables and predictions.", no_args_is_help=True, rich_markup_mode="markdown")

MEASURED_TABLE = "x86-64-xnnpack-1t"
Table = Annotated[str, Option("--table", help="CSV file, or the name of a shipped table.")]
AnyTable = Annotated[
    str, Option("--table", help="Table (CSV) or device pack (YAML), or the name of one that ships.")
]
DeviceUri = Annotated[
    str,
    Option("--device", help="local, local-gpu, ssh://user@host or adb://serial."),
]
Threads = Annotated[
    int | None, Option("--threads", min=1, help="Threads of the runtime; 1 unless the URI says.")
]
KernelsOf = Annotated[str, Option("--space", help="Whose kernels to measure.")]
OutFolder = Annotated[Path, Option("--out", help="Folder of the table.")]
TableName = Annotated[str | None, Option(help="Of the table; device-runtime-threads by default.")]
Minutes = Annotated[
    float, Option(min=0, help="That the build takes, with the kernels that matter most; 0 measures all.")
]
Calibrated = Annotated[int, Option(min=0, help="Whole networks, at most, to fit the table to.")]
Validated = Annotated[int, Option(min=0, help="Whole networks, at most, to check it against.")]
From = Annotated[
    list[str] | None,
    Option(
        "--from",
        metavar="TABLE",
        help="Start from this device's table or pack, repeatable; none: from nothing. By default from those "
        "that ship and suit the device.",
    ),
]
StopWhen = Annotated[
    str | None,
    Option(metavar="PERCENT", help="End as soon as networks kept aside are off by less, such as 5%."),
]
General = Annotated[bool, Option(help="Also kernels of other makers' networks, for their .tflite files.")]
Models = Annotated[list[Path] | None, Argument(help=".tflite files to check as well.")]
DrawnFrom = Annotated[str, Option("--space", help="Where the architectures are drawn from.")]
Sample = Annotated[int, Option("--sample", min=0, help="How many architectures to draw.")]
Seed = Annotated[int, Option(help="Of the draw; another seed draws others.")]
Plot = Annotated[
    Path | None,
    Option("--plot", help="PNG of predicted against measured; by default beside a table of your own."),
]
Save = Annotated[
    bool | None,
    Option(help="Write the figures into the table's device card; by default if the table is your own."),
]
Merged = Annotated[list[str], Argument(help="Tables of one device and setting, the newest first.")]
MergedFolder = Annotated[Path, Option("--out", help="Folder of the result.")]
Networks = Annotated[
    list[str],
    Argument(help="Architectures, named or published designs (mobilenet-v2-0.5-160), .tflite files."),
]
Precision = Annotated[
    Literal["float32", "int8"], Option(help="That they are deployed in; a quantised .tflite says it itself.")
]
InputShape = Annotated[
    str | None, Option(help="Of .tflite files whose first input may be of any size, such as 1x480x640x3.")
]
ByLayer = Annotated[bool, Option("--by-layer", help="Also list every kernel.")]

_WORST = 3
# A quiet table has 0.07; at 0.4 its predictions were twice as far off
_NOISY = 0.2
# A plan is told again where the number of kernels has changed by so much
_MUCH = 0.25


@app.command()
def build(
    device: DeviceUri = "local",
    threads: Threads = None,
    space: KernelsOf = "depth",
    out_folder: OutFolder = Path("latency_tables"),
    name: TableName = None,
    minutes: Minutes = 10,
    calibrate: Calibrated = 60,
    validate: Validated = 24,
    general: General = True,
    sources: From = None,
    stop_when: StopWhen = None,
    as_json: Json = False,
) -> None:
    """Measure the kernels that a space needs on a device, and write a table with its device card.

    Ctrl-C writes a table of what is measured so far. That, a lost connection or a crash lose nothing: the
    same command goes on where it stopped. A finished table of the same device is extended: what it has is
    not measured again.

    Examples:

    `nasdepth latency build --device local --space quick --minutes 10`

    `nasdepth latency build --device ssh://pi@raspberrypi --threads 4 --minutes 30 --stop-when 5%`
    """
    from nasdepth import api
    from nasdepth.latency.measure import BuildStopped

    stopped = False
    try:
        with progress() as bar:
            table = api.build_table(
                device,
                threads=threads,
                space=space,
                out=out_folder,
                name=name,
                minutes=minutes or None,
                calibration=calibrate,
                validation=validate,
                general=general,
                sources=sources or (),
                stop_when_percent=_percent(stop_when),
                progress=_reporter(Steps(bar, "planning")),
                announce=_Plans().tell,
            )
    except BuildStopped as stop:
        if stop.table is None:
            notes.print("stopped before there was a table; the same command goes on where it stopped")
            raise Exit(130) from None
        table, stopped = stop.table, True
    _print_table(table, out_folder, device, stopped, as_json)
    if stopped:
        raise Exit(130)


def _percent(text: str | None) -> float | None:
    """`5%` or `5` as 5.0."""
    if text is None:
        return None
    try:
        percent = float(text.strip().removesuffix("%"))
    except ValueError:
        percent = 0.0
    if not 0 < percent <= 100:
        raise NasdepthError(f"--stop-when is {text!r}; it must be percent of error above 0, such as 5%")
    return percent


class _Plans:
    """Says what a build plans, and again where that has changed much."""

    def __init__(self) -> None:
        self._said = 0

    def tell(self, plan: BuildPlan) -> None:
        if self._said and abs(plan.kernels - self._said) <= _MUCH * self._said:
            return
        word, self._said = "now planned" if self._said else "planned", plan.kernels
        expected = (
            f"; expected error about {plan.error_percent:.0f} % (an estimate from builds of other processors)"
            if plan.error_percent is not None
            else ""
        )
        notes.print(
            f"{word}: {plan.kernels:,} kernels and {plan.networks} networks, {plan.checks} of them to "
            f"check, in {plan.minutes:.1f} minutes more: a kernel takes {plan.kernel_seconds:.2g} s here, "
            f"a network {plan.network_seconds:.2g} s, {plan.writing_seconds:.2g} s of that to write "
            f"it{expected}",
            soft_wrap=True,
        )


def _print_table(table: LatencyTable, out_folder: Path, device: str, stopped: bool, as_json: bool) -> None:
    from nasdepth.latency.predict.files import rows_path

    path = rows_path(out_folder / table.name)
    card = table.card.model_dump(mode="json")
    if as_json:
        print_json("table", path=str(path), doubt=table.doubt, **card)
        return
    out.print(figures_table(str(path), card))
    _say_what_to_doubt(table, device)
    if stopped:
        notes.print("stopped early: the same command goes on where it stopped")
    if not table.doubt:
        where = "" if device == "local" else f" --device {quote(device)}"
        said = f"search with it: nasdepth search --budget 200 --table {quote(str(path))}{where}"
        out.print(said, soft_wrap=True)


def _say_what_to_doubt(table: LatencyTable, device: str) -> None:
    if table.rejected:
        notes.print(f"[yellow]the device cannot run {len(table.rejected)} kernels[/yellow], among them")
        for kernel, words in list(table.rejected.items())[:_WORST]:
            notes.print(f"  {kernel}: {words}")
    if table.doubt:
        notes.print(f"[bold red]bad table[/bold red]: {table.doubt}", soft_wrap=True)
    elif table.validation is None:
        notes.print("unvalidated: check it with `nasdepth latency validate`")
    spread = statistics.median(timing.spread for timing in table.timings.values())
    if spread > _NOISY:
        notes.print(
            f"[yellow]noisy[/yellow]: half of the kernels spread by more than {spread:.0%} (90th over 10th "
            f"percentile); see what else ran with `nasdepth doctor --device {device}`, delete the table and "
            "build it again",
            soft_wrap=True,
        )


@app.command()
def validate(
    models: Models = None,
    table: Table = MEASURED_TABLE,
    device: DeviceUri = "local",
    threads: Threads = None,
    space: DrawnFrom = "depth",
    sample: Sample = 24,
    seed: Seed = 1000,
    plot: Plot = None,
    save: Save = True,
    as_json: Json = False,
) -> None:
    """Measure whole models that the table never saw, and say how far its predictions can be trusted.

    Examples:

    `nasdepth latency validate --table x86-64-xnnpack-1t --sample 100`

    `nasdepth latency validate --device ssh://pi@raspberrypi --table pi4.csv --sample 0 mine.tflite`
    """
    from nasdepth import api

    with progress() as bar:
        validated = api.validate_table(
            table,
            models or (),
            device=device,
            threads=threads,
            space=space,
            sample=sample,
            seed=seed,
            save=save,
            progress=_reporter(Steps(bar, "predicting")),
        )
    if as_json:
        _print_validation_json(validated)
    else:
        _print_validation(validated, max(_WORST, len(models or ())))
    _draw_validation(validated, table, plot)
    if save and not validated.saved:
        raise NasdepthError(f"--save: the figures were not saved: {validated.unsaved_because}")
    if not validated.saved:
        notes.print(f"the table's card stays as it was: {validated.unsaved_because}", soft_wrap=True)


def _draw_validation(validated: ValidatedTable, table: str, plot: Path | None) -> None:
    from nasdepth.latency.predict.files import find_table, is_kept
    from nasdepth.report.validation import plot_validation

    path = find_table(table)
    picture = plot or (None if is_kept(path) else path.with_name(f"{validated.name}.png"))
    if picture is not None and validated.report.checked:
        plot_validation(validated.report.checked, validated.name, picture)
        notes.print(f"predicted against measured: {picture}")


def _print_validation_json(validated: ValidatedTable) -> None:
    report = validated.report
    print_json(
        "validation",
        table=validated.name,
        validation=report.validation and report.validation.model_dump(mode="json"),
        saved=validated.saved,
        refused=report.refused,
        models=[
            {
                "model": one.guess.name,
                "measured_ms": one.guess.measured_ms,
                "drift": one.guess.drift,
                "error": one.guess.error,
                "inside_interval_90": one.guess.inside,
                **_estimate_json(one.estimate, by_layer=False),
            }
            for one in report.checked
        ],
    )


def _print_validation(validated: ValidatedTable, most: int) -> None:
    report = validated.report
    figures = report.validation.model_dump(mode="json") if report.validation else {}
    out.print(figures_table(f"{validated.name} on {len(report.checked)} models", figures))
    out.print(worst_table(report.checked[:most]))
    for one in report.checked[:_WORST]:
        out.print(layers_table(one.estimate, f"{one.guess.name}: {one.guess.error:+.1%}", most=8))
    for name, words in report.refused.items():
        notes.print(f"[yellow]no answer for[/yellow] {name}: {words}")


@app.command()
def merge(tables: Merged, out_folder: MergedFolder, as_json: Json = False) -> None:
    """Put the kernels of several tables of one device together, under the first one's name and card.

    Example: `nasdepth latency merge new/pi.csv old/pi.csv --out latency_tables`
    """
    from nasdepth.latency import LatencyTable

    first, *others = map(LatencyTable.load, tables)
    for other in others:
        first = first.merged(other)
    path = first.save(out_folder)
    card = first.card.model_dump(mode="json")
    if as_json:
        print_json("table", path=str(path), doubt=first.doubt, **card)
        return
    out.print(figures_table(str(path), card))


@app.command()
def predict(
    architectures: Networks,
    table: AnyTable = DEFAULT_TABLE,
    precision: Precision = "float32",
    input_shape: InputShape = None,
    by_layer: ByLayer = False,
    as_json: Json = False,
) -> None:
    """Estimate latencies from a table; what was measured is the table's kernels, not the network.

    Example: `nasdepth latency predict litedepth model.tflite --by-layer`
    """
    from nasdepth.packs import load_predictor, model_kernels
    from nasdepth.tflite.input_shape import parse_shape, with_input_shape

    predictor = load_predictor(table)
    loaded = predictor.table
    shape = parse_shape(input_shape) if input_shape is not None else None
    kernels = []
    for text in architectures:
        with with_input_shape(text, shape if text.endswith(".tflite") else None) as model:
            kernels.append(model_kernels(str(model), predictor.runtime, precision)[0])
    answers = list(zip(architectures, predictor.estimate_all(kernels), strict=True))
    if as_json:
        print_json(
            "latency",
            table=loaded.name,
            doubt=loaded.doubt,
            estimates=[
                {"architecture": text, **_estimate_json(estimate, by_layer)} for text, estimate in answers
            ],
        )
        return
    for text, estimate in answers:
        out.print(figures_table(text, _estimate_figures(estimate) | {"table": table_words(loaded)}))
        if by_layer:
            out.print(layers_table(estimate))


def _estimate_figures(estimate: LatencyEstimate) -> dict[str, str]:
    low, high = estimate.interval_90
    return {
        "latency (estimate)": f"{estimate.latency_ms:.3f} ms ± {estimate.sd_ms:.3f}",
        "90 % interval": f"{low:.3f} to {high:.3f} ms",
        "of that time measured": f"{estimate.measured_share:.0%}",
        "of that time interpolated": f"{estimate.interpolated_share:.0%}",
        "of that time unknown": f"{estimate.unknown_share:.0%}",
    } | (
        {"of that time from other devices' tables": f"{estimate.transferred_share:.0%}"}
        if estimate.transferred_share
        else {}
    )


def _estimate_json(estimate: LatencyEstimate, by_layer: bool) -> dict[str, Any]:
    content: dict[str, Any] = {
        "latency_ms": estimate.latency_ms,
        "sd_ms": estimate.sd_ms,
        "interval_90_ms": list(estimate.interval_90),
        "measured_share": estimate.measured_share,
        "interpolated_share": estimate.interpolated_share,
        "unknown_share": estimate.unknown_share,
        "transferred_share": estimate.transferred_share,
    }
    if by_layer:
        content["kernels"] = [
            {"kernel": str(kernel), "latency_ms": latency_ms, "source": source}
            for kernel, latency_ms, source in estimate.kernels
        ]
    return content


def _reporter(steps: Steps) -> Callable[[int, int, str], None]:
    return lambda done, total, label: steps.step(f"measuring {label[:60]}", done, total)
