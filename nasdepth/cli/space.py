"""nasdepth space: look at search spaces and at single architectures."""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Annotated

import typer

from nasdepth.cli.console import App, Json, out, print_json
from nasdepth.errors import SpaceError
from nasdepth.report.terminal import figures_table

app = App(help="Search spaces and architectures.", no_args_is_help=True, rich_markup_mode="markdown")

Space = Annotated[str, typer.Option("--space", help="YAML file, or a shipped space: depth, quick.")]


@app.command()
def show(space: Space = "depth", as_json: Json = False) -> None:
    """What a space holds, and which named designs lie in it.

    Example: `nasdepth space show --space quick`
    """
    from nasdepth.models import named_designs
    from nasdepth.space import SearchSpace

    loaded = SearchSpace.load(space)
    definition = loaded.definition.model_dump(mode="json")
    outside = {name: loaded.violations(design) for name, design in named_designs().items()}
    if as_json:
        print_json(
            "space",
            **definition,
            combinations=loaded.size,
            fingerprint=loaded.fingerprint,
            named_designs=outside,
        )
        return
    rows = {"combinations": f"{loaded.size:.3g}"}
    for section in ("input", "encoder", "decoder", "head"):
        for name, values in definition[section].items():
            rows[f"{section}.{name}"] = ", ".join(map(str, values))
    for name, violations in outside.items():
        rows[f"design {name}"] = "outside: " + "; ".join(violations) if violations else "in the space"
    out.print(figures_table(f"{loaded.name}: {definition['description']}", rows))


@app.command()
def new(
    path: Annotated[Path, typer.Argument(help="The YAML file to write.")],
    begin: Annotated[
        str, typer.Option("--from", help="Space to begin from: a file, depth or quick.")
    ] = "quick",
    as_json: Json = False,
) -> None:
    """Write a space of your own with comments that say what every field may hold; then edit it.

    Example: `nasdepth space new my.yaml --from quick`
    """
    from nasdepth.files import write_text
    from nasdepth.space import SearchSpace
    from nasdepth.space.template import commented_yaml

    loaded = SearchSpace.load(begin)
    if path.exists():
        raise SpaceError(f"{path}: is there already; give another name")
    write_text(path, commented_yaml(loaded, re.sub(r"[^\w.-]", "-", path.stem)))
    if as_json:
        print_json("new-space", path=str(path), begun_from=loaded.name)
        return
    out.print(f"{path}\nnext: edit it, then nasdepth space show --space {path}", soft_wrap=True)


@app.command()
def sample(
    space: Space = "depth",
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="How many.")] = 10,
    seed: Annotated[int, typer.Option(help="Random seed of the draw.")] = 0,
    as_json: Json = False,
) -> None:
    """Draw architectures at random, one string a line.

    Example: `nasdepth space sample -n 3 --seed 7`
    """
    from nasdepth.space import SearchSpace

    loaded = SearchSpace.load(space)
    rng = random.Random(seed)
    drawn = [str(loaded.sample(rng)) for _ in range(count)]
    if as_json:
        print_json("sample", space=loaded.name, seed=seed, architectures=drawn)
        return
    for architecture in drawn:
        typer.echo(architecture)


@app.command()
def describe(
    architecture: Annotated[str, typer.Argument(help="An architecture string, or a named design.")],
    layers: Annotated[bool, typer.Option("--layers", help="Also list every kernel.")] = False,
    as_json: Json = False,
) -> None:
    """Parameters, multiply-accumulates and layers of one architecture.

    Example: `nasdepth space describe litedepth --layers`
    """
    from nasdepth.models import resolve
    from nasdepth.searching.survey import size_of

    resolved = resolve(architecture)
    size = size_of(resolved)
    figures = {
        "architecture": str(resolved),
        "key": resolved.key,
        "encoder_parameters": size.encoder_parameters,
        "decoder_parameters": size.decoder_parameters,
        "parameters": size.parameters,
        "mmacs": size.mmacs,
        "layers": len(size.kernels),
        "head_stride": resolved.head_stride,
    }
    if as_json:
        print_json("architecture", **figures, kernels=[str(kernel) for kernel in size.kernels])
        return
    title = architecture if "," not in architecture else "architecture"
    counts = {name: f"{value:,}" for name, value in figures.items() if name.endswith("parameters")}
    out.print(figures_table(title, figures | counts | {"mmacs": f"{size.mmacs:.2f}"}))
    if layers:
        for index, kernel in enumerate(size.kernels):
            out.print(f"{index:3d}  {kernel}  {kernel.macs / 1e3:.0f} kMAC", highlight=False)
