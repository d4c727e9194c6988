"""nasdepth zoo: the named designs."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from nasdepth.cli.console import App, Json, out, print_json, progress
from nasdepth.defaults import DEFAULT_TABLE

app = App(
    help="Named designs: published networks as architectures.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

FULL_SPACE = "depth"
GPU_TABLE = "adreno640-gpu"


@app.command("list")
def list_designs(as_json: Json = False) -> None:
    """Every named design: source, parameters, what is published of it, whether the full space holds it.

    Example: `nasdepth zoo list`
    """
    from nasdepth.report.zoo import designs_table
    from nasdepth.searching.survey import survey
    from nasdepth.space import SearchSpace

    space = SearchSpace.load(FULL_SPACE)
    rows = [(one.design, one.parameters, space.violations(one.architecture)) for one in survey()]
    if as_json:
        print_json(
            "zoo",
            space=space.name,
            designs=[
                {
                    "name": design.name,
                    "architecture": design.text,
                    "source": design.source,
                    "parameters": parameters,
                    "published": asdict(design.published),
                    "outside": outside,
                }
                for design, parameters, outside in rows
            ],
        )
        return
    out.print(designs_table(rows))


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="Of a design, as `nasdepth zoo list` has it.")],
    table: Annotated[
        list[str] | None,
        typer.Option(help="Table or pack; again for another. The Pi 4's and the Adreno 640's by default."),
    ] = None,
    as_json: Json = False,
) -> None:
    """One design: architecture, stages, size, published facts, predicted latency, its place in the space.

    Example: `nasdepth zoo show fastdepth`
    """
    from nasdepth.packs import load_predictor
    from nasdepth.report.terminal import figures_table, interval
    from nasdepth.report.zoo import published_words, stages_table
    from nasdepth.searching.survey import Surveyed
    from nasdepth.space import SearchSpace
    from nasdepth.zoo import get_design

    surveyed = Surveyed(get_design(name))
    design = surveyed.design
    predictors = {one: load_predictor(one) for one in table or (DEFAULT_TABLE, GPU_TABLE)}
    estimates = {one: surveyed.estimate(predictor) for one, predictor in predictors.items()}
    layers = surveyed.layers()
    outside = SearchSpace.load(FULL_SPACE).violations(design.architecture)
    if as_json:
        print_json(
            "design",
            name=design.name,
            architecture=design.text,
            key=design.architecture.key,
            source=design.source,
            widths=design.widths,
            stands_for=design.stands_for,
            published=asdict(design.published),
            parameters=surveyed.parameters,
            mmacs=surveyed.mmacs,
            partitions=surveyed.partitions,
            gpu_left=surveyed.gpu_left,
            stages=[asdict(layer) for layer in layers],
            latencies=[
                {
                    "table": one,
                    "latency_ms": estimate and estimate.latency_ms,
                    "interval_90_ms": estimate and estimate.interval_90,
                    "unknown_share": estimate and estimate.unknown_share,
                }
                for one, estimate in estimates.items()
            ],
            outside=outside,
        )
        return
    figures = {
        "architecture": design.text,
        "source": design.source,
        "published": published_words(design.published) or "nothing",
        "widths": design.widths,
        "stands for": design.stands_for or "-",
        "parameters": f"{surveyed.parameters:,}",
        "MMACs": f"{surveyed.mmacs:.2f}",
        "XNNPACK partitions": surveyed.partitions,
        "wholly on a GPU": "no: " + ", ".join(surveyed.gpu_left)
        if surveyed.gpu_left
        else "yes, by the rules",
    }
    for one, estimate in estimates.items():
        figures[f"ms on {one} (est.)"] = (
            f"{estimate.latency_ms:.3f}, 90 % interval {interval(*estimate.interval_90)}"
            + (
                f", without {', '.join(surveyed.gpu_left)}"
                if predictors[one].runtime == "gpu" and surveyed.gpu_left
                else ""
            )
            if estimate
            else "refused"
        )
    figures["full space"] = "outside: " + "; ".join(outside) if outside else "holds it"
    out.print(figures_table(design.name, {name: escape(str(value)) for name, value in figures.items()}))
    out.print(stages_table(layers))


@app.command()
def table(
    out_file: Annotated[Path, typer.Option("--out", help="The Markdown file to write.")] = Path(
        "docs/zoo.md"
    ),
    only: Annotated[
        list[str] | None, typer.Option("--only", help="A design; again for another. All by default.")
    ] = None,
    measure: Annotated[
        str | None, typer.Option("--measure", help="Device URI to time every design on, such as local.")
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Of the runtime, with --measure.")] = None,
    try_gpu: Annotated[
        str | None,
        typer.Option("--try-gpu", help="Device URI of a GPU that every design is run on, such as local-gpu."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Convert every design, predict it, and write what it costs beside what was published.

    Converted models are kept in the cache folder: a second run takes a minute.

    Example: `nasdepth zoo table --out docs/zoo.md --measure local --threads 1`
    """
    from nasdepth.devices import open_device
    from nasdepth.errors import NasdepthError
    from nasdepth.files import write_text
    from nasdepth.packs import load_predictor
    from nasdepth.report.zoo import agreement_words, zoo_document
    from nasdepth.searching.survey import agreements, survey, tabulate
    from nasdepth.space import SearchSpace

    if threads is not None and measure is None:
        raise NasdepthError(f"--threads is {threads}, but nothing is measured without --measure DEVICE")
    chosen = survey(only)
    with ExitStack() as opened, progress() as bar:
        timing = opened.enter_context(open_device(measure, threads)) if measure else None
        gpu = opened.enter_context(open_device(try_gpu)) if try_gpu else None
        info = timing.describe() if timing else None
        steps = bar.add_task("", total=len(chosen) * (1 + (timing is not None) + (gpu is not None)))

        def step(what: str, name: str) -> None:
            bar.update(steps, description=f"{what} {name}", advance=1)

        rows = tabulate(
            chosen,
            SearchSpace.load(FULL_SPACE),
            load_predictor(DEFAULT_TABLE),
            load_predictor(GPU_TABLE),
            measure_on=timing,
            try_gpu=gpu,
            on_step=step,
        )
    agree = agreements(rows)
    measured_on = info and f"{info.soc}, {info.threads} thread(s), {info.runtime} {info.runtime_version}"
    document = zoo_document(rows, agree, pi4=DEFAULT_TABLE, adreno640=GPU_TABLE, measured_on=measured_on)
    write_text(out_file, document)
    if as_json:
        print_json(
            "zoo-table",
            path=str(out_file),
            measured_on=measured_on,
            agreements=[asdict(one) for one in agree],
            designs=[row.to_json() for row in rows],
        )
        return
    for one in agree:
        out.print(agreement_words(one), soft_wrap=True)
    out.print(f"written: {out_file}")
