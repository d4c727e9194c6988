"""nasdepth latency calibrate and devices: packs for devices that are not at hand."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from typer import Argument, Option

from nasdepth.cli.console import App, Json, notes, out, print_json
from nasdepth.devices.uri import uri_to_fill_in
from nasdepth.errors import NasdepthError

if TYPE_CHECKING:
    from nasdepth.latency.predict import CardFile
    from nasdepth.packs import Source

_HELP_PANEL = "Where the anchors are"

Anchors = Annotated[Path, Option("--anchors", help="CSV of measured networks: columns model and latency_ms.")]
PriorName = Annotated[
    str, Option("--prior", help="What is believed without them: a prior, or a pack to adapt.")
]
OutFile = Annotated[Path, Option("--out", help="The pack to write, NAME.yaml.")]
LatencyColumn = Annotated[str, Option(help="Column of milliseconds.", rich_help_panel=_HELP_PANEL)]
SizeColumn = Annotated[
    str | None, Option(help="Column of input sizes that names lack.", rich_help_panel=_HELP_PANEL)
]
Where = Annotated[
    list[str] | None,
    Option(
        "--where",
        help="COLUMN=VALUE that a row must have; again for another column or value.",
        rich_help_panel=_HELP_PANEL,
    ),
]
Operations = Annotated[
    Path | None,
    Option(
        help="CSV of the models operator by operator, or kernel by kernel (model, and the columns of kernels "
        "in a table; .csv or .csv.gz).",
        rich_help_panel=_HELP_PANEL,
    ),
]
AnchorPrecision = Annotated[
    Literal["float32", "int8"],
    Option("--precision", help="Of rows without a column `precision`.", rich_help_panel=_HELP_PANEL),
]
CardSetting = Annotated[
    list[str] | None,
    Option("--set", help="FIELD=VALUE of the device card, such as runtime_version=2.5.0."),
]
Inferred = Annotated[
    list[str] | None,
    Option("--inferred", help="FIELD of the device card that no source states, such as threads; repeatable."),
]
Sources = Annotated[
    list[str] | None,
    Option("--source", help="'WHAT | URL | LICENCE' that the anchors come from; repeatable."),
]
Folders = Annotated[list[Path] | None, Argument(help="Folders or files of tables beside those that ship.")]


def register(app: App) -> None:
    """Add the commands to the group `latency`."""
    for command in (calibrate, devices):
        app.command()(command)


def calibrate(
    anchors: Anchors,
    prior: PriorName,
    out_file: OutFile,
    latency_column: LatencyColumn = "latency_ms",
    size_column: SizeColumn = None,
    where: Where = None,
    operations: Operations = None,
    precision: AnchorPrecision = "float32",
    setting: CardSetting = None,
    inferred: Inferred = None,
    source: Sources = None,
    as_json: Json = False,
) -> None:
    """Fit a device pack to measured networks: estimates for a device that is not at hand.

    A model in the CSV is a published network by name (mobilenet-v2-0.5-160, efficientnet-lite0, resnet50), a
    .tflite file, a named design, an architecture, or one whose kernels stand in the file of --operations.
    `nasdepth benchmark --csv` writes such a file. Networks that differ in little (one at several sizes) share
    a value in a column `group`: they are left out together when the pack is checked.

    Examples:

    `nasdepth benchmark a.tflite b.tflite c.tflite --device ssh://pi@raspberrypi --csv mine.csv`

    `nasdepth latency calibrate --anchors mine.csv --prior rpi4-xnnpack-4t --out mine.yaml`

    `nasdepth latency calibrate --anchors a.csv --operations kernels.csv --prior rpi4-xnnpack-4t --out b.yaml`
    """
    from nasdepth.packs.anchors import read_setting
    from nasdepth.packs.from_measurements import AnchorFile, make_pack
    from nasdepth.report.packs import checks_table

    if out_file.suffix != ".yaml":
        raise NasdepthError(f"--out is {out_file}; a pack is one YAML file, such as {out_file.stem}.yaml")
    pack = make_pack(
        out_file.stem,
        AnchorFile(anchors, latency_column, size_column, _pairs(where, "--where"), operations, precision),
        prior,
        setting=read_setting(anchors)
        | {name: values[-1] for name, values in _pairs(setting, "--set").items()},
        sources=[_source(one) for one in source or ()],
        inferred=inferred or (),
    )
    path = pack.save(out_file.parent)
    if as_json:
        print_json("pack", **pack_json(pack), path=str(path))
        return
    for what, check in pack.card.checks.items():
        out.print(checks_table(f"{path}, {what}: networks left out", check))
    if pack.validation is None:
        notes.print("too few networks to leave any out: how far off it is, nobody knows")
    out.print(
        f"calibrated, not measured; search with it: nasdepth search --budget 200 --table {path}\n"
        "replace it by a measured table: nasdepth latency build --device "
        f"{uri_to_fill_in(pack.card.delegate)}"
    )


def devices(folder: Folders = None, as_json: Json = False) -> None:
    """List every latency table and device pack: of what, measured or calibrated, and how far off.

    Example: `nasdepth latency devices latency_tables`
    """
    from nasdepth.latency.predict.files import every_table
    from nasdepth.packs import load_table
    from nasdepth.report.packs import device_row, devices_table

    rows, broken = [], {}
    for path in every_table(folder or ()):
        try:
            rows.append(device_row(load_table(path), path))
        except NasdepthError as error:
            broken[str(path)] = str(error)
    if as_json:
        print_json("devices", devices=rows, unreadable=broken)
        return
    out.print(devices_table(rows))
    for words in broken.values():
        notes.print(f"[yellow]cannot be read[/yellow]: {words}", soft_wrap=True)
    out.print(
        "calibrated = estimated from whole networks that others measured; measured = kernel by kernel.\n"
        "replace either by your own board: nasdepth latency build --device ssh://USER@BOARD\n"
        "by your own phone's GPU: nasdepth latency build --device 'adb?gpu=true'"
    )


def pack_json(pack: CardFile[Any]) -> dict[str, Any]:
    """A pack's card without its covariances."""
    content = pack.card.model_dump(mode="json")
    for fit in (*content.get("precisions", {}).values(), content.get("network", {})):
        fit.pop("covariance", None)
    return {"name": pack.name, **content}


def _pairs(texts: list[str] | None, option: str) -> dict[str, list[str]]:
    """{NAME: [VALUE, ...]}."""
    pairs: dict[str, list[str]] = {}
    for text in texts or ():
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise NasdepthError(f"{option} is {text!r}; expected NAME=VALUE")
        pairs.setdefault(name, []).append(value)
    return pairs


def _source(text: str) -> Source:
    from nasdepth.packs import Source

    parts = [part.strip() for part in text.split("|")]
    if len(parts) != 3 or not all(parts):
        raise NasdepthError(f"--source is {text!r}; expected 'WHAT | URL | LICENCE'")
    return Source(used=parts[0], url=parts[1], licence=parts[2])
