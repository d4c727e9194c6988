"""When a candidate's training ends early: rules by name, Optuna's own and one that knows the latency."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import optuna
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner, SuccessiveHalvingPruner
from optuna.trial import FrozenTrial, TrialState

from nasdepth.errors import StudyError, nearest
from nasdepth.searching.goals import SCORE, Goal

# the best third of what has come as far goes on: the factor of Li et al. 2018 (Hyperband) and 2020 (ASHA)
_REDUCTION = 3
LATENCY_ATTRIBUTE = "latency_ms"


class ForecastPruner(BasePruner):
    """Ends a training whose final score, as foretold from what it has reached, would hardly be the best.

    The trials that were trained to the end tell how si-RMSE goes on from a step: final si-RMSE is regressed
    on the si-RMSE at that step. The latency of a candidate is known and enters as it is. A training ends when
    its score would stay below the best even if it ended `optimism` standard deviations better than foretold.

    Args:
        goal: whose merit is the study's value.
        startup: complete trials that must have reached the step before anything is foretold.
        optimism: in standard deviations of what the regression leaves.
    """

    def __init__(self, goal: Goal = SCORE, startup: int = 8, optimism: float = 2.0) -> None:
        self._goal, self._startup, self._optimism = goal, startup, optimism

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Whether the trial ends at its last reported step."""
        step = trial.last_step
        if step is None:
            return False
        complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        complete = [one for one in complete if step in one.intermediate_values]
        values = [one.values[0] for one in complete]
        if len(complete) < self._startup:
            return False
        reached = np.array([self._si_rmse(one.intermediate_values[step], one) for one in complete])
        final = np.array([self._si_rmse(value, one) for value, one in zip(values, complete, strict=True)])
        spread = reached - reached.mean()
        slope = float(spread @ final) / max(float(spread @ spread), 1e-12)
        # a training that is ahead stays ahead, and by no more than it was
        slope = min(max(slope, 0.2), 1.0)
        rest = final - final.mean() - slope * spread
        sd = math.sqrt(float(rest @ rest) / (len(complete) - 2))
        foretold = final.mean() + slope * (
            self._si_rmse(trial.intermediate_values[step], trial) - reached.mean()
        )
        luckiest = self._goal.merit(foretold - self._optimism * sd, trial.user_attrs[LATENCY_ATTRIBUTE])
        return luckiest < max(values)

    def _si_rmse(self, merit: float, trial: FrozenTrial) -> float:
        return self._goal.si_rmse_for(merit, trial.user_attrs[LATENCY_ATTRIBUTE])


PRUNERS: dict[str, Callable[[Sequence[int], Goal], BasePruner]] = {
    "forecast": lambda rungs, goal: ForecastPruner(goal),
    # worse than the median of all at the same step, from the second epoch on
    "median": lambda rungs, _: MedianPruner(n_startup_trials=5, n_warmup_steps=min(2, rungs[0])),
    # not among the best third that have finished the same rung
    "halving": lambda rungs, _: SuccessiveHalvingPruner(
        min_resource=rungs[0], reduction_factor=_REDUCTION, bootstrap_count=0
    ),
    # several halvings side by side, some of which start late
    "hyperband": lambda rungs, _: HyperbandPruner(
        min_resource=rungs[0], max_resource=rungs[-1], reduction_factor=_REDUCTION
    ),
    "none": lambda rungs, _: NopPruner(),
}
"""By name, what makes a pruner for a training whose rungs end after these epochs."""


def make_pruner(name: str, rungs: Sequence[int], goal: Goal = SCORE) -> BasePruner:
    """The pruner of a name.

    Args:
        rungs: epochs after which a candidate is judged, rising.
        goal: whose merit the study maximises.

    Raises:
        StudyError: there is no such pruner.
    """
    if name not in PRUNERS:
        raise StudyError(
            f"pruner {name}: is not known{nearest(name, PRUNERS)}; there are {', '.join(PRUNERS)}"
        )
    return PRUNERS[name](rungs, goal)
