"""Ordinal pairs from real depth, in DIW's format: how much ranking alone can teach.

    python benchmarks/draw_pairs.py --data nyuv2 --out pairs --each 20

writes pairs/train.csv, with so many pairs an image, and pairs/test.csv, with one, and their images.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from nasdepth.data import load_split
from nasdepth.data.diw import write_diw


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, help="metric depth, as `nasdepth retrain --data` takes it")
    parser.add_argument("--out", type=Path, default=Path("pairs"))
    parser.add_argument("--each", type=int, default=1, help="pairs of a training image")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    for name, pairs in (("train", args.each), ("test", 1)):
        split = load_split(args.data, name)
        print(write_diw(split, args.out, name, pairs=pairs, equal_ratio=0, seed=args.seed))


if __name__ == "__main__":
    main()
