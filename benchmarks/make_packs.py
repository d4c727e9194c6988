"""Make the device packs that ship, from the published measurements.

    python benchmarks/make_packs.py ../shared/data/published_latency [NAME ...] [--out latency_tables]

Prints the one command that makes each pack and runs it. The packs hold fitted coefficients only. The anchors
of `rpi4-xnnpack-4t`, which come from two files, are first written as one to a temporary folder.
"""

from __future__ import annotations

import argparse
import csv
import shlex
import sys
import tempfile
from pathlib import Path

from nasdepth.cli import app

_MLPERF = (
    "MLPerf Inference results v0.7 to v2.0 by Krai and dividiti on a Raspberry Pi 4: SingleStream p50 of "
    "whole models | https://github.com/mlcommons/inference_results_v2.0 | Apache-2.0"
)
_XNNPACK = (
    "XNNPACK's own end-to-end times on a Raspberry Pi 4, 64 bit, all cores | "
    "https://github.com/google/XNNPACK README.md @ 75db3c093b | BSD-3-Clause"
)
_TSUKAMOTO = (
    "Whole detection models under TFLite with XNNPACK on a Raspberry Pi 4 | "
    "https://github.com/NobuoTsukamoto/benchmarks @ 422e0a08db | MIT"
)
_YOLOBENCH = (
    "YOLOBench (arXiv:2307.13901): whole detectors under TFLite on a Raspberry Pi 4, float32 and int8 | "
    "https://github.com/Deeplite/deeplite-torch-zoo results/yolobench @ e4c8ea68 | Apache-2.0"
)
_QED = (
    "Whole models and their operators on phones | "
    "https://github.com/qed-usc/mobile-ml-benchmark @ c864a331 | MIT"
)


def _ruy(version: str, mhz: int) -> list[str]:
    return [
        *("--anchors", "{data}/mlperf_rpi4_tflite.csv", "--prior", "cortex-a72-ruy"),
        *("--latency-column", "p50_ms", "--where", f"runtime=tflite-v{version}-ruy"),
        *("--set", f"runtime_version={version}-ruy", "--set", f"governor={mhz} MHz"),
        *("--source", _MLPERF),
    ]


def _xnnpack(prior: str, threads: tuple[str, ...], runtimes: tuple[str, ...], *sources: str) -> list[str]:
    rows = [("device", "Raspberry Pi 4"), ("os_bits", "64"), *(("threads", one) for one in threads)]
    rows += [("runtime", one) for one in runtimes]
    return [
        *("--anchors", "{data}/rpi_xnnpack.csv", "--prior", prior, "--latency-column", "ms"),
        *("--size-column", "input_size", "--set", "runtime_version=2.5.0"),
        *(word for column, value in rows for word in ("--where", f"{column}={value}")),
        *(word for one in sources for word in ("--source", one)),
    ]


def _gpu(phone: str) -> list[str]:
    return [
        *("--anchors", "{data}/gpu_delegate_models.csv", "--operations", "{data}/gpu_delegate_ops.csv"),
        *("--prior", phone, "--source", _QED),
    ]


PACKS = {
    "rpi4-tflite2.5-ruy-4t": _ruy("2.5.0", 1500),
    "rpi4-tflite2.7-ruy-4t": _ruy("2.7.1", 1800),
    "rpi4-xnnpack-4t": [
        *(
            "--anchors",
            "{folder}/rpi4-xnnpack-4t-anchors.csv",
            "--operations",
            "{data}/rpi4_yolobench.csv.gz",
        ),
        *("--prior", "cortex-a72-xnnpack", "--set", "runtime_version=2.13 or before"),
        *("--inferred", "runtime_version", "--inferred", "threads", "--inferred", "delegate"),
        *("--source", _YOLOBENCH, "--source", _XNNPACK),
    ],
    "rpi4-xnnpack-1t": _xnnpack("cortex-a72-xnnpack-1t", ("1",), ("tflite-2.5.0 xnnpack",), _TSUKAMOTO),
    "cortexa76-1t": [
        *("--anchors", "{data}/gpu_delegate_models.csv", "--operations", "{data}/gpu_delegate_ops.csv"),
        *("--prior", "cortex-a76-1t", "--latency-column", "cortex_a76_1thread_us", "--source", _QED),
    ],
    "adreno640-gpu": _gpu("adreno640"),
    "adreno616-gpu": _gpu("adreno616"),
    "malig76-gpu": _gpu("malig76"),
    "powervr-ge8320-gpu": _gpu("powervr_ge8320"),
}


# XNNPACK's own times are whole milliseconds, of another harness and another version
_SETTING_SD = 0.05
_XNNPACK_ROWS = {
    "device": "Raspberry Pi 4",
    "os_bits": "64",
    "threads": "all",
    "runtime": "xnnpack end2end-bench 2022-02",
}
_COLUMNS = ("model", "family", "group", "precision", "latency_ms", "setting_sd")


def write_xnnpack_anchors(data: Path, folder: Path) -> Path:
    """Write YOLOBench's networks in both precisions, and the classifiers of XNNPACK's README, as one CSV."""
    path = folder / "rpi4-xnnpack-4t-anchors.csv"
    with path.open("w", encoding="utf-8", newline="") as text:
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(_COLUMNS)
        for row in _rows(data / "rpi4_yolobench_models.csv"):
            for precision, column in (("float32", "latency_ms"), ("int8", "latency_int8_ms")):
                writer.writerow((row["model"], row["family"], row["group"], precision, row[column], 0))
        for row in _rows(data / "rpi_xnnpack.csv"):
            if all(row[column] == value for column, value in _XNNPACK_ROWS.items()):
                name = f"{row['model']}-{row['input_size']}"
                writer.writerow((name, "", "", row["precision"], row["ms"], _SETTING_SD))
    return path


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as text:
        return list(csv.DictReader(text))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder of the published measurements")
    parser.add_argument("names", nargs="*", help=f"of {', '.join(PACKS)}; all by default")
    parser.add_argument("--out", type=Path, default=Path("latency_tables"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for name in arguments.names or PACKS:
            if name not in PACKS:
                sys.exit(f"{name}: no such pack; there are {', '.join(PACKS)}")
            if name == "rpi4-xnnpack-4t":
                write_xnnpack_anchors(arguments.data, folder)
            places = {"{data}": str(arguments.data), "{folder}": str(folder)}
            options = list(PACKS[name])
            for written, place in places.items():
                options = [word.replace(written, place) for word in options]
            command = ["latency", "calibrate", *options, "--out", str(arguments.out / f"{name}.yaml")]
            print("nasdepth", shlex.join(command), flush=True)
            app(command, standalone_mode=False)


if __name__ == "__main__":
    main()
