"""Several processes that train one network: under torchrun, each takes its part of every batch."""

from __future__ import annotations

import atexit
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import nn

from nasdepth.data.mixture import Step
from nasdepth.errors import CheckpointError, NasdepthError


@dataclass(frozen=True)
class Processes:
    """The processes of a training, as this one sees them.

    Attributes:
        rank: this process's number; 0 writes the files.
        count: how many there are.
        device: the device that this process computes on.
    """

    rank: int
    count: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this process writes files and reports."""
        return self.rank == 0

    def part(self, step: Step) -> Step:
        """This process's items of a step.

        Its augmentation draws its own numbers, but for a single process, which keeps the step as it is.
        """
        if self.count == 1:
            return step
        return replace(step, indices=step.indices[self.rank :: self.count], seeds=(*step.seeds, self.rank))

    def check(self, batch_size: int) -> None:
        """Raise NasdepthError where a batch cannot be divided evenly."""
        if batch_size % self.count:
            raise NasdepthError(
                f"batch_size: {batch_size} images cannot be divided among {self.count} processes; take a "
                f"multiple of {self.count}"
            )

    def wrapped(self, learner: nn.Module, *, changing: bool) -> nn.Module:
        """Wrap a learner so that its gradients are averaged over the processes.

        Args:
            changing: steps differ in which parameters they use.
        """
        if self.count == 1:
            return learner
        # buffers are averaged in `average_buffers`; DDP would copy the first process's
        return nn.parallel.DistributedDataParallel(
            learner, broadcast_buffers=False, find_unused_parameters=changing
        )

    def mean(self, values: torch.Tensor) -> torch.Tensor:
        """The mean over the processes; NaN if it is so in one."""
        if self.count > 1:
            values = values.clone()
            dist.all_reduce(values)
            values /= self.count
        return values

    @torch.no_grad()
    def average_buffers(self, model: nn.Module) -> None:
        """Give all processes the mean of their buffers: statistics of batch normalisation over whole batches.

        Each process still normalises by its own part of the batch, as DistributedDataParallel does.
        """
        if self.count == 1:
            return
        buffers = [buffer for buffer in model.buffers() if buffer.is_floating_point()]
        if buffers:
            flat = self.mean(torch.cat([buffer.flatten() for buffer in buffers]))
            sizes = [buffer.numel() for buffer in buffers]
            for buffer, mean in zip(buffers, flat.split(sizes), strict=True):
                buffer.copy_(mean.view_as(buffer))

    def gathered(self, own: Mapping[int, float], count: int) -> np.ndarray:
        """(count,) float64 from each process's values by index."""
        parts: list[Any] = [dict(own)]
        if self.count > 1:
            parts = [None] * self.count
            dist.all_gather_object(parts, dict(own))
        values = np.full(count, np.nan)
        for part in parts:
            values[list(part)] = list(part.values())
        return values

    def wait(self) -> None:
        """Return once every process has come here."""
        if self.count > 1:
            dist.barrier()

    def check_resumed(self, epochs: int, checkpoint: Path | None) -> None:
        """Raise CheckpointError where processes would go on from different epochs, and so wait for ever.

        Args:
            epochs: how many this process has found in the checkpoint.
        """
        found = self.gathered({self.rank: epochs}, self.count)
        if (found != epochs).any():
            raise CheckpointError(
                f"{checkpoint}: the {self.count} processes find {', '.join(f'{one:.0f}' for one in found)} "
                "epochs in it; keep the folder where all of them see the same files, or delete it everywhere"
            )


def default_device() -> torch.device:
    """Return the GPU where there is one, otherwise the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def join(device: torch.device | None = None) -> Processes:
    """The processes that torchrun has started, or this one alone.

    Args:
        device: the device of a single process; by default the GPU where there is one. Under torchrun
            each process takes the GPU of its local rank (nccl), or the CPU (gloo).
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    on_gpu = torch.cuda.is_available() and (device is None or device.type == "cuda")
    if count == 1:
        return Processes(0, 1, device or torch.device("cuda" if on_gpu else "cpu"))
    if on_gpu:
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    if not dist.is_initialized():
        dist.init_process_group("nccl" if on_gpu else "gloo")
        # a program may train several networks, so the group outlives each
        atexit.register(dist.destroy_process_group)
    return Processes(dist.get_rank(), count, device or torch.device("cpu"))


def is_first_process() -> bool:
    """Whether this process is the one that writes files: always, but for torchrun's others."""
    return int(os.environ.get("RANK", "0")) == 0
