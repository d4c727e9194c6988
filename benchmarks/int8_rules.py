"""Times what kernels/rules/xnnpack.yaml says of int8 files, and int8 beside float32, on this machine.

Every figure is a ratio of two files that are measured in turn. Run it on an idle machine:

    python benchmarks/int8_rules.py lite0-plain litedepth
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from nasdepth.deploy import export_tflite
from nasdepth.deploy.quantise import convert_for_timing
from nasdepth.devices import open_device
from nasdepth.kernels.rules import load_rules
from nasdepth.models import build, resolve

RULES = load_rules("xnnpack")
VARIANTS = {
    "as it is": RULES,
    "all of it in int8": ("last_in_float", ()),
    "last resize in float": ("last_in_float", ("resize_bilinear", "resize_nearest")),
    "ReLU in float": ("clamps", ()),
    "pools as pools": ("pools_as_means", False),
}


def variant(change):
    """The rules with one of them changed."""
    if change is RULES:
        return RULES
    name, value = change
    return RULES.model_copy(update={"quantisation": RULES.quantisation.model_copy(update={name: value})})


def main(designs: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder, open_device("local", 1) as device:
        for design in designs:
            plain = Path(folder) / "float32.tflite"
            export_tflite(build(resolve(design)), plain, verify=False)
            paths = {}
            for index, (name, change) in enumerate(VARIANTS.items()):
                paths[Path(folder) / f"{index}.tflite"] = name
                convert_for_timing(plain, Path(folder) / f"{index}.tflite", "int8", variant(change))
            measured = {
                one.model: one for one in device.measure([plain, *paths], min_runs=60, min_seconds=0.5)
            }
            print(f"{design}: float32 {measured[plain].latency_ms:.3f} ms")
            for path, name in paths.items():
                ratio = measured[path].latency_ms / measured[plain].latency_ms
                print(f"  int8, {name}: {measured[path].latency_ms:.3f} ms, {ratio:.2f} of float32")


if __name__ == "__main__":
    main(sys.argv[1:])
