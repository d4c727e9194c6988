"""Neural architecture search for single-image depth, constrained by measured latency.

Three steps, each a function and a command of the same name:

    import nasdepth

    table = nasdepth.build_table("ssh://pi@raspberrypi", minutes=45)  # nasdepth latency build
    found = nasdepth.search("my_data", table=f"latency_tables/{table.name}.csv.gz")  # nasdepth search
    print(found.best.architecture, found.best.score)
    final = nasdepth.retrain(run=found.folder, device="ssh://pi@raspberrypi")  # nasdepth retrain
    print(final.best.score, final.best.model)

What else there is:

    validate_table(table)             how far a table's predictions are off on its device
    predict_latency(network, table)   an estimate of any network's latency, with its interval
    export(checkpoint, "depth.tflite")  a verified .tflite
    predict_depth("depth.tflite", "photo.jpg")  depth of your own pictures
    write_report(found.folder)        one HTML page about a run
    load_space(name), load_table(name)  search spaces and latency tables, shipped or yours
    Architecture                      a network as a value: parse it, compare it, change it
    open_retraining(...)              what `retrain` does, step by step
    Settings                          every option of a search

`data` is a folder of RGB and depth images (docs/data.md lists the formats); without it the built-in rendered
scenes are used. Errors that you can mend are `NasdepthError`; their messages name the file, the field and the
value, and say what to do.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

if TYPE_CHECKING:
    from nasdepth.api import (
        build_table,
        export,
        load_space,
        load_table,
        open_retraining,
        predict_depth,
        predict_latency,
        retrain,
        search,
        validate_table,
        write_report,
    )
    from nasdepth.architecture import Architecture
    from nasdepth.errors import NasdepthError
    from nasdepth.searching import Settings

__all__ = [
    "Architecture",
    "NasdepthError",
    "Settings",
    "build_table",
    "export",
    "load_space",
    "load_table",
    "open_retraining",
    "predict_depth",
    "predict_latency",
    "retrain",
    "search",
    "validate_table",
    "write_report",
]


# all other names are the front door's
_HOMES = {
    "Architecture": "nasdepth.architecture",
    "NasdepthError": "nasdepth.errors",
    "Settings": "nasdepth.searching",
}


def __getattr__(name: str) -> Any:
    # loaded when they are first used: torch and timm take seconds, and `nasdepth --help` needs neither
    if name not in __all__:
        raise AttributeError(f"module 'nasdepth' has no attribute {name!r}")
    return getattr(import_module(_HOMES.get(name, "nasdepth.api")), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
