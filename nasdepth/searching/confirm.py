"""The best candidates once more: longer, from another seed, before a winner is named.

The best of two hundred noisy results is partly the luckiest of them (the winner's curse). So the candidates
that are believed to be best are trained again, and only what they reach then decides among them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import optuna

from nasdepth.architecture import Architecture
from nasdepth.errors import DivergedError
from nasdepth.searching.objective import Objective
from nasdepth.searching.records import TrialRecord
from nasdepth.training import Epoch, StepReport

# kept with the study, not with a trial: an ended trial cannot be written
_ATTRIBUTE = "nasdepth_confirmed "


@dataclass(frozen=True)
class Confirmation:
    """What a candidate reached in its second, longer training.

    Attributes:
        si_rmse: mean over the held-out images; None if the training diverged.
        image_errors: si-RMSE of every held-out image.
        epochs: of the training.
        training_s: seconds of training and validation.
    """

    si_rmse: float | None
    image_errors: tuple[float, ...]
    epochs: int
    training_s: float


def confirmations(study: optuna.Study) -> dict[Architecture, Confirmation]:
    """Every candidate of a study that was trained again."""
    return {
        Architecture.parse(name.removeprefix(_ATTRIBUTE)): Confirmation(
            **value | {"image_errors": tuple(value["image_errors"])}
        )
        for name, value in study.user_attrs.items()
        if name.startswith(_ATTRIBUTE)
    }


def confirm(
    study: optuna.Study,
    objective: Objective,
    architecture: Architecture,
    on_epoch: Callable[[Epoch], None] = lambda _: None,
    on_step: Callable[[StepReport], None] = lambda _: None,
) -> Confirmation:
    """Train one candidate again and keep the result in the study.

    Args:
        objective: of the second training; see `Objective.longer`.
    """
    seconds: list[float] = []

    def ended(epoch: Epoch) -> None:
        seconds.append(epoch.seconds)
        on_epoch(epoch)

    try:
        rung = objective.begin(architecture).train_rung(0, ended, on_step)
        errors = tuple(round(float(error), 5) for error in rung.image_errors)
        result = Confirmation(rung.si_rmse, errors, objective.rungs[-1], sum(seconds))
    except DivergedError:
        result = Confirmation(None, (), objective.rungs[-1], sum(seconds))
    study.set_user_attr(f"{_ATTRIBUTE}{architecture}", asdict(result))
    return result


def with_confirmations(
    records: Sequence[TrialRecord], confirmed: dict[Architecture, Confirmation]
) -> list[TrialRecord]:
    """Records with what their second trainings reached."""
    if not confirmed:
        return list(records)
    return [
        record.with_confirmation(confirmed[record.architecture].si_rmse)
        if record.architecture in confirmed
        else record
        for record in records
    ]
