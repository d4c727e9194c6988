"""What each part of a training is worth: the same network trained with one more part at a time.

    python benchmarks/training_ablation.py --data nyuv2 --teacher runs/teacher/KEY/checkpoint.pt --seeds 2

Rows: plain (random start, scale-invariant loss alone) -> + ImageNet start -> + augmentation -> + further
loss terms -> + EMA, which is the recipe `default` -> + distillation. Every row and seed is one `nasdepth
retrain`, whose folder under --out holds everything; the same command goes on where it was interrupted.
si-RMSE is of the .tflite on the test split; seconds are those of the training's epochs. Without --teacher
the last row is left out.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import subprocess
import sys
from pathlib import Path

from rich.table import Table

from nasdepth.cli.console import out
from nasdepth.training.augment import NO_AUGMENTATION
from nasdepth.training.recipe import load_recipe

# What a search for this machine's CPU had found
ARCHITECTURE = (
    "64x128,mobilenetv2@0.7:4,none-dsconv-k5-w56,add-mbconv-k3-w8,add-conv-k1-w48,up-nearest-bilinear"
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True)
    parser.add_argument("--arch", default=ARCHITECTURE)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--teacher", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/ablation"))
    args = parser.parse_args()

    seeds = range(args.first_seed, args.first_seed + args.seeds)
    table = Table("", "si-RMSE, each seed", "mean", "gain", "seconds an epoch", title=args.arch, box=None)
    before = None
    for name, options in rows(args.teacher).items():
        folders = [args.out / f"{name.strip('+ ').replace(' ', '-')}-{seed}" for seed in seeds]
        for seed, folder in zip(seeds, folders, strict=True):
            train(args, options, seed, folder)
        si_rmse = [read(folder, "result.json")["si_rmse"] for folder in folders]
        mean = statistics.mean(si_rmse)
        gain = "" if before is None else f"{before - mean:+.4f}"
        each = ", ".join(f"{one:.4f}" for one in si_rmse)
        table.add_row(name, each, f"{mean:.4f}", gain, f"{statistics.median(map(seconds, folders)):.1f}")
        before = mean
    out.print(table)


def rows(teacher: Path | None) -> dict[str, list[str]]:
    """Options of `nasdepth retrain` for each row, from none of the parts to all."""
    default = load_recipe("default", {})
    plain_terms = [f"loss.{name}.weight=0" for name in default.loss if name != "sig"]
    no_augmentation = [f"augmentation={NO_AUGMENTATION.model_dump_json()}"]
    no_ema = ["ema_decay=null"]
    distilled = ["loss.distill_output.weight=1", f"teacher.model={teacher}"]

    def options(*changes: list[str]) -> list[str]:
        return [part for change in changes for text in change for part in ("--set", text)]

    found = {
        "plain": ["--no-pretrained", *options(no_augmentation, plain_terms, no_ema)],
        "+ ImageNet start": options(no_augmentation, plain_terms, no_ema),
        "+ augmentation": options(plain_terms, no_ema),
        "+ loss terms": options(no_ema),
        "+ EMA": [],
    }
    if teacher:
        found["+ distillation"] = options(distilled)
    return found


def train(args: argparse.Namespace, options: list[str], seed: int, folder: Path) -> None:
    if list(folder.glob("*/result.json")):
        return
    command = [sys.executable, "-m", "nasdepth", "retrain", "--arch", args.arch, "--data", args.data]
    command += ["--baseline", "none", "--epochs", str(args.epochs), "--seed", str(seed), "--out", str(folder)]
    subprocess.run([*command, *options], check=True)


def read(folder: Path, name: str) -> dict:
    (found,) = folder.glob(f"*/{name}")
    return json.loads(found.read_text())


def seconds(folder: Path) -> float:
    (log,) = folder.glob("*/log.csv")
    return statistics.median(float(row["seconds"]) for row in csv.DictReader(log.open()))


if __name__ == "__main__":
    main()
