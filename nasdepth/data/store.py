"""Dataset splits, decoded once and then read from memory-mapped arrays in the user's cache folder."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Executor
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
from rich.console import Console
from rich.progress import Progress

from nasdepth.data.planes import Plane, are_whole, begin, check_space, finish, mapped, write
from nasdepth.errors import DataError
from nasdepth.files import cache_folder, locked

CANONICAL_HW = (480, 640)
"""Height and width in pixels of every stored image."""

_META_FILE = "meta.json"
_SHOWN_PROBLEMS = 5
_MEND = "Free some space, or set NASDEPTH_CACHE to another folder."

MakeImage = Callable[[int], tuple[np.ndarray, ...]]
"""Index to one array for each plane, such as (rgb, depth_mm); raises DataError for a bad image."""


RGB_PLANE = Plane("rgb.u8", "u1", (*CANONICAL_HW, 3))
DEPTH_PLANE = Plane("depth_mm.u16", "<u2", CANONICAL_HW)


def cpu_workers() -> int:
    """Return how many threads or processes decode or render at once."""
    return min(os.cpu_count() or 1, 8)


class ImageSplit:
    """One split of a data set, read from memory-mapped arrays; the base of every kind of supervision.

    Attributes:
        kind: how it supervises: "metric", "ordinal", "relative" or "video".
        name: "train" or "test", with a suffix after `subset`.
        image_ids: one name an item.
        hw: height and width of the stored images in pixels.
        info: facts that the reader noted about the source, for `inspect`.
        fingerprint: short hash of all stored values; equal fingerprints mean equal data.
    """

    kind: str

    def __init__(
        self, folder: Path, rows: Sequence[int] | np.ndarray | None = None, name: str | None = None
    ) -> None:
        meta = json.loads((folder / _META_FILE).read_text(encoding="utf-8"))
        self._folder = folder
        self._planes = {
            plane["file"]: mapped(folder, Plane(**plane), meta["stored"]) for plane in meta["planes"]
        }
        self._rgb = self._planes[RGB_PLANE.file]
        self._rows = np.arange(len(meta["image_ids"])) if rows is None else np.asarray(rows, dtype=np.int64)
        self._whole = rows is None
        self.hw: tuple[int, int] = self._rgb.shape[1:3]
        self.info: dict[str, Any] = meta["info"]
        self.name: str = name or meta["name"]
        self.image_ids: list[str] = [meta["image_ids"][row] for row in self._rows]
        self.fingerprint: str = meta["fingerprint"]
        if not self._whole:
            picked = hashlib.sha256(self._rows.tobytes()).hexdigest()
            self.fingerprint = f"{self.fingerprint[:8]}{picked[:8]}"

    def __len__(self) -> int:
        return len(self._rows)

    def __reduce__(self) -> tuple[Any, ...]:
        # Pickling the arrays would copy the whole data set into every worker process.
        return type(self), (self._folder, None if self._whole else self._rows, self.name)

    def _extra(self, name: str) -> np.ndarray:
        return np.load(self._folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)

    def rgb_view(self, index: int) -> np.ndarray:
        """One image, uint8 (H, W, 3), as a view of the memory map: nothing is read until it is used."""
        return self._array(RGB_PLANE)[self._rows[index]]

    def _array(self, plane: Plane) -> np.ndarray:
        # slicing a plain array costs a tenth of slicing a np.memmap
        return self._planes[plane.file].view(np.ndarray)

    def subset(self, indices: Sequence[int] | np.ndarray, name: str | None = None) -> Self:
        """A view of some items, in the order given; no pixels are copied."""
        rows = self._rows[np.asarray(indices, dtype=np.int64)]
        return type(self)(self._folder, rows, name or f"{self.name}[{len(rows)}]")


class DepthSplit(ImageSplit):
    """RGB images with metric depth in millimetres, 0 = unknown.

    Attributes:
        sparse: the depth is single points (LiDAR): resize it point by point, never by sampling a grid.
    """

    kind = "metric"

    def __init__(
        self, folder: Path, rows: Sequence[int] | np.ndarray | None = None, name: str | None = None
    ) -> None:
        super().__init__(folder, rows, name)
        self._depth = self._planes[DEPTH_PLANE.file]
        self.sparse: bool = self.info.get("sparse", False)
        # Depths that do not fit into uint16 millimetres are stored in the steps they were published in.
        self._mm_per_step: float = self.info.get("mm_per_step", 1)

    def _in_mm(self, steps: np.ndarray) -> np.ndarray:
        return steps if self._mm_per_step == 1 else steps.astype(np.float32) * np.float32(self._mm_per_step)

    @property
    def rgb(self) -> np.ndarray:
        """uint8 (N, 480, 640, 3): the memory map itself, or for a subset a copy of its rows."""
        return self._rgb if self._whole else self._rgb[self._rows]

    @property
    def depth_mm(self) -> np.ndarray:
        """(N, 480, 640), 0 = unknown. uint16, and the memory map itself (for a subset a copy of its rows);
        float32 where the source reaches beyond 65 m or is finer than a millimetre."""
        return self._in_mm(self._depth if self._whole else self._depth[self._rows])

    def depth_view(self, index: int) -> np.ndarray:
        """One depth map (480, 640) in mm, 0 = unknown; types as in `depth_mm`."""
        return self._in_mm(self._array(DEPTH_PLANE)[self._rows[index]])

    @property
    def mm_per_step(self) -> float:
        """The number of millimetres that a stored step of depth stands for."""
        return self._mm_per_step

    def stored_batch(self, indices: Sequence[int] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Copy images out as stored: rgb uint8 (B, 480, 640, 3), depth uint16 (B, 480, 640) in steps.

        Raises:
            IndexError: an index is out of range.
        """
        rows = self._rows[np.asarray(indices, dtype=np.int64)]
        return self._array(RGB_PLANE)[rows], self._array(DEPTH_PLANE)[rows]

    def batch(self, indices: Sequence[int] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Copy images out: rgb uint8 (B, 480, 640, 3) and depth_mm (B, 480, 640), types as in `depth_mm`.

        Raises:
            IndexError: an index is out of range.
        """
        rows = self._rows[np.asarray(indices, dtype=np.int64)]
        return self._rgb[rows], self._in_mm(self._depth[rows])


def cached_split[SplitType: ImageSplit](
    slot: str,
    signature: str,
    name: str,
    image_ids: list[str],
    make: MakeImage,
    pool: Callable[[], Executor],
    progress: bool = True,
    *,
    opener: Callable[[Path], SplitType] = DepthSplit,  # type: ignore[assignment]
    planes: tuple[Plane, ...] = (RGB_PLANE, DEPTH_PLANE),
    extras: Mapping[str, np.ndarray] | None = None,
    info: Mapping[str, Any] | None = None,
    stored: int | None = None,
) -> SplitType:
    """Open the split kept in the cache under `slot`, building it first when it is absent, stale or damaged.

    Args:
        slot: folder name in the cache, one for each source and split.
        signature: a hash of the source as it is now; a cache made under another signature is rebuilt.
        make: decodes or renders one image; called in the workers of `pool`.
        opener: the class of the split.
        planes: the arrays that `make` returns for one image, in its order.
        extras: small arrays kept beside the planes (pairs, triplets).
        info: facts about the source for `ImageSplit.info`, as JSON.
        stored: how many images `make` makes; one for each of `image_ids` unless given.

    Raises:
        DataError: some images are bad (the first few are named), or the cache folder is full or read-only.
    """
    root = cache_folder("datasets")
    folder = root / slot
    count = len(image_ids) if stored is None else stored
    recipe: dict[str, Any] = {
        "name": name,
        "signature": signature,
        "image_ids": image_ids,
        "stored": count,
        "planes": [asdict(plane) | {"shape": list(plane.shape)} for plane in planes],
        "info": dict(info or {}),
    }
    extras = dict(extras or {})
    needed = count * sum(plane.bytes_each for plane in planes)
    needed += sum(array.nbytes for array in extras.values())
    try:
        root.mkdir(parents=True, exist_ok=True)
        # search workers start together: without the lock each would decode the whole data set
        with locked(root / f".{slot}.lock"):
            if not _is_good(folder, recipe, planes, extras):
                check_space(root, needed, "the decoded images", _MEND)
                _build(folder, recipe, planes, extras, make, pool, progress)
        return opener(folder)
    except BrokenExecutor as error:
        raise DataError(
            f"{folder}: a worker process died. Either memory ran out, or the script that loads the data is "
            'typed to standard input or lacks `if __name__ == "__main__":`; make it a file with that line.'
        ) from error
    except OSError as error:
        raise DataError(
            f"{folder}: the decoded images cannot be kept there ({error.strerror or error}); they need "
            f"{needed:,} bytes. {_MEND}"
        ) from error


def _is_good(
    folder: Path, recipe: dict[str, Any], planes: tuple[Plane, ...], extras: dict[str, np.ndarray]
) -> bool:
    try:
        meta = json.loads((folder / _META_FILE).read_text(encoding="utf-8"))
        return (
            all(meta[key] == recipe[key] for key in ("signature", "planes", "info"))
            and are_whole(folder, planes, meta["stored"])
            and all((folder / f"{name}.npy").stat().st_size > 0 for name in extras)
        )
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _build(
    folder: Path,
    recipe: dict[str, Any],
    planes: tuple[Plane, ...],
    extras: dict[str, np.ndarray],
    make: MakeImage,
    pool: Callable[[], Executor],
    progress: bool,
) -> None:
    part = folder.with_name(f".{folder.name}.part")
    try:
        begin(part, planes)
        digests = _fill_all(part, recipe["name"], planes, make, recipe["stored"], pool, progress)
        if recipe["info"]:
            digests.append(json.dumps(recipe["info"], sort_keys=True))
        for name, array in extras.items():
            np.save(part / f"{name}.npy", array, allow_pickle=False)
            digests.append(hashlib.sha256(array.tobytes()).hexdigest())
        fingerprint = hashlib.sha256("\n".join([*recipe["image_ids"], *digests]).encode()).hexdigest()[:16]
        (part / _META_FILE).write_text(json.dumps({**recipe, "fingerprint": fingerprint}), encoding="utf-8")
        finish(part, folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _fill_all(
    part: Path,
    name: str,
    planes: tuple[Plane, ...],
    make: MakeImage,
    count: int,
    pool: Callable[[], Executor],
    progress: bool,
) -> list[str]:
    digests, problems = [], []
    bar = Progress(console=Console(stderr=True), transient=True, disable=not progress)
    with bar, pool() as executor:
        results = executor.map(partial(_fill_one, part, planes, make), range(count))
        for digest, problem in bar.track(results, total=count, description=f"Preparing {name} images"):
            digests.append(digest)
            if problem:
                problems.append(problem)
    if problems:
        raise DataError(listing(f"{len(problems)} of {count} {name} images cannot be used", problems))
    return digests


def _fill_one(part: Path, planes: tuple[Plane, ...], make: MakeImage, index: int) -> tuple[str, str]:
    try:
        arrays = make(index)
    except DataError as error:
        return "", str(error)
    contents = write(part, planes, index, arrays)
    return hashlib.sha256(b"".join(contents)).hexdigest(), ""


def listing(headline: str, problems: list[str]) -> str:
    """One message for many problems: the headline, the first few, and how many more there are."""
    shown = problems[:_SHOWN_PROBLEMS]
    rest = len(problems) - len(shown)
    return "\n  - ".join([f"{headline}:", *shown, *([f"and {rest} more"] if rest else [])])
