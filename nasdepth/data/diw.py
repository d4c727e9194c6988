"""Ordinal pairs in the CSV format of Depth in the Wild.

Source: Chen et al., "Single-Image Depth Perception in the Wild", NeurIPS 2016, arXiv:1604.03901. As
published, a line with an image's path is followed by `y_A,x_A,y_B,x_B,relation,width,height` in pixels
counted from 1. The authors' code, trained on NYU's metric depth with the same convention, reads '>' as
depth(A) > depth(B): A is farther. The paper's text says "closer"; the code and the data decide here.
"""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from nasdepth.data.folder import SplitName
from nasdepth.data.pictures import (
    check_inside,
    digest,
    picture_hw,
    read_picture,
    resize_rgb,
    signature,
    slot_name,
    text_lines,
)
from nasdepth.data.splits import ORDINAL_HW, ORDINAL_RGB_PLANE, OrdinalSplit
from nasdepth.data.store import DepthSplit, cached_split, cpu_workers, listing
from nasdepth.errors import DataError
from nasdepth.files import at_home, whole_file, write_text

RELATIONS = {">": 1, "<": -1, "=": 0}
_SPLITS = {
    "train": ("DIW_train.csv", "DIW_train_val.csv", "train.csv"),
    "test": ("DIW_test.csv", "test.csv", "DIW_val.csv", "val.csv"),
}
_FOLDERS = ("DIW_Annotations", "DIW_Annotations_splitted", ".")
_LINES = "an image's path, then y_A,x_A,y_B,x_B,relation[,width,height] with pixels counted from 1"


@dataclass
class _Image:
    path: Path
    line: int
    hw: tuple[int, int] | None = None
    points: list[tuple[float, ...]] = field(default_factory=list)
    relation: list[int] = field(default_factory=list)


def load_diw(
    source: str | Path, split: SplitName, at_most: int | None = None, progress: bool = True
) -> OrdinalSplit:
    """One split of ordinal pairs; images are resized to 240x320 once.

    Args:
        source: the folder of the data set (with `DIW_Annotations/DIW_train.csv` or `train.csv`, and the
            images where the CSV says, relative to it), or one CSV file for whichever split is asked for.
        at_most: keep this many images, chosen by a hash of their names; all of DIW take 114 GB.

    Raises:
        DataError: naming the CSV file, the line and the value: an image that does not exist, a pair
            outside of its image, a wrong relation, a malformed line.
    """
    source = at_home(source)
    csv = source if source.is_file() else _csv_file(source, split)
    images = _parse(csv)
    if at_most is not None:
        chosen = set(sorted(range(len(images)), key=lambda i: digest(images[i].path.name))[:at_most])
        images = [image for index, image in enumerate(images) if index in chosen]
    counts = [len(image.relation) for image in images]
    limit = [] if at_most is None else [str(at_most)]
    return cached_split(
        slot_name(csv, *limit, split),
        signature([csv, *(image.path for image in images)], *limit),
        split,
        [image.path.stem for image in images],
        partial(_load_one, csv, images),
        partial(ThreadPoolExecutor, cpu_workers()),
        progress,
        opener=OrdinalSplit,
        planes=(ORDINAL_RGB_PLANE,),
        extras={
            "points": np.array([p for image in images for p in image.points], dtype=np.float32),
            "relation": np.array([r for image in images for r in image.relation], dtype=np.int8),
            "first": np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        },
        info={"format": "diw"},
    )


def write_diw(
    split: DepthSplit,
    root: str | Path,
    name: SplitName,
    *,
    pairs: int = 100,
    equal_ratio: float = 0.02,
    seed: int = 0,
) -> Path:
    """Draw pairs from metric depth and write them with their images as `load_diw` reads them.

    Both ends are uniform over the known pixels. Depths within `equal_ratio` of each other (2 %: Xian et al.,
    CVPR 2018) become '='; 0 draws another pair instead, as Depth in the Wild has none.

    Returns:
        The CSV file, `root/NAME.csv`; images are `root/images-NAME/ID.jpg`.

    Raises:
        DataError: the CSV exists, or an image has no two known depths that differ.
    """
    root = Path(root)
    csv = root / f"{name}.csv"
    if csv.exists():
        raise DataError(f"{csv}: already exists; choose a new folder")
    lines = []
    for index, image_id in enumerate(split.image_ids):
        path = root / f"images-{name}" / f"{image_id.replace('/', '-')}.jpg"
        with whole_file(path) as temporary:
            Image.fromarray(np.asarray(split.rgb_view(index))).save(temporary, format="JPEG", quality=95)
        depth_mm = np.asarray(split.depth_view(index), dtype=np.float64)
        drawn = _draw_pairs(depth_mm, pairs, equal_ratio, np.random.default_rng((seed, index)))
        if drawn is None:
            raise DataError(f"{split.name}: {image_id} has no two known depths that differ; leave it out")
        size = f"{depth_mm.shape[1]},{depth_mm.shape[0]}"
        lines += [f"./{path.relative_to(root)}", *(f"{pair},{size}" for pair in drawn)]
    write_text(csv, "\n".join(lines) + "\n")
    return csv


def _draw_pairs(
    depth_mm: np.ndarray, count: int, equal_ratio: float, rng: np.random.Generator
) -> list[str] | None:
    rows, columns = np.nonzero(depth_mm)
    depths = depth_mm[rows, columns]
    if depths.size < 2 or depths.min() == depths.max():
        return None
    pairs: list[str] = []
    while len(pairs) < count:
        for a, b in rng.integers(depths.size, size=(count, 2)):
            near, far = sorted((depths[a], depths[b]))
            equal = far <= near * (1 + equal_ratio)
            if a == b or (equal and equal_ratio == 0):
                continue
            relation = "=" if equal else ">" if depths[a] > depths[b] else "<"
            pairs.append(f"{rows[a] + 1},{columns[a] + 1},{rows[b] + 1},{columns[b] + 1},{relation}")
    return pairs[:count]


def is_diw(root: Path) -> bool:
    """Whether a folder holds pairs in this format."""
    return any(
        (root / folder / name).is_file() for folder in _FOLDERS for s in _SPLITS.values() for name in s
    )


def _csv_file(root: Path, split: SplitName) -> Path:
    if not root.is_dir():
        raise DataError(f"{root}: no such folder or CSV file. A CSV holds {_LINES}")
    # a val list stands in for test only where nothing is called test
    tried = [root / folder / name for name in _SPLITS[split] for folder in _FOLDERS]
    chosen = next((path for path in tried if path.is_file()), None)
    if chosen is None:
        raise DataError(f"{root}: has no {' or '.join(_SPLITS[split][:2])}; add one with {_LINES}")
    return chosen


def _parse(csv: Path) -> list[_Image]:
    images: dict[str, _Image] = {}
    current: _Image | None = None
    problems: list[str] = []
    for number, line in text_lines(csv):
        values = [value.strip() for value in line.split(",")]
        try:
            if len(values) == 1:
                if current is not None and not current.relation:
                    raise DataError(f"{current.path.name} has no pair; add one below it or remove the image")
                current = images.setdefault(line, _Image(_find(csv, line), number))
            elif current is None:
                raise DataError(f"{line!r}: stands before any image; write {_LINES}")
            else:
                _add_pair(current, values)
        except DataError as error:
            problems.append(f"line {number}: {error}")
    if current is not None and not current.relation and not problems:
        problems.append(f"line {current.line}: {current.path.name} has no pair; add one or remove the image")
    if problems:
        raise DataError(listing(f"{csv}: {len(problems)} lines cannot be used", problems))
    return list(images.values())


def _find(csv: Path, name: str) -> Path:
    check_inside(name)
    for folder in (csv.parent, csv.parent.parent):
        if (folder / name).is_file():
            return folder / name
    raise DataError(
        f"{name}: no such image in {csv.parent} or {csv.parent.parent}; unpack it there or mend the path"
    )


def _add_pair(image: _Image, values: list[str]) -> None:
    if len(values) not in (5, 7):
        raise DataError(f"{','.join(values)!r}: has {len(values)} values, 5 or 7 expected; write {_LINES}")
    relation = values[4].strip("\"'")
    if relation not in RELATIONS:
        raise DataError(f"relation {values[4]!r}: must be > (A is farther), < (A is nearer) or =")
    wrong = [value for value in (*values[:4], *values[5:]) if not re.fullmatch(r"-?\d+", value)]
    if wrong:
        raise DataError(f"{wrong[0]!r}: is no whole number of pixels; write {_LINES}")
    y_a, x_a, y_b, x_b = map(int, values[:4])
    if len(values) == 7:
        hw = (int(values[6]), int(values[5]))
        if image.hw not in (None, hw):
            raise DataError(
                f"width,height {hw[1]},{hw[0]}: {image.path.name} had {image.hw[1]},{image.hw[0]} before; "
                "mend one"
            )
        image.hw = hw
    elif image.hw is None:
        image.hw = picture_hw(image.path)
    height, width = image.hw
    for axis, value, size in (("y", y_a, height), ("x", x_a, width), ("y", y_b, height), ("x", x_b, width)):
        if not 1 <= value <= size:
            raise DataError(
                f"{axis} = {value}: outside of {image.path.name}, which has {width}x{height} pixels "
                f"(counted from 1 to {size}); mend or remove the pair"
            )
    if (y_a, x_a) == (y_b, x_b):
        raise DataError(f"A and B are both y {y_a}, x {x_a}; remove the pair")
    image.points.append(
        ((y_a - 0.5) / height, (x_a - 0.5) / width, (y_b - 0.5) / height, (x_b - 0.5) / width)
    )
    image.relation.append(RELATIONS[relation])


def _load_one(csv: Path, images: list[_Image], index: int) -> tuple[np.ndarray]:
    image = images[index]
    picture = read_picture(image.path)
    assert image.hw is not None  # its first pair has set it
    if (picture.height, picture.width) != image.hw:
        raise DataError(
            f"{csv}: line {image.line}: the pairs are for {image.hw[1]}x{image.hw[0]}, but {image.path} is "
            f"{picture.width}x{picture.height}; take the image as published or mend width and height"
        )
    return (resize_rgb(picture, ORDINAL_HW),)
