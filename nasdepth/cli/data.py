"""nasdepth data: make and inspect data sets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from nasdepth.cli.console import App, Json, notes, out, print_json
from nasdepth.report.terminal import figures_table

app = App(help="Data sets.", no_args_is_help=True, rich_markup_mode="markdown")

DATA_HELP = (
    "Folder with rgb/ and depth/ (uint16 PNG in millimetres, 0 unknown), NYU Depth v2's .mat, KITTI's folder "
    "(kitti:FOLDER@eigen for a split list), or built-in scenes: scenes, scenes:TRAIN+TEST, "
    "scenes:TRAIN+TEST@SEED."
)
_ANY_HELP = DATA_HELP + (
    " Also ordinal pairs (a folder with DIW's CSV files), relative depth (rgb/ beside disparity/ or "
    "relative_depth/) and video (folders of frames with cam.txt); diw:, relative: and video: say so."
)
Data = Annotated[str, typer.Option("--data", help=DATA_HELP)]


@app.command()
def make(
    folder: Annotated[Path, typer.Argument(help="Where train/ and test/ go; must not exist or be empty.")],
    train: Annotated[int, typer.Option(min=1, help="Images to train on.")] = 480,
    test: Annotated[int, typer.Option(min=1, help="Images to test on.")] = 80,
    seed: Annotated[int, typer.Option(help="Another seed is another data set.")] = 0,
    as_json: Json = False,
) -> None:
    """Render built-in scenes into folders, in the layout of the challenge.

    Example: `nasdepth data make my_scenes --train 100 --test 20`
    """
    from nasdepth.data import load_split
    from nasdepth.data.inspect import write_folder
    from nasdepth.errors import DataError

    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"{folder}: exists and is not an empty folder; name another")
    images = {}
    for name in ("train", "test"):
        split = load_split(f"scenes:{train}+{test}@{seed}", name)
        write_folder(split, folder / name)
        images[name] = len(split)
        if not as_json:
            out.print(f"{folder / name}: {len(split)} images")
    if as_json:
        print_json("folders", folder=str(folder), seed=seed, images=images)


@app.command()
def inspect(
    data: Annotated[str, typer.Argument(help=_ANY_HELP)] = "scenes",
    split: Annotated[Literal["train", "test"], typer.Option(help="Which split.")] = "train",
    sheet: Annotated[
        Path | None, typer.Option("--sheet", help="Also write a contact sheet to this PNG.")
    ] = None,
    as_json: Json = False,
) -> None:
    """What a data set holds and how it supervises; for depth also a histogram and what trivial predictions
    score.

    Example: `nasdepth data inspect my_data --split test --sheet sheet.png`
    """
    from nasdepth.data import open_split
    from nasdepth.data.inspect import contact_sheet, describe

    loaded = open_split(data, split)
    figures = describe(loaded)
    if sheet is not None:
        contact_sheet(loaded, sheet)
        notes.print(f"contact sheet: {sheet}")
    if as_json:
        print_json("data", source=data, split=split, **figures)
        return
    histogram = figures.pop("histogram", None)
    out.print(figures_table(f"{data}, {split}", dict(_flat(figures))))
    if histogram is not None:
        _print_histogram(histogram)


def _flat(figures: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in figures.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _print_histogram(bins: list[dict]) -> None:
    most = max(one["share"] for one in bins) or 1
    for one in bins:
        bar = "█" * round(50 * one["share"] / most)
        out.print(
            f"{one['from_mm'] / 1000:6.1f}-{one['below_mm'] / 1000:<6.1f} m {one['share']:6.1%} {bar}",
            highlight=False,
        )
