"""Searches that start from others: real trainings on rendered scenes, two tables of one machine."""

import pytest

from nasdepth.errors import StudyError
from nasdepth.latency import LatencyTable
from nasdepth.searching import Outcome, Run, SearchEvents, Settings, TrialRecord, best, pareto_front
from nasdepth.searching.records import WHOLE
from nasdepth.searching.warm_start import reused

DATA = "scenes:24+6"


@pytest.fixture(scope="module")
def settings(tiny_space_file, table_file, quick_recipe):
    return Settings(space=str(tiny_space_file), data=DATA, table=str(table_file), proxy=quick_recipe)


@pytest.fixture(scope="module")
def first(tmp_path_factory, settings):
    """A run of five trainings, by the measured table."""
    run = Run.create(tmp_path_factory.mktemp("runs") / "search-1", settings)
    return run, run.search(progress=False).run(5)


@pytest.fixture(scope="module")
def other_table(tmp_path_factory, table_file):
    """The same kernels on a device of half the speed."""
    folder = tmp_path_factory.mktemp("slower")
    lines = table_file.read_text().splitlines()
    column = lines[0].split(",").index("latency_ms")
    rows = [line.split(",") for line in lines[1:]]
    for row in rows:
        row[column] = str(2 * float(row[column]))
    (folder / "slow.csv").write_text("\n".join([lines[0], *map(",".join, rows)]) + "\n")
    (folder / "slow.yaml").write_text(table_file.with_suffix(".yaml").read_text())
    return folder / "slow.csv"


def begin(folder, settings, **events):
    return Run.create(folder, settings).search(SearchEvents(**events), progress=False)


def trained_by(first):
    return {one.architecture: one for one in first[1] if one.outcome is Outcome.TRAINED}


def test_trainings_count_under_the_new_tables_latencies(tmp_path, settings, first, other_table):
    started = []
    changed = settings.model_copy(update={"table": str(other_table), "from_runs": (str(first[0].folder),)})
    session = begin(tmp_path / "run", changed, trial_started=lambda one, _: started.append(one))
    known = trained_by(first)
    assert known and {one.architecture for one in session.records} == set(known)
    assert session.spent == 0  # nothing was trained here
    for record in session.records:
        old = known[record.architecture]
        assert record.outcome is Outcome.REUSED and record.training_s == 0
        assert record.si_rmse == old.si_rmse and record.curve == old.curve and record.start == old.start
        assert record.latency_ms == session.objective.latency(record.architecture).latency_ms
        assert record.latency_ms > 1.2 * old.latency_ms
        assert record.note == f"trial {old.number} of another run"
    assert LatencyTable.load(other_table).fingerprint != first[0].table.fingerprint
    assert best(session.records) and pareto_front(session.records)
    values = {trial.user_attrs["architecture"]: trial.value for trial in session.study.get_trials()}
    for record in session.records:
        assert values[str(record.architecture)] == pytest.approx(record.log2_score)

    records = session.run(3)
    assert session.spent == 3 and len(started) == 3 and not set(started) & set(known)
    assert {one.architecture for one in records if one.outcome in WHOLE} >= set(known)

    # resumed, they are not told again; and the settings remember where they came from
    resumed = Run.open(tmp_path / "run").search(progress=False)
    assert len(resumed.records) == len(records) and resumed.spent == 3


def test_a_front_takes_them_over_too(tmp_path, settings, first):
    changed = settings.model_copy(update={"objective": "pareto", "from_runs": (str(first[0].folder),)})
    session = begin(tmp_path / "run", changed)
    expected = pareto_front(trained_by(first).values())
    front = pareto_front(session.records)
    assert [one.architecture for one in front] == [one.architecture for one in expected]
    useful = {one.number for one in front if one.useful}
    assert useful == {trial.number for trial in session.study.best_trials}
    session.run(1)


def test_what_is_above_the_limit_stays_out(tmp_path, settings, first):
    known = trained_by(first).values()
    limit = sorted(one.latency_ms for one in known)[0]
    changed = settings.model_copy(update={"max_latency_ms": limit, "from_runs": (str(first[0].folder),)})
    session = begin(tmp_path / "run", changed)
    assert {one.architecture for one in session.records} == {
        one.architecture for one in known if one.latency_ms <= limit
    }
    assert len(session.earlier) >= len(known)  # but all of them are learnt from


def test_another_space_is_learnt_from_only(tmp_path, settings, first, two_space_file):
    changed = settings.model_copy(update={"space": str(two_space_file), "from_runs": (str(first[0].folder),)})
    session = begin(tmp_path / "run", changed)
    inside = {one for one in trained_by(first) if session.space.contains(one)}
    assert {one.architecture for one in session.records} == inside
    assert session.run(1)


def test_a_run_may_start_from_one_that_started_from_another(tmp_path, settings, first):
    second = begin(tmp_path / "second", settings.model_copy(update={"from_runs": (str(first[0].folder),)}))
    assert second.spent == 0
    third = begin(tmp_path / "third", settings.model_copy(update={"from_runs": (str(tmp_path / "second"),)}))
    assert {one.architecture for one in third.records} == set(trained_by(first))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"data": "scenes:20+6"}, "data set is"),
        ({"seed": 3}, "seed is 0, here it is 3"),
        ({"proxy": 2}, "proxy recipe is"),
    ],
)
def test_trainings_of_something_else_are_refused(tmp_path, settings, first, change, words):
    if "proxy" in change:
        change = {"proxy": settings.proxy.with_(epochs=change["proxy"])}
    changed = settings.model_copy(update=change | {"from_runs": (str(first[0].folder),)})
    with pytest.raises(StudyError, match=words) as error:
        begin(tmp_path / "run", changed)
    assert str(first[0].folder) in str(error.value) and not (tmp_path / "run").exists()


def test_a_folder_that_holds_no_trainings_is_named(tmp_path, settings):
    with pytest.raises(StudyError, match=r"search\.json: cannot be read"):
        begin(tmp_path / "run", settings.model_copy(update={"from_runs": (str(tmp_path),)}))
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "search.json").write_text(settings.model_dump_json())
    with pytest.raises(StudyError, match=r"study\.db: is not there"):
        begin(tmp_path / "run", settings.model_copy(update={"from_runs": (str(empty),)}))
    assert not (empty / "study.db").exists()


def test_what_was_pruned_there_may_be_trained_here(tmp_path, settings, first):
    """Only a whole training is a result; a part of one is a hint to the sampler."""
    session = begin(tmp_path / "run", settings)
    one = next(iter(trained_by(first).values()))
    part = TrialRecord(0, one.architecture, Outcome.PRUNED, si_rmse=0.5, curve=(0.5,))
    assert list(reused((part,), session.space, session.objective, None)) == []
    assert session.records == []
