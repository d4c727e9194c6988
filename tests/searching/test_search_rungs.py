"""Candidates are trained in rungs, and only the promising ones go on."""

import pytest

from nasdepth.errors import StudyError
from nasdepth.searching import Outcome, Run, Settings
from nasdepth.searching.objective import ProxyObjective

DATA = "scenes:24+6"


@pytest.fixture
def settings(tiny_space_file, table_file, quick_recipe):
    proxy = quick_recipe.with_(epochs=4)
    return Settings(
        space=str(tiny_space_file), data=DATA, table=str(table_file), proxy=proxy, rungs=(1, 2), pruner="none"
    )


def begun(folder, settings):
    return Run.create(folder, settings).search(progress=False)


def test_every_rung_is_reported_at_its_end(tmp_path, settings, in_shared_cache):
    search = begun(tmp_path, settings)
    assert search.objective.rungs == (1, 2, 4)
    (record,) = search.run(1)
    assert record.outcome is Outcome.TRAINED and len(record.curve) == 4 and len(record.rungs) == 3
    assert record.rungs == (record.curve[0], record.curve[1], record.curve[3])
    assert record.si_rmse == record.rungs[-1]
    (trial,) = search.study.trials
    assert sorted(trial.intermediate_values) == [1, 2, 4]
    assert trial.value == trial.intermediate_values[4]
    row = record.to_row()
    assert len(row["curve"].split()) == 4 and len(row["rungs"].split()) == 3


def test_what_is_pruned_keeps_the_rungs_that_it_finished(tmp_path, settings, in_shared_cache):
    search = begun(tmp_path, settings.model_copy(update={"pruner": "halving"}))
    records = search.run(6)
    pruned = [one for one in records if one.outcome is Outcome.PRUNED]
    assert pruned and all(1 <= len(one.rungs) < 3 for one in pruned)
    assert all(one.si_rmse == one.rungs[-1] for one in pruned)
    trained = [one for one in records if one.outcome is Outcome.TRAINED]
    assert trained and all(len(one.rungs) == 3 for one in trained)


def test_a_rung_goes_on_or_starts_again(tmp_path, settings, in_shared_cache):
    objective = begun(tmp_path, settings).objective
    one = next(iter(begun(tmp_path / "b", settings).space.architectures()))

    def losses(continued):
        training = ProxyObjective(
            objective.fit,
            objective.validation,
            objective.recipe,
            objective.predictor,
            rungs=(2, 4),
            continued=continued,
        ).begin(one)
        first, second = training.train_rung(0), training.train_rung(1)
        assert [epoch.epoch for epoch in first.epochs] == [0, 1]
        return first, second

    first, second = losses(continued=True)
    assert [epoch.epoch for epoch in second.epochs] == [2, 3]
    again, anew = losses(continued=False)
    assert [epoch.epoch for epoch in anew.epochs] == [0, 1, 2, 3]
    assert again.si_rmse == first.si_rmse and len(first.image_errors) == len(objective.validation)
    assert second.epochs[0].loss < anew.epochs[0].loss


def test_rungs_belong_to_what_makes_trials_comparable(tmp_path, settings, in_shared_cache):
    begun(tmp_path, settings)
    other = settings.model_copy(update={"rungs": (1, 3)})
    with pytest.raises(StudyError, match=r"another rungs \(\(1, 2, 4\), now \(1, 3, 4\)\)"):
        Run(tmp_path, other).search(progress=False)
    # the rule by which trainings end may change
    Run(tmp_path, settings.model_copy(update={"pruner": "median"})).search(progress=False)
    assert settings.model_copy(update={"rungs": (2, 9, 4)}).whole_rungs == (2, 4)
