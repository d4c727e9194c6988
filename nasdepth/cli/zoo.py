"""nasdepth zoo: the named designs."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from rich.markup import escape
from typer import Argument, Option

from nasdepth.cli.console import App, Json, Steps, out, print_json, progress
from nasdepth.defaults import DEFAULT_TABLE

if TYPE_CHECKING:
    from nasdepth.searching.survey import Predicted, Surveyed

app = App(
    help="Named designs: published networks as architectures.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

FULL_SPACE = "depth"
GPU_TABLE = "adreno640-gpu"

DesignName = Annotated[str, Argument(help="Of a design, as `nasdepth zoo list` has it.")]
Tables = Annotated[
    list[str] | None,
    Option(help="Table or pack; again for another. The Pi 4's and the Adreno 640's by default."),
]
OutFile = Annotated[Path, Option("--out", help="The Markdown file to write.")]
Only = Annotated[list[str] | None, Option(help="A design; again for another. All by default.")]
Measure = Annotated[str | None, Option(help="Device URI to time every design on, such as local.")]
Threads = Annotated[int | None, Option(min=1, help="Of the runtime, with --measure.")]
TryGpu = Annotated[
    str | None, Option(help="Device URI of a GPU that every design is run on, such as local-gpu.")
]


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
def show(name: DesignName, table: Tables = None, as_json: Json = False) -> None:
    """One design: architecture, stages, size, published facts, predicted latency, its place in the space.

    Example: `nasdepth zoo show fastdepth`
    """
    from nasdepth.report.terminal import figures_table
    from nasdepth.report.zoo import design_figures, stages_table
    from nasdepth.searching.survey import Surveyed
    from nasdepth.space import SearchSpace
    from nasdepth.zoo import get_design

    surveyed = Surveyed(get_design(name))
    predicted = [surveyed.predicted(one) for one in table or (DEFAULT_TABLE, GPU_TABLE)]
    outside = SearchSpace.load(FULL_SPACE).violations(surveyed.architecture)
    if as_json:
        print_json("design", **_design_json(surveyed, predicted), outside=outside)
        return
    figures = design_figures(surveyed, predicted, outside)
    out.print(figures_table(surveyed.design.name, {what: escape(words) for what, words in figures.items()}))
    out.print(stages_table(surveyed.layers()))


def _design_json(surveyed: Surveyed, predicted: list[Predicted]) -> dict[str, Any]:
    design = surveyed.design
    return {
        "name": design.name,
        "architecture": design.text,
        "key": design.architecture.key,
        "source": design.source,
        "widths": design.widths,
        "stands_for": design.stands_for,
        "published": asdict(design.published),
        "sized_by_time": design.sized_by_time,
        "recipes": design.recipes,
        "parameters": surveyed.parameters,
        "mmacs": surveyed.mmacs,
        "partitions": surveyed.partitions,
        "gpu_left": surveyed.gpu_left,
        "stages": [asdict(layer) for layer in surveyed.layers()],
        "latencies": [one.to_json() for one in predicted],
    }


@app.command()
def table(
    out_file: OutFile = Path("docs/zoo.md"),
    only: Only = None,
    measure: Measure = None,
    threads: Threads = None,
    try_gpu: TryGpu = None,
    as_json: Json = False,
) -> None:
    """Convert every design, predict it, and write what it costs beside what was published.

    Converted models are kept in the cache folder: a second run takes a minute.

    Example: `nasdepth zoo table --out docs/zoo.md --measure local --threads 1`
    """
    from nasdepth.files import write_text
    from nasdepth.report.zoo import agreement_words, zoo_document
    from nasdepth.searching.zoo_table import survey_zoo

    with progress() as bar:
        surveyed = survey_zoo(
            only,
            FULL_SPACE,
            DEFAULT_TABLE,
            GPU_TABLE,
            measure=measure,
            threads=threads,
            try_gpu=try_gpu,
            on_step=Steps(bar).step,
        )
    write_text(out_file, zoo_document(surveyed))
    if as_json:
        print_json(
            "zoo-table",
            path=str(out_file),
            measured_on=surveyed.measured_on,
            agreements=[asdict(one) for one in surveyed.agreements],
            designs=[row.to_json() for row in surveyed.rows],
        )
        return
    for one in surveyed.agreements:
        out.print(agreement_words(one), soft_wrap=True)
    out.print(f"written: {out_file}")
