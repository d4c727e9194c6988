"""Looking at a data set: numbers, contact sheets, and writing it out as folders."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from PIL import Image

from nasdepth.data.depth_files import unit_hints
from nasdepth.data.diw import RELATIONS
from nasdepth.data.pictures import resize_sparse
from nasdepth.data.splits import OrdinalSplit, RelativeSplit, VideoSplit
from nasdepth.data.store import CANONICAL_HW, DepthSplit, ImageSplit
from nasdepth.errors import DataError
from nasdepth.files import whole_file
from nasdepth.metrics import si_rmse

_BATCH = 8
_LOOKED_AT = 24
_PERCENTILES = (1, 5, 25, 50, 75, 95, 99)
_BIN_EDGES_MM = (1, 500, 1000, 2000, 3000, 4000, 6000, 8000, 10000, 15000, 20000, 30000, 40000, 65536)
_INTRINSICS = ("fx/width", "fy/height", "cx/width", "cy/height")
_SHOWN_PAIRS = 40
_BLUE, _RED, _GREEN = (40, 90, 255), (255, 60, 40), (60, 220, 60)
_LN = np.log(np.maximum(np.arange(65536), 1)).astype(np.float32)


def describe(split: ImageSplit) -> dict[str, Any]:
    """Facts about a split of any kind of supervision, ready for JSON."""
    facts = {
        "name": split.name,
        "supervision": split.kind,
        "fingerprint": split.fingerprint,
        "images": len(split),
        "height": split.hw[0],
        "width": split.hw[1],
        **({"reader": split.info} if split.info else {}),
    }
    if isinstance(split, OrdinalSplit):
        return facts | _describe_pairs(split)
    if isinstance(split, RelativeSplit):
        return facts | _describe_relative(split)
    if isinstance(split, VideoSplit):
        return facts | _describe_video(split)
    assert isinstance(split, DepthSplit)
    return facts | _describe_depth(split)


def hints(split: ImageSplit) -> list[str]:
    """What a user should know of a split before anything is trained on it: shape, unit, marks of unknown."""
    said = [f"pictures are {split.info['shape']}"] if "shape" in split.info else []
    if isinstance(split, DepthSplit) and not split.sparse:
        chosen = np.unique(np.linspace(0, len(split) - 1, min(_LOOKED_AT, len(split))).astype(int))
        said += unit_hints(np.asarray(split.depth_view(index)) for index in chosen)
    return said


def _describe_pairs(split: OrdinalSplit) -> dict[str, Any]:
    of_images = [split.pairs(index) for index in range(len(split))]
    points = np.concatenate([pairs.points for pairs in of_images])
    relation = np.concatenate([pairs.relation for pairs in of_images])
    lower = np.where(points[:, 0] > points[:, 2], -1, 1)
    return {
        "pairs": len(relation),
        "relation": {name: int((relation == value).sum()) for name, value in RELATIONS.items()},
        # what needs no network: the point that is lower in the picture is nearer
        "whdr": {"lower_is_nearer": float((lower != relation).mean())},
    }


def _describe_relative(split: RelativeSplit) -> dict[str, Any]:
    unknown, spread = [], []
    for index in range(len(split)):
        values = split.value_view(index)
        known = values > 0
        unknown.append(1 - float(known.mean()))
        spread.append(float(values[known].std() / 65534))
    return {
        "unknown_share": {"all": float(np.mean(unknown)), "most": max(unknown)},
        "deviation_of_range": float(np.mean(spread)),
    }


def _describe_video(split: VideoSplit) -> dict[str, Any]:
    cameras = np.array([split.intrinsics(index) for index in range(len(split))])
    chosen = np.unique(np.linspace(0, len(split) - 1, min(64, len(split))).astype(int))
    change = []
    for index in chosen:
        before, middle, after = (frame[::8, ::8].astype(np.int16) for frame in split.frame_views(index))
        change += [np.abs(middle - before).mean(), np.abs(after - middle).mean()]
    return {
        "intrinsics": {
            name: {"min": float(column.min()), "max": float(column.max())}
            for name, column in zip(_INTRINSICS, cameras.T, strict=True)
        },
        # near 0 the camera stands still, and nothing can be learnt
        "mean_change_between_frames": float(np.mean(change)),
    }


def _describe_depth(split: DepthSplit) -> dict[str, Any]:
    """Depths are in mm and over known pixels. `si_rmse` holds what needs no network: the best constant, and
    the split's own mean map (geometric mean of each pixel). A useful model must be well below both.
    """
    counts = np.zeros(65536, dtype=np.int64)
    ln_sum, known = np.zeros(CANONICAL_HW), np.zeros(CANONICAL_HW)
    unknown_shares = []
    for depth in _batches(split):
        # of metres beyond uint16, all but the last bin's end is exact to a millimetre
        depth_mm = np.rint(depth).clip(0, 65535).astype(np.uint16)
        counts += np.bincount(depth_mm.ravel(), minlength=65536)
        ln_sum += _LN[depth_mm].sum(axis=0)
        known += (depth_mm > 0).sum(axis=0)
        unknown_shares += [float(share) for share in (depth_mm == 0).mean(axis=(1, 2))]
    overall = ln_sum.sum() / max(known.sum(), 1)
    mean_map_mm = np.exp(np.where(known > 0, ln_sum / np.maximum(known, 1), overall))
    total = int(counts.sum())
    unknown, counts[0] = int(counts[0]), 0
    return {
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


def contact_sheet(split: ImageSplit, path: str | Path, rows: int = 4, columns: int = 6) -> None:
    """Write a PNG of evenly chosen images, each beside what supervises it.

    Depth and disparity: near is bright, unknown is black. Pairs: the farther point is blue, the nearer red,
    equal ones green. Video: how much the next frame differs.

    Raises:
        NasdepthError: `path` cannot be written.
    """
    height, width = CANONICAL_HW[0] // 3, CANONICAL_HW[1] // 3
    sheet = np.full((rows * height, columns * 2 * width, 3), 255, dtype=np.uint8)
    chosen = np.linspace(0, len(split) - 1, min(rows * columns, len(split))).round().astype(int)
    for place, index in enumerate(chosen):
        top, left = place // columns * height, place % columns * 2 * width
        whole = Image.fromarray(np.asarray(split.rgb_view(index)))
        small = np.asarray(whole.resize((width, height), Image.Resampling.BILINEAR))
        sheet[top : top + height, left : left + width] = small
        sheet[top : top + height, left + width : left + 2 * width] = _supervision(split, index, small)
    with whole_file(path) as temporary:
        Image.fromarray(sheet).save(temporary, format="PNG")


def _supervision(split: ImageSplit, index: int, small: np.ndarray) -> np.ndarray:
    height, width = small.shape[:2]
    if isinstance(split, OrdinalSplit):
        picture = small.copy()
        points, relation = split.pairs(index)
        for four, sign in zip(points[:_SHOWN_PAIRS], relation, strict=False):
            colors = {1: (_BLUE, _RED), -1: (_RED, _BLUE), 0: (_GREEN, _GREEN)}[int(sign)]
            for (y, x), color in zip(four.reshape(2, 2), colors, strict=True):
                row, column = int(y * height), int(x * width)
                picture[max(row - 3, 0) : row + 4, max(column - 3, 0) : column + 4] = color
        return picture
    if isinstance(split, VideoSplit):
        _, middle, after = (frame[1::3, 1::3][:height, :width] for frame in split.frame_views(index))
        return np.abs(after.astype(np.int16) - middle).astype(np.uint8)
    if isinstance(split, RelativeSplit):
        values = split.value_view(index)[1::3, 1::3].astype(np.float64)
        # any decreasing map shows disparity as depth is shown
        inverse = np.where(values > 0, 65536 - values, 0)
        return depth_colors(inverse if split.space == "disparity" else values)[:height, :width]
    assert isinstance(split, DepthSplit)
    depth_mm = split.depth_view(index)
    thinned = resize_sparse(depth_mm, (height, width)) if split.sparse else depth_mm[1::3, 1::3]
    return depth_colors(thinned[:height, :width])


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
        DataError: `root` already holds images, or the depths do not fit. NasdepthError: it cannot be written.
    """
    root = Path(root)
    for name in ("rgb", "depth"):
        if (root / name).is_dir() and any((root / name).iterdir()):
            raise DataError(f"{root / name}: already holds files; choose a new folder")
    for index, image_id in enumerate(split.image_ids):
        rgb, depth_mm = (batch[0] for batch in split.batch([index]))
        with whole_file(root / "rgb" / f"{image_id}.jpg") as temporary:
            Image.fromarray(rgb).save(temporary, format="JPEG", quality=95)
        if depth_mm.dtype != np.uint16:
            raise DataError(f"{split.name}: {image_id} has depths that uint16 millimetres cannot hold")
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
