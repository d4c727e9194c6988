"""What a training writes while it runs: `log.csv`, pictures, and events for TensorBoard where that is."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from nasdepth.data.store import ImageSplit
from nasdepth.files import write_text
from nasdepth.models import AnyNetwork
from nasdepth.training.samples import Samples, write_picture

LOG_FILE, SAMPLES_FOLDER, EVENTS_FOLDER = "log.csv", "samples", "tensorboard"
_STEPS_BETWEEN_EVENTS = 10


@dataclass(frozen=True)
class Epoch:
    """The report of one epoch.

    Attributes:
        loss: mean total over the steps.
        si_rmse: mean over the validation images, None without them.
        learning_rate: the rate of the last step, for parameters that no ratio slows down.
        data_seconds: how long the training waited for batches.
        terms: the mean unweighted value of each loss term, and the norm of the gradient before it is clipped.
        weights: the weight of each loss term at the epoch's end.
    """

    epoch: int
    loss: float
    si_rmse: float | None
    seconds: float
    learning_rate: float = 0.0
    data_seconds: float = 0.0
    terms: Mapping[str, float] = field(default_factory=dict)
    weights: Mapping[str, float] = field(default_factory=dict)

    def to_row(self) -> dict[str, float | int | None]:
        """Flat, for CSV; epochs are counted from 1, as the pictures are."""
        row = asdict(self) | {"epoch": self.epoch + 1}
        terms, weights = row.pop("terms"), row.pop("weights")
        row |= {name.replace(" ", "_"): value for name, value in terms.items()}
        return row | {f"weight_{name}": value for name, value in weights.items()}

    @property
    def validated(self) -> float:
        """`si_rmse` of an epoch of a training with validation images.

        Raises:
            ValueError: there were none.
        """
        if self.si_rmse is None:
            raise ValueError(f"epoch {self.epoch} was trained without validation images")
        return self.si_rmse


class Logs:
    """The files that a training writes while it runs. Without a folder nothing is written.

    Args:
        folder: gets `log.csv`, `samples/` and, with the package tensorboard, `tensorboard/`.
        shown: images to draw.
        first_step: the step of the whole training that comes next; later events in the folder are dropped.
    """

    def __init__(self, folder: Path | None, shown: ImageSplit, first_step: int = 0) -> None:
        self._folder = folder
        self._samples = Samples(shown) if folder else None
        self._events = _event_writer(folder / EVENTS_FOLDER, first_step) if folder else None

    def step(self, step: int, loss: float) -> None:
        """Take note of a step of the whole training."""
        if self._events and step % _STEPS_BETWEEN_EVENTS == 0:
            self._events.add_scalar("step/loss", loss, step)

    def epoch(self, history: Sequence[Epoch], model: AnyNetwork) -> None:
        """Write what the epochs so far came to, and what the network predicts now."""
        if not (self._folder and self._samples):
            return
        write_text(self._folder / LOG_FILE, _csv([epoch.to_row() for epoch in history]))
        number = history[-1].epoch + 1
        picture = self._samples.picture(model)
        write_picture(self._folder / SAMPLES_FOLDER / f"epoch-{number:04d}.jpg", picture)
        if self._events:
            for name, value in history[-1].to_row().items():
                if value is not None and name != "epoch":
                    self._events.add_scalar(f"epoch/{name}", value, number)
            self._events.add_image("predictions", picture, number, dataformats="HWC")
            self._events.flush()

    def close(self) -> None:
        if self._events:
            self._events.close()


def _csv(rows: Sequence[Mapping]) -> str:
    # a mixture's epoch may lack a term
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _event_writer(folder: Path, first_step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:  # an extra: `pip install nasdepth[tensorboard]`
        return None
    return SummaryWriter(str(folder), purge_step=first_step)
