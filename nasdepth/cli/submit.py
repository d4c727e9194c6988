"""nasdepth submit: what the challenge's server would have said of a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from nasdepth.cli.console import App, Json, out, print_json, progress
from nasdepth.cli.data import DATA_HELP
from nasdepth.cli.latency import DeviceUri, Threads
from nasdepth.errors import DataError

Model = Annotated[Path, Argument(help="A depth .tflite, of nasdepth or of anybody.")]
TestData = Annotated[str, Option("--data", help=DATA_HELP + " Its test split, or all of a folder without.")]
OutFolder = Annotated[Path, Option("--out", help="Gets model.tflite, result.json and FACTSHEET.md.")]


def register(app: App) -> None:
    app.command()(submit)


def submit(
    model: Model,
    data: TestData = "scenes",
    device: DeviceUri = "local",
    threads: Threads = None,
    out_folder: OutFolder = Path("submission"),
    as_json: Json = False,
) -> None:
    """Judge a file as the challenge's server did: fidelity, runtime or the runtime's own error, score.

    Writes what the challenge asks for: the file, the result and a fact sheet whose figures are filled in.

    Example: `nasdepth submit depth.tflite --data my_test --device ssh://pi@raspberrypi --threads 4`
    """
    from nasdepth.data import DepthSplit, open_split, split_to_score
    from nasdepth.deploy.submission import judge, write_submission
    from nasdepth.devices import open_device
    from nasdepth.report.terminal import figures_table

    split = open_split(data, split_to_score(data))
    if not isinstance(split, DepthSplit):
        raise DataError(f"{data}: has no metric depth, which the challenge scores")
    with open_device(device, threads) as opened, progress() as bar:
        task = bar.add_task("scoring", total=len(split))
        submission = judge(model, split, data, opened, lambda done, _: bar.update(task, completed=done))
    written = write_submission(submission, out_folder)
    if as_json:
        print_json("submission", **submission.to_json())
        return
    row = submission.to_json()
    row["operators"] = sum(row["operators"].values())
    row["score"] = "none: the device refuses the file" if row["error"] else row["score"]
    out.print(
        figures_table(f"{model} on {data}", {name: one for name, one in row.items() if one is not None})
    )
    for path in written:
        out.print(str(path), soft_wrap=True, highlight=False)
