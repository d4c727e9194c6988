"""Segmentation labels from files: single-channel PNGs named like the images of a data set."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from nasdepth.data.pictures import picture_hw, read_picture, signature
from nasdepth.data.store import ImageSplit, listing
from nasdepth.errors import DataError
from nasdepth.files import at_home

# the highest value of each type says that nobody knows
_UNKNOWN = {np.dtype(np.uint8): 255, np.dtype(np.uint16): 65535}
_MODES = ("L", "P", "I;16")


class LabelFolder:
    """The labels of one split, `FOLDER/ID.png` for each of its image ids.

    An id of a video is SCENE/NUMBER; leading zeros of the file's number do not matter. Values are classes
    from 0; 255 (8 bit) or 65535 (16 bit) is unknown. A palette's indices are classes too.

    Attributes:
        classes: how many classes there may be.
        fingerprint: changes with names, sizes and times of the files, and with `classes`.

    Args:
        folder: the folder that holds the PNGs.
        split: the split whose images they belong to.

    Raises:
        DataError: no such folder, or naming files: labels that are missing, damaged, or of another size than
            the others in their folder.
    """

    def __init__(self, folder: str | Path, split: ImageSplit, classes: int) -> None:
        folder = at_home(folder)
        if not folder.is_dir():
            raise DataError(f"{folder}: no such folder; it must hold a PNG of classes for each image")
        pictures = (path for path in folder.rglob("*.*") if path.suffix.lower() == ".png")
        there = {_key(path.relative_to(folder).with_suffix("")): path for path in pictures}
        missing = [f"{folder / name}.png" for name in split.image_ids if _key(Path(name)) not in there]
        if missing:
            headline = f"{folder}: {len(missing)} of {len(split)} images have no labels; add these files"
            raise DataError(listing(headline, missing))
        self.classes = classes
        self._paths = [there[_key(Path(name))] for name in split.image_ids]
        self._check_sizes()
        self.fingerprint = signature(self._paths, str(classes))

    def read(self, index: int) -> np.ndarray:
        """int32 (H, W) classes of the split's image `index`, -1 where unknown.

        Raises:
            DataError: naming the file: it has several channels, or a class that there is not.
        """
        path = self._paths[index]
        image = read_picture(path)
        if image.mode not in _MODES:
            raise DataError(
                f"{path}: is {image.mode}, a PNG of one channel with 8 or 16 bits expected; save it as that"
            )
        values = np.asarray(image)
        labels = np.where(values == _UNKNOWN[values.dtype], -1, values.astype(np.int32))
        if labels.max() >= self.classes:
            raise DataError(
                f"{path}: holds class {labels.max()}, but there are {self.classes}, 0 to {self.classes - 1}; "
                f"set loss.segmentation.classes, or write {_UNKNOWN[values.dtype]} where it is unknown"
            )
        return labels

    def _check_sizes(self) -> None:
        # the images were stretched when they were stored; that labels disagree is all that can be seen
        first: dict[Path, tuple[Path, tuple[int, int]]] = {}
        problems = []
        for path in self._paths:
            hw = picture_hw(path)
            other, expected = first.setdefault(path.parent, (path, hw))
            if hw != expected:
                problems.append(f"{path} is {hw[1]}x{hw[0]}, {other.name} {expected[1]}x{expected[0]}")
        if problems:
            raise DataError(
                listing(f"{len(problems)} labels are of another size; scale them nearest-neighbour", problems)
            )


def _key(name: Path) -> str:
    # frame 000012.png of a video is its image 12
    return str(name.with_name(re.sub(r"0*(\d+)$", r"\1", name.name)))
