"""Ordinal pairs from real depth, in DIW's format: how much ranking alone can teach.

    python benchmarks/draw_pairs.py nyuv2 pairs --each 5

writes pairs/train.csv, with so many pairs an image, and pairs/test.csv, with one. Points are drawn evenly
over the image; a pair counts where both depths are known and differ by more than a tenth.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from nasdepth.files import write_text

_LEAST_RATIO = 1.1
_TRIES = 10_000


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="folder with {train,test}/rgb/*.jpg and depth/*.png")
    parser.add_argument("out", type=Path)
    parser.add_argument("--each", type=int, default=1, help="pairs of a training image")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    for split, each in (("train", args.each), ("test", 1)):
        lines = []
        images = sorted((args.data / split / "rgb").resolve().glob("*.jpg"))
        for image in images:
            depth = np.asarray(Image.open(image.parents[1] / "depth" / f"{image.stem}.png"))
            for pair in draw(depth, each, rng):
                lines += [str(image), pair]
        write_text(args.out / f"{split}.csv", "\n".join(lines) + "\n")
        print(f"{args.out / split}.csv: {len(lines) // 2} pairs of {len(images)} images")


def draw(depth: np.ndarray, count: int, rng: np.random.Generator) -> list[str]:
    """`count` lines of DIW's format from (H, W) depth in any unit, 0 unknown; fewer where few differ."""
    height, width = depth.shape
    pairs = []
    for _ in range(_TRIES):
        if len(pairs) == count:
            break
        (y_a, y_b), (x_a, x_b) = rng.integers(0, height, 2), rng.integers(0, width, 2)
        a, b = float(depth[y_a, x_a]), float(depth[y_b, x_b])
        if min(a, b) > 0 and max(a, b) > _LEAST_RATIO * min(a, b):
            relation = ">" if a > b else "<"
            pairs.append(f"{y_a + 1},{x_a + 1},{y_b + 1},{x_b + 1},{relation},{width},{height}")
    return pairs


if __name__ == "__main__":
    main()
