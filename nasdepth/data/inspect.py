"""Looking at a data set: numbers, contact sheets, and writing it out as folders."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from PIL import Image

from nasdepth.data.store import CANONICAL_HW, DepthSplit
from nasdepth.errors import DataError
from nasdepth.files import whole_file
from nasdepth.metrics import si_rmse

_BATCH = 8
_PERCENTILES = (1, 5, 25, 50, 75, 95, 99)
_BIN_EDGES_MM = (1, 500, 1000, 2000, 3000, 4000, 6000, 8000, 10000, 15000, 20000, 30000, 40000, 65536)
_LN = np.log(np.maximum(np.arange(65536), 1)).astype(np.float32)


def describe(split: DepthSplit) -> dict[str, Any]:
    """Facts about a split, ready for JSON.

    Depths are in mm and over known pixels. `si_rmse` holds what needs no network: the best constant, and
    the split's own mean map (geometric mean of each pixel). A useful model must be well below both.
    """
    counts = np.zeros(65536, dtype=np.int64)
    ln_sum, known = np.zeros(CANONICAL_HW), np.zeros(CANONICAL_HW)
    unknown_shares = []
    for depth_mm in _batches(split):
        counts += np.bincount(depth_mm.ravel(), minlength=65536)
        ln_sum += _LN[depth_mm].sum(axis=0)
        known += (depth_mm > 0).sum(axis=0)
        unknown_shares += [float(share) for share in (depth_mm == 0).mean(axis=(1, 2))]
    overall = ln_sum.sum() / max(known.sum(), 1)
    mean_map_mm = np.exp(np.where(known > 0, ln_sum / np.maximum(known, 1), overall))
    total = int(counts.sum())
    unknown, counts[0] = int(counts[0]), 0
    return {
        "name": split.name,
        "fingerprint": split.fingerprint,
        "images": len(split),
        "height": CANONICAL_HW[0],
        "width": CANONICAL_HW[1],
        "depth_mm": _quantiles(counts),
        "unknown_share": {
            "all": unknown / total,
            "least": min(unknown_shares),
            "most": max(unknown_shares),
        },
        "histogram": [
            {"from_mm": low, "below_mm": high, "share": float(counts[low:high].sum() / max(counts.sum(), 1))}
            for low, high in pairwise(_BIN_EDGES_MM)
        ],
        "si_rmse": {
            "constant": _mean_si_rmse(split, np.ones(CANONICAL_HW)),
            "mean_map": _mean_si_rmse(split, mean_map_mm),
        },
    }


def contact_sheet(split: DepthSplit, path: str | Path, rows: int = 4, columns: int = 6) -> None:
    """Write a PNG of evenly chosen images, each beside its depth (near is bright, unknown is black).

    Raises:
        NasdepthError: `path` cannot be written.
    """
    height, width = CANONICAL_HW[0] // 3, CANONICAL_HW[1] // 3
    sheet = np.full((rows * height, columns * 2 * width, 3), 255, dtype=np.uint8)
    chosen = np.linspace(0, len(split) - 1, min(rows * columns, len(split))).round().astype(int)
    for place, index in enumerate(chosen):
        rgb, depth_mm = (batch[0] for batch in split.batch([index]))
        top, left = place // columns * height, place % columns * 2 * width
        small = Image.fromarray(rgb).resize((width, height), Image.Resampling.BILINEAR)
        sheet[top : top + height, left : left + width] = small
        sheet[top : top + height, left + width : left + 2 * width] = depth_colors(depth_mm[1::3, 1::3])
    with whole_file(path) as temporary:
        Image.fromarray(sheet).save(temporary, format="PNG")


def depth_colors(depth_mm: np.ndarray) -> np.ndarray:
    """Colour a depth map (H, W) in mm: uint8 (H, W, 3), logarithmic, near is bright, unknown is black."""
    known = depth_mm > 0
    if not known.any():
        return np.zeros((*depth_mm.shape, 3), dtype=np.uint8)
    ln_depth = np.log(np.maximum(depth_mm, 1))
    near, far = np.percentile(ln_depth[known], (1, 99))
    nearness = np.clip((far - ln_depth) / max(far - near, 1e-6), 0, 1)
    colors = matplotlib.colormaps["magma"](0.1 + 0.9 * nearness, bytes=True)[..., :3]
    return np.where(known[..., None], colors, 0).astype(np.uint8)


def write_folder(split: DepthSplit, root: str | Path) -> None:
    """Write `root/rgb/ID.jpg` (quality 95) and `root/depth/ID.png` (uint16 mm), as `load_folder` reads them.

    Raises:
        DataError: `root` already holds images. NasdepthError: it cannot be written.
    """
    root = Path(root)
    for name in ("rgb", "depth"):
        if (root / name).is_dir() and any((root / name).iterdir()):
            raise DataError(f"{root / name}: already holds files; choose a new folder")
    for index, image_id in enumerate(split.image_ids):
        rgb, depth_mm = (batch[0] for batch in split.batch([index]))
        with whole_file(root / "rgb" / f"{image_id}.jpg") as temporary:
            Image.fromarray(rgb).save(temporary, format="JPEG", quality=95)
        with whole_file(root / "depth" / f"{image_id}.png") as temporary:
            Image.fromarray(depth_mm).save(temporary, format="PNG")


def _batches(split: DepthSplit) -> Iterator[np.ndarray]:
    for start in range(0, len(split), _BATCH):
        yield split.batch(np.arange(start, min(start + _BATCH, len(split))))[1]


def _quantiles(counts: np.ndarray) -> dict[str, int]:
    """Exact quantiles of depths counted by millimetre."""
    seen = np.cumsum(counts)
    if not seen[-1]:
        return {}
    values = {f"p{p}": int(np.searchsorted(seen, seen[-1] * p / 100)) for p in _PERCENTILES}
    present = np.flatnonzero(counts)
    return {"min": int(present[0]), **values, "max": int(present[-1])}


def _mean_si_rmse(split: DepthSplit, pred_mm: np.ndarray) -> float:
    scores = [si_rmse(np.broadcast_to(pred_mm, depth.shape), depth) for depth in _batches(split)]
    return float(np.nanmean(np.concatenate(scores)))
