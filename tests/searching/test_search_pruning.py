"""Pruners end what is hopeless and nothing else."""

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from nasdepth.errors import StudyError
from nasdepth.score import log2_score
from nasdepth.searching.pruning import PRUNERS, ForecastPruner, make_pruner

FINALS = [0.20, 0.21, 0.22, 0.23, 0.24, 0.25, 0.26, 0.27, 0.28, 0.29]


def finished(final, ms=2.0, ahead=0.04, step=1):
    """A complete trial whose si-RMSE was `ahead` of its end at the first step."""
    return create_trial(
        value=log2_score(final, ms),
        intermediate_values={step: log2_score(final + ahead, ms), 4: log2_score(final, ms)},
        user_attrs={"latency_ms": ms},
    )


def running(reached, ms, step=1):
    return create_trial(
        state=TrialState.RUNNING,
        intermediate_values={step: log2_score(reached, ms)},
        user_attrs={"latency_ms": ms},
    )


@pytest.fixture
def study():
    study = optuna.create_study(direction="maximize")
    # an exact relation would leave no doubt at all
    study.add_trials([finished(final, ahead=0.04 + 0.002 * (-1) ** n) for n, final in enumerate(FINALS)])
    return study


def test_what_is_foretold_to_lose_ends_and_what_could_win_goes_on(study):
    pruner = ForecastPruner()
    assert pruner.prune(study, running(0.30, 2.0))
    assert not pruner.prune(study, running(0.24, 2.0))
    assert not pruner.prune(study, running(0.23, 2.0))


def test_the_latency_of_a_candidate_counts(study):
    pruner = ForecastPruner()
    # at half the latency 0.05 more may win, at twice the latency 0.05 less is needed
    assert not pruner.prune(study, running(0.28, 1.0))
    assert pruner.prune(study, running(0.28, 2.0))
    assert pruner.prune(study, running(0.23, 4.0))


def test_the_less_the_first_steps_say_the_more_goes_on():
    noisy = optuna.create_study(direction="maximize")
    noisy.add_trials([finished(final, ahead=0.04 + 0.05 * (-1) ** n) for n, final in enumerate(FINALS)])
    assert not ForecastPruner().prune(noisy, running(0.30, 2.0))


def test_nothing_is_foretold_from_a_few(study):
    few = optuna.create_study(direction="maximize")
    few.add_trials([finished(final) for final in FINALS[:7]])
    assert not ForecastPruner().prune(few, running(0.5, 2.0))
    # nor of a step that the others have not reported
    assert not ForecastPruner().prune(study, running(0.5, 2.0, step=3))
    silent = create_trial(state=TrialState.RUNNING, user_attrs={"latency_ms": 2.0})
    assert not ForecastPruner().prune(study, silent)


@pytest.mark.parametrize("name", PRUNERS)
def test_every_pruner_serves_a_study_in_rungs(name):
    study = optuna.create_study(direction="maximize", pruner=make_pruner(name, (1, 3, 9)), study_name="named")
    ended = []
    for number in range(30):
        trial = study.ask()
        si_rmse, ms = 0.2 + 0.01 * (number % 10), 2.0
        trial.set_user_attr("latency_ms", ms)
        pruned = False
        for step, ahead in ((1, 0.08), (3, 0.02), (9, 0.0)):
            trial.report(log2_score(si_rmse + ahead, ms), step)
            if step < 9 and trial.should_prune():
                pruned = True
                break
        ended.append((number % 10, pruned))
        if pruned:
            study.tell(trial, state=TrialState.PRUNED)
        else:
            study.tell(trial, log2_score(si_rmse, ms))
    pruned = [place for place, was in ended if was]
    if name == "none":
        assert not pruned
    else:
        assert pruned and 0 not in pruned


def test_an_unknown_pruner_is_named_with_those_there_are():
    with pytest.raises(StudyError, match=r"pruner halfing: is not known \(did you mean halving\?\)"):
        make_pruner("halfing", (4,))
