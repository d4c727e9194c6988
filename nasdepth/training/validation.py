"""How far a network is off on images that it does not learn from, while it trains."""

from __future__ import annotations

import numpy as np
import torch

from nasdepth.data.store import DepthSplit
from nasdepth.models import AnyNetwork
from nasdepth.training.distributed import Processes, default_device
from nasdepth.training.losses.scale_invariant import LOG_EPSILON_MM
from nasdepth.training.resident import ResidentSplit, resident_split

_IMAGES_AT_ONCE = {"cpu": 8, "cuda": 32}


@torch.no_grad()
def validate(
    model: AnyNetwork, split: DepthSplit, *, device: torch.device | None = None, resident: bool = False
) -> np.ndarray:
    """si-RMSE per image of a network, at full resolution: (N,) float64, NaN without a known pixel.

    The challenge's definition (`nasdepth.metrics`) with logarithms in float32 and sums in float64: several
    times faster, and the same to five digits. What is deployed is scored by `evaluate_tflite`.

    Args:
        device: the device to compute on; by default the GPU where there is one.
        resident: keep the images on the device for the next call with the same split, if they fit there.
    """
    device = device or default_device()
    model.to(device).eval()
    kept = resident_split(split, device) if resident else None
    at_once = _IMAGES_AT_ONCE.get(device.type, _IMAGES_AT_ONCE["cpu"])
    scores = []
    for start in range(0, len(split), at_once):
        rgb, target_mm = _images(split, slice(start, min(start + at_once, len(split))), kept, device)
        scores.append(si_rmse_of_images(model(rgb)[:, 0].float(), target_mm))
    # read back once, at the end: a GPU works through all images without a stop
    return torch.cat(scores).cpu().numpy() if scores else np.empty(0)


class HeldOut:
    """Images that a training is judged by after every epoch, shared out among its processes.

    Args:
        split: all of the images.
        processes: the processes of the training; each of them judges its share.
        resident: keep the share on the device from one epoch to the next, if it fits there.

    Attributes:
        split: all of the images.
    """

    def __init__(self, split: DepthSplit, processes: Processes, resident: bool) -> None:
        self.split = split
        self._processes = processes
        self._resident = resident
        self._indices = np.arange(processes.rank, len(split), processes.count)
        # one object for all epochs: what is resident is found by it
        self._own = split if processes.count == 1 else split.subset(self._indices)

    def scores(self, model: AnyNetwork) -> np.ndarray:
        """The si-RMSE of a network on every image, (N,) float64; NaN for an image without a known pixel."""
        scores = validate(model, self._own, device=self._processes.device, resident=self._resident)
        own = zip(self._indices.tolist(), scores.tolist(), strict=True)
        return self._processes.gathered(dict(own), len(self.split))


def si_rmse_of_images(pred_mm: torch.Tensor, target_mm: torch.Tensor) -> torch.Tensor:
    """(N,) float64 si-RMSE of (N, H, W) float32 depth in mm; known is what is above 1 mm, NaN without it."""
    known = target_mm > 1
    # ln pred - ln target by one logarithm, and 0 where the truth is unknown
    ratio = torch.where(known, pred_mm.clamp_min(LOG_EPSILON_MM) / target_mm, 1.0)
    g = ratio.log_().flatten(1)
    count = known.flatten(1).sum(1)
    mean = g.sum(1, dtype=torch.float64) / count
    mean_square = torch.linalg.vector_norm(g, dim=1, dtype=torch.float64).square() / count
    # in float64 the difference is exact to 1e-12 however far the prediction's scale is off
    return (mean_square - mean.square()).clamp_min(0).sqrt()


def _images(
    split: DepthSplit, part: slice, kept: ResidentSplit | None, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    if kept is not None:
        return kept.images(part)
    rgb, depth_mm = split.batch(np.arange(part.start, part.stop))
    pixels = torch.from_numpy(rgb).to(device).permute(0, 3, 1, 2).float()
    return pixels, torch.from_numpy(depth_mm.astype(np.float32)).to(device)
