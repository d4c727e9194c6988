"""What each step came to, read back without holding up a GPU, and the end of a training that diverges."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import torch

from nasdepth.errors import DivergedError

TOTAL, GRADIENT = "total loss", "gradient norm"

_Waiting = tuple[int, Sequence[str], torch.Tensor, torch.cuda.Event]


class Readings:
    """The numbers that the steps of an epoch came to.

    Reading a number back waits for the device. On a CPU it is there anyway, and a step that is not finite
    never reaches the weights. A GPU's are read one step late, while it computes the next: that one may spoil
    the weights in memory, but nothing is saved before all numbers are read.

    Args:
        device: the device that computes the steps.
        epoch: the number of the epoch, from 0.
        advice: says what to do, where a number is not finite.
    """

    def __init__(self, device: torch.device, epoch: int, advice: str) -> None:
        self._late = device.type == "cuda"
        self._epoch = epoch
        self._advice = advice
        self._waiting: _Waiting | None = None
        self._sums: dict[str, list[float]] = defaultdict(list)

    def add(self, step: int, names: Sequence[str], values: torch.Tensor) -> tuple[int, float] | None:
        """Take note of the numbers of a step.

        Args:
            step: within the epoch, from 0.
            names: what each value is: a term's name, TOTAL or GRADIENT.
            values: (len(names),).

        Returns:
            The step that has been read and its total loss, if any has.

        Raises:
            DivergedError: a value is not finite; it names the step, the epoch and the term.
        """
        if not self._late:
            return self._read(step, names, values)
        host = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
        host.copy_(values, non_blocking=True)
        copied = torch.cuda.Event()
        copied.record()
        waiting, self._waiting = self._waiting, (step, names, host, copied)
        return self._wait(waiting)

    def finish(self) -> None:
        """Read what is still on its way."""
        waiting, self._waiting = self._waiting, None
        self._wait(waiting)

    def means(self) -> dict[str, float]:
        """The mean of each number over the steps that gave it, by name."""
        return {name: float(np.mean(values)) for name, values in self._sums.items()}

    def _wait(self, waiting: _Waiting | None) -> tuple[int, float] | None:
        if waiting is None:
            return None
        step, names, values, copied = waiting
        copied.synchronize()
        return self._read(step, names, values)

    def _read(self, step: int, names: Sequence[str], values: torch.Tensor) -> tuple[int, float]:
        numbers = dict(zip(names, values.tolist(), strict=True))
        broken = {name: number for name, number in numbers.items() if not math.isfinite(number)}
        if broken:
            # a term that is not finite makes the total and the gradient so: the terms say where it began
            terms = [name for name in broken if name not in (TOTAL, GRADIENT)] or list(broken)[:1]
            shown = " and ".join(f"{_words(name)} is {broken[name]}" for name in terms)
            raise DivergedError(f"{shown} at epoch {self._epoch + 1}, step {step + 1}; {self._advice}")
        for name, number in numbers.items():
            self._sums[name].append(number)
        return step, numbers[TOTAL]


def _words(name: str) -> str:
    return f"the {name}" if name in (TOTAL, GRADIENT) else f"loss.{name}"
