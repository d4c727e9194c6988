"""A teacher's outputs, computed once: a distilled epoch reads them from disk and costs no teacher time."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress

from nasdepth.architecture import OUTPUT_HW
from nasdepth.data.planes import Plane, are_whole, begin, check_space, finish, mapped, write
from nasdepth.data.store import ImageSplit
from nasdepth.errors import CheckpointError, DataError, NasdepthError
from nasdepth.files import cache_folder, locked, write_json, write_text
from nasdepth.models import AnyNetwork
from nasdepth.models.depthnet import PENULTIMATE
from nasdepth.training.checkpoint import load_model
from nasdepth.training.distributed import default_device
from nasdepth.training.geometry import View, sample_maps

STORED_HW = (240, 320)
"""Height and width at which a teacher's depth is kept unless said otherwise."""

_FORMAT = "nasdepth-teacher-1"
_META_FILE, _DONE_FILE, _DEPTH_FILE = "meta.json", "done", "depth.u16"
_BATCH = 8


@dataclass(frozen=True)
class _Kept:
    """What a cache holds: of which teacher and data, and in which planes."""

    teacher: str
    data: str
    images: int
    mm_per_step: float
    depth_hw: tuple[int, int]
    layers: tuple[str, ...]

    @property
    def slot(self) -> str:
        rest = hashlib.sha256(repr((self.mm_per_step, self.depth_hw, self.layers)).encode()).hexdigest()[:8]
        return f"{self.teacher}-{self.data}-{rest}"


class StoredTeacher:
    """A teacher's depth and features of one split, read from memory-mapped arrays.

    Args:
        folder: the folder that `store_teacher` returned.
        split: the data that is trained on.
        teacher: fingerprint of the teacher that is meant; None takes the one whose outputs they are.

    Attributes:
        depth_hw: size at which depth is kept.
        channels: the number of channels of each feature layer.

    Raises:
        DataError: the outputs are incomplete, or of another teacher or another data set.
    """

    def __init__(self, folder: str | Path, split: ImageSplit, teacher: str | None = None) -> None:
        folder = Path(folder)
        meta = _whole_meta(folder)
        if meta is None:
            raise DataError(
                f"{folder}: holds no whole outputs of a teacher; let `store_teacher` make them again"
            )
        for field, wanted in (("teacher", teacher), ("data", split.fingerprint)):
            if wanted is not None and meta[field] != wanted:
                raise DataError(
                    f"{folder}: holds a teacher's outputs of another {field}: its fingerprint is "
                    f"{meta[field]}, not {wanted}; let `store_teacher` make those that are meant"
                )
        self.teacher: str = meta["teacher"]
        self.split = split
        self.depth_hw: tuple[int, int] = tuple(meta["depth_hw"])
        self._mm_per_step: float = meta["mm_per_step"]
        depth, *layers = (Plane(**one) for one in meta["planes"])
        self._depth = mapped(folder, depth, meta["images"]).view(np.ndarray)
        self._features = {
            name: mapped(folder, plane, meta["images"]).view(np.ndarray)
            for name, plane in zip(meta["layers"], layers, strict=True)
        }
        self.channels = {name: array.shape[1] for name, array in self._features.items()}

    def depth_mm(self, indices: np.ndarray) -> torch.Tensor:
        """The depth of some images: (B, 1, *depth_hw) float32 in mm, at least one step of the store."""
        steps = self._depth[indices][:, None].astype(np.float32)
        return torch.from_numpy(steps * np.float32(self._mm_per_step))

    def features(self, indices: np.ndarray) -> dict[str, torch.Tensor]:
        """Features by layer, each (B, C, h, w) float32, rounded to float16."""
        return {name: torch.from_numpy(array[indices]).float() for name, array in self._features.items()}


class TeacherCache:
    """An `Extra` that gives batches a teacher's depth and features, in the same views as their images.

    Depth is sampled at the size of the losses, features each at their layer's own; both bilinear, with the
    image's edge continued outwards as the picture's is, so there is no unknown pixel.

    Args:
        stored: one for every data set of the training.

    Attributes:
        fingerprint: a short hash of teacher, data and layers, which a resumed training compares.
    """

    def __init__(self, stored: Sequence[StoredTeacher]) -> None:
        self._of = {one.split.fingerprint: one for one in stored}
        facts = [(one.teacher, data, one.depth_hw, tuple(one.channels)) for data, one in self._of.items()]
        self.fingerprint = hashlib.sha256(repr(facts).encode()).hexdigest()[:16]

    @classmethod
    def of(
        cls,
        teacher: AnyNetwork | str | Path,
        splits: Sequence[ImageSplit],
        layers: Sequence[str] = (),
        *,
        depth_hw: tuple[int, int] = STORED_HW,
        device: torch.device | str | None = None,
        progress: bool = True,
    ) -> Self:
        """The outputs of a teacher, or of a checkpoint's, on every split; what is missing is computed.

        Raises:
            CheckpointError: no such checkpoint, or a damaged one.
            NasdepthError: for the reasons of `store_teacher`.
        """
        if isinstance(teacher, (str, Path)):
            teacher = load_model(teacher)
        stored = []
        for split in {split.fingerprint: split for split in splits}.values():
            folder = store_teacher(
                teacher, split, layers, depth_hw=depth_hw, device=device, progress=progress
            )
            stored.append(StoredTeacher(folder, split))
        return cls(stored)

    def __call__(
        self, split: ImageSplit, indices: np.ndarray, views: Sequence[View], loss_hw: tuple[int, int]
    ) -> Mapping[str, Any]:
        """`teacher_mm` (B, 1, *loss_hw) and, where layers were chosen, `teacher_features`, float32.

        Raises:
            DataError: this data set is none of those that the teacher has seen.
        """
        if split.fingerprint not in self._of:
            raise DataError(
                f"{split.name}: the teacher's outputs are of data {', '.join(self._of)}, not of "
                f"{split.fingerprint}; give `TeacherCache.of` every data set of the training"
            )
        stored = self._of[split.fingerprint]
        given: dict[str, Any] = {"teacher_mm": sample_maps(stored.depth_mm(indices), views, loss_hw)}
        if stored.channels:
            given["teacher_features"] = {
                name: sample_maps(maps, views, (maps.shape[2], maps.shape[3]))
                for name, maps in stored.features(indices).items()
            }
        return given


def store_teacher(
    teacher: AnyNetwork,
    split: ImageSplit,
    layers: Sequence[str] = (),
    *,
    depth_hw: tuple[int, int] = STORED_HW,
    device: torch.device | str | None = None,
    progress: bool = True,
) -> Path:
    """Run a teacher once over a split's images, unless its outputs are in the cache folder already.

    An interrupted run loses one batch: the next call goes on from there. The folder appears when it is whole.

    Args:
        layers: the names of the feature layers that are kept beside the depth, in float16.
        depth_hw: depth is kept at this size, in uint16 steps of a millimetre (or of what the data set's own
            depth is kept in), from 1 up.

    Returns:
        The folder, for `StoredTeacher`.

    Raises:
        NasdepthError: the teacher's depth is not 480x640 or not finite, it lacks a layer, or the disk is
            full.
    """
    kept = _Kept(
        teacher_fingerprint(teacher),
        split.fingerprint,
        len(split),
        float(split.info.get("mm_per_step", 1)),
        (depth_hw[0], depth_hw[1]),
        tuple(dict.fromkeys(layers)),
    )
    root = cache_folder("teachers")
    folder = root / kept.slot
    device = default_device() if device is None else torch.device(device)
    was_training, before = teacher.training, next(teacher.parameters()).device
    teacher.to(device).eval()
    try:
        root.mkdir(parents=True, exist_ok=True)
        with locked(root / f".{kept.slot}.lock"):
            if _whole_meta(folder) is None:
                _fill(folder, teacher, split, kept, device, progress)
    except OSError as error:
        raise DataError(
            f"{folder}: the teacher's outputs cannot be kept there ({error.strerror or error}); free some "
            "space, or set NASDEPTH_CACHE to another folder"
        ) from error
    finally:
        teacher.to(before).train(was_training)
    return folder


def teacher_fingerprint(teacher: AnyNetwork) -> str:
    """Short hash of a network's architecture and all its weights."""
    digest = hashlib.sha256(str(teacher.architecture).encode())
    for name, tensor in teacher.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def load_start(model: AnyNetwork, path: str | Path) -> None:
    """Start a student where its own earlier training ended: the second stage of two-stage distillation.

    Its `scale_mm` comes along.

    Raises:
        CheckpointError: no such checkpoint, a damaged one, or one of another architecture.
    """
    trained = load_model(path)
    if str(trained.architecture) != str(model.architecture):
        raise CheckpointError(
            f"{path}: teacher.start_from must hold the same student: it holds {trained.architecture}, not "
            f"{model.architecture}; name its own checkpoint, or leave the field empty for one stage"
        )
    model.load_state_dict(trained.state_dict())


def _fill(
    folder: Path,
    teacher: AnyNetwork,
    split: ImageSplit,
    kept: _Kept,
    device: torch.device,
    progress: bool,
) -> None:
    planes = _planes(teacher, split, kept, device)
    meta = {"format": _FORMAT, **asdict(kept), "planes": [asdict(plane) for plane in planes]}
    meta = json.loads(json.dumps(meta))
    part = folder.with_name(f".{folder.name}.part")
    done = _images_done(part, meta)
    if not done:
        begin(part, planes)
        needed = len(split) * sum(plane.bytes_each for plane in planes)
        mend = "Free some space, choose fewer layers, or set NASDEPTH_CACHE to another folder."
        check_space(part.parent, needed, "the teacher's outputs", mend)
        write_json(part / _META_FILE, meta)
    bar = Progress(console=Console(stderr=True), transient=True, disable=not progress)
    with bar:
        task = bar.add_task("The teacher looks at the images", total=len(split), completed=done)
        for start, arrays in _outputs(teacher, split, kept, device, done):
            write(part, planes, start, arrays)
            write_text(part / _DONE_FILE, str(start + len(arrays[0])))
            bar.update(task, completed=start + len(arrays[0]))
    (part / _DONE_FILE).unlink()
    finish(part, folder)


def _images_done(part: Path, meta: Mapping[str, Any]) -> int:
    """How many images an interrupted run of the same teacher over the same data has behind it."""
    try:
        if json.loads((part / _META_FILE).read_text(encoding="utf-8")) != meta:
            return 0
        return int((part / _DONE_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return 0


@torch.inference_mode()
def _planes(teacher: AnyNetwork, split: ImageSplit, kept: _Kept, device: torch.device) -> tuple[Plane, ...]:
    """What one image's outputs take on disk, by trying one."""
    rgb = _pixels(split, np.array([0]), device)
    whole = tuple(teacher(rgb).shape)
    if whole != (1, 1, *OUTPUT_HW):
        raise NasdepthError(
            f"teacher {teacher.architecture}: gives depth of {whole[-2]}x{whole[-1]} (shape {whole}), but "
            f"{OUTPUT_HW[0]}x{OUTPUT_HW[1]} is needed; let its last step resize to that"
        )
    features = teacher.features(teacher.resize(rgb))
    planes = [Plane(_DEPTH_FILE, "<u2", kept.depth_hw)]
    for layer in kept.layers:
        if layer not in features:
            raise NasdepthError(
                f"teacher.layers: names {layer!r}, which {teacher.architecture} does not give; it gives "
                f"{', '.join(features)}"
            )
        planes.append(Plane(f"{layer}.f16", "<f2", tuple(features[layer].shape[1:])))
    return tuple(planes)


def _outputs(
    teacher: AnyNetwork, split: ImageSplit, kept: _Kept, device: torch.device, first: int
) -> Iterator[tuple[int, list[np.ndarray]]]:
    """From image `first` on: the batch's first image, and one array for each plane."""
    for start in range(first, len(split), _BATCH):
        indices = np.arange(start, min(start + _BATCH, len(split)))
        with torch.inference_mode():
            features = teacher.features(teacher.resize(_pixels(split, indices, device)))
            depth_mm = teacher.predict(features[PENULTIMATE], kept.depth_hw)[:, 0]
            arrays = [(depth_mm / kept.mm_per_step).cpu().numpy()]
            arrays += [features[layer].half().cpu().numpy() for layer in kept.layers]
        for name, array in zip(("depth", *kept.layers), arrays, strict=True):
            bad = ~np.isfinite(array).reshape(len(indices), -1).all(1)
            if bad.any():
                raise NasdepthError(
                    f"teacher {teacher.architecture}: its {name} of image "
                    f"{split.image_ids[indices[bad.argmax()]]} is not finite (or beyond float16); take a "
                    "teacher that has not diverged, or another layer"
                )
        arrays[0] = arrays[0].round().clip(1, np.iinfo(np.uint16).max)
        yield start, arrays


def _pixels(split: ImageSplit, indices: np.ndarray, device: torch.device) -> torch.Tensor:
    rgb = np.stack([split.rgb_view(int(index)) for index in indices])
    return torch.from_numpy(rgb).to(device).permute(0, 3, 1, 2).float()


def _whole_meta(folder: Path) -> dict[str, Any] | None:
    try:
        meta = json.loads((folder / _META_FILE).read_text(encoding="utf-8"))
        planes = [Plane(**one) for one in meta["planes"]]
        whole = meta["format"] == _FORMAT and are_whole(folder, planes, meta["images"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return meta if whole else None
