"""Images with metric depth that live on a device: a GPU samples its batches itself and waits for nobody."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from weakref import WeakKeyDictionary, WeakSet

import numpy as np
import torch

from nasdepth.data.mixture import Mixture
from nasdepth.data.store import DepthSplit, ImageSplit
from nasdepth.training.augment import to_device
from nasdepth.training.geometry import View

_SHARE_OF_FREE = 0.5
"""How much of a device's free memory images may take; the rest is for networks and their activations."""
_COPIED_AT_ONCE = 32
_UINT16 = 0xFFFF

_residents: WeakKeyDictionary[ImageSplit, dict[str, ResidentSplit]] = WeakKeyDictionary()
_told: WeakSet[ImageSplit] = WeakSet()
_log = logging.getLogger(__name__)


class ResidentSplit:
    """The pixels of a split with metric depth on a device: 1.5 MB an image.

    Args:
        split: the split whose images are copied. Its depth must be dense: single points of a LiDAR are not
            sampled.
        device: the device that they are copied to.
    """

    def __init__(self, split: DepthSplit, device: torch.device) -> None:
        self.device = device
        self._mm_per_step = split.mm_per_step
        self._rgb = torch.empty((len(split), *split.hw, 3), dtype=torch.uint8, device=device)
        # torch can hardly compute with uint16: the same 16 bits are kept under another name
        self._steps = torch.empty((len(split), *split.hw), dtype=torch.int16, device=device)
        for start in range(0, len(split), _COPIED_AT_ONCE):
            part = slice(start, min(start + _COPIED_AT_ONCE, len(split)))
            rgb, steps = split.stored_batch(np.arange(part.start, part.stop))
            self._rgb[part] = torch.from_numpy(rgb).to(device)
            self._steps[part] = torch.from_numpy(steps.view(np.int16)).to(device)

    def __len__(self) -> int:
        return len(self._rgb)

    def images(self, part: slice) -> tuple[torch.Tensor, torch.Tensor]:
        """Whole images: rgb (B, 3, H, W) float32 on 0-255 and depth (B, H, W) float32 in mm, 0 = unknown."""
        return self._rgb[part].permute(0, 3, 1, 2).float(), self._in_mm(self._steps[part])

    def sample_rgb(self, indices: np.ndarray, views: Sequence[View], hw: tuple[int, int]) -> torch.Tensor:
        """Bilinear samples without low-pass filter, rounded to whole levels; as `geometry.sample_rgb`.

        Turned views are resized upright and then turned, as there, all of a batch at once. The values differ
        from it by a level at each of the two steps, which are rounded otherwise.

        Args:
            indices: (N,) which images.
            views: (N,) which part of each.

        Returns:
            (N, 3, *hw) float32 on 0-255, channels last.
        """
        resized = [view.resized_window(hw) for view in views]
        wanted = np.array([[*window, *size] for window, size in resized], np.float64)
        items, rows, columns, windows = self._places(indices, views, hw, wanted)
        top, left, height, width, resized_height, resized_width = windows.T[..., None, None]

        def stored(row: torch.Tensor, column: torch.Tensor) -> torch.Tensor:
            row, column = row.clamp(top, top + height - 1), column.clamp(left, left + width - 1)
            return _bilinear(
                lambda y, x: self._rgb[items, y.long(), x.long()].float(),
                row, column, top + height - 1, left + width - 1,
            ).round_()  # fmt: skip

        if all(view.upright for view in views):
            sampled = stored(rows, columns)
        else:
            down, across = height / resized_height, width / resized_width
            sampled = _bilinear(
                lambda y, x: stored(top + (y + 0.5) * down - 0.5, left + (x + 0.5) * across - 0.5),
                ((rows - top + 0.5) / down - 0.5).clamp_min(0).minimum(resized_height - 1),
                ((columns - left + 0.5) / across - 0.5).clamp_min(0).minimum(resized_width - 1),
                resized_height - 1,
                resized_width - 1,
            ).round_()
        return sampled.permute(0, 3, 1, 2)

    def sample_depth(self, indices: np.ndarray, views: Sequence[View], hw: tuple[int, int]) -> torch.Tensor:
        """(N, 1, *hw) float32: the stored depth in mm nearest to every output pixel's centre.

        It is 0 where unknown or outside of the image; as `geometry.sample_nearest`, whose arguments those
        of `sample_rgb` are.
        """
        items, rows, columns, _ = self._places(indices, views, hw)
        rows, columns = (rows + 0.5).floor().long(), (columns + 0.5).floor().long()
        height, width = self._steps.shape[1:]
        inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
        steps = self._steps[items, rows.clamp(0, height - 1), columns.clamp(0, width - 1)]
        return torch.where(inside, self._in_mm(steps), 0.0)[:, None]

    def _in_mm(self, steps: torch.Tensor) -> torch.Tensor:
        depth_mm = (steps.int() & _UINT16).float()
        return depth_mm if self._mm_per_step == 1 else depth_mm * self._mm_per_step

    def _places(
        self, indices: np.ndarray, views: Sequence[View], hw: tuple[int, int], more: np.ndarray | None = None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Items (N, 1, 1), rows and columns of all output pixels' centres, float64 and alike in as many
        dimensions, and what else (N, ...) is to go to the device by the same copy."""
        height, width = hw
        columns_of = [np.stack([view.summands(hw) for view in views]), np.asarray(indices)[:, None]]
        if more is not None:
            columns_of.append(more)
        copied = to_device(np.concatenate(columns_of, axis=1), self.device)
        sums, items, rest = copied.tensor_split((2 * (height + width), 2 * (height + width) + 1), dim=1)
        row_down, row_right, column_down, column_right = sums.split((height, width, height, width), dim=1)
        rows, columns = row_down[:, :, None], column_right[:, None, :]
        if not all(view.upright for view in views):
            rows, columns = rows + row_right[:, None, :], column_down[:, :, None] + columns
        return items.long()[:, :, None], rows, columns, rest


def resident_split(split: ImageSplit, device: torch.device) -> ResidentSplit | None:
    """The split's pixels on a device, copied there at the first call and found there at all later ones.

    They stay as long as the split itself is in use, so that all candidates of a search share one copy.

    Returns:
        None where the split cannot live there: it has no dense metric depth, or the device has too little
        free memory, of which a warning is logged. Its batches are then made by the CPU.
    """
    if not isinstance(split, DepthSplit) or split.sparse:
        return None
    kept = _residents.setdefault(split, {})
    found = kept.get(str(device))
    if found is None:
        needed, free = len(split) * split.hw[0] * split.hw[1] * 5, free_bytes(device)
        if needed > _SHARE_OF_FREE * free:
            if split not in _told:
                _log.warning(
                    "the %d images of %s take %.1f GB, more than half of the %.1f GB that are free on %s: "
                    "they stay on the disk, and the CPU makes every batch, which is slower",
                    len(split), split.name, needed / 1e9, free / 1e9, device,
                )  # fmt: skip
                _told.add(split)
            return None
        found = kept[str(device)] = ResidentSplit(split, device)
    return found


def resident_portions(mixture: Mixture, device: torch.device) -> dict[ImageSplit, ResidentSplit]:
    """Copy those of a mixture's splits to a device that can live there; see `resident_split`."""
    found = {portion.split: resident_split(portion.split, device) for portion in mixture.portions}
    return {split: resident for split, resident in found.items() if resident is not None}


def free_bytes(device: torch.device) -> int:
    """Return how many bytes of a device's memory are free."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _bilinear(
    value: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    rows: torch.Tensor,
    columns: torch.Tensor,
    last_row: torch.Tensor,
    last_column: torch.Tensor,
) -> torch.Tensor:
    """Between the four pixels around each place; `value` gives those of whole rows and columns, (..., C)."""
    above, before = rows.floor(), columns.floor()
    below, behind = (above + 1).minimum(last_row), (before + 1).minimum(last_column)
    down, across = (rows - above).float()[..., None], (columns - before).float()[..., None]
    upper = torch.lerp(value(above, before), value(above, behind), across)
    return torch.lerp(upper, torch.lerp(value(below, before), value(below, behind), across), down)
