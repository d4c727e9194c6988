"""A candidate that fails does not end the search, and a run whose study is gone does not begin anew."""

import json
import shutil

import optuna
import pytest
from crash import Formula
from optuna.trial import TrialState

from nasdepth.errors import StudyError
from nasdepth.searching import Outcome, Run, Settings
from nasdepth.searching.claims import WORKER
from nasdepth.searching.records import ANNOUNCED
from nasdepth.searching.study import Search
from nasdepth.space import SearchSpace

pytestmark = pytest.mark.filterwarnings("ignore:Heartbeat of storage is supposed")


class Failing(Formula):
    """Some trainings end with an error, as often as is said."""

    def __init__(self, journal, errors):
        super().__init__(journal)
        object.__setattr__(self, "errors", errors)
        object.__setattr__(self, "begun", [])

    def begin(self, architecture):
        self.begun.append(architecture)
        if error := self.errors(architecture, self.begun.count(architecture)):
            raise error
        return super().begin(architecture)


def search(tmp_path, objective, space_file):
    return Search(
        SearchSpace.load(space_file),
        objective,
        identity={"space": "two"},
        storage=f"sqlite:///{tmp_path / 'study.db'}",
        sampler="random",
    )


def wide(architecture):
    return architecture.decoder[-1].width == 16


def test_a_training_that_fails_once_is_tried_again(tmp_path, two_space_file):
    first = RuntimeError("out of memory")
    objective = Failing(tmp_path / "log", lambda one, tries: first if wide(one) and tries == 1 else None)
    session = search(tmp_path, objective, two_space_file)
    records = session.run(2)
    assert session.spent == 2 and sum(map(wide, objective.begun)) == 2
    (put_back,) = [one for one in records if one.outcome is Outcome.INTERRUPTED]
    assert "failed at try 1: RuntimeError: out of memory" in put_back.note


def test_a_training_that_fails_each_time_is_failed_and_the_search_goes_on(tmp_path, two_space_file):
    objective = Failing(tmp_path / "log", lambda one, _: RuntimeError("out of memory") if wide(one) else None)
    records = search(tmp_path, objective, two_space_file).run(2)
    assert [one.outcome for one in records if one.outcome is Outcome.TRAINED]
    failed = [one for one in records if one.outcome is Outcome.FAILED]
    assert len(failed) == 1 and sum(map(wide, objective.begun)) == 3
    assert all("RuntimeError: out of memory (" in one.note for one in failed)


def test_a_search_in_which_everything_fails_ends_with_the_reason(tmp_path, tiny_space_file):
    objective = Failing(tmp_path / "log", lambda *_: OSError("no space left on device"))
    with pytest.raises(StudyError, match=r"3 candidates in a row failed.*no space left on device"):
        search(tmp_path, objective, tiny_space_file).run(20)
    assert len(objective.begun) == 3 * 3 and len(set(objective.begun)) == 3


def test_a_candidate_that_kills_every_process_is_failed_with_its_reason(tmp_path, two_space_file):
    session = search(tmp_path, Formula(tmp_path / "log"), two_space_file)
    study = session.study
    for _ in range(4):
        # what a process leaves that is killed while it trains
        trial = study.ask()
        trial.set_user_attr(WORKER, "dead")
        text = str(session.space.suggest(trial))
        trial.set_user_attr(ANNOUNCED, text)
        study.tell(trial, state=TrialState.FAIL)
        session._recovery.put_back()
    (record,) = session.records
    assert record.outcome is Outcome.FAILED and str(record.architecture) == text
    assert "every process that trained it died (4 tries: trials 0, 1, 2, 3)" in record.note
    records = session.run(1)
    assert session.spent == 1
    assert text not in [str(one.architecture) for one in records if one.outcome is Outcome.TRAINED]


@pytest.fixture
def begun(tmp_path, two_space_file, table_file, quick_recipe):
    """A run that has trained one candidate."""
    settings = Settings(
        space=str(two_space_file), data="scenes:24+6", table=str(table_file), proxy=quick_recipe
    )
    run = Run.create(tmp_path / "run", settings)
    run.write_results(run.search(progress=False).run(1))
    return run.folder


def resumed(folder, **changes):
    run = Run.open(folder)
    return Run(folder, run.settings.changed(**changes)).search(progress=False)


@pytest.mark.parametrize("what", ["deleted", "empty", "another", "empty database"])
def test_a_resume_without_its_study_is_refused_and_changes_nothing(what, begun, tmp_path, monkeypatch):
    before = (begun / "search.json").read_bytes()
    changes = {}
    match what:
        case "deleted":
            (begun / "study.db").unlink()
        case "empty":
            (begun / "study.db").write_bytes(b"")
        case "another":
            changes = {"storage": f"sqlite:///{tmp_path / 'other.db'}"}
        case "empty database":
            (begun / "study.db").unlink()
            optuna.storages.RDBStorage(f"sqlite:///{begun / 'study.db'}")
    with pytest.raises(StudyError, match=r"is not there or empty|holds no study"):
        resumed(begun, **changes)
    assert (begun / "search.json").read_bytes() == before
    assert not (tmp_path / "other.db").exists()


def test_a_relative_storage_means_the_same_in_every_folder(begun, tmp_path, monkeypatch):
    shutil.move(begun / "study.db", tmp_path / "study.db")
    monkeypatch.chdir(tmp_path)
    assert resumed(begun, storage="sqlite:///study.db").spent == 1
    kept = json.loads((begun / "search.json").read_text())["storage"]
    monkeypatch.chdir("/")
    assert kept == f"sqlite:///{tmp_path / 'study.db'}" and resumed(begun).spent == 1


def test_a_database_in_memory_is_refused(two_space_file):
    for url in ("sqlite://", "sqlite:///:memory:"):
        with pytest.raises(StudyError, match="in memory, which ends with this process"):
            Settings.of(space=str(two_space_file), storage=url)
