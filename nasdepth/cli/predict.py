"""nasdepth predict: the depth of one's own pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from rich.markup import escape
from rich.progress import Progress, TaskID
from typer import Argument, Option

from nasdepth.cli.console import App, Json, notes, out, print_json, progress, with_flags
from nasdepth.errors import DataError

if TYPE_CHECKING:
    from nasdepth.report.depth_pictures import PicturedDepth, PredictEvents

Model = Annotated[Path, Argument(help="A depth .tflite.")]
Source = Annotated[
    str, Argument(help="A photograph, a folder of them, a video file, or camera:NUMBER (0 is the first).")
]
OutFolder = Annotated[Path, Option("--out", help="Folder of the pictures.")]
Show = Annotated[bool, Option("--show", help="Also show them in a window; Esc or q ends it.")]
Fit = Annotated[
    Literal["letterbox", "crop"],
    Option(help="What is done with pictures of another shape than the network's: filled up, or cut."),
]
NearM = Annotated[float | None, Option(min=0.001, help="Metres of the brightest colour; by the picture.")]
FarM = Annotated[float | None, Option(min=0.001, help="Metres of the darkest colour; by the picture.")]
Threads = Annotated[int, Option(min=1, help="Threads of the runtime.")]
Most = Annotated[int | None, Option("--frames", min=1, help="End after so many frames.")]


def register(app: App) -> None:
    app.command()(predict)


def predict(
    model: Model,
    source: Source,
    out_folder: OutFolder = Path("pictures"),
    show: Show = False,
    fit: Fit = "letterbox",
    near_m: NearM = None,
    far_m: FarM = None,
    threads: Threads = 1,
    most: Most = None,
    as_json: Json = False,
) -> None:
    """Predict the depth of your own pictures: colours beside the photograph, and 16-bit PNGs in millimetres.

    Writes NAME.jpg (photograph, depth in colours, a bar in metres) and depth/NAME.png (uint16 millimetres, of
    the photograph's size; 0 where a cropped picture was not looked at). A video also becomes NAME.mp4. Of a
    camera, Ctrl-C is the end.

    Examples:

    `nasdepth predict depth.tflite photo.jpg --out pictures`

    `nasdepth predict depth.tflite holiday_photos --fit crop`

    `nasdepth predict depth.tflite camera:0 --show --near-m 0.5 --far-m 8`
    """
    from nasdepth import api

    with progress() as bar:
        result = api.predict_depth(
            model,
            source,
            out_folder,
            fit=fit,
            near_m=near_m,
            far_m=far_m,
            threads=threads,
            frames=most,
            show=show,
            events=_events(bar, bar.add_task("predicting", total=None)),
        )
    _print(result, as_json)


def _events(bar: Progress, task: TaskID) -> PredictEvents:
    from nasdepth.report.depth_pictures import PredictEvents

    def said(words: str) -> None:
        notes.print(f"[yellow]{escape(with_flags(words))}[/yellow]", soft_wrap=True)

    return PredictEvents(
        frame=lambda name, done, total: bar.update(task, completed=done, total=total, description=name),
        said=said,
    )


def _print(result: PicturedDepth, as_json: bool) -> None:
    if as_json:
        print_json("predictions", **result.to_json())
    else:
        out.print(
            f"{result.frames} picture{'' if result.frames == 1 else 's'} in {result.folder}/, depth in "
            f"{result.folder / 'depth'}/ (16-bit PNG, millimetres)\n"
            f"{result.network_fps:.1f} frames per second in the network (this PC, {result.threads} "
            f"thread{'' if result.threads == 1 else 's'}), {result.whole_fps:.1f} with reading and writing",
            soft_wrap=True,
            highlight=False,
        )
        if len(result.pictures) == 1:
            out.print(str(result.pictures[0]), soft_wrap=True, highlight=False)
        if result.film is not None:
            out.print(str(result.film), soft_wrap=True, highlight=False)
    if result.unreadable:
        bad, all_of_them = len(result.unreadable), result.frames + len(result.unreadable)
        raise DataError(f"{bad} of {all_of_them} pictures could not be read; the others are done")
