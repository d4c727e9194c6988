"""Dataset splits, decoded once and then read from memory-mapped arrays in the user's cache folder."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import Progress

from nasdepth.errors import DataError
from nasdepth.files import cache_folder

CANONICAL_HW = (480, 640)
"""Height and width in pixels of every stored image."""

_RGB_BYTES = CANONICAL_HW[0] * CANONICAL_HW[1] * 3
_DEPTH_BYTES = CANONICAL_HW[0] * CANONICAL_HW[1] * 2
_RGB_FILE, _DEPTH_FILE, _META_FILE = "rgb.u8", "depth_mm.u16", "meta.json"
_SHOWN_PROBLEMS = 5

MakeImage = Callable[[int], tuple[np.ndarray, np.ndarray]]
"""Index to (rgb uint8 (480, 640, 3), depth_mm uint16 (480, 640)); raises DataError for a bad image."""


def cpu_workers() -> int:
    """How many threads or processes decode or render at once."""
    return min(os.cpu_count() or 1, 8)


class DepthSplit:
    """One split of a data set: RGB images with depth in millimetres, 0 = unknown.

    Attributes:
        name: "train" or "test", with a suffix after `subset`.
        image_ids: one name an image.
        fingerprint: short hash of the pixels; equal fingerprints mean equal data.
    """

    def __init__(self, folder: Path, rows: Sequence[int] | None = None, name: str | None = None) -> None:
        meta = json.loads((folder / _META_FILE).read_text(encoding="utf-8"))
        stored = len(meta["image_ids"])
        self._folder = folder
        self._rows = np.arange(stored) if rows is None else np.asarray(rows, dtype=np.int64)
        self._whole = rows is None
        self._rgb = np.memmap(folder / _RGB_FILE, np.uint8, "r", shape=(stored, *CANONICAL_HW, 3))
        self._depth_mm = np.memmap(folder / _DEPTH_FILE, "<u2", "r", shape=(stored, *CANONICAL_HW))
        self.name: str = name or meta["name"]
        self.image_ids: list[str] = [meta["image_ids"][row] for row in self._rows]
        self.fingerprint: str = meta["fingerprint"]
        if not self._whole:
            picked = hashlib.sha256(self._rows.tobytes()).hexdigest()
            self.fingerprint = f"{self.fingerprint[:8]}{picked[:8]}"

    def __len__(self) -> int:
        return len(self._rows)

    def __reduce__(self):
        # Pickling the arrays would copy the whole data set into every worker process.
        return DepthSplit, (self._folder, None if self._whole else self._rows, self.name)

    @property
    def rgb(self) -> np.ndarray:
        """uint8 (N, 480, 640, 3): the memory map itself, or for a subset a copy of its rows."""
        return self._rgb if self._whole else self._rgb[self._rows]

    @property
    def depth_mm(self) -> np.ndarray:
        """uint16 (N, 480, 640), 0 = unknown: the memory map itself, or for a subset a copy of its rows."""
        return self._depth_mm if self._whole else self._depth_mm[self._rows]

    def batch(self, indices: Sequence[int] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Copy images out: rgb uint8 (B, 480, 640, 3) and depth_mm uint16 (B, 480, 640).

        Raises:
            IndexError: an index is out of range.
        """
        rows = self._rows[np.asarray(indices, dtype=np.int64)]
        return self._rgb[rows], self._depth_mm[rows]

    def subset(self, indices: Sequence[int] | np.ndarray, name: str | None = None) -> DepthSplit:
        """A view of some images, in the order given; no pixels are copied."""
        rows = self._rows[np.asarray(indices, dtype=np.int64)]
        return DepthSplit(self._folder, rows, name or f"{self.name}[{len(rows)}]")


def cached_split(
    slot: str,
    signature: str,
    name: str,
    image_ids: list[str],
    make: MakeImage,
    pool: Callable[[], Executor],
    progress: bool = True,
) -> DepthSplit:
    """Open the split kept in the cache under `slot`, building it first when it is absent, stale or damaged.

    Args:
        slot: folder name in the cache, one for each source and split.
        signature: what the source looks like now; a cache made under another signature is rebuilt.
        make: decodes or renders one image; called in the workers of `pool`.

    Raises:
        DataError: some images are bad (the first few are named), or the cache folder is full or read-only.
    """
    root = cache_folder("datasets")
    folder = root / slot
    needed = len(image_ids) * (_RGB_BYTES + _DEPTH_BYTES)
    try:
        root.mkdir(parents=True, exist_ok=True)
        with _locked(root / f".{slot}.lock"):
            if not _is_good(folder, signature):
                _check_space(root, needed)
                _build(folder, signature, name, image_ids, make, pool, progress)
        return DepthSplit(folder)
    except BrokenExecutor as error:
        raise DataError(
            f"{folder}: a worker process died. Either memory ran out, or the script that loads the data is "
            'typed to standard input or lacks `if __name__ == "__main__":`; make it a file with that line.'
        ) from error
    except OSError as error:
        raise DataError(
            f"{folder}: the decoded images cannot be kept there ({error.strerror or error}); they need "
            f"{needed:,} bytes. Free some space, or set NASDEPTH_CACHE to another folder."
        ) from error


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    # Search workers start together: without the lock each would decode the whole data set.
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _is_good(folder: Path, signature: str) -> bool:
    try:
        meta = json.loads((folder / _META_FILE).read_text(encoding="utf-8"))
        count = len(meta["image_ids"])
        return (
            meta["signature"] == signature
            and (folder / _RGB_FILE).stat().st_size == count * _RGB_BYTES
            and (folder / _DEPTH_FILE).stat().st_size == count * _DEPTH_BYTES
        )
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _check_space(root: Path, needed: int) -> None:
    free = shutil.disk_usage(root).free
    if free < needed:
        raise DataError(
            f"{root}: the disk is too full for the decoded images: {needed:,} bytes needed, {free:,} free. "
            "Free some space, or set NASDEPTH_CACHE to another folder."
        )


def _build(
    folder: Path,
    signature: str,
    name: str,
    image_ids: list[str],
    make: MakeImage,
    pool: Callable[[], Executor],
    progress: bool,
) -> None:
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    try:
        for file in (_RGB_FILE, _DEPTH_FILE):
            (part / file).touch()
        digests = _fill_all(part, name, make, len(image_ids), pool, progress)
        fingerprint = hashlib.sha256("\n".join([*image_ids, *digests]).encode()).hexdigest()[:16]
        meta = {"name": name, "signature": signature, "fingerprint": fingerprint, "image_ids": image_ids}
        (part / _META_FILE).write_text(json.dumps(meta), encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(part, folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _fill_all(
    part: Path, name: str, make: MakeImage, count: int, pool: Callable[[], Executor], progress: bool
) -> list[str]:
    digests, problems = [], []
    bar = Progress(console=Console(stderr=True), transient=True, disable=not progress)
    with bar, pool() as executor:
        results = executor.map(partial(_fill_one, part, make), range(count))
        for digest, problem in bar.track(results, total=count, description=f"Preparing {name} images"):
            digests.append(digest)
            if problem:
                problems.append(problem)
    if problems:
        raise DataError(listing(f"{len(problems)} of {count} {name} images cannot be used", problems))
    return digests


def _fill_one(part: Path, make: MakeImage, index: int) -> tuple[str, str]:
    try:
        rgb, depth_mm = make(index)
    except DataError as error:
        return "", str(error)
    rgb_bytes, depth_bytes = rgb.tobytes(), depth_mm.astype("<u2").tobytes()
    # Plain writes, not a writable map: on a full disk a map kills the process with SIGBUS.
    for file, content in ((_RGB_FILE, rgb_bytes), (_DEPTH_FILE, depth_bytes)):
        with (part / file).open("r+b") as handle:
            handle.seek(index * len(content))
            handle.write(content)
    return hashlib.sha256(rgb_bytes + depth_bytes).hexdigest(), ""


def listing(headline: str, problems: list[str]) -> str:
    """One message for many problems: the headline, the first few, and how many more there are."""
    shown = problems[:_SHOWN_PROBLEMS]
    rest = len(problems) - len(shown)
    return "\n  - ".join([f"{headline}:", *shown, *([f"and {rest} more"] if rest else [])])
